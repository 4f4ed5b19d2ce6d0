"""recognizer.microbatch=auto: decided from the device's memory before anything is planned, and hashed as what it became."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from scoremix.config import Experiment, Recognizer, load
from scoremix.execution import memory, runner
from scoremix.execution.artifacts import External
from scoremix.execution.store import Store
from scoremix.stages.train.recognizer import describe, kept_per_image

ARMS = ["recognizer.microbatch=auto", "data.size=16", "data.channels=1", "data.classes=50"]


def decided(monkeypatch: pytest.MonkeyPatch, total: int, *settings: str) -> Experiment:
    monkeypatch.setattr(memory, "total_bytes", lambda device: total)
    runner._fitting.cache_clear()
    return runner.decided(load(Experiment(), (), [*ARMS, *settings]), "cpu")


def test_where_all_fits_it_is_the_whole_batch_with_the_key_of_that(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    exp = decided(monkeypatch, 2**40)
    assert exp.recognizer.microbatch is None
    plain = runner.decided(load(Experiment(), (), ARMS[1:]), "cpu")
    keys = [[s.key for s in runner.plan_all(e, External("here", "k"), Store(tmp_path))] for e in (exp, plain)]
    assert keys[0] == keys[1]


def test_a_small_device_takes_the_part_that_it_holds(monkeypatch: pytest.MonkeyPatch):
    each = kept_per_image(Recognizer(), describe(Recognizer(), 16, 1))
    exp = decided(monkeypatch, 40 * each)
    assert exp.recognizer.microbatch in (8, 16, 32)
    with pytest.raises(RuntimeError, match="one image needs about"):
        decided(monkeypatch, 2**10)


@pytest.mark.parametrize(("batch", "taken"), [(3, None), (5, 3), (7, 4), (8, 2)])
def test_no_image_is_left_by_itself(monkeypatch: pytest.MonkeyPatch, batch: int, taken: int | None):
    monkeypatch.setattr(runner, "fitting", lambda *about: 2)
    assert decided(monkeypatch, 2**40, f"recognizer.batch={batch}").recognizer.microbatch == taken


def test_an_arm_with_another_network_has_a_number_of_its_own(monkeypatch: pytest.MonkeyPatch):
    each = kept_per_image(Recognizer(), describe(Recognizer(), 16, 1))
    deep = 'arms={"real": {"images": "real"}, "scoremix": {}, "equal_steps": {"images": "real", "steps_of": "scoremix", "recognizer": {"depth": 8}}}'
    exp = decided(monkeypatch, 120 * each, deep)
    own = exp.arms["equal_steps"].recognizer["microbatch"]
    assert exp.recognizer.microbatch == 64 and 2 <= own < 64


def test_what_a_step_keeps_is_counted_right():
    """The count without computing is that of the saved tensors of a real step."""
    config = Recognizer(widths=(8, 16), units=(1, 1), embedding=16)
    description = describe(config, 8, 1)
    from scoremix.recognition import checkpoints

    net = checkpoints.make(description).train()
    real = memory.bytes_per_image(lambda n: net(torch.randn(n, 1, 8, 8)).sum())
    assert kept_per_image(config, description) == pytest.approx(real, rel=0.05)


def test_undecided_it_names_no_step(tmp_path: Path):
    with pytest.raises(ValueError, match="'auto' is for the experiment"):
        exp = load(Experiment(), (), [*ARMS, "generator.precision=float32", "sampling.precision=float32"])
        runner.plan_all(exp, External("here", "k"), Store(tmp_path))
