"""The running best K sets and the search that feeds them: enumerate from promising pairs, prune with the K-th value (Appendix H)."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np

from scoremix.selection.distances import ULP, PairFunction

Progress = Callable[[float], None]  # told the share of the work done, 0 to 1

TILE = 1024


class Leaders:
    """The best k sets seen so far, in the defined order: value, then indices.

    `threshold` is a float32-safe lower bound of the k-th best score: a set whose score is below it is not among the best.
    """

    def __init__(self, function: PairFunction, m: int, k: int) -> None:
        self.function, self.m, self.k = function, m, k
        self.pairs = m * (m - 1) // 2
        self.threshold = -np.inf
        self.sets = np.zeros((0, m), np.int32)
        self.scores = np.zeros(0, np.float32)
        self.pending: list[tuple[np.ndarray, np.ndarray]] = []
        self.count = 0

    def add(self, sets: np.ndarray, scores: np.ndarray) -> None:
        """Takes (n, m) sets, ascending per row, and the float32 sums of their pairs' scores."""
        self.pending.append((sets, scores))
        self.count += len(sets)
        if self.count > max(4 * self.k, 1 << 18):
            self.compact()

    def compact(self) -> None:
        """Raises the threshold to the k-th best score known and drops what is below it."""
        self._merge()
        if len(self.sets) < self.k:
            return
        top = np.argpartition(-self.scores, self.k - 1)[: self.k]
        self._raise(self.function.values(self.sets[top]))
        if self.count > max(2 * self.k, 1 << 17):  # many sets within rounding of the threshold: settle them exactly
            order, values = self._order()
            self.sets, self.scores = self.sets[order[: self.k]], self.scores[order[: self.k]]
            self.count = len(self.sets)
            self._raise(values[: self.k])

    def best(self) -> tuple[np.ndarray, np.ndarray]:
        """int64 (K, m) sets and float64 (K,) values, K <= k, in the defined order."""
        self.compact()
        self._merge()
        order, values = self._order()
        return self.sets[order[: self.k]].astype(np.int64), values[: self.k]

    def _merge(self) -> None:
        sets = np.concatenate([self.sets, *(s for s, _ in self.pending)])
        scores = np.concatenate([self.scores, *(s for _, s in self.pending)])
        self.pending = []
        keep = scores >= self.threshold
        self.sets, self.scores = sets[keep], scores[keep]
        self.count = len(self.sets)

    def _raise(self, values: np.ndarray) -> None:
        worst = float((self.function.sign * values).min()) / self.function.size
        self.threshold = max(self.threshold, np.float32(worst - 4 * self.pairs**2 * ULP))
        keep = self.scores >= self.threshold
        self.sets, self.scores = self.sets[keep], self.scores[keep]
        self.count = len(self.sets)

    def _order(self) -> tuple[np.ndarray, np.ndarray]:
        values = self.function.values(self.sets)
        order = np.lexsort((*self.sets.T[::-1], -self.function.sign * values))
        return order, values[order]


def tiles(n: int) -> Iterator[tuple[slice, slice]]:
    """Slices of rows and columns that cover the upper triangle of an n x n matrix."""
    for i in range(0, n, TILE):
        for j in range(i, n, TILE):
            yield slice(i, min(i + TILE, n)), slice(j, min(j + TILE, n))


def search_pairs(function: PairFunction, k: int, progress: Progress | None = None) -> Leaders:
    """The best k pairs: every pair is scored once, tile by tile, and kept where the running threshold allows."""
    leaders = Leaders(function, 2, k)
    n = function.n
    blocks = list(tiles(n))
    for number, (rows, cols) in enumerate(blocks):
        scores = function.scores(rows, cols)
        if rows.start == cols.start:
            scores[np.tril_indices(len(scores), 0, scores.shape[1])] = -np.inf
        at = np.flatnonzero((scores >= leaders.threshold) & (scores > -np.inf))
        i, j = np.divmod(at, scores.shape[1])
        sets = np.stack([i + rows.start, j + cols.start], axis=1).astype(np.int32)
        leaders.add(sets, scores.ravel()[at])
        if progress is not None:
            progress((number + 1) / len(blocks))
    return leaders
