"""Caps and spreads against plain greedy loops over the complete list."""

from __future__ import annotations

from math import comb
from unittest import mock

import numpy as np
import pytest

from scoremix.selection import mplets
from scoremix.selection.coverage import best_with_each
from scoremix.selection.criterion import Criterion
from scoremix.selection.mplets import top_mplets
from scoremix.selection.search import unrank


def centers(n: int, seed: int = 0) -> np.ndarray:
    """A few classes are far from everything, so that they crowd the head of the list."""
    x = np.random.default_rng(seed).standard_normal((n, 6)) + 0.7
    x[:3] *= -1
    return x.astype(np.float32)


def greedy(classes: np.ndarray, n: int, k: int, cap: int) -> list[int]:
    degree, taken = np.zeros(n, int), []
    for place, row in enumerate(classes):
        if len(taken) < k and (degree[row] < cap).all():
            degree[row] += 1
            taken.append(place)
    return taken


@pytest.mark.parametrize("m", [2, 3, 4])
@pytest.mark.parametrize("cap", [1, 2, 5])
@pytest.mark.parametrize("largest", [True, False])
def test_cap_is_greedy_over_the_whole_list(m: int, cap: int, largest: bool) -> None:
    n = {2: 40, 3: 30, 4: 18}[m]
    x = centers(n)
    every = top_mplets(x, m, comb(n, m), largest=largest)
    possible = greedy(every.classes, n, n, cap)
    for k in {1, len(possible) // 2, len(possible)}:
        with mock.patch.object(mplets, "FEW", 0):
            found = top_mplets(x, m, k, max_degree=cap, largest=largest)
        np.testing.assert_array_equal(found.classes, every.classes[possible[:k]])
        np.testing.assert_array_equal(found.values, every.values[possible[:k]])
        assert found.coverage is not None and found.coverage.degrees.max() <= cap
        assert found.coverage.degrees.sum() == k * m
        assert found.coverage.used == len(np.unique(found.classes))
        assert found.coverage.unconstrained == pytest.approx(every.values[:k].mean())
        assert found.coverage.cost == pytest.approx(abs(every.values[:k].mean() - found.values.mean()), abs=1e-12)


def test_cap_goes_deeper_than_one_search() -> None:
    """Every good pair holds one of three hubs: the list must be read thousands of places deep."""
    x = centers(150)
    every = top_mplets(x, 2, comb(150, 2))
    places = greedy(every.classes, 150, 70, 1)
    assert places[-1] > 4096
    np.testing.assert_array_equal(top_mplets(x, 2, 70, max_degree=1).classes, every.classes[places])


def test_impossible_caps_are_refused() -> None:
    x = centers(10)
    with pytest.raises(ValueError, match="6 2-plets use 12 classes, max_degree=1 allows 10 uses of 10 classes"):
        top_mplets(x, 2, 6, max_degree=1)
    with pytest.raises(ValueError, match="at least 1"):
        top_mplets(x, 2, 3, max_degree=0)
    groups = [0] * 8 + [1] * 2  # only two pairs across groups can be disjoint
    with pytest.raises(ValueError, match="leaves no 2-plet after 2 of 3"):
        top_mplets(x, 2, 3, max_degree=1, groups=groups)


@pytest.mark.parametrize("m", [2, 3, 4, 5])
def test_best_sets_of_every_class(m: int) -> None:
    n = {2: 30, 3: 30, 4: 20, 5: 12}[m]
    x = centers(n, 3)
    for metric, largest in (("cosine", True), ("l2", False)):
        every = top_mplets(x, m, comb(n, m), metric=metric, largest=largest)  # type: ignore[arg-type]
        own = best_with_each(Criterion.of(x, metric, largest=largest), m, 3)
        for c in range(n):
            np.testing.assert_array_equal(own[c], every.classes[(every.classes == c).any(axis=1)][:3])


@pytest.mark.parametrize("metric", ["cosine", "l2", "sqeuclidean"])
def test_the_best_pair_of_a_class_is_found_among_many_that_are_nearly_one(metric: str) -> None:
    rng = np.random.default_rng(0)
    center = rng.normal(size=64) / 8
    x = np.concatenate([center + 1e-3 * rng.normal(size=(50, 64)) / 8, rng.normal(size=(10, 64)) / 8])
    criterion = Criterion.of(x, metric, largest=False)
    sets = unrank(np.arange(comb(60, 2)), 60, 2)
    values = criterion.values(sets)
    own = best_with_each(criterion, 2, 2)
    for c in range(60):
        with_c = (sets == c).any(axis=1)
        np.testing.assert_array_equal(criterion.values(own[c]), np.sort(values[with_c])[:2])
    few = best_with_each(Criterion.of(x[:2], metric, largest=False), 2, 3)
    assert few[:, 0].tolist() == [[0, 1], [0, 1]] and (few[:, 1:] == -1).all()


@pytest.mark.parametrize("m", [2, 3])
@pytest.mark.parametrize("r", [1, 2])
def test_spread_reaches_every_class(m: int, r: int) -> None:
    x = centers(40)
    found = top_mplets(x, m, 45 * r, min_degree=r)
    assert found.coverage is not None
    assert found.coverage.degrees.min() >= r and found.coverage.used == 40
    assert len(np.unique(found.classes, axis=0)) == 45 * r
    free = top_mplets(x, m, 45 * r)
    assert free.coverage is not None and free.coverage.degrees.min() < r  # the list alone would not have
    assert found.coverage.cost is not None and found.coverage.cost > 0
    assert (np.diff(found.values) <= 0).all()
    reported = {tuple(row) for row in found.classes.tolist()}
    every = top_mplets(x, m, comb(40, m)).classes
    for c in range(40):  # no class used just r times lacks its own best set
        if found.coverage.degrees[c] == r:
            assert tuple(every[(every == c).any(axis=1)][0].tolist()) in reported
    with pytest.raises(ValueError, match="at least"):
        top_mplets(x, m, 40 * r // m - 1, min_degree=r)
