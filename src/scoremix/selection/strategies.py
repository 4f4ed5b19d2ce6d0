"""Which classes to mix: random, far or close m-plets by name (Section 4.3, Table 2)."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np

from scoremix.selection.distances import Metric, pair_function
from scoremix.selection.mplets import MPlets, check_count, top_mplets

Strategy = Literal["random", "far", "close"]


def select(
    centers: Any, strategy: Strategy, count: int, *, m: int = 2, metric: Metric = "cosine", seed: int = 0
) -> MPlets:
    """`count` m-plets of the rows of centers (N, D): the farthest, the closest (both exact), or distinct random ones.

    Values are sums of pair distances in `metric`. Far and close are best first and carry a certificate. Random ones are
    uniform without replacement and in the order drawn. ValueError where count exceeds the number of m-plets.
    """
    if strategy == "random":
        function = pair_function(centers, metric)
        check_count(function, m, count)
        classes = random_sets(function.n, m, count, np.random.default_rng(seed))
        return MPlets(classes, function.values(classes))
    if strategy not in ("far", "close"):
        raise ValueError(f"strategy must be random, far or close, got {strategy!r}")
    return top_mplets(centers, m, count, metric=metric, largest=strategy == "far")


def random_sets(n: int, m: int, count: int, rng: np.random.Generator) -> np.ndarray:
    """int64 (count, m) distinct m-subsets of range(n), ascending per row, uniform without replacement, in the order drawn."""
    kept = np.zeros((0, m), np.int64)
    while len(kept) < count:
        drawn = np.sort(rng.integers(0, n, (2 * count + 64, m)), axis=1)
        drawn = drawn[(np.diff(drawn, axis=1) > 0).all(axis=1)]
        pool = np.concatenate([kept, drawn])
        first = np.unique(pool, axis=0, return_index=True)[1]
        kept = pool[np.sort(first)]
    return kept[:count]
