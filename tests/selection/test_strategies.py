"""Selections by name against their definitions, and random ones against uniformity."""

from __future__ import annotations

from itertools import combinations
from math import comb
from typing import Any
from unittest import mock

import numpy as np
import pytest
from scipy.stats import chisquare

from scoremix.selection import distribution, strategies
from scoremix.selection.distribution import pair_histogram, pair_moments
from scoremix.selection.strategies import select

X = np.random.default_rng(0).standard_normal((60, 8)).astype(np.float32)
Y = np.random.default_rng(1).standard_normal((60, 5)).astype(np.float32) * np.array([3, 1, 1, 1, 0.2], np.float32)
FIRST, SECOND = np.triu_indices(60, 1)


def table(x: np.ndarray, metric: str) -> np.ndarray:
    x = x.astype(np.float64)
    if metric != "cosine":
        return np.linalg.norm(x[:, None] - x[None], axis=2) ** (1 if metric == "l2" else 2)
    x = x / np.linalg.norm(x, axis=1, keepdims=True)
    return 1 - x @ x.T


@pytest.mark.parametrize("metric", ["cosine", "l2"])
def test_far_and_close(metric: Any) -> None:
    values = table(X, metric)[FIRST, SECOND]
    far, close = select(X, "far", 100, metric=metric), select(X, "close", 100, metric=metric)
    np.testing.assert_allclose(far.values, np.sort(values)[::-1][:100])
    np.testing.assert_allclose(close.values, np.sort(values)[:100])
    np.testing.assert_allclose(table(X, metric)[tuple(far.classes.T)], far.values)
    assert far.certificate is not None and close.certificate is not None


@pytest.mark.parametrize("few", [0, 1 << 20])
@pytest.mark.parametrize("m", [2, 3])
def test_random_is_distinct_uniform_and_seeded(m: int, few: int) -> None:
    with mock.patch.object(strategies, "FEW", few), mock.patch.object(distribution, "FEW", few):
        n = 7
        counts = dict.fromkeys(combinations(range(n), m), 0)
        for seed in range(400):
            found = select(X[:n], "random", 10, m=m, seed=seed)
            assert len(np.unique(found.classes, axis=0)) == 10
            for row in found.classes.tolist():
                counts[tuple(row)] += 1
        assert chisquare(list(counts.values())).pvalue > 1e-3
        every = select(X[:n], "random", comb(n, m), m=m)
        assert {tuple(row) for row in every.classes.tolist()} == set(counts)
        first = select(X, "random", 30, m=m, seed=3)
        np.testing.assert_array_equal(first.classes, select(X, "random", 30, m=m, seed=3).classes)
        assert (first.classes != select(X, "random", 30, m=m, seed=4).classes).any()
        sums = [sum(table(X, "cosine")[a, b] for a, b in combinations(row, 2)) for row in first.classes.tolist()]
        np.testing.assert_allclose(first.values, sums)
        with pytest.raises(ValueError, match="k must lie between"):
            select(X[:n], "random", comb(n, m) + 1, m=m)


@pytest.mark.parametrize("few", [0, 1 << 20])
def test_random_across_and_within_groups(few: int) -> None:
    groups = np.repeat([5, 7, 9], [30, 10, 20])
    with mock.patch.object(strategies, "FEW", few), mock.patch.object(distribution, "FEW", few):
        across = select(X, "random", 200, groups=groups)
        assert (groups[across.classes[:, 0]] != groups[across.classes[:, 1]]).all()
        within = select(X, "random", 300, groups=groups, across=False)
        labels = groups[within.classes]
        assert (labels[:, 0] == labels[:, 1]).all()
        shares = np.array([comb(30, 2), comb(10, 2), comb(20, 2)])
        seen = sum(
            np.array([(groups[row[0]] == g) for g in (5, 7, 9)], int)
            for seed in range(30)
            for row in select(X, "random", 20, groups=groups, across=False, seed=seed).classes
        )
        assert chisquare(seen, shares / shares.sum() * 600).pvalue > 1e-3
        with pytest.raises(ValueError, match="allowed 2-plets, 670"):
            select(X, "random", 671, groups=groups, across=False)


@pytest.mark.parametrize("metric", ["cosine", "l2", "sqeuclidean"])
def test_a_window_holds_the_pairs_at_its_ends_and_those_that_tie(metric: str) -> None:
    for seed in range(10):
        x = np.random.default_rng(seed).normal(size=(6, 5))
        assert len(select(x, "window", 15, metric=metric, window=(0.0, 1.0)).classes) == 15
    for equal in (np.eye(6), np.eye(6) - 1 / 6):
        assert len(select(equal, "window", 15, metric=metric).classes) == 15


@pytest.mark.parametrize("few", [0, 1 << 20])
def test_window_of_distances(few: int) -> None:
    with mock.patch.object(strategies, "FEW", few), mock.patch.object(distribution, "FEW", few):
        values = table(X, "cosine")[FIRST, SECOND]
        low, high = np.quantile(values, (0.1, 0.3))
        found = select(X, "window", 100, window=(0.1, 0.3))
        slack = 0.02 if few == 0 else 1e-9  # few = 0: quantiles of random pairs
        assert (found.values >= low - slack).all() and (found.values <= high + slack).all()
        assert found.values.min() < low + 0.1 * (high - low) and found.values.max() > high - 0.1 * (high - low)
        triples = select(X, "window", 20, m=3, window=(0.2, 0.8))
        for row in triples.classes.tolist():
            for a, b in combinations(row, 2):
                assert np.quantile(values, 0.2) - slack <= table(X, "cosine")[a, b] <= np.quantile(values, 0.8) + slack
        with pytest.raises(ValueError, match="only"):
            select(X, "window", 500, window=(0.1, 0.3))
    for window in ((0.3, 0.3), (0.5, 0.2), (-0.1, 0.5), (0.5, 1.5)):
        with pytest.raises(ValueError, match="window must be two quantiles"):
            select(X, "window", 10, window=window)


def test_moments_of_all_pairs() -> None:
    for metric in ("cosine", "l2"):
        values = table(X, metric)[FIRST, SECOND]
        np.testing.assert_allclose(pair_moments(X, metric), (values.mean(), values.std()), rtol=1e-5)  # type: ignore[arg-type]


@pytest.mark.parametrize("m", [2, 3])
@pytest.mark.parametrize("condition_metric", ["cosine", "l2"])
def test_joint_is_a_difference_of_z_scores(m: int, condition_metric: Any) -> None:
    def z(x: np.ndarray, metric: str) -> np.ndarray:
        values = table(x, metric)
        return (values - values[FIRST, SECOND].mean()) / values[FIRST, SECOND].std()

    score = z(X, "cosine") - z(Y, condition_metric)
    sets = np.array(list(combinations(range(60), m)))
    sums = sum(score[sets[:, a], sets[:, b]] for a, b in combinations(range(m), 2))
    for strategy, order in (("joint_top", np.argsort(-sums)), ("joint_worst", np.argsort(sums))):
        found = select(X, strategy, 50, m=m, conditions=Y, condition_metric=condition_metric)  # type: ignore[arg-type]
        np.testing.assert_array_equal(found.classes, sets[order[:50]])
        np.testing.assert_allclose(found.values, sums[order[:50]], rtol=1e-4)
        assert found.certificate is not None
        assert found.certificate.kth_value == pytest.approx(found.values[-1])
    with pytest.raises(ValueError, match="needs conditions"):
        select(X, "joint_top", 10)


@pytest.mark.parametrize("few", [0, 1 << 20])
@pytest.mark.parametrize("strategy", ["far", "close", "random", "joint_top", "window"])
def test_cap_on_uses(strategy: Any, few: int) -> None:
    with mock.patch.object(strategies, "FEW", few), mock.patch.object(distribution, "FEW", few):
        found = select(X, strategy, 40, max_degree=2, conditions=Y, window=(0.05, 0.6))
    assert found.coverage is not None
    assert found.coverage.degrees.max() == 2
    assert len(np.unique(found.classes, axis=0)) == 40
    with pytest.raises(ValueError, match="max_degree=1"):
        select(X, strategy, 31, max_degree=1, conditions=Y)


def test_unknown_names_are_refused() -> None:
    with pytest.raises(ValueError, match="strategy must be one of"):
        select(X, "nearest", 3)  # type: ignore[arg-type]


@pytest.mark.parametrize("metric", ["cosine", "l2", "sqeuclidean"])
def test_histogram_of_all_pairs(metric: Any) -> None:
    counts, edges = pair_histogram(X, metric, bins=20)
    values = table(X, metric)[FIRST, SECOND]
    assert counts.sum() == len(values) and len(counts) <= 20 and counts[0] > 0 and counts[-1] > 0
    assert edges[0] <= values.min() and values.max() <= edges[-1]
    expected, _ = np.histogram(values, edges)
    assert np.abs(counts - expected).sum() <= 2  # float32 at an edge


@pytest.mark.parametrize("objective", ["mean", "min", "std"])
def test_joint_objectives_are_those_of_z_differences(objective: Any) -> None:
    def z(x: np.ndarray) -> np.ndarray:
        values = table(x, "cosine")
        return (values - values[FIRST, SECOND].mean()) / values[FIRST, SECOND].std()

    score = z(X) - z(Y)
    sets = np.array(list(combinations(range(60), 3)))
    pairs = np.stack([score[sets[:, a], sets[:, b]] for a, b in combinations(range(3), 2)], axis=1)
    values = {"mean": pairs.mean(axis=1), "min": pairs.min(axis=1), "std": pairs.std(axis=1)}[objective]
    order = np.argsort(-values, kind="stable")[:20]  # equal ones by index
    found = select(X, "joint_top", 20, m=3, conditions=Y, objective=objective)
    np.testing.assert_array_equal(found.classes, sets[order])
    np.testing.assert_allclose(found.values, values[order], rtol=1e-4)


@pytest.mark.parametrize("metric", ["l2", "sqeuclidean", "cosine"])
def test_joint_values_and_certificate_are_float64_of_the_true_distances(metric: Any) -> None:
    """At 512 dimensions the rounding margin of the search is large; no reported number may be shifted by it."""
    rng = np.random.default_rng(5)
    x, y = (3 + rng.standard_normal((600, 512)).astype(np.float32) for _ in range(2))
    first, second = np.triu_indices(600, 1)
    distances = [table_of(space, metric)[first, second] for space in (x, y)]
    z = [(d - d.mean()) / d.std() for d in distances]
    every = np.sort(z[0] - z[1])[::-1]
    for space, d in zip((x, y), distances, strict=True):
        assert pair_moments(space, metric) == pytest.approx((d.mean(), d.std()), rel=1e-10)
        counts, edges = pair_histogram(space, metric)
        np.testing.assert_array_equal(counts, np.histogram(d, edges)[0])
    found = select(x, "joint_top", 200, metric=metric, conditions=y, condition_metric=metric)
    np.testing.assert_allclose(found.values, every[:200], rtol=0, atol=1e-9)
    assert found.certificate is not None
    assert found.certificate.kth_value == pytest.approx(every[199], abs=1e-9)
    assert found.certificate.bound <= every[199]


def table_of(x: np.ndarray, metric: str) -> np.ndarray:
    """`table` without an (n, n, d) array."""
    x = x.astype(np.float64)
    if metric == "cosine":
        return table(x, metric)
    return np.stack([np.linalg.norm(x - row, axis=1) for row in x]) ** (1 if metric == "l2" else 2)
