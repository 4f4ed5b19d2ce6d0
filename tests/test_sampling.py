"""The sampling stage: weights of every image."""

from __future__ import annotations

import numpy as np

from scoremix.config import Sampling
from scoremix.stages.sample import weights_of


def test_fixed_weights_are_those_of_every_image():
    assert (weights_of(Sampling(weights=(0.2, 0.8)), 3, 4) == [[0.2, 0.8]] * 12).all()


def test_drawn_weights_are_shared_by_an_mplet_or_by_nobody():
    by_mplet = weights_of(Sampling(draw="mplet"), 500, 3).reshape(500, 3, 2)
    assert (by_mplet == by_mplet[:, :1]).all() and len(np.unique(by_mplet)) == 1000
    by_image = weights_of(Sampling(draw="image", weights=(0.2, 0.3, 0.5)), 50, 3)
    assert len(np.unique(by_image[:, 0])) == 150
    np.testing.assert_allclose(by_image.sum(1), 1)
    first = by_mplet[:, 0, 0]
    assert abs(first.mean() - 0.5) < 0.05 and abs(first.var() - 1 / 12) < 0.01  # uniform
    assert weights_of(Sampling(draw="mplet", concentration=100.0), 500, 1)[:, 0].std() < 0.05
    assert not (weights_of(Sampling(draw="mplet", seed=1), 500, 1)[:, 0] == first).any()
