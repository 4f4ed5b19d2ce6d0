"""How the distances of all pairs are distributed: moments, quantiles, histogram (Section 4.3)."""

from collections.abc import Iterator
from math import comb
from typing import Any

import numpy as np

from scoremix.selection.compiled import compiled
from scoremix.selection.criterion import METRICS, Criterion, Metric
from scoremix.selection.search import unrank

FEW = 1 << 20  # pairs that are listed rather than drawn
DRAWN = 1 << 22  # random pairs that tell the quantiles where there are more than that
BLOCK = 1024
FINE = 4096  # bins from 0 to the largest possible distance, of which the occupied ones are merged


def pair_moments(x: Any, metric: Metric) -> tuple[float, float]:
    """(mean, standard deviation) of the distances of all pairs of rows of x (N, D), in float64."""
    criterion = Criterion.of(x, metric)
    sums = np.zeros(2)
    origin = float(criterion.values(np.array([[0, 1]]))[0])  # deviations from a typical value lose no digits
    for block, diagonal in _blocks(criterion):
        pairs = block[np.triu_indices_from(block, 1) if diagonal else ...]
        away = pairs - origin
        sums += away.sum(), np.square(away).sum()
    mean, square = sums / comb(criterion.n, 2)
    return origin + float(mean), float(np.sqrt(max(0.0, square - mean**2)))


def pair_histogram(x: Any, metric: Metric, bins: int = 60) -> tuple[np.ndarray, np.ndarray]:
    """int64 counts and float64 edges of about `bins` bins over the distances of all pairs of rows of x (N, D)."""
    criterion = Criterion.of(x, metric)
    fine = np.zeros(FINE, np.int64)
    for block, diagonal in _blocks(criterion):
        _count(block, diagonal, criterion.size, fine)
    occupied = np.flatnonzero(fine)
    first, last = int(occupied[0]), int(occupied[-1]) + 1
    width = -(-(last - first) // bins)
    starts = np.arange(first, last, width)
    edges = np.append(starts, starts[-1] + width) * (criterion.size / FINE)
    return np.add.reduceat(fine, starts), edges


def pair_quantiles(criterion: Criterion, shares: tuple[float, float]) -> tuple[float, float]:
    """The distances at two quantiles of those of all allowed pairs, of four million random ones beyond a million."""
    low, high = shares
    if not 0 <= low < high <= 1:
        raise ValueError(f"window must be two quantiles 0 <= low < high <= 1, got {shares}")
    total = comb(criterion.n, 2)
    if total <= FEW:
        pairs = unrank(np.arange(total), criterion.n, 2)
    else:
        pairs = np.random.default_rng(0).integers(0, criterion.n, (DRAWN, 2))
        pairs = pairs[pairs[:, 0] != pairs[:, 1]]
    pairs = pairs[criterion.allowed(pairs)]
    if not len(pairs):
        raise ValueError("no pair lies across groups" if criterion.across else "no pair lies within a group")
    values = criterion.values(pairs)
    return float(np.quantile(values, low)), float(np.quantile(values, high))


def _blocks(criterion: Criterion) -> Iterator[tuple[np.ndarray, bool]]:
    """float64 distances of all pairs in blocks, those on the diagonal marked: only what is above it counts there.

    True ones, not the search's scores, which its rounding margin has raised.
    """
    space = criterion.spaces[0]
    center = 0.0 if space.metric == METRICS["cosine"] else space.rows.mean(axis=0, dtype=np.float64)

    def rows(start: int) -> np.ndarray:
        part = slice(start, start + BLOCK)
        away: np.ndarray = space.rows[part].astype(np.float64) - center
        return away / space.norms[part, None] if space.metric == METRICS["cosine"] else away

    for i in range(0, criterion.n, BLOCK):
        left = rows(i)
        for j in range(i, criterion.n, BLOCK):
            right = rows(j)
            distances = left @ right.T
            if space.metric == METRICS["cosine"]:
                distances = np.clip(1 - distances, 0, 2)
            else:
                distances *= -2
                distances += np.square(left).sum(1)[:, None] + np.square(right).sum(1)
                np.maximum(distances, 0, out=distances)
            yield np.sqrt(distances) if space.metric == METRICS["l2"] else distances, i == j


@compiled()
def _count(block: np.ndarray, diagonal: bool, size: float, counts: np.ndarray) -> None:
    for i in range(block.shape[0]):
        for j in range(i + 1 if diagonal else 0, block.shape[1]):
            place = int(block[i, j] / size * counts.size)
            counts[min(max(place, 0), counts.size - 1)] += 1
