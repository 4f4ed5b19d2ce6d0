"""Arrays behind the pictures: histogram, signals, map, mixing paths, selections."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy.spatial.distance import pdist, squareform
from scipy.stats import pearsonr
from sklearn.decomposition import PCA
from torch import Tensor

from scoremix.analysis import spaces
from scoremix.analysis.geometry import (
    distance_signal,
    joint_histogram,
    mix_path,
    pca_map,
    selection_overlap,
    shifted_distances,
)


def rows(n: int, d: int, seed: int) -> Tensor:
    return torch.randn(n, d, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_joint_histogram_equals_numpy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spaces, "BLOCK", 300)
    x, y = rows(50, 4, 0), rows(50, 6, 1)
    a, b = pdist(x.numpy(), "cosine"), pdist(y.numpy())
    result = joint_histogram(x, y, "cosine", "l2", bins=12)
    assert result.counts.sum() == 50 * 49 // 2
    expected = np.histogram2d(a, b, bins=[result.x_edges, result.y_edges])[0]
    assert np.abs(result.counts - expected).sum() <= 4  # the extremes sit on edges, to rounding
    assert np.allclose(result.x_edges[[0, -1]], [a.min(), a.max()])
    # the histogram carries the correlation that the picture states
    middles = [(e[1:] + e[:-1]) / 2 for e in joint_histogram(x, x * 2 + 1, bins=80)[1:]]
    counts = joint_histogram(x, x * 2 + 1, bins=80).counts
    i, j = np.nonzero(counts)
    a2, b2 = pdist(x.numpy(), "cosine"), pdist((x * 2 + 1).numpy(), "cosine")
    seen = np.repeat(np.stack([middles[0][i], middles[1][j]]), counts[i, j], axis=1)
    assert pearsonr(*seen).statistic == pytest.approx(pearsonr(a2, b2).statistic, abs=0.01)


def test_equal_distances_fill_one_bin() -> None:
    simplex = torch.eye(5, dtype=torch.float64)
    assert joint_histogram(simplex, rows(5, 3, 0), bins=4).counts.sum(1).max() == 10


def test_zeros_of_the_distance_matrix_are_shifted() -> None:
    x = rows(9, 4, 0)
    x[5] = 3 * x[2]  # same direction: cosine distance 0
    image = shifted_distances(x)
    expected = squareform(pdist(x.numpy(), "cosine"))
    zeros = np.eye(9, dtype=bool)
    zeros[2, 5] = zeros[5, 2] = True
    assert (image[zeros] == -1).all()
    assert np.allclose(image[~zeros], expected[~zeros], atol=1e-12)
    assert (shifted_distances(x, "l2", zero=-3)[np.eye(9, dtype=bool)] == -3).all()


def test_distance_signal_marks_peaks_and_joint_close_pairs() -> None:
    x, y = rows(30, 3, 0), rows(30, 3, 1)
    signal = distance_signal(x, y, "cosine", "l2", count=100, close=0.9)
    i, j = signal.pairs.T
    assert (i < j).all() and len(signal.pairs) == 100
    assert len(np.unique(i * 30 + j)) == 100
    assert np.allclose(signal.x, squareform(pdist(x.numpy(), "cosine"))[i, j])
    assert np.allclose(signal.y, squareform(pdist(y.numpy()))[i, j])
    near = [p for p in range(100) if signal.x[p] < 0.9 and signal.y[p] < 0.9]
    assert signal.joint_close.tolist() == near and near
    inner = signal.peaks
    assert len(inner) and (signal.x[inner] > signal.x[inner - 1]).all()
    assert (signal.x[inner] >= signal.x[inner + 1]).all()
    again = distance_signal(x, y, "cosine", "l2", count=100, close=0.9)
    assert np.array_equal(again.pairs, signal.pairs)
    assert len(distance_signal(x, y, count=10**6).x) == 30 * 29 // 2


def test_pca_map_equals_scikit_learn_up_to_its_sign() -> None:
    real = rows(60, 5, 0) * torch.tensor([5.0, 3, 2, 1, 0.1])
    mixed = rows(10, 5, 1)
    result = pca_map(real, mixed)
    oracle = PCA(2).fit(real.numpy())
    for got, given in zip(result.coordinates, (real, mixed), strict=True):
        assert np.allclose(np.abs(got), np.abs(oracle.transform(given.numpy())), atol=1e-9)
    assert np.allclose(result.variance, oracle.explained_variance_ratio_)
    flipped = pca_map(real.flip(0), mixed)
    assert np.allclose(flipped.coordinates[1], result.coordinates[1], atol=1e-9)
    with pytest.raises(ValueError, match="dims: 6, allowed 1 to 5"):
        pca_map(real, dims=6)


def test_a_straight_path_is_seen_as_one_and_a_detour_is_not() -> None:
    a, b = torch.eye(4, dtype=torch.float64)[[0]], torch.eye(4, dtype=torch.float64)[[1]]
    weights = torch.linspace(0, 1, 5)
    chord = a + weights.double()[:, None] * (b - a)  # straight before it is normalised to the sphere
    path = mix_path(chord[None], a, b, weights)
    assert np.allclose(path.position[0, [0, 2, 4]], [0, 0.5, 1])
    assert np.allclose(path.to_a[0], path.to_b[0, ::-1])
    assert path.forward == 1
    assert path.straightness[0] == pytest.approx(math.sqrt(2) / (math.pi / 2), rel=0.02)  # a quarter circle
    assert np.allclose(path.off_path[0, [0, 4]], 0, atol=1e-12)
    detour = chord.clone()
    detour[2, 2] = 5.0
    bent = mix_path(detour[None], a, b, weights)
    assert bent.straightness[0] < path.straightness[0] - 0.1
    assert bent.off_path[0, 2] > 0.5
    turned = mix_path(chord.flip(0)[None], a, b, weights.flip(0))
    assert np.allclose(turned.position, path.position)
    assert mix_path(chord.flip(0)[None], a, b, weights).forward == 0


def test_mix_path_refuses_bad_input() -> None:
    a = torch.eye(3, dtype=torch.float64)[:1]
    with pytest.raises(ValueError, match="mixes: shape"):
        mix_path(torch.ones(1, 3, 3), a, a, torch.tensor([0.0, 1.0]))
    with pytest.raises(ValueError, match="pair 0 has equal sources"):
        mix_path(torch.ones(1, 2, 3), a, a, torch.tensor([0.0, 1.0]))


def test_selection_overlap_counts_sets() -> None:
    one = torch.tensor([[0, 1], [2, 3], [4, 5], [6, 7]])
    two = np.array([[1, 0], [3, 2], [8, 9]])
    result = selection_overlap({"arc": one, "ada": two})
    assert result.names == ["arc", "ada"]
    assert result.shared[0, 1] == result.shared[1, 0] == pytest.approx(2 / 3)
    assert result.jaccard[0, 1] == pytest.approx(2 / 5)
    assert result.classes[0, 1] == pytest.approx(4 / 10)
    assert (np.diag(result.shared) == 1).all()


def test_selection_overlap_of_random_selections_is_its_chance_level() -> None:
    rng = np.random.default_rng(0)
    n, k = 60, 600
    pairs = np.stack(np.triu_indices(n, 1), 1)
    draws = {str(s): pairs[rng.choice(len(pairs), k, replace=False)] for s in range(8)}
    shared = selection_overlap(draws).shared[np.triu_indices(8, 1)]
    error = shared.std(ddof=1) / math.sqrt(len(shared))
    assert shared.mean() == pytest.approx(k / math.comb(n, 2), abs=4 * error)


def test_selections_are_checked() -> None:
    with pytest.raises(ValueError, match=r"selections\['a'\]: 2 m-plets, 1 different"):
        selection_overlap({"a": np.array([[0, 1], [1, 0]])})
    with pytest.raises(ValueError, match="m differs"):
        selection_overlap({"a": np.array([[0, 1]]), "b": np.array([[0, 1, 2]])})
