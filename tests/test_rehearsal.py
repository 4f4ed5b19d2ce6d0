"""A rehearsal says what a run needs and what would stop it, without running it."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from scoremix.config import Experiment, Runtime, load
from scoremix.config.presets import PRESETS, demo
from scoremix.execution import memory, rehearsal
from scoremix.execution.artifacts import External
from scoremix.execution.rehearsal import Rehearsal, as_read, rehearse, table
from scoremix.execution.runner import decided, planned
from scoremix.execution.small import in_small, sampled
from scoremix.execution.store import Store

TINY = [
    "data.classes=30",
    "generator.model_channels=8",
    "recognizer.widths=[8,16]",
    "recognizer.units=[1,1]",
    "sampling.steps=4",
]


def rehearsed(tmp_path: Path, *settings: str, sets: tuple[str, ...] = (), **more: Path) -> Rehearsal:
    exp = decided(load(demo(), (), [*TINY, *settings]), "cpu")
    folder = tmp_path / "rehearsal"
    folder.mkdir()
    return rehearse(exp, Runtime(out=tmp_path, device="cpu", quiet=True), folder, sets, **more)


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> Rehearsal:
    return rehearsed(tmp_path_factory.mktemp("rehearsal"))


def test_a_run_that_works_is_ready_and_priced(done: Rehearsal):
    assert done.failures == []
    assert {"generator", "recognizer", "sample", "evaluate"} <= set(done.seconds)
    assert done.seconds["generator"] > 1 and done.disk > 0
    text = "\n".join(table(done, 2.5))
    assert "euros" in text and "network evaluations" in text and "together" in text
    twice = sum(done.seconds.values()) / 3600 * 5.0
    assert f"{twice:,.2f} euros" in table(done, 5.0)[-2]


def test_a_rehearsal_plans_with_the_number_of_classes(tmp_path: Path):
    images = np.random.default_rng(0).integers(0, 256, (600, 8, 8), dtype=np.uint8)
    file = tmp_path / "set.npz"
    np.savez(file, images=images, labels=np.repeat(np.arange(150), 4))
    exp = decided(load(PRESETS["folder"](), (), [f"source={file}", "data.size=8"]), "cpu")
    few = sampled(exp)
    parts = {name: len(of) for name, of in few.splits.items()}
    where = External(exp.source, "rehearsal", None, None), Store(tmp_path / "plans")
    steps = planned(as_read(exp, few), *where, parts).listed
    (generator,) = (step for step in steps if step.stage == "generator")
    assert generator.config["images_seen"] == 800 * parts["train"] == 72_000
    assert len([step for step in steps if step.stage == "fold"]) == 3  # 15 validation classes are few


def test_the_sample_has_the_true_classes_and_numbers(tmp_path: Path):
    images = np.random.default_rng(0).integers(0, 256, (260, 8, 8), dtype=np.uint8)
    labels = np.repeat(np.arange(40), [5] * 20 + [8] * 20).astype(np.int32)
    file = tmp_path / "set.npz"
    np.savez(file, images=images, labels=labels, class_names=np.array([f"c{k}" for k in range(40)]))
    few = sampled(load(Experiment(source=str(file)), (), ["data.size=8"]))
    assert len(few.class_names) == 40 and few.channels == 1
    assert sorted(few.counts.tolist()) == [5] * 20 + [8] * 20
    k = few.class_names.index("c39") if "c39" in few.class_names else 0
    assert few.of_class(k).shape[1:] == (8, 8, 1)


@pytest.mark.slow
def test_what_would_fail_hours_later_is_listed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(memory, "total_bytes", lambda device: 2**20)
    monkeypatch.setattr("shutil.disk_usage", lambda path: type("Usage", (), {"free": 10})())
    monkeypatch.setattr(rehearsal, "run_in_small", lambda *_: 1 / 0)
    found = rehearsed(tmp_path, sets=("lfw",), root=tmp_path)
    said = "\n".join(found.failures)
    assert "recognizer.microbatch=auto" in said and "set lfw: " in said and "disk: the run writes" in said
    assert "the story in small, to its page: division by zero" in said


def test_data_that_cannot_be_read_ends_it_there(tmp_path: Path):
    found = rehearsed(tmp_path, f"source={json.dumps(str(tmp_path / 'nowhere'))}")
    assert len(found.failures) == 1 and "does not exist" in found.failures[0]


@pytest.mark.parametrize("name", sorted(PRESETS))
def test_every_preset_has_a_story_in_small(name: str):
    small = in_small(PRESETS[name](), "glyphs")
    assert small.data.size == 16 and small.recognizer.network == "small"
    assert set(small.arms) == set(PRESETS[name]().arms)
