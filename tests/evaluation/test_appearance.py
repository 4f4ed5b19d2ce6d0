"""Statistics that tell real images from generated ones, on images whose statistics are known."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy import ndimage

from scoremix.evaluation.appearance import of_appearance, separable, spectrum, statistics, told_apart


def pictures(n: int = 200, side: int = 12, seed: int = 0, sharp: float = 1.0) -> np.ndarray:
    """Smooth random images with noise of the size `sharp`."""
    rng = np.random.default_rng(seed)
    smooth = ndimage.gaussian_filter(rng.normal(size=(n, side, side)), (0, 2, 2)) * 200
    return (128 + smooth + sharp * rng.normal(size=smooth.shape)).clip(0, 255).round().astype(np.uint8)[..., None]


def test_statistics_of_known_images():
    flat = np.full((2, 6, 6, 1), 51, np.uint8)
    framed = flat.copy()
    framed[:, [0, -1]] = framed[:, :, [0, -1]] = 0
    values = statistics(flat)
    assert values["brightness"].tolist() == pytest.approx([-0.6, -0.6])
    assert values["contrast"].abs().max() < 1e-12 and values["frame"].abs().max() < 1e-12
    assert statistics(framed)["frame"].tolist() == pytest.approx([0.4, 0.4])
    assert statistics(pictures(sharp=8))["noise"].mean() > 2 * statistics(pictures(sharp=1))["noise"].mean()


def test_a_wave_has_its_power_at_its_frequency():
    wave = 127.5 + 100 * np.cos(2 * np.pi * 3 * np.arange(12) / 12)[None, None, :, None] * np.ones((1, 12, 1, 1))
    power = spectrum(wave.round().astype(np.uint8))
    assert power.shape == (1, 6) and int(power.argmax()) == 2


def test_colour_images_are_taken_as_grey():
    grey = pictures()
    colour = statistics(np.repeat(grey, 3, axis=3))
    for name, value in statistics(grey).items():
        np.testing.assert_allclose(colour[name], value, atol=1e-12)


def test_images_of_one_kind_are_not_told_apart():
    assert abs(told_apart(pictures(seed=0), pictures(seed=1)) - 0.5) < 0.1


def test_a_frame_gives_generated_images_away():
    real, made = pictures(seed=0), pictures(seed=1)
    made[:, [0, -1]] = made[:, :, [0, -1]] = 0
    values = of_appearance(real, made)
    assert values["told_apart"] > 0.95 and values["frame"] > 0.5
    assert of_appearance(real, pictures(seed=1))["spectrum"] < 0.2 < values["spectrum"]


def test_rows_are_told_apart_by_their_mean_alone():
    rows = torch.randn(300, 8, generator=torch.Generator().manual_seed(0))
    assert abs(separable(rows[:150], rows[150:]) - 0.5) < 0.1
    assert separable(rows[:150], rows[150:] + 3 * torch.eye(8)[0]) > 0.9
    assert math.isnan(separable(rows[:9], rows[9:])) and math.isnan(told_apart(pictures()[:0], pictures()))


def test_noise_alone_gives_them_away_by_its_statistics():
    assert told_apart(pictures(seed=0, sharp=1), pictures(seed=1, sharp=6)) > 0.9


def test_too_few_images_are_not_probed():
    assert math.isnan(told_apart(pictures(9), pictures(100)))
