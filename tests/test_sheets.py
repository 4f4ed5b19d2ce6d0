"""Sheets: what stands in which cell."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image

from scoremix.config import Runtime, Sampling
from scoremix.data.csv_text import numbers_of
from scoremix.data.decode import png
from scoremix.diffusion.checkpoints import Pixels
from scoremix.diffusion.unet import EDM2, frozen
from scoremix.execution import sheets
from scoremix.execution.work import Work
from scoremix.stages.mix.sample import Networks, noise_seeds
from scoremix.stages.show.illustrate import TICKS, comparison, grid
from support.runs import command


def images(labels: np.ndarray, weights: object, seeds: list[int]) -> np.ndarray:
    """One grey per (mix, seed): 10 * sum of weighted classes + seed."""
    w = np.broadcast_to(np.asarray(weights, float), labels.shape)
    value = 10 * (w * labels).sum(1) + np.asarray(seeds)
    return np.broadcast_to(value[:, None, None, None], (len(labels), 4, 4, 1)).round().astype(np.uint8)


SAMPLER = SimpleNamespace(
    images=images, weighed=lambda *asked: (images(*asked), None), shape=(4, 4, 1), class_names=None
)

TRAIN = SimpleNamespace(of_class=lambda k: np.full((2, 4, 4, 1), [[[[100 + k]]], [[[110 + k]]]], np.uint8))


@pytest.mark.parametrize(
    ("classes", "weights", "first", "last"),
    [
        ([2, 6], [0.5, 0.5], [102, 23, 43, 63, 106], [102, 25, 45, 65, 106]),
        ([2, 6, 4], [0.5, 0.25, 0.25], [102, 23, 106, 63, 104, 43, 38], [102, 25, 106, 65, 104, 45, 40]),
    ],
)
def test_columns_of_the_comparison(classes: list[int], weights: list[float], first: list[int], last: list[int]):
    cells = comparison(SAMPLER, TRAIN, np.array(classes), np.array(weights), [3, 4, 5]).images  # type: ignore[arg-type]
    assert cells[0, :, 0, 0, 0].tolist() == first
    assert cells[2, :, 0, 0, 0].tolist() == last  # the class has two originals: the third row starts again
    assert cells.shape == (3, 2 * len(classes) + 1, 4, 4, 1)


def test_cells_of_the_weights():
    cells = grid(SAMPLER, np.array([2, 6]), 7).images[..., 0, 0, 0]  # type: ignore[arg-type]
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


def sampler(config: Sampling, work: Work) -> Networks:
    """Untrained networks of six classes; the guide has none where it is unconditional."""
    torch.manual_seed(0)
    sizes = {"model_channels": 8, "channel_mult": [1], "num_blocks": 1, "attn_resolutions": [], "logvar_channels": 4}
    classes = 0 if config.guide == "unconditional" else 6
    main, guide = (frozen(EDM2(4, 1, n, **sizes)) for n in (6, classes))
    made = Networks(config, work, main, guide, Pixels(), config)
    made.shape = (4, 4, 1)  # type: ignore[attr-defined]
    made.seeds = lambda rows: noise_seeds(0, rows)  # type: ignore[attr-defined]
    return made


@pytest.mark.parametrize("m", [1, 2, 3])
@pytest.mark.parametrize("solver", ["heun", "euler", "ddim", "dpm2m"])
@pytest.mark.parametrize("mixture", ["scores", "conditions", "turns"])
@pytest.mark.parametrize("guide", ["each", "condition", "unconditional"])
def test_every_picture_is_made_or_left_out_with_a_reason(guide: str, mixture: str, solver: str, m: int, tmp_path: Path):
    config = Sampling(guide=guide, mixture=mixture, solver=solver, steps=2, chunk=25, precision="float32")  # type: ignore[arg-type]
    of = sampler(config, Work(tmp_path, Runtime(device="cpu", quiet=True), ""))
    classes, weights = np.arange(m) + 1, np.full(m, 1 / m)
    shown = comparison(of, TRAIN, classes, weights, [0, 1])  # type: ignore[arg-type]
    assert shown.images.shape == (2, 2 * m + 1, 4, 4, 1) and shown.left_out == ()
    cells = grid(of, classes, 3)  # type: ignore[arg-type]
    if m != 2:
        assert cells.images.shape == (0, 0, 4, 4, 1) and cells.left_out == ()
        return
    assert cells.images.shape == (5, 5, 4, 4, 1)
    undefined = guide == "condition" and mixture != "conditions"  # the guide's mixed condition keeps its length
    assert len(cells.left_out) == undefined and all("alpha 0, beta 0: weights [0.0, 0.0]" in t for t in cells.left_out)
    assert not undefined or (cells.images[0, 0] == 128).all()


def test_a_picture_that_fails_spoils_no_other(tmp_path: Path):
    def fragile(labels: np.ndarray, weights: object, seeds: list[int]) -> np.ndarray:
        if (np.asarray(weights).sum(1) > 1.5).any():
            raise FloatingPointError("the mix overflows")
        return images(labels, weights, seeds)

    cells = grid(SimpleNamespace(images=fragile, shape=(4, 4, 1)), np.array([2, 6]), 7)  # type: ignore[arg-type]
    usual = grid(SAMPLER, np.array([2, 6]), 7)  # type: ignore[arg-type]
    large = np.add.outer(TICKS, TICKS) > 1.5
    assert (cells.images[~large] == usual.images[~large]).all() and (cells.images[large] == 128).all()
    assert len(cells.left_out) == large.sum() and cells.left_out[-1] == "alpha 1, beta 1: the mix overflows"


def test_named_m_plets_and_ticks():
    names = ["a", "b, c", "d"]
    assert sheets.named(['a,"b, c"', "d, a"], names) == [[0, 1], [2, 0]]
    assert numbers_of("0,.25,1", "--ticks") == (0, 0.25, 1)
    cells = grid(SAMPLER, np.array([2, 6]), 7, (0.0, 0.25, 1.0)).images[..., 0, 0, 0]  # type: ignore[arg-type]
    assert cells.tolist() == [[7, 22, 67], [12, 27, 72], [27, 42, 87]]  # alpha of the first class in rows
    for mplets, why in ((["a,x"], "'x', not among the 3"), (["a,d", "a"], "as many classes each"), (["d,d"], "twice")):
        with pytest.raises(ValueError, match=why):
            sheets.named(mplets, names)
    with pytest.raises(ValueError, match="must be numbers"):
        numbers_of("0,half", "--ticks")


def test_a_guidance_that_is_none_is_refused_before_anything_is_drawn(
    tiny_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    assert command("sheets", "--out", tiny_run, "--guidance", "nan", "--to", tmp_path / "sheets") == 2
    assert "--guidance: input should be a finite number (got nan)" in capsys.readouterr().err
    assert not (tmp_path / "sheets").exists()


def test_a_page_of_sheets_keeps_each_of_them_whole():
    three = [np.full((20 + i, 30, 3), i, np.uint8) for i in range(3)]
    page = sheets.tiled(three)
    high, wide = 22 + sheets.MARGIN, 30 + sheets.MARGIN
    assert page.shape == (2 * high, 2 * wide, 3)
    for i, sheet in enumerate(three):
        row, column = divmod(i, 2)
        assert (page[row * high :, column * wide :][: sheet.shape[0], :30] == i).all()
