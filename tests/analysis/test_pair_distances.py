"""Algorithm 2 against scipy, its own literal loop, and with ties."""

from __future__ import annotations

import math

import numpy as np
import pytest
import scipy.stats
import torch
from scipy.spatial.distance import pdist
from torch import Tensor

from scoremix.analysis import spaces
from scoremix.analysis.spaces import (
    Metric,
    distance_correlation,
    pair_distances,
    pair_index,
)

SCIPY = {"cosine": "cosine", "l2": "euclidean", "sqeuclidean": "sqeuclidean"}


def rows(n: int, d: int, seed: int) -> Tensor:
    return torch.randn(n, d, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.fixture
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spaces, "BLOCK", 200)


@pytest.mark.parametrize("metric", SCIPY)
def test_distances_come_in_the_order_of_algorithm_2(metric: Metric, small_blocks: None) -> None:
    x = rows(33, 5, 0) + 3
    assert np.allclose(pair_distances(x, metric), pdist(x.numpy(), SCIPY[metric]), rtol=0, atol=1e-13)
    literal = [float(torch.dist(x[i], x[j])) for i in range(32) for j in range(i + 1, 33)]
    assert np.allclose(pair_distances(x, "l2"), literal, atol=1e-12)


@pytest.mark.parametrize(("mx", "my"), [("cosine", "cosine"), ("cosine", "l2"), ("sqeuclidean", "l2")])
def test_correlations_equal_scipy(mx: Metric, my: Metric, small_blocks: None) -> None:
    x = rows(41, 4, 1)
    y = torch.cat([x[:, :2] ** 2, rows(41, 3, 2)], 1) + 10
    a, b = pdist(x.numpy(), SCIPY[mx]), pdist(y.numpy(), SCIPY[my])
    result = distance_correlation(x, y, mx, my)
    assert result.pearson == pytest.approx(scipy.stats.pearsonr(a, b).statistic, abs=1e-12)
    assert result.spearman == pytest.approx(scipy.stats.spearmanr(a, b).statistic, abs=1e-12)
    assert result.pairs == 41 * 20
    assert math.isnan(distance_correlation(x, y, mx, my, spearman=False).spearman)


def test_equal_rows_are_exactly_equal_and_close_ones_are_not() -> None:
    x = rows(30, 64, 4) + 5
    x[7] = x[20]
    x[9] = x[21] + 1e-5
    distances = pair_distances(x, "l2")
    i, j = np.triu_indices(30, 1)
    assert distances[(i == 7) & (j == 20)] == 0
    assert distances[(i == 9) & (j == 21)] == pytest.approx(8e-5, rel=1e-3)
    assert (distances == 0).sum() == 1


def test_a_monotone_change_of_distance_keeps_spearman() -> None:
    x = rows(30, 6, 3)
    result = distance_correlation(x, x, "l2", "sqeuclidean")
    assert result.spearman == pytest.approx(1, abs=1e-12)
    assert result.pearson < 0.9999


def test_many_exact_ties_share_their_ranks() -> None:
    grid = torch.cartesian_prod(torch.arange(5.0), torch.arange(5.0)).double()
    other = grid[torch.randperm(25, generator=torch.Generator().manual_seed(0))] * 2
    a, b = (np.round(pdist(space.numpy(), "sqeuclidean")) for space in (grid, other))
    assert len(np.unique(a)) < 20
    result = distance_correlation(grid, other, "sqeuclidean", "sqeuclidean")
    assert result.spearman == pytest.approx(scipy.stats.spearmanr(a, b).statistic, abs=1e-12)


@pytest.mark.parametrize("n", [2, 3, 7, 40])
def test_pairs_are_numbered_in_algorithm_2s_order(n: int) -> None:
    expected = np.stack(np.triu_indices(n, 1))
    i, j = pair_index(np.arange(math.comb(n, 2)), n)
    assert np.array_equal(np.stack([i, j]), expected)


def test_errors() -> None:
    x = rows(6, 2, 0)
    with pytest.raises(ValueError, match="metric: 'manhattan'"):
        pair_distances(x, "manhattan")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="p: pair numbers 0 to 15, allowed 0 to 14"):
        pair_index(np.array([0, 15]), 6)
    simplex = torch.eye(6, dtype=torch.float64)
    with pytest.raises(ValueError, match="all pairs of one space are equally far"):
        distance_correlation(x, simplex)
    x[2] = 0
    with pytest.raises(ValueError, match="y: row 2 is zero"):
        distance_correlation(x + 1, x)
