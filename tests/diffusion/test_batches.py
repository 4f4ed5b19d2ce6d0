"""Which images a generator's batches hold, and which of them come without their class."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from scoremix.data.images import LabeledImages
from scoremix.diffusion.batches import batches, class_order
from scoremix.diffusion.checkpoints import Pixels

COUNTS = [1, 2, 40, 7]
LABELS = np.repeat(np.arange(4), COUNTS)
IMAGES = LabeledImages.of(
    np.random.default_rng(1).integers(0, 256, (50, 8, 8, 1)).astype(np.uint8), LABELS, list("abcd")
)


def labels_of(nimg: int, batch: int = 24, part: slice | None = None, **options: Any) -> torch.Tensor:
    part = part or slice(0, batch)
    fixed: dict[str, Any] = {"seed": 3, "shift": 0, "flip": False, "device": torch.device("cpu")}
    return batches(IMAGES, Pixels(), batch=batch, part=part, **fixed, **options)(nimg)[1]


def test_classes_take_turns_whatever_the_number_of_their_images():
    seen = torch.cat([labels_of(nimg, balanced=True) for nimg in range(0, 2400, 24)])
    assert torch.bincount(seen).tolist() == [600] * 4
    assert all(sorted(turn.tolist()) == [0, 1, 2, 3] for turn in seen.split(4))
    plain = torch.cat([labels_of(nimg) for nimg in range(0, 2400, 24)])
    assert torch.bincount(plain).tolist() == [48 * n for n in COUNTS]


def test_any_image_of_a_class_may_come_when_it_is_its_turn():
    rows = np.concatenate([class_order(IMAGES, 3, 24, nimg) for nimg in range(0, 24_000, 24)])
    drawn = np.bincount(rows, minlength=50)
    for k, count in enumerate(COUNTS):
        assert drawn[k == LABELS].sum() == 6000
        assert (np.abs(drawn[k == LABELS] - 6000 / count) < 6 * np.sqrt(6000 / count)).all()
    np.testing.assert_array_equal(class_order(IMAGES, 3, 24, 480), class_order(IMAGES, 3, 24, 480))


def test_a_share_of_the_images_comes_without_its_class():
    with_none = torch.cat([labels_of(nimg, label_dropout=0.25) for nimg in range(0, 4800, 24)])
    plain = torch.cat([labels_of(nimg) for nimg in range(0, 4800, 24)])
    dropped = with_none == -1
    assert abs(float(dropped.float().mean()) - 0.25) < 0.03
    assert torch.equal(with_none[~dropped], plain[~dropped])


def test_processes_that_share_a_batch_drop_and_order_as_one():
    options: dict[str, Any] = {"label_dropout": 0.5, "balanced": True}
    halves = [labels_of(48, part=part, **options) for part in (slice(0, 12), slice(12, 24))]
    assert torch.equal(torch.cat(halves), labels_of(48, **options))
