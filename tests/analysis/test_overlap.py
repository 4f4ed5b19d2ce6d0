"""Top-K overlap: the empirical columns by brute force, the prediction against its own model."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy.spatial.distance import pdist
from scipy.stats import rankdata
from torch import Tensor

from scoremix.analysis.overlap import _condensed, expected_overlap, pair_norm2, top_overlap
from scoremix.analysis.preservation import Form, gram_root, simulate_misalignment
from scoremix.analysis.spaces import pair_distances


def space(n: int, d: int, seed: int = 0) -> Tensor:
    return torch.randn(n, d, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def noisy(x: Tensor, noise: float, seed: int = 9) -> Tensor:
    return x + noise * space(*x.shape, seed)


def pair_scores(gram: Tensor, form: Form) -> Tensor:
    """Scores whose largest are the farthest pairs: -K̂(i,j), or squared distances in K̂."""
    i, j = torch.triu_indices(*gram.shape[-2:], 1)
    if form == "cosine":
        return -gram[..., i, j]
    return gram[..., i, i] + gram[..., j, j] - 2 * gram[..., i, j]


@pytest.mark.parametrize("form", ["cosine", "euclidean"])
@pytest.mark.parametrize("rho", [0.0, 0.5, 0.9, 0.98])
def test_expected_overlap_is_that_of_the_model(form: Form, rho: float) -> None:
    n, k, draws = 50, 120, 300
    root = gram_root(space(n, 20))
    gram = root @ root.T
    scores = pair_scores(gram, form)
    simulated = pair_scores(simulate_misalignment(gram, rho, draws, torch.Generator().manual_seed(1)), form)
    mine = torch.zeros(len(scores), dtype=torch.bool)
    mine[scores.topk(k).indices] = True
    overlaps = mine[simulated.topk(k, dim=1).indices].sum(1).double()
    error = float(overlaps.std()) / math.sqrt(draws)
    expected = expected_overlap(scores, rho, n, pair_norm2(n, form), k)
    assert expected == pytest.approx(float(overlaps.mean()), abs=4 * error + 0.01 * k)


def test_limits_of_the_prediction() -> None:
    n, k = 60, 100
    root = gram_root(space(n, 20))
    scores = pair_scores(root @ root.T, "cosine")
    norm2 = pair_norm2(n, "cosine")
    pairs = math.comb(n, 2)
    assert expected_overlap(scores, 0.0, n, norm2, k) == pytest.approx(k * k / pairs, rel=0.02)
    assert expected_overlap(scores, 1.0, n, norm2, k) == k
    assert expected_overlap(scores, 0.5, n, norm2, pairs) == pytest.approx(pairs)
    curve = [expected_overlap(scores, rho, n, norm2, k) for rho in np.linspace(0, 1, 9)]
    assert curve == sorted(curve)


def test_condensed_values_give_the_same_prediction(monkeypatch: pytest.MonkeyPatch) -> None:
    values = np.sort(np.random.default_rng(0).standard_normal(5000))
    short, counts = _condensed(values, 400, groups=100)
    assert len(short) == 500 and counts.sum() == 5000
    assert counts @ short == pytest.approx(values.sum(), abs=1e-9)
    assert np.array_equal(short[-400:], values[-400:]) and (np.diff(short) >= 0).all()
    n, k = 400, 300
    root = gram_root(space(n, 30))
    scores = pair_scores(root @ root.T, "cosine")
    full = expected_overlap(scores, 0.8, n, pair_norm2(n, "cosine"), k)
    monkeypatch.setattr("scoremix.analysis.overlap._condensed", lambda v, exact: _condensed(v, 1000, 500))
    assert expected_overlap(scores, 0.8, n, pair_norm2(n, "cosine"), k) == pytest.approx(full, rel=1e-4)


@pytest.mark.parametrize("metric", ["cosine", "l2"])
@pytest.mark.parametrize("largest", [True, False])
def test_columns_equal_brute_force(metric: str, largest: bool) -> None:
    n, k = 45, 60
    x, y = space(n, 6), noisy(space(n, 6), 0.6)
    scores = []
    for rows in (x.numpy(), y.numpy()):
        centred = rows / np.linalg.norm(rows, axis=1, keepdims=True) if metric == "cosine" else rows
        centred = centred - centred.mean(0)
        distances = pdist(rows, "cosine" if metric == "cosine" else "sqeuclidean")
        scores.append((1 if largest else -1) * distances / np.linalg.norm(centred @ centred.T))
    a, b = (set(np.argsort(-s)[:k].tolist()) for s in scores)
    ranks = [rankdata(-s) - 1 for s in scores]
    gaps = [np.sort(s)[-k:].mean() - np.sort(s)[-k - 1] for s in scores]
    result = top_overlap(x, y, k, metric, largest)  # type: ignore[arg-type]
    assert result.shared == len(a & b)
    assert result.jaccard == pytest.approx(len(a & b) / len(a | b))
    moved = np.abs(ranks[0] - ranks[1])
    assert result.rank_gap_x == pytest.approx(moved[list(a)].mean())
    assert result.rank_gap_y == pytest.approx(moved[list(b)].mean())
    assert (result.margin_gap_x, result.margin_gap_y) == pytest.approx(tuple(gaps), rel=1e-9)
    assert result.chance == pytest.approx(k * k / math.comb(n, 2))
    assert result.paper_expected == k * result.bound >= k / 2


def test_a_space_and_its_rotation_select_the_same() -> None:
    x = space(40, 5)
    turned = x @ torch.linalg.qr(space(5, 5, 3)).Q
    result = top_overlap(x, turned, 50)
    assert result.shared == 50 and result.jaccard == 1 and result.rank_gap_x == 0
    assert result.expected == pytest.approx(50, abs=0.1) and result.bound == pytest.approx(1)


def test_paper_expectation_is_vacuous_where_the_calibrated_one_is_not() -> None:
    n, k = 500, 2000
    x, other = space(n, 100), space(n, 100, 5)
    unrelated = top_overlap(x, other, k)
    assert unrelated.paper_expected >= k / 2
    assert unrelated.shared == pytest.approx(unrelated.chance, abs=5 * math.sqrt(unrelated.chance))
    assert unrelated.expected < 3 * unrelated.chance < unrelated.paper_expected / 10
    for noise in (0.2, 0.5):
        result = top_overlap(x, noisy(x, noise), k)
        assert result.expected == pytest.approx(result.shared, rel=0.1)
    assert top_overlap(x, noisy(x, 0.2), k, delta=0.0).bound == 0.5


@pytest.mark.parametrize("noise", [0.5, 2.0, math.inf])
def test_pairs_predict_the_overlap_where_cka_says_too_much(noise: float) -> None:
    n, d, k = 80, 500, 200
    found = []
    for seed in range(20):
        x = space(n, d, seed)
        y = space(n, d, seed + 100) if math.isinf(noise) else noisy(x, noise, seed + 100)
        found.append(top_overlap(x, y, k))
    shared = np.array([f.shared for f in found])
    error = 4 * shared.std() / math.sqrt(len(found))
    assert np.mean([f.expected_by_pairs for f in found]) == pytest.approx(shared.mean(), abs=error + 0.02 * k)
    if noise > 1:
        assert np.mean([f.expected for f in found]) > shared.mean() + error + 0.02 * k


def test_a_negative_correlation_shares_less_than_chance() -> None:
    scores = np.random.default_rng(0).standard_normal(1225)
    unit = (scores - scores.mean()) / np.linalg.norm(scores - scores.mean())
    shared = [expected_overlap(unit, rho, 50, 1 - 1 / 1225, 100) for rho in (-1.0, -0.5, 0.0, 0.5)]
    assert shared == sorted(shared) and shared[0] == 0 and shared[2] == pytest.approx(100**2 / 1225, rel=0.02)


def test_ties_go_to_the_earlier_pair() -> None:
    grid = torch.cartesian_prod(torch.arange(4.0), torch.arange(4.0)).double()
    distances = np.round(pair_distances(grid, "sqeuclidean"), 9)
    assert len(np.unique(distances)) < 12
    assert top_overlap(grid, grid, 7, "l2").shared == 7


def test_bad_input_is_refused() -> None:
    x = space(10, 3)
    for k in (0, 45):
        with pytest.raises(ValueError, match=f"k: {k}, allowed 1 to 44"):
            top_overlap(x, x, k)
    with pytest.raises(ValueError, match="metric: 'dot'"):
        top_overlap(x, x, 3, "dot")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"rho: -1\.2"):
        expected_overlap(np.zeros(6), -1.2, 4, 1.0, 2)
    with pytest.raises(ValueError, match="k: 7, allowed 1 to 6"):
        expected_overlap(np.zeros(6), 0.2, 4, 1.0, 7)
