"""Every m-subset evaluated in float64: small problems, and objectives that no bound prunes (Appendix H)."""

from __future__ import annotations

from collections.abc import Iterator
from math import comb

import numpy as np

from scoremix.selection.compiled import compiled
from scoremix.selection.distances import OBJECTIVES, PairFunction
from scoremix.selection.search import Leaders, Progress

STEP = 1 << 18  # sets at a time


def search_all(function: PairFunction, m: int, k: int, objective: str, progress: Progress) -> Leaders:
    """The best k of all allowed sets of m classes, for any objective; Θ(N^m)."""
    table = np.full((function.n, function.n), np.nan)
    i, j = np.triu_indices(function.n, 1)
    table[i, j] = table[j, i] = function.distances(np.stack([i, j], axis=1))[:, 0]
    leaders = Leaders(function, m, k, objective)
    total = comb(function.n, m)
    for begin in range(0, total, STEP):
        sets = unrank(np.arange(begin, min(begin + STEP, total)), function.n, m)
        sets = sets[allowed(sets, function.groups, function.across)]
        pairs = np.sort(np.stack([table[a, b] for a, b in _columns(sets)], axis=1), axis=1)
        scores = function.sign * OBJECTIVES[objective](pairs) / function.size
        keep = scores >= leaders.threshold
        leaders.add(sets[keep].astype(np.int32), scores[keep])
        progress("all sets", min(begin + STEP, total) / total)
    leaders.pair_sums = total
    return leaders


def allowed(sets: np.ndarray, groups: np.ndarray | None, across: bool) -> np.ndarray:
    """Which sets lie across m different groups, or within one group; all of them where there are no groups."""
    if groups is None:
        return np.ones(len(sets), np.bool_)
    labels = np.sort(groups[sets], axis=1)
    same = labels[:, 1:] == labels[:, :-1]
    chosen: np.ndarray = ~same.any(axis=1) if across else same.all(axis=1)
    return chosen


def unrank(ranks: np.ndarray, n: int, m: int) -> np.ndarray:
    """int64 (K, m) m-subsets of range(n), ascending, at these places of the lexicographic order; C(n, m) < 2⁶³."""
    ways = np.array([[comb(a, b) for b in range(m + 1)] for a in range(n + 1)], dtype=np.int64)
    sets = np.empty((len(ranks), m), np.int64)
    _unrank(ranks, n, m, ways, sets)
    return sets


@compiled()
def _unrank(ranks: np.ndarray, n: int, m: int, ways: np.ndarray, sets: np.ndarray) -> None:
    for p in range(len(ranks)):
        rest = ranks[p]
        c = 0
        for a in range(m):
            while rest >= ways[n - c - 1, m - a - 1]:
                rest -= ways[n - c - 1, m - a - 1]
                c += 1
            sets[p, a] = c
            c += 1


def _columns(sets: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    for a in range(sets.shape[1]):
        for b in range(a + 1, sets.shape[1]):
            yield sets[:, a], sets[:, b]
