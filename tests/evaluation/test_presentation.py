"""What a recognizer accepts as a training class, on embeddings whose answer is known."""

from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import numpy as np
import torch


def test_shares_are_of_pairs_with_the_class_that_is_claimed(script: Callable[[str], ModuleType]) -> None:
    presentation = script("benchmarks/presentation.py")
    real = torch.eye(4)[[0, 0, 1]]  # class 0 twice, class 1 once
    shown, claimed = torch.eye(4)[[0, 1, 1, 2]], np.array([0, 0, 1, 1])
    shares = presentation.accepted(0.99 * shown, claimed, real, np.array([0, 0, 1]), at=0.5)
    np.testing.assert_allclose(shares, [0.5, 0.5])
    itself = presentation.accepted(real, np.array([0, 0, 1]), real, np.array([0, 0, 1]), at=0.5)
    assert np.isnan(itself).all()  # no pair but of an image with its double


def test_the_threshold_lets_one_in_a_hundred_pairs_of_two_classes_pass(script: Callable[[str], ModuleType]) -> None:
    unit = torch.nn.functional.normalize(torch.randn(200, 8, generator=torch.Generator().manual_seed(0)))
    labels = np.arange(200) % 50
    similarity = (unit @ unit.T).numpy()[labels[:, None] != labels[None]]
    at = script("benchmarks/presentation.py").threshold(unit, labels)
    assert abs((similarity > at).mean() - 0.01) < 0.001


def test_every_arm_of_a_finished_run_is_measured(script: Callable[[str], ModuleType], tiny_run: Path) -> None:
    found = script("benchmarks/presentation.py").measure(tiny_run, "tiny")
    assert set(found["accepted"]) == {"real images", "reproductions", "mixes"}
    for shown in found["accepted"].values():
        assert {"real", "equal_steps"} < set(shown) and all(0 <= arm["value"] <= 100 for arm in shown.values())
    assert "equal_steps" not in found["differences"]["mixes"] and set(found["told_apart"]) == set(shown)
