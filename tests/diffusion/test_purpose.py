"""The rule that ends a generator's training, on curves whose truth is known."""

from __future__ import annotations

import numpy as np
import pytest

from scoremix.diffusion.purpose import reason_to_stop

PLANNED, IMAGES, CHANCE = 8, 300, 1 / 90


def ended(truth: np.ndarray, rng: np.random.Generator, images: int = IMAGES) -> tuple[int, str | None]:
    """How many measurements of a true curve were made before the rule ended it, and why."""
    gates: list[float] = []
    for value in truth:
        gates.append(rng.binomial(images, value) / images)
        if reason := reason_to_stop(gates, images, CHANCE, len(truth)):
            return len(gates), reason
    return len(gates), None


def saturating(at: float, height: float = 0.9) -> np.ndarray:
    """Rises by the share `at` of the training to half its height, then levels."""
    return CHANCE + (height - CHANCE) * (1 - 0.5 ** (np.arange(1, PLANNED + 1) / PLANNED / at))


def test_curves_that_rise_to_the_end_are_hardly_ever_cut_short() -> None:
    rng = np.random.default_rng(0)
    for truth in (np.linspace(0.02, 0.6, PLANNED), np.linspace(0.05, 0.95, PLANNED), saturating(0.5)):
        runs = [ended(truth, rng) for _ in range(400)]
        assert np.mean([reason is None or made >= PLANNED - 1 for made, reason in runs]) > 0.97


def test_a_curve_that_has_levelled_ends_soon_after() -> None:
    rng = np.random.default_rng(1)
    truth = np.array([0.5, 0.8, 0.9, *[0.92] * 13])
    made = [ended(truth, rng)[0] for _ in range(400)]
    assert np.mean(made) < 7
    assert min(made) >= 4


def test_guessing_ends_soon_and_a_slow_start_does_not() -> None:
    rng = np.random.default_rng(2)
    hopeless = [ended(np.full(PLANNED, CHANCE), rng) for _ in range(400)]
    assert np.mean([run == (3, "at chance") for run in hopeless]) > 0.85
    demo = np.array([0.010, 0.027, 0.070, 0.127, 0.187, 0.25, 0.3, 0.35])  # measured up to .187: characters, 90 classes
    assert np.mean([ended(demo, rng)[1] == "at chance" for _ in range(400)]) < 0.01


@pytest.mark.parametrize("gates", [[], [0.9], [0.9, 0.9, 0.9]])
def test_too_few_measurements_end_nothing(gates: list[float]) -> None:
    assert reason_to_stop(gates, IMAGES, CHANCE, PLANNED) is None
