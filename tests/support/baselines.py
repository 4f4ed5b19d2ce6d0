"""The paper's own searches, to measure what they lose: one best third class per pair, greedy quads (Appendix H)."""

from __future__ import annotations

from typing import Any

import numpy as np

from scoremix.selection.criterion import Criterion, Metric
from scoremix.selection.mplets import MPlets, top_mplets

BLOCK = 256


def one_best_per_pair(
    x: Any, k: int, *, metric: Metric = "cosine", largest: bool = True, memory: float = 1.0
) -> MPlets:
    """The k best triples by sum among those that are best for one of their pairs: the paper's search keeps M = 1 each.

    Read off the exact list: a triple is the best one for a pair where no triple before it holds that pair.
    """
    n = len(x)
    most = n * (n - 1) * (n - 2) // 6
    asked = min(most, k + k // 8 + 16)
    while True:
        exact = top_mplets(x, 3, asked, metric=metric, largest=largest, memory=memory)
        kept = _first_of_a_pair(exact.classes, n)
        if len(kept) >= k or asked == most:
            break
        asked = min(most, 2 * asked)
    if len(kept) < k:
        raise ValueError(f"only {len(kept)} triples are the best one for some pair, {k} were asked for")
    return MPlets(exact.classes[kept[:k]], exact.values[kept[:k]])


def _first_of_a_pair(triples: np.ndarray, n: int) -> np.ndarray:
    pairs = np.concatenate([triples[:, [0, 1]], triples[:, [0, 2]], triples[:, [1, 2]]])
    owner = np.tile(np.arange(len(triples)), 3)
    order = np.argsort(owner, kind="stable")
    first = np.unique((pairs[:, 0] * n + pairs[:, 1])[order], return_index=True)[1]
    return np.unique(owner[order][first])


def greedy_quads(x: Any, triples: np.ndarray, *, metric: Metric = "cosine", largest: bool = True) -> MPlets:
    """Every triple (K, 3) with the class that is best for it: distinct quads, at most K, best first."""
    criterion = Criterion.of(x, metric, largest=largest)
    quads = np.empty((len(triples), 4), np.int64)
    for begin in range(0, len(triples), BLOCK):
        part = triples[begin : begin + BLOCK]
        classes, place = np.unique(part, return_inverse=True)
        rows = criterion.scores(classes, slice(0, criterion.n))
        newcomer = rows[place.reshape(part.shape)].sum(axis=1).argmax(axis=1)
        quads[begin : begin + BLOCK] = np.sort(np.column_stack([part, newcomer]), axis=1)
    quads = np.unique(quads, axis=0)
    values = criterion.values(quads)
    order = np.lexsort((*quads.T[::-1], -criterion.sign * values))
    return MPlets(quads[order], values[order])


def lost(baseline: MPlets, exact: MPlets) -> float:
    """Share of the exact list that a baseline's list misses."""
    known = {tuple(row) for row in baseline.classes.tolist()}
    return sum(tuple(row) not in known for row in exact.classes.tolist()) / len(exact)
