"""Precision `auto`: decided for the device before anything is planned, and recorded as what it was."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from scoremix import study
from scoremix.config import Arm, Experiment, Generator, Runtime, Sampling, load
from scoremix.config.study import StudyConfig
from scoremix.execution import processes, records, runner
from scoremix.execution.artifacts import External
from scoremix.execution.chain import chain_table
from scoremix.execution.store import Store
from support.runs import run

AUTO = ["generator.precision=auto", "sampling.precision=auto"]


def cpu(monkeypatch: pytest.MonkeyPatch, amx: bool = False, avx512: bool = False) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: amx, raising=False)
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: avx512, raising=False)


def gpu(monkeypatch: pytest.MonkeyPatch, native: bool) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation=True: native or including_emulation)


@pytest.mark.parametrize(
    ("amx", "avx512", "wanted"),
    [(False, False, "float32"), (True, False, "bfloat16"), (False, True, "bfloat16")],
)
def test_a_cpu_says_what_it_computes_in(monkeypatch: pytest.MonkeyPatch, amx: bool, avx512: bool, wanted: str) -> None:
    cpu(monkeypatch, amx, avx512)
    assert processes.native("auto") == processes.native("cpu") == wanted


def test_the_device_that_runs_decides(monkeypatch: pytest.MonkeyPatch) -> None:
    cpu(monkeypatch)
    gpu(monkeypatch, native=True)
    assert [processes.native(device) for device in ("auto", "cuda", "cpu")] == ["bfloat16", "bfloat16", "float32"]
    gpu(monkeypatch, native=False)  # older than compute capability 8.0
    assert processes.native("auto") == "float32"


def test_auto_is_decided_everywhere_and_a_given_one_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    cpu(monkeypatch, amx=True)
    exp = Experiment(
        generator=Generator(precision="float32"),
        guide=Generator(conditional=False),
        sampling=Sampling(guide="unconditional"),
        arms={**Experiment().arms, "other": Arm(sampling={"precision": "auto"}, generator={"precision": "float32"})},
    )
    exp = load(exp, (), ["analysis.paths.sampling={steps: 4, guide: unconditional}"])
    made = runner.decided(exp, "cpu")
    assert exp.sampling.precision == "auto" and exp.guide is not None and exp.guide.precision == "auto"
    assert made.generator.precision == "float32"
    assert made.guide is not None and made.guide.precision == "bfloat16"
    assert made.sampling.precision == "bfloat16" and made.arms["other"].sampling == {"precision": "bfloat16"}
    assert made.analysis.paths.sampling is not None and made.analysis.paths.sampling.precision == "bfloat16"
    assert made.data.channels == "auto", "other settings called auto are left alone"
    assert runner.decided(made, "cpu") is made


def test_nothing_is_planned_while_it_is_open(tmp_path: Path, tiny_settings: list[str]) -> None:
    exp, store = load(Experiment(), (), [*tiny_settings, *AUTO]), Store(tmp_path / "store")
    with pytest.raises(ValueError, match="precision 'auto'"):
        runner.plan_all(exp, External("here", "k"), store)


def test_a_run_records_what_it_became(
    tiny_run: Path, tmp_path: Path, tiny_settings: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same steps as a run that names the precision: not one is made twice."""
    cpu(monkeypatch)
    shutil.copytree(tiny_run, out := tmp_path / "out")
    done = sorted((out / "store").rglob("manifest.json"))
    run(out, [*tiny_settings, *AUTO], "sample")
    stored = json.loads((out / "runs" / "tiny.json").read_text())
    assert stored["experiment"]["generator"]["precision"] == "float32"
    assert stored["steps"]["generator"]["config"]["precision"] == "float32"
    assert records.recorded(out, "tiny").sampling.precision == "float32"
    assert sorted((out / "store").rglob("manifest.json")) == done  # which name float32
    runtime, store = Runtime(out=out, device="cpu", quiet=True), Store(out / "store")
    assert "stale" not in chain_table(store, records.recorded(out, "tiny"))
    exp = load(Experiment(), (), [*tiny_settings, *AUTO])
    assert runner.run(exp, records.source_of(exp), runner.Runner(store, runtime, "sample")).done
    assert sorted((out / "store").rglob("manifest.json")) == done


def test_a_study_decides_too(tmp_path: Path, tiny_npz: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cpu(monkeypatch, avx512=True)
    config = StudyConfig.model_validate(
        {"data": {"tiny": {"source": str(tiny_npz)}}, "arms": ["real", "equal_steps", "scoremix"]}
    )
    runtime = Runtime(out=tmp_path, device="cpu", quiet=True)
    ((_, _, exp),) = study._experiments(config, runtime)
    assert exp.generator.precision == exp.sampling.precision == "bfloat16"


@pytest.mark.parametrize(
    "what", ["from scoremix.commands import main", "from scoremix.config import Experiment; Experiment()"]
)
def test_help_and_config_stay_without_torch(what: str) -> None:
    asked = f"import sys; {what}; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", asked], check=True, env=dict(os.environ))
