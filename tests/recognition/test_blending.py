"""MixUp, CutMix and feature MixUp: shares mean what they say, in images, labels and loss."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import stats

from scoremix.recognition import blending
from scoremix.recognition.heads import ArcFace, Softmax


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("alpha", [0.2, 1.0, 4.0])
def test_shares_are_beta_and_do_not_touch_global_numbers(alpha: float) -> None:
    before = torch.get_rng_state()
    drawn = blending.shares(20_000, alpha, generator()).numpy()
    assert torch.equal(before, torch.get_rng_state())
    at = np.array([0.01, 0.1, 0.3, 0.5, 0.7, 0.9, 0.99])  # nearer to 1 float32 has no room for alpha = 0.2
    wanted = stats.beta(alpha, alpha).cdf(at)
    found = (drawn[:, None] <= at).mean(0)
    assert (np.abs(found - wanted) < 4 * np.sqrt(wanted * (1 - wanted) / 20_000)).all()
    assert np.array_equal(drawn, blending.shares(20_000, alpha, generator()).numpy())


def test_shares_refuse_what_is_no_alpha() -> None:
    with pytest.raises(ValueError, match="alpha is 0"):
        blending.shares(3, 0.0, generator())


def test_mixup_of_constant_images_is_their_weighted_mean() -> None:
    values = torch.tensor([-1.0, 0.0, 0.5])
    share = torch.tensor([1.0, 0.25, 0.0])
    mixed = blending.mixup(values[:, None, None, None].expand(3, 1, 4, 4), share)
    assert torch.allclose(mixed[:, 0, 0, 0], torch.tensor([-1.0, 0.0, -1.0]))


def test_cutmix_share_is_the_share_of_own_pixels() -> None:
    b = 64
    images = torch.arange(b, dtype=torch.float32)[:, None, None, None].expand(b, 1, 10, 14)
    share = torch.linspace(0, 1, b)
    mixed, left = blending.cutmix(images, share, generator())
    own = (mixed == images).float().mean((1, 2, 3))
    assert torch.allclose(own, left)
    assert ((mixed == images) | (mixed == images.flip(0))).all()
    assert (left >= share - 0.2).all()  # what the border cuts off stays the image's own
    assert left[-1] == 1


def test_partnered_keeps_the_sum_of_weights() -> None:
    labels = torch.tensor([[0, 3], [1, 3], [2, 3]])
    weights = torch.tensor([[0.5, 0.5], [1.0, 0.0], [0.2, 0.8]])
    y, w = blending.partnered(labels, weights, torch.tensor([1.0, 0.3, 0.6]))
    assert y.tolist() == [[0, 3, 2, 3], [1, 3, 1, 3], [2, 3, 0, 3]]
    assert torch.allclose(w.sum(1), torch.ones(3))
    assert torch.allclose(w[0], torch.tensor([0.5, 0.5, 0.0, 0.0]))


def test_feature_mixup_with_whole_shares_is_the_plain_loss() -> None:
    torch.manual_seed(0)
    net, head = torch.nn.Flatten(), ArcFace(12, 5)
    images, labels = torch.randn(6, 3, 2, 2), torch.tensor([0, 1, 2, 3, 4, 0])
    y, w = blending.partnered(labels[:, None], torch.ones(6, 1), torch.ones(6))
    plain = head(net(images), labels).mean()
    assert torch.allclose(blending.feature_mixup(net, head)(images, y, w), plain, atol=1e-6)


def test_feature_mixup_of_a_linear_classifier_is_mixup() -> None:
    torch.manual_seed(0)
    net, head = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(12, 7)), Softmax(7, 5)
    images, labels = torch.randn(6, 3, 2, 2), torch.tensor([0, 1, 2, 3, 4, 0])
    share = torch.rand(6, generator=generator())
    y, w = blending.partnered(labels[:, None], torch.ones(6, 1), share)
    of_images = head(net(blending.mixup(images, share)), y, w).mean()
    assert torch.allclose(blending.feature_mixup(net, head)(images, y, w), of_images, atol=1e-5)
