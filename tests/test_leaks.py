"""The leak gate drops copies of training images, keeps unseen ones, and changes nothing that is sampled."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from scoremix.config import ConfigError, Experiment, LeakGate, Runtime, load
from scoremix.config.arms import named
from scoremix.data.images import LabeledImages
from scoremix.execution import progress, records, runner
from scoremix.execution.artifacts import Artifact
from scoremix.execution.fitting import refuse_unusable
from scoremix.execution.store import Store
from scoremix.execution.work import Work
from scoremix.outputs.images import MixedImages, write_mixed
from scoremix.stages.mix.leaks import drop_leaks

QUIET = Runtime(device="cpu", quiet=True, threads=1)


def made(tmp_path: Path, settings: list[str]) -> tuple[Artifact, Artifact]:
    """The real images and the baseline recognizer of a run."""
    runtime = QUIET.model_copy(update={"out": tmp_path})
    progress.execute(load(Experiment(), (), settings), runtime, Store(tmp_path / "store"), "baseline")
    ingest, recognizer = (next((tmp_path / "store" / stage).iterdir()) for stage in ("ingest", "recognizer"))
    return Artifact("ingest", "", ingest), Artifact("recognizer", "", recognizer)


def test_copies_go_and_unseen_images_stay(tmp_path: Path, tiny_settings: list[str]) -> None:
    real, recognizer = made(tmp_path, tiny_settings)
    stored = LabeledImages.load(real.folder)
    copies, unseen = stored.of_classes("train").of_class(0)[:4], stored.of_classes("validation").of_class(0)[:4]
    images = np.concatenate([copies, copies[:2], unseen[:2], unseen])  # m-plets of copies, of both, of unseen ones
    (tmp_path / "sample").mkdir()
    weights = np.full((12, 2), 0.5)
    mplets, names = np.array([[0, 1], [1, 2], [2, 3]]), ["a", "b", "c"]
    write_mixed(Work(tmp_path / "sample", QUIET, ""), [images], images.shape[1:], names, mplets, weights)
    (tmp_path / "leaks").mkdir()
    work = Work(tmp_path / "leaks", QUIET, "")
    drop_leaks(LeakGate(rate=0.1), Artifact("sample", "", tmp_path / "sample"), recognizer, real, work=work)
    kept, told = MixedImages.load(Artifact("leaks", "", work.folder)), json.loads((work / "leaks.json").read_text())
    assert told["images"] == 12 and told["unseen"] == "validation"
    assert not any((kept.images.stored == copy).all((1, 2, 3)).any() for copy in copies)
    assert told["dropped"] == 12 - len(kept.images) <= 6 + 4  # all copies, and of unseen images those at the rate
    assert told["mplets_dropped"] == 1 and kept.images.class_names == ("b", "c")
    np.testing.assert_array_equal(kept.mplets, [[1, 2], [2, 3]])
    assert len(kept.weights) == len(kept.images)


def test_where_all_images_are_copies_that_is_said(tmp_path: Path, tiny_settings: list[str]) -> None:
    real, recognizer = made(tmp_path, tiny_settings)
    copies = LabeledImages.load(real.folder).of_classes("train").of_class(0)
    (tmp_path / "sample").mkdir()
    write_mixed(
        Work(tmp_path / "sample", QUIET, ""), [copies], copies.shape[1:], ["a"], np.array([[0, 1]]), np.ones((6, 2))
    )
    with pytest.raises(ValueError, match="the generator copies"):
        work = Work(tmp_path, QUIET, "")
        drop_leaks(LeakGate(rate=0.1), Artifact("sample", "", tmp_path / "sample"), recognizer, real, work=work)


def test_what_is_sampled_keeps_its_key(tmp_path: Path, tiny_settings: list[str]) -> None:
    def steps(*settings: str) -> dict[str, set[str]]:
        settings = ("arms=[real, equal_steps, scoremix, averages]", *settings)
        exp = load(Experiment(), (), [*tiny_settings, *settings], named)
        found: dict[str, set[str]] = {}
        for plan in runner.plan_all(exp, records.source_of(exp), Store(tmp_path / "store")):
            found.setdefault(plan.stage, set()).add(plan.key)
        return found

    plain, gated = steps(), steps("sampling.leak_gate=0.1")
    assert len(gated.pop("leaks")) == 1
    assert plain["sample"] == gated["sample"] and plain["generator"] == gated["generator"]
    assert len(plain["combine"] & gated["combine"]) == 1  # pixel averages are of real images
    assert steps("sampling.leak_gate=0.2").pop("leaks") != gated


def test_a_rate_that_the_unseen_images_cannot_tell_is_refused_before_training(
    tmp_path: Path, tiny_settings: list[str]
) -> None:
    with pytest.raises(ConfigError, match=r"leak_gate 0.001: \d+ unseen") as refused:
        made(tmp_path, [*tiny_settings, "sampling.leak_gate=0.001"])
    assert "\n" not in str(refused.value) and not (tmp_path / "store" / "recognizer").exists()


def test_a_generator_of_all_classes_leaves_no_image_to_set_the_threshold_by(tiny_settings: list[str]) -> None:
    exp = load(Experiment(), (), [*tiny_settings, "sampling.leak_gate=0.1"])
    parts: Any = SimpleNamespace(exp=exp, recognizers={"scoremix/0": None})
    with pytest.raises(ConfigError, match="no image is left unseen"):
        refuse_unusable(parts, "scoremix", True, False)
