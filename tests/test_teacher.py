"""Generators under a recognizer, as runs: what they need, what stays fixed, restarts to the byte."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from scoremix.config import Experiment, Runtime, load
from scoremix.config.arms import named
from scoremix.diffusion import checkpoints
from scoremix.diffusion.unet import condition_matrix
from scoremix.execution import progress, records, runner
from scoremix.execution.store import Step, Store
from scoremix.stages.train import resume, watch

ALIGNED = ["generator.align={}", "generator.align.start=0.2", "generator.align.ramp=0.4", "generator.align.weight=0.05"]

WATCHED = ["generator.until=gate", "generator.snapshots=5"]


def until(out: Path, settings: list[str], label: str = "generator") -> Path:
    runtime = Runtime(out=out, device="cpu", quiet=True, checkpoint_seconds=0.0)
    return progress.execute(load(Experiment(), (), settings), runtime, Store(out / "store"), label)


def contents(folder: Path) -> dict[str, bytes]:
    return {
        f.name: f.read_bytes() for f in folder.iterdir() if f.is_file() and f.name not in ("manifest.json", ".lock")
    }


def test_only_a_generator_that_needs_it_depends_on_the_recognizer(tmp_path: Path, tiny_settings: list[str]) -> None:
    def inputs(*settings: str) -> dict[str, str]:
        exp = load(Experiment(), (), [*tiny_settings, *settings])
        plans = runner.plan_all(exp, records.source_of(exp), Store(tmp_path / "store"))
        return next(plan.inputs for plan in plans if plan.stage == "generator")

    assert list(inputs()) == ["0"] and inputs("recognizer.lr=0.05") == inputs()
    for needs in (ALIGNED, ["generator.conditions=rms"], WATCHED):
        assert list(inputs(*needs)) == ["0", "1"] and inputs("recognizer.lr=0.05", *needs) != inputs(*needs)


@pytest.mark.slow
def test_an_aligned_run_killed_in_the_ramp_ends_in_the_same_bytes(
    tmp_path: Path, tiny_settings: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = [*tiny_settings, *ALIGNED]
    whole = contents(until(tmp_path / "whole", settings))
    until(tmp_path / "killed", settings, "baseline")
    save, calls = resume.TrainingCheckpoint.save, [0]

    def dying(checkpoint: resume.TrainingCheckpoint) -> None:
        save(checkpoint)
        calls[0] += 1
        if calls[0] in (3, 11):
            raise KeyboardInterrupt

    monkeypatch.setattr(resume.TrainingCheckpoint, "save", dying)
    for _ in range(2):
        with pytest.raises(KeyboardInterrupt):
            until(tmp_path / "killed", settings)
    assert contents(until(tmp_path / "killed", settings)) == whole
    curve = whole["alignment.csv"].decode().splitlines()
    assert len(curve) == 1 + 15 and all(0 < float(line.split(",")[1]) < 2 for line in curve[1:])
    assert 0 < json.loads(whole["generator.json"])["alignment_loss"] < 2


@pytest.mark.parametrize("kind", ["raw", "orthogonal"])
def test_recognizer_centers_are_the_conditions_from_start_to_end(
    kind: str, tmp_path: Path, tiny_settings: list[str]
) -> None:
    settings = [*tiny_settings, f"generator.conditions={kind}", "recognizer.embedding=20"]
    folder = until(tmp_path, settings)
    centers = np.load(next((tmp_path / "store" / "recognizer").iterdir()) / "centers.npy")
    found = {f.name: np.load(f) for f in folder.glob("conditions-*.npy")}
    dims = 24  # the least multiple of model_channels that holds them
    kept = 20 if kind == "raw" else dims  # zeros are not kept
    assert len(found) > 2 and all(c.shape == (len(centers), kept) for c in found.values())
    gram = centers @ centers.T * (1 if kind == "raw" else dims)
    for name, conditions in found.items():
        np.testing.assert_array_equal(conditions, next(iter(found.values())), err_msg=name)
        np.testing.assert_allclose(conditions @ conditions.T, gram, rtol=1e-4, atol=1e-4)
    until(tmp_path, settings, "sample reproductions")
    net, _ = checkpoints.load(next(folder.glob("ema-*.safetensors")))
    np.testing.assert_array_equal(condition_matrix(net).numpy()[:, :kept], next(iter(found.values())))


def test_an_aligned_arm_trains_its_own_generator_and_changes_no_other(tmp_path: Path, tiny_settings: list[str]) -> None:
    def plans(arms: str) -> dict[str, Step]:
        exp = load(Experiment(), (), [*tiny_settings, f"arms={arms}", *judged], named)
        return {plan.key: plan for plan in runner.plan_all(exp, records.source_of(exp), Store(tmp_path / "store"))}

    judged = ["evaluation.treatment=reproduction_alone", "evaluation.controls=[real]"]
    without = plans("[real, reproduction_alone]")
    with_aligned = plans("[real, reproduction_alone, reproduction_aligned_alone]")
    assert sum(plan.stage == "generator" for plan in without.values()) == 1
    generators = [plan for plan in with_aligned.values() if plan.stage == "generator"]
    assert [plan.config["align"] is not None for plan in generators] == [False, True]
    assert [list(plan.inputs) for plan in generators] == [["0"], ["0", "1"]]
    unchanged = {key for key, plan in without.items() if plan.stage not in ("compare", "errors", "report", "diagnose")}
    assert unchanged <= set(with_aligned)


@pytest.mark.slow
def test_watching_the_gate_changes_nothing_that_is_learnt(
    tmp_path: Path, tiny_settings: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watch, "reason_to_stop", lambda *measured: None)
    plain = contents(until(tmp_path, [*tiny_settings, "generator.snapshots=5"]))
    watched = contents(until(tmp_path, [*tiny_settings, *WATCHED]))
    summary, curve = json.loads(watched.pop("generator.json")), json.loads(plain.pop("generator.json"))
    assert watched == plain and {**curve, "gate": summary["gate"]} == summary
    assert summary["gate"]["images_seen"] == [128, 256, 384, 512, 640] and summary["gate"]["reason"] is None


@pytest.mark.slow
def test_a_training_that_ends_by_its_gate_is_shorter_and_killed_ends_in_the_same_bytes(
    tmp_path: Path, tiny_settings: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = [*tiny_settings, *WATCHED]
    monkeypatch.setattr(watch, "reason_to_stop", lambda gates, *known: "levelled" if len(gates) == 3 else None)
    folder = until(tmp_path / "whole", settings)
    whole, summary = contents(folder), json.loads((folder / "generator.json").read_text())
    assert summary["images_seen"] == 384 == max(summary["gate"]["images_seen"])
    assert summary["gate"]["reason"] == "levelled" and summary["gate"]["longest"] == 640
    assert set(summary["snapshots"].values()) | set(summary["guides"].values()) <= set(whole)
    assert {c["file"] for c in summary["conditions"]} == {name for name in whole if name.startswith("conditions")}
    told = json.loads((folder / "manifest.json").read_text())["notes"]["ended"]
    assert told.startswith("ended after 384 of 640: the gate in training, 0.") and told.endswith(", rises no more")
    curve = np.loadtxt(folder / "history.csv", delimiter=",", skiprows=1)
    assert curve[-1, 0] == 384
    until(tmp_path / "killed", settings, "baseline")
    save, calls = resume.TrainingCheckpoint.save, [0]

    def dying(checkpoint: resume.TrainingCheckpoint) -> None:
        save(checkpoint)
        calls[0] += 1
        if calls[0] in (6, 12):  # in the middle, and when the end was just decided
            raise KeyboardInterrupt

    monkeypatch.setattr(resume.TrainingCheckpoint, "save", dying)
    for _ in range(2):
        with pytest.raises(KeyboardInterrupt):
            until(tmp_path / "killed", settings)
    assert contents(until(tmp_path / "killed", settings)) == whole
    until(tmp_path / "killed", settings, "check")  # what follows takes the last snapshot


def test_settings_that_leave_no_curve_to_judge_are_refused() -> None:
    for settings, word in ((["generator.snapshots=3"], "at least 4"), (["guide.conditional=false"], "need classes")):
        settings = [*settings, "generator.until=gate", *(["guide.until=gate"] if "guide" in settings[0] else [])]
        with pytest.raises(ValueError, match=word):
            load(Experiment(), (), settings)
