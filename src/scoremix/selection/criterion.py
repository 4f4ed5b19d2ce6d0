"""What makes an m-plet good: exact float64 distances, and float32 scores never below the truth (Appendix H)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
from numba import prange

from scoremix.selection.compiled import compiled, start_threads

Metric = Literal["cosine", "l2", "sqeuclidean"]
Objective = Literal["sum", "mean", "min", "max", "range", "std"]
Term = tuple[Any, Metric, float]  # (rows (N, D), metric, weight)

METRICS: dict[str, int] = {"cosine": 0, "l2": 1, "sqeuclidean": 2}
ULP = 2.0**-24  # unit roundoff of float32
QUANTUM = 2.0**-42  # values are rounded to this share of the largest possible sum, so that rounding cannot break ties

# of the sorted pair distances (K, m(m-1)/2) of each set
OBJECTIVES: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "sum": lambda pairs: pairs.sum(axis=1),
    "mean": lambda pairs: pairs.mean(axis=1),
    "min": lambda pairs: pairs[:, 0],
    "max": lambda pairs: pairs[:, -1],
    "range": lambda pairs: pairs[:, -1] - pairs[:, 0],
    "std": lambda pairs: pairs.std(axis=1),
}


@dataclass(frozen=True)
class PreparedSpace:
    """Rows under one metric, prepared for a float32 product whose error is at most `margin`.

    `unit` holds unit rows (cosine) or centered rows divided by the longest of them (L2, squared L2), so that distances
    lie in [0, 2] or [0, 4]; `scale` turns them back. `weight` is signed: negative where small distances are wanted.
    """

    rows: np.ndarray  # (N, D) as given, float32 or float64
    norms: np.ndarray  # (N,) float64, of `rows`
    unit: np.ndarray  # (N, D) float32
    squares: np.ndarray  # (N,) float32, squared norms of `unit`
    metric: int
    scale: float
    weight: float

    @property
    def margin(self) -> float:
        """Bound of |computed - true| of 1 - u·v or |u|² + |v|² - 2u·v: rounding of u, v and of a D-term sum."""
        return (4 if self.metric else 1) * (int(self.unit.shape[1]) + 16) * ULP * 1.01

    @property
    def largest(self) -> float:
        """The largest distance these rows could have."""
        return (2.0, 2.0, 4.0)[self.metric] * self.scale


@dataclass(frozen=True)
class Criterion:
    """What is wanted of m-plets: an objective of their pairs' values, and which of them are allowed.

    A pair's value is the weighted sum of its distances in several spaces; its score is turned so that larger ones are
    wanted, and scaled into [-1, 1]. `groups` with `across` allows only pairs of different groups (or, with `across`
    False, only pairs of one group).
    """

    spaces: tuple[PreparedSpace, ...]
    sign: float  # +1: largest wanted, -1: smallest
    size: float  # the largest value a pair could have: score = sign * value / size
    groups: np.ndarray | None = None
    across: bool = True
    objective: Objective = "sum"

    @classmethod
    def of(
        cls,
        x: Any,
        metric: str = "cosine",
        *,
        largest: bool = True,
        objective: Objective = "sum",
        weight: float = 1.0,
        terms: Sequence[Term] | None = None,
        groups: Any = None,
        across: bool = True,
    ) -> Criterion:
        """weight * d(x) + the terms' weighted distances, for pairs across (or within) groups; ValueError on bad input."""
        start_threads()
        if objective not in OBJECTIVES:
            raise ValueError(f"objective must be one of {', '.join(OBJECTIVES)}, got {objective!r}")
        spaces = [space_of(x, metric, weight)]
        n = len(spaces[0].rows)
        for number, (rows, kind, share) in enumerate(terms or ()):
            spaces.append(space_of(rows, kind, share, f"terms[{number}]"))
            if len(spaces[-1].rows) != n:
                raise ValueError(f"terms[{number}] has {len(spaces[-1].rows)} rows, x has {n}")
        size = sum(abs(space.weight) * space.largest for space in spaces)
        if not size > 0 or not np.isfinite(size):
            weights = [space.weight for space in spaces]
            raise ValueError(f"the weights must give finite distances that are not all zero, got {weights}")
        labels = None
        if groups is not None:
            labels = np.unique(np.asarray(groups), return_inverse=True)[1].astype(np.int64)
            if labels.shape != (n,):
                raise ValueError(f"groups must hold one label per row of x, {n}, got shape {labels.shape}")
        return cls(tuple(spaces), 1.0 if largest else -1.0, size, labels, across, objective)

    @property
    def n(self) -> int:
        """How many classes there are."""
        return len(self.spaces[0].rows)

    @property
    def slack(self) -> float:
        """Rounding of the float32 arithmetic on a score, after the products."""
        return 8 * ULP

    def subset(self, classes: np.ndarray) -> Criterion:
        """The same criterion for some of the classes, numbered from 0."""
        spaces = tuple(
            replace(s, rows=s.rows[classes], norms=s.norms[classes], unit=s.unit[classes], squares=s.squares[classes])
            for s in self.spaces
        )
        return replace(self, spaces=spaces, groups=None if self.groups is None else self.groups[classes])

    def factor(self, space: PreparedSpace) -> float:
        """What a distance in the space's prepared rows adds to a score."""
        return self.sign * space.weight * space.scale / self.size

    def scores(self, rows: slice | np.ndarray, cols: slice) -> np.ndarray:
        """float32 (rows, cols) scores, each at least the true one; -inf where the pair is not allowed or i = j."""
        out: np.ndarray | None = None
        for space in self.spaces:
            term = space.unit[rows] @ space.unit[cols].T
            squares = space.squares[rows], space.squares[cols]
            _to_scores(term, *squares, space.metric, self.factor(space), space.margin, self.slack)
            out = term if out is None else np.add(out, term, out=out)
        assert out is not None
        i, j = np.arange(self.n)[rows], np.arange(self.n)[cols]
        if self.groups is not None:
            out[(self.groups[i][:, None] == self.groups[j]) == self.across] = -np.inf
        diagonal = np.flatnonzero((i >= j[0]) & (i <= j[-1]))
        out[diagonal, i[diagonal] - j[0]] = -np.inf
        return out

    def distances(self, sets: np.ndarray) -> np.ndarray:
        """float64 (K, m(m-1)/2) weighted distances of the pairs of each set, from the rows as given."""
        first, second = np.triu_indices(sets.shape[1], 1)
        sets = np.ascontiguousarray(sets, np.int32)  # of one type, so that the loop is compiled once
        out = np.zeros((len(sets), len(first)))
        for space in self.spaces:
            _add_distances(out, sets, first, second, space.rows, space.norms, space.metric, space.weight)
        return out

    def rounded(self, distances: np.ndarray, links: int = 1) -> np.ndarray:
        """Sums of so many distances on a grid of `QUANTUM`, where equal ones are equal however they were computed."""
        step = self.size * QUANTUM * links
        on_grid: np.ndarray = np.round(distances / step) * step + 0.0
        return on_grid

    def allowed(self, sets: np.ndarray) -> np.ndarray:
        """Which sets lie across m different groups, or within one group; all of them where there are no groups."""
        if self.groups is None:
            return np.ones(len(sets), np.bool_)
        labels = np.sort(self.groups[sets], axis=1)
        same = labels[:, 1:] == labels[:, :-1]
        chosen: np.ndarray = ~same.any(axis=1) if self.across else same.all(axis=1)
        return chosen

    def values(self, sets: np.ndarray) -> np.ndarray:
        """float64 (K,) objective of each set, whatever the order of its classes, rounded to a grid of `QUANTUM`."""
        pairs = np.sort(self.distances(sets), axis=1)
        return self.rounded(OBJECTIVES[self.objective](pairs), pairs.shape[1] if self.objective == "sum" else 1)


def rows_of(x: Any, name: str = "x") -> np.ndarray:
    """x (array or tensor) as contiguous float32 or float64 rows (N, D); ValueError unless it is a finite matrix."""
    if hasattr(x, "detach"):
        x = x.detach().cpu().numpy()
    array = np.asarray(x)
    if array.dtype.kind not in "fiub":
        raise ValueError(f"{name} must hold real numbers, got dtype {array.dtype}")
    if array.dtype != np.float64:
        array = array.astype(np.float32)
    if array.ndim != 2 or not array.size:
        raise ValueError(f"{name} must be a matrix (N, D) of class centers, got shape {array.shape}")
    bad = np.flatnonzero(~np.isfinite(array).all(axis=1))
    if len(bad):
        raise ValueError(f"{name} must be finite, but {len(bad)} of its rows are not, the first is row {bad[0]}")
    return np.ascontiguousarray(array)


def space_of(x: Any, metric: str, weight: float = 1.0, name: str = "x") -> PreparedSpace:
    """Prepares rows for one metric; ValueError on unknown metrics, infinite weights, zero rows under cosine."""
    if metric not in METRICS:
        raise ValueError(f"metric must be one of {', '.join(METRICS)}, got {metric!r}")
    if not np.isfinite(weight):
        raise ValueError(f"the weight of {name} must be finite, got {weight}")
    rows = rows_of(x, name)
    center = np.zeros(rows.shape[1])
    norms = _lengths(rows, center)
    if not np.isfinite(norms).all():
        raise ValueError(f"{name} has rows whose norms overflow, the first is row {np.argmin(np.isfinite(norms))}")
    lengths, scale = norms, 1.0
    if metric == "cosine":
        if not norms.all():
            raise ValueError(f"{name} has a zero row ({np.argmin(norms)}): cosine distance needs a direction")
    else:
        center = rows.mean(axis=0, dtype=np.float64)
        radius = float(_lengths(rows, center).max()) or 1.0
        lengths, scale = np.full(len(rows), radius), radius if metric == "l2" else radius**2
    unit, squares = _divided(rows, center, lengths)
    return PreparedSpace(rows, norms, unit, squares, METRICS[metric], scale, float(weight))


@compiled(parallel=True, fastmath={"reassoc"})
def _lengths(rows: np.ndarray, center: np.ndarray) -> np.ndarray:
    """float64 (N,) distances of rows from a center."""
    out = np.empty(rows.shape[0])
    for i in prange(rows.shape[0]):
        total = 0.0
        for d in range(rows.shape[1]):
            total += (rows[i, d] - center[d]) ** 2
        out[i] = np.sqrt(total)
    return out


@compiled(parallel=True, fastmath={"reassoc"})
def _divided(rows: np.ndarray, center: np.ndarray, lengths: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """float32 (N, D) rows less a center, in units of their lengths, and the squares of what they are long then."""
    unit, squares = np.empty(rows.shape, np.float32), np.empty(rows.shape[0], np.float32)
    for i in prange(rows.shape[0]):
        total = 0.0
        for d in range(rows.shape[1]):
            wide = (rows[i, d] - center[d]) / lengths[i]
            unit[i, d] = wide
            total += wide * wide
        squares[i] = total
    return unit, squares


@compiled(parallel=True)
def _to_scores(
    gram: np.ndarray,
    row_squares: np.ndarray,
    col_squares: np.ndarray,
    metric: int,
    factor: float,
    margin: float,
    slack: float,
) -> None:
    """Turns inner products into scores in place: factor times the distance, moved up by its error bound."""
    one, two, zero = np.float32(1), np.float32(2), np.float32(0)
    up = np.float32(margin) if factor > 0 else -np.float32(margin)
    times, plus = np.float32(factor), np.float32(slack)
    for i in prange(gram.shape[0]):
        row = gram[i]
        if metric == 0:
            for j in range(row.size):
                row[j] = times * min(max(one - row[j] + up, zero), two) + plus
        else:
            for j in range(row.size):
                row[j] = max(row_squares[i] + col_squares[j] - two * row[j] + up, zero)
            if metric == 1:
                for j in range(row.size):
                    row[j] = np.sqrt(row[j])
            for j in range(row.size):
                row[j] = times * row[j] + plus


@compiled(fastmath={"reassoc"})
def _distance(a: np.ndarray, b: np.ndarray, norms: float, metric: int) -> float:
    """float64 distance of two rows, the same for (a, b) and (b, a); norms is the product of the two norms."""
    total = 0.0
    if metric == 0:
        for d in range(a.size):
            total += np.float64(a[d]) * np.float64(b[d])
        return min(max(1.0 - total / norms, 0.0), 2.0)
    for d in range(a.size):
        total += (np.float64(a[d]) - np.float64(b[d])) * (np.float64(a[d]) - np.float64(b[d]))
    return np.sqrt(total) if metric == 1 else total


@compiled(parallel=True)
def _add_distances(
    out: np.ndarray,
    sets: np.ndarray,
    first: np.ndarray,
    second: np.ndarray,
    rows: np.ndarray,
    norms: np.ndarray,
    metric: int,
    weight: float,
) -> None:
    for s in prange(out.shape[0]):
        for p in range(out.shape[1]):
            a, b = sets[s, first[p]], sets[s, second[p]]
            out[s, p] += weight * _distance(rows[a], rows[b], norms[a] * norms[b], metric)
