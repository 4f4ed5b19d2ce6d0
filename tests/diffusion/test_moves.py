"""Augmentation that does not leak: what happens to the images is what the network is told, and sampling knows none."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy import ndimage
from torch import Tensor

from scoremix.data.augment import Part
from scoremix.diffusion import moves, training
from scoremix.diffusion.moves import SCALED, TRANSLATED, moved
from scoremix.diffusion.unet import EDM2, frozen

BATCH, SIDE = 64, 24
WHOLE = Part(0, BATCH, BATCH)


def blobs(count: int = BATCH) -> Tensor:
    """Smooth images whose mirror images and turns differ, within a grey edge."""
    noise = torch.randn(count, 1, SIDE, SIDE, generator=torch.Generator().manual_seed(0)).numpy()
    smooth = ndimage.gaussian_filter(noise, (0, 0, 2, 2))
    return torch.from_numpy(0.5 * smooth / np.abs(smooth).max((2, 3), keepdims=True)).float()


def drawn(share: float, part: Part = WHOLE, fill: float | None = None) -> tuple[Tensor, Tensor]:
    images = blobs()[part.first : part.first + part.size]
    return moved(images, torch.Generator().manual_seed(1), share, part, fill)


def by_hand(image: np.ndarray, told: np.ndarray) -> np.ndarray:
    """The image moved as its conditions say, by scipy's affine transform in float64."""
    log_scale, cosine, sine, along_x, along_y, right, down = told.astype(float)
    angle, size = math.atan2(sine, cosine + 1), math.hypot(along_x, along_y)
    axis = math.atan2(along_y, along_x)

    def turn(by: float) -> np.ndarray:
        return np.array([[math.cos(by), -math.sin(by)], [math.sin(by), math.cos(by)]])

    stretch = turn(axis) @ np.diag([2 ** (SCALED * size), 2 ** (-SCALED * size)]) @ turn(-axis)
    linear = 2 ** (SCALED * log_scale) * turn(angle) @ stretch
    swapped = np.linalg.inv(linear)[::-1, ::-1]  # rows before columns
    middle = np.full(2, (SIDE - 1) / 2)
    offset = middle - swapped @ (middle + TRANSLATED * SIDE * np.array([down, right]))
    return ndimage.affine_transform(image.astype(float), swapped, offset, order=3, mode="nearest")


def test_images_are_moved_as_the_network_is_told() -> None:
    made, told = drawn(share=0.4)
    assert (told.abs().sum(1) == 0).any() and (told.abs().sum(1) > 0).sum() > BATCH // 2
    inner = slice(6, SIDE - 6)  # what comes from within the image, for nearly all
    errors = [
        np.abs(made[i, 0].numpy() - by_hand(blobs()[i, 0].numpy(), told[i].numpy()))[inner, inner].mean()
        for i in range(BATCH)
    ]
    assert np.median(errors) < 0.01 and np.quantile(errors, 0.8) < 0.03
    assert made.abs().max() <= 1 and (made[told.abs().sum(1) > 0] != blobs()[told.abs().sum(1) > 0]).any()


def test_what_is_not_moved_is_as_it_was() -> None:
    made, told = drawn(share=0.0)
    assert torch.equal(made, blobs()) and not told.any()
    made, told = drawn(share=0.1)
    still = told.abs().sum(1) == 0
    assert torch.equal(made[still], blobs()[still]) and still.any() and not still.all()


def test_parts_of_a_batch_are_moved_as_within_the_whole() -> None:
    whole, told = drawn(share=0.5)
    for first, size in ((0, 24), (24, 40)):
        part, of_part = drawn(share=0.5, part=Part(first, size, BATCH))
        torch.testing.assert_close(part, whole[first : first + size], rtol=0, atol=1e-6)
        assert torch.equal(of_part, told[first : first + size])


def test_uncovered_pixels_have_the_border_colour_or_mirror_the_image() -> None:
    white = torch.ones(BATCH, 1, SIDE, SIDE)
    filled, _ = moved(white, torch.Generator().manual_seed(1), 1.0, WHOLE, -1.0)
    mirrored, _ = moved(white, torch.Generator().manual_seed(1), 1.0, WHOLE, None)
    assert filled.min() == -1 and torch.allclose(mirrored, white)


@pytest.fixture
def net() -> EDM2:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return EDM2(8, 1, 4, model_channels=8, channel_mult=[1, 2], num_blocks=1, moves=moves.LABELS)


def test_the_network_learns_from_what_it_is_told_and_samples_without(net: EDM2) -> None:
    def next_batch(nimg: int) -> tuple[Tensor, ...]:
        generator = torch.Generator().manual_seed(nimg)
        x, told = moved(blobs(8)[..., :8, :8], generator, 0.5, Part(0, 8, 8), None)
        return x, torch.arange(8) % 4, told

    assert net.unet.emb_moves is not None
    before = net.unet.emb_moves.weight.detach().clone()
    state = training.start(net, [0.05])
    for _ in training.train(state, next_batch, batch=8, total=80, seed=0, rate=lambda nimg: 1e-2, microbatch=4):
        pass
    assert not torch.allclose(before, net.unet.emb_moves.weight)
    x, labels = torch.randn(2, 1, 8, 8, generator=torch.Generator().manual_seed(5)), torch.tensor([0, 1])
    net.eval()
    with torch.no_grad():
        still = net(x, 1.0, labels)
        torch.testing.assert_close(net(x, 1.0, labels, moves=torch.zeros(2, moves.LABELS)), still)
        assert not torch.allclose(net(x, 1.0, labels, moves=torch.ones(2, moves.LABELS)), still)
        assert torch.equal(frozen(net)(x, 1.0, labels), still)
