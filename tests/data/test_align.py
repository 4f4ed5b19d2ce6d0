"""Alignment against scikit-image's definition (least squares by SVD) and scipy's interpolation."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.ndimage
from PIL import Image

from scoremix.data.facesets import SIZE, TEMPLATE, similarity_transform, warped


def umeyama(source: np.ndarray, target: np.ndarray) -> np.ndarray:
    """Umeyama 1991, equations 40 to 42, for one set of points."""
    a, b = source - source.mean(0), target - target.mean(0)
    u, s, vt = np.linalg.svd(b.T @ a / len(a))
    sign = np.array([1.0, np.sign(np.linalg.det(u @ vt))])
    rotation = u @ np.diag(sign) @ vt
    scale = (s * sign).sum() / a.var(0).sum()
    return np.column_stack([scale * rotation, target.mean(0) - scale * rotation @ source.mean(0)])


def test_transform_is_umeyamas() -> None:
    points = np.random.default_rng(0).uniform(
        0, 200, (50, 5, 2)
    )  # random points: a mirror image would often fit better
    found = similarity_transform(points)
    np.testing.assert_allclose(found, [umeyama(p, TEMPLATE) for p in points], atol=1e-9)


def test_points_that_are_a_similarity_away_land_on_the_template() -> None:
    angle, scale = 0.4, 1.7
    rotation = scale * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    points = TEMPLATE @ rotation.T + (12.0, -3.0)
    matrix = similarity_transform(points[None])[0]
    np.testing.assert_allclose(points @ matrix[:, :2].T + matrix[:, 2], TEMPLATE, atol=1e-9)


def test_warp_is_bilinear_with_black_outside() -> None:
    rng = np.random.default_rng(1)
    pixels = scipy.ndimage.gaussian_filter(rng.uniform(0, 255, (90, 130, 3)), (2, 2, 0))
    pixels = np.rint((pixels - pixels.min()) / np.ptp(pixels) * 255).astype(np.uint8)
    points = TEMPLATE * 0.9 + (20.0, -12.0) + rng.normal(0, 2, (5, 2))
    matrix = similarity_transform(points[None])[0]
    inverse = np.linalg.inv(np.vstack([matrix, [0, 0, 1]]))
    x, y = np.meshgrid(np.arange(SIZE), np.arange(SIZE))
    at = np.einsum("ij,jhw->ihw", inverse[:2], np.stack([x, y, np.ones_like(x)]))
    expected = np.stack(
        [
            scipy.ndimage.map_coordinates(pixels[..., c].astype(float), at[::-1], order=1, mode="grid-constant")
            for c in range(3)
        ],
        -1,
    )
    found = warped(Image.fromarray(pixels), matrix)
    assert np.abs(found - expected).max() <= 0.5 + 1e-2
    assert abs((found - expected).mean()) < 0.01  # rounded, not cut off
    assert (found == 0).all(-1).any()


def test_identity_keeps_every_pixel() -> None:
    pixels = np.random.default_rng(2).integers(0, 256, (SIZE, SIZE, 3), dtype=np.uint8)
    matrix = similarity_transform(TEMPLATE[None])[0]
    np.testing.assert_allclose(matrix, [[1, 0, 0], [0, 1, 0]], atol=1e-12)
    assert np.abs(warped(Image.fromarray(pixels), np.array([[1.0, 0, 0], [0, 1, 0]])).astype(int) - pixels).max() == 0


def test_points_without_extent_are_refused() -> None:
    points = np.stack([TEMPLATE, np.full((5, 2), 7.0)])
    with pytest.raises(ValueError, match="points of face 1 coincide"):
        similarity_transform(points)
