"""Two processes of torchrun against one: the same images to the byte, the same training but for rounding."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from safetensors.torch import load_file
from torch import Tensor, nn

from scoremix.config import Runtime, load
from scoremix.config.presets import PRESETS
from scoremix.execution import processes as engine
from scoremix.execution import progress
from scoremix.execution.store import Store
from scoremix.recognition import mixed

TELL = """
import os, sys
from pathlib import Path
from scoremix.execution import processes as engine, records
from scoremix.execution import runner
from scoremix.execution.store import Store
from scoremix.config import Runtime, load
from scoremix.config.presets import PRESETS
from scoremix.stages.train import resume

out, until, saves = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
save = resume.TrainingCheckpoint.save

def save_and_die(*arguments):
    global saves
    save(*arguments)
    saves -= 1
    if saves == 0:
        os._exit(9)

resume.TrainingCheckpoint.save = save_and_die
exp = load(PRESETS["folder"](), (), sys.argv[4:])
team = engine.start("cpu", together=True)
runtime = Runtime(out=out, device="cpu", quiet=True, checkpoint_seconds=0.0)
runner.run(exp, records.source_of(exp), runner.Runner(Store(out / "store"), runtime, until, team=team))
"""


def torchrun(*command: str) -> subprocess.CompletedProcess[str]:
    """Two processes on this machine."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "NUMBA_NUM_THREADS": "1"}
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", *command]
    return subprocess.run(launcher, env=environment, capture_output=True, text=True, timeout=300)


def together(out: Path, settings: list[str], verb: str = "run") -> str:
    chosen = [word for setting in settings for word in ("--set", setting)]
    done = torchrun("-m", "scoremix", verb, "folder", *chosen, "--device", "cpu", "--out", str(out))
    assert done.returncode == 0, done.stderr
    return done.stdout


def alone(out: Path, settings: list[str], until: str | None = None) -> Path:
    runtime = Runtime(out=out, device="cpu", quiet=True)
    return progress.execute(load(PRESETS["folder"](), (), settings), runtime, Store(out / "store"), until)


def only(out: Path, stage: str) -> Path:
    (folder,) = (out / "store" / stage).iterdir()
    return folder


def manifest(folder: Path) -> dict[str, object]:
    found: dict[str, object] = json.loads((folder / "manifest.json").read_text())
    return found


def apart(one: dict[str, Tensor], two: dict[str, Tensor]) -> float:
    """Largest relative distance of two networks' tensors."""
    assert one.keys() == two.keys()
    return max(
        float((one[n] - two[n]).norm() / one[n].norm().clamp(min=1e-3)) for n in one if one[n].is_floating_point()
    )


@pytest.fixture(scope="module")
def settings(tiny_settings: list[str]) -> list[str]:
    return [*tiny_settings, "seeds=[0]"]


@pytest.mark.slow
def test_a_run_of_two_processes_ends_with_a_report_and_trains_as_one_does(settings: list[str], tmp_path: Path) -> None:
    printed = together(tmp_path / "two", settings)
    assert printed.count("report: ") == 1  # the first process alone speaks
    alone(tmp_path / "one", settings, "generator")
    one, two = only(tmp_path / "one", "generator"), only(tmp_path / "two", "generator")
    assert (manifest(one)["processes"], manifest(two)["processes"]) == (1, 2)
    names = sorted(file.name for file in one.glob("*.safetensors"))
    assert names and names == sorted(file.name for file in two.glob("*.safetensors"))
    for name in names:
        # 1.1e-4 on one kind of processor: Adam turns rounding into steps
        assert apart(load_file(one / name), load_file(two / name)) < 5e-4
    losses = [np.loadtxt(folder / "history.csv", delimiter=",", skiprows=1) for folder in (one, two)]
    np.testing.assert_allclose(losses[0], losses[1], rtol=1e-4)
    assert manifest(only(tmp_path / "two", "ingest"))["processes"] == 1


@pytest.mark.slow
def test_images_of_two_processes_are_those_of_one_to_the_byte(settings: list[str], tmp_path: Path) -> None:
    made = alone(tmp_path, [*settings, "sampling.chunk=4"], "sample")
    before = manifest(made)
    for file in made.iterdir():
        file.unlink()
    together(tmp_path, [*settings, "sampling.chunk=4"], "sample")
    after = manifest(made)
    assert after["processes"] == 2 and after["outputs"] == before["outputs"]
    for counted in ("images", "evaluations"):
        assert after["cost"][counted] == before["cost"][counted]  # type: ignore[index]


class Halves(nn.Module):
    """The loss as two processes have it: batch statistics within a half of the batch, the mean of both losses."""

    def __init__(self, net: nn.Module, head: nn.Module, blended: bool, recipe: None = None) -> None:
        super().__init__()
        self.net, self.head = net, head

    def forward(self, images: Tensor, labels: Tensor, weights: None) -> Tensor:
        half = len(images) // 2
        parts = (slice(0, half), slice(half, None))
        if half < 2:  # the estimate's trial on two images, whose halves have no variance
            parts = (slice(None),) * 2
        losses = [self.head(self.net(images[part]), labels[part]).mean() for part in parts]
        return (losses[0] + losses[1]) / 2


def test_a_recognizer_of_two_processes_has_the_gradients_of_both_halves(
    settings: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    short = [*settings, "recognizer.epochs=1", "recognizer.augment=characters"]
    done = torchrun("--no-python", sys.executable, "-c", TELL, str(tmp_path / "two"), "baseline", "0", *short)
    assert done.returncode == 0, done.stderr
    monkeypatch.setattr(mixed, "BatchLoss", Halves)
    alone(tmp_path / "one", short, "baseline")
    one, two = (load_file(only(tmp_path / name, "recognizer") / "recognizer.safetensors") for name in ("one", "two"))
    learned = [name for name in one if "running" not in name and "tracked" not in name]
    assert apart({n: one[n] for n in learned}, {n: two[n] for n in learned}) < 1e-3


@pytest.mark.slow
def test_two_processes_killed_and_resumed_end_as_undisturbed_ones(settings: list[str], tmp_path: Path) -> None:
    found = []
    for name, deaths in (("killed", ("3", "0")), ("undisturbed", ("0",))):
        command = ["--no-python", sys.executable, "-c", TELL, str(tmp_path / name), "generator"]
        for at_save in deaths:
            done = torchrun(*command, at_save, *settings)
            assert (done.returncode == 0) == (at_save == "0"), done.stderr
        found.append(manifest(only(tmp_path / name, "generator"))["outputs"])
    assert found[0] == found[1]


def test_a_batch_is_shared_evenly_or_not_at_all() -> None:
    second = engine.Engine(SimpleNamespace(global_rank=1, world_size=3))
    assert second.part(33, "generator.batch") == slice(11, 22)
    with pytest.raises(ValueError, match=r"generator\.batch 32: 3 processes need a multiple of 3"):
        second.part(32, "generator.batch")


def test_a_verb_for_one_process_says_so_in_each() -> None:
    launched = {**os.environ, "TORCHELASTIC_RUN_ID": "1", "WORLD_SIZE": "2", "RANK": "1"}
    command = [sys.executable, "-m", "scoremix", "study", "any.yaml"]
    done = subprocess.run(command, env=launched, capture_output=True, text=True, timeout=60)
    assert done.returncode == 2
    assert "scoremix (process 1): " in done.stderr and "a study has --workers and --scheduler" in done.stderr
