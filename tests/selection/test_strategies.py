"""Which pairs are chosen, against brute force in float64."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from scoremix.selection.mplets import top_mplets
from scoremix.selection.strategies import select


def centers(n: int = 40, d: int = 8, seed: int = 0) -> np.ndarray:
    x = np.random.default_rng(seed).standard_normal((n, d))
    return (x / np.linalg.norm(x, axis=1, keepdims=True)).astype(np.float32)


def brute(x: np.ndarray, m: int, k: int, largest: bool) -> tuple[list[tuple[int, ...]], np.ndarray]:
    """The k best m-subsets by summed cosine distance, value first, then indices."""
    unit = x.astype(np.float64) / np.linalg.norm(x.astype(np.float64), axis=1, keepdims=True)
    distance = 1 - unit @ unit.T
    sets = list(itertools.combinations(range(len(x)), m))
    values = np.array([sum(distance[i, j] for i, j in itertools.combinations(s, 2)) for s in sets])
    order = np.lexsort((np.arange(len(sets)), -values if largest else values))[:k]
    return [sets[i] for i in order], values[order]


@pytest.mark.parametrize("strategy", ["far", "close"])
@pytest.mark.parametrize("k", [1, 17, 40])
def test_far_and_close_are_the_extremes(strategy: str, k: int) -> None:
    x = centers()
    found = select(x, strategy, k)  # type: ignore[arg-type]
    sets, values = brute(x, 2, k, strategy == "far")
    assert [tuple(row) for row in found.classes.tolist()] == sets
    np.testing.assert_allclose(found.values, values, atol=1e-6)


@pytest.mark.parametrize("largest", [True, False])
def test_triples_are_the_extremes(largest: bool) -> None:
    x = centers(20)
    found = top_mplets(x, 3, 30, largest=largest)
    sets, values = brute(x, 3, 30, largest)
    assert [tuple(row) for row in found.classes.tolist()] == sets
    np.testing.assert_allclose(found.values, values, atol=1e-6)


def test_permuting_classes_permutes_the_answer() -> None:
    x = centers(30, seed=3)
    order = np.random.default_rng(1).permutation(30)
    a = {tuple(row) for row in select(x, "far", 20).classes.tolist()}
    b = {tuple(sorted(order[row])) for row in select(x[order], "far", 20).classes}
    assert a == b


def test_random_pairs_are_distinct_and_follow_the_seed() -> None:
    x = centers(10)
    found = select(x, "random", 45, seed=1)
    assert {tuple(row) for row in found.classes.tolist()} == set(itertools.combinations(range(10), 2))
    assert (select(x, "random", 20, seed=1).classes == found.classes[:20]).all()
    assert (select(x, "random", 20, seed=2).classes != found.classes[:20]).any()


def test_too_many_pairs_are_refused() -> None:
    for strategy in ("far", "random"):
        with pytest.raises(ValueError, match="45"):
            select(centers(10), strategy, 46)  # type: ignore[arg-type]


def test_broken_centers_are_refused() -> None:
    x = centers(10)
    x[3, 2] = np.nan
    with pytest.raises(ValueError, match=r"finite|NaN|nan"):
        select(x, "far", 5)
