"""What shifts of the generator's images uncover: the colour that the images end in, or their mirror image."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from scoremix.data.images import LabeledImages
from scoremix.diffusion.batches import border_of
from support.runs import run


def of_pixels(images: np.ndarray) -> LabeledImages:
    return LabeledImages.of(images.astype(np.uint8), np.zeros(len(images), np.int64), ["one"])


@pytest.mark.parametrize("colour", [0, 255, 128])
def test_drawings_on_one_colour_keep_it(colour: int):
    images = np.full((8, 6, 6, 1), colour)
    images[:, 1:-1, 1:-1] = np.random.default_rng(0).integers(0, 256, (8, 4, 4, 1))
    border = border_of(of_pixels(images))
    assert border.fill == pytest.approx(colour / 127.5 - 1) and border.share == 1
    assert border.described()["padding"] == "constant"


def test_photographs_are_mirrored():
    images = np.random.default_rng(0).integers(0, 256, (8, 6, 6, 1))
    border = border_of(of_pixels(images))
    assert border.fill is None and border.share < 0.1
    assert border.described()["padding"] == "mirror"


def test_a_coloured_frame_is_no_grey():
    images = np.zeros((4, 6, 6, 3))
    images[..., 0] = 200
    assert border_of(of_pixels(images)).fill is None


def test_the_padding_is_recorded_where_there_is_a_shift(tiny_run: Path, tiny_settings: list[str], tmp_path: Path):
    assert padding(tiny_run) == "mirror"
    run(tmp_path, [*tiny_settings, "generator.shift=0", "generator.images_seen=64"], "generator")
    assert padding(tmp_path) is None


def padding(out: Path) -> str | None:
    """That of the run's generator."""
    (file,) = (out / "store" / "generator").glob("*/generator.json")
    return json.loads(file.read_text()).get("border", {}).get("padding")
