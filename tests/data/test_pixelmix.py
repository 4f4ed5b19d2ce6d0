"""Mixes of real images: exact pixels."""

from __future__ import annotations

import numpy as np
import pytest

from scoremix.data.pixelmix import averaged, patched


def stack(b: int = 50, m: int = 2) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (b, m, 9, 7, 3)).astype(np.uint8)


def test_average_rounds_and_cuts() -> None:
    images = stack()
    weights = np.tile([0.3, 0.7], (50, 1))
    wanted = np.rint(0.3 * images[:, 0].astype(float) + 0.7 * images[:, 1])
    assert np.abs(averaged(images, weights).astype(float) - wanted).max() <= 1
    assert averaged(images, np.ones((50, 2))).max() == 255
    assert np.array_equal(averaged(images, np.tile([1.0, 0.0], (50, 1))), images[:, 0])


def test_patch_is_one_box_of_the_wanted_area_anywhere() -> None:
    b = 400
    images = np.zeros((b, 2, 16, 16, 1), np.uint8)
    images[:, 1] = 255
    share = np.linspace(0, 1, b)
    corners = np.random.default_rng(1).random((b, 2))
    made = patched(images, np.stack([1 - share, share], 1), corners)[..., 0] == 255
    rows, columns = made.any(2), made.any(1)
    assert np.array_equal(made, rows[:, :, None] & columns[:, None, :])  # a box
    side = np.rint(np.sqrt(share) * 16)
    assert np.array_equal(made.sum((1, 2)), side**2)
    assert made.any(0).all()


def test_patch_of_other_than_two_is_refused() -> None:
    with pytest.raises(ValueError, match="m-plets of 3"):
        patched(stack(m=3), np.full((50, 3), 1 / 3), np.zeros((50, 2)))
