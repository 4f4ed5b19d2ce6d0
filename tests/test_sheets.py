"""Sheets: what stands in which cell."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from scoremix.commands import sheets
from scoremix.data.decode import png
from scoremix.stages.show.illustrate import TICKS, comparison, grid


def images(labels: np.ndarray, weights: object, seeds: list[int]) -> np.ndarray:
    """One grey per (mix, seed): 10 * sum of weighted classes + seed."""
    w = np.broadcast_to(np.asarray(weights, float), labels.shape)
    value = 10 * (w * labels).sum(1) + np.asarray(seeds)
    return np.broadcast_to(value[:, None, None, None], (len(labels), 4, 4, 1)).round().astype(np.uint8)


SAMPLER = SimpleNamespace(images=images, weighed=lambda *asked: (images(*asked), None), shape=(4, 4, 1))
TRAIN = SimpleNamespace(of_class=lambda k: np.full((2, 4, 4, 1), [[[[100 + k]]], [[[110 + k]]]], np.uint8))


@pytest.mark.parametrize(
    ("classes", "weights", "first", "last"),
    [
        ([2, 6], [0.5, 0.5], [102, 23, 43, 63, 106], [102, 25, 45, 65, 106]),
        ([2, 6, 4], [0.5, 0.25, 0.25], [102, 23, 106, 63, 104, 43, 38], [102, 25, 106, 65, 104, 45, 40]),
    ],
)
def test_columns_of_the_comparison(classes: list[int], weights: list[float], first: list[int], last: list[int]):
    cells = comparison(SAMPLER, TRAIN, np.array(classes), np.array(weights), [3, 4, 5])  # type: ignore[arg-type]
    assert cells[0, :, 0, 0, 0].tolist() == first
    assert cells[2, :, 0, 0, 0].tolist() == last  # the class has two originals: the third row starts again
    assert cells.shape == (3, 2 * len(classes) + 1, 4, 4, 1)


def test_cells_of_the_weights():
    cells = grid(SAMPLER, np.array([2, 6]), 7)[..., 0, 0, 0]  # type: ignore[arg-type]
    expected = 7 + 20 * np.array(TICKS)[:, None] + 60 * np.array(TICKS)
    assert (cells == expected.round()).all()


@pytest.mark.parametrize("channels", [1, 3])
def test_drawn_cells_keep_their_pixels(channels: int, tmp_path: Path):
    rng = np.random.default_rng(0)
    cells = rng.integers(0, 256, (2, 3, 16, 16, channels), dtype=np.uint8)
    (tmp_path / "sheet.png").write_bytes(png(sheets.drawn(cells, ["a", "b", "c"], ["one\ntwo", ""])))
    sheet = np.asarray(Image.open(tmp_path / "sheet.png"))
    times, step = 6, 6 * 16 + sheets.GAP
    corner = sheet[-step:, -step:][: -sheets.GAP : times, : -sheets.GAP : times]
    assert (corner == cells[1, 2]).all()
