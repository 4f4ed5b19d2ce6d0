"""Spaces to compare, a row per class, the same classes in the same order (ScoreMix section 4.3), and distances in them.

A space is a matrix (n, d), torch or numpy; everything is computed in float64 on the CPU or on the
tensor's own device, so that results do not depend on the precision in which rows were stored. Pairs (i, j), i < j, come in
the order of Algorithm 2 (DistanceCorrelation): (0, 1), (0, 2), ..., (1, 2), ...
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any, Literal, NamedTuple, get_args

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

Numbers = Tensor | np.ndarray
Matrix = Float[Numbers, "_ _"]  # rows to compare
BLOCK = 2**23  # entries of one block of an n x n matrix: 64 MiB in float64, which the allocator gives back


def as_rows(x: Any, name: str = "x") -> Float[Tensor, "n d"]:
    """x as a float64 tensor without gradient; ValueError unless it is a finite matrix (n, d) with rows."""
    rows = torch.as_tensor(x).detach().to(torch.float64)
    if rows.ndim != 2 or 0 in rows.shape:
        raise ValueError(f"{name}: needs a matrix (n, d), got shape {tuple(rows.shape)}")
    if not bool(rows.isfinite().all()):
        raise ValueError(f"{name}: {int((~rows.isfinite()).any(1).sum())} rows are not finite")
    return rows


def unit_rows(x: Float[Tensor, "n d"], name: str = "x") -> Float[Tensor, "n d"]:
    """Rows divided by their L2 norm; ValueError names the first zero row."""
    norms = x.norm(dim=1, keepdim=True)
    if bool((norms == 0).any()):
        raise ValueError(f"{name}: row {int((norms == 0).flatten().nonzero()[0])} is zero and has no direction")
    unit: Tensor = x / norms
    return unit


def as_unit_rows(x: Any, name: str = "x") -> Float[Tensor, "n d"]:
    """`unit_rows` of `as_rows`."""
    return unit_rows(as_rows(x, name), name)


def of_equal_width(**sets: Any) -> list[Float[Tensor, "_ _"]]:
    """`as_rows` of the sets by the names given them; ValueError unless all have as many columns."""
    rows = [as_rows(x, name) for name, x in sets.items()]
    if len({x.shape[1] for x in rows}) > 1:
        raise ValueError(f"{' and '.join(sets)}: {' and '.join(str(x.shape[1]) for x in rows)} features")
    return rows


def centred(x: Float[Tensor, "n d"]) -> Float[Tensor, "n d"]:
    """Columns minus their mean: HX of Equation 11."""
    return x - x.mean(0)


def as_space(x: Any, name: str = "x") -> Float[Tensor, "n d"]:
    """`as_rows` of a space that can be compared; ValueError below 4 classes or for constant columns.

    A constant column says nothing about classes and is usually a dead feature or a wrong file, so it is
    refused, not ignored. Four rows are the least for which the debiased estimates exist.
    """
    rows = as_rows(x, name)
    if len(rows) < 4:
        raise ValueError(f"{name}: {len(rows)} rows, at least 4 are needed")
    constant = (rows == rows[0]).all(0).nonzero().flatten().tolist()
    if constant:
        raise ValueError(f"{name}: {len(constant)} constant columns, first {constant[:5]}; drop them")
    return rows


def paired(x: Any, y: Any) -> tuple[Float[Tensor, "n dx"], Float[Tensor, "n dy"]]:
    """Two spaces of the same classes, each as `as_space` wants it; ValueError on other counts."""
    spaces = as_rows(x, "x"), as_rows(y, "y")
    if len(spaces[0]) != len(spaces[1]):
        raise ValueError(f"x and y: {len(spaces[0])} and {len(spaces[1])} rows; match classes by name first")
    return as_space(spaces[0], "x"), as_space(spaces[1], "y")


def in_order(
    rows: Float[Tensor, "k d"], known: Sequence[str], wanted: Sequence[str], owner: str
) -> Float[Tensor, "n d"]:
    """The rows of the wanted classes by name, others (mixed classes) left out; ValueError where one is missing."""
    place = {name: row for row, name in enumerate(known)}
    missing = [name for name in wanted if name not in place]
    if missing:
        raise ValueError(f"{owner}: {len(missing)} of {len(wanted)} classes are unknown to it, first {missing[:5]}")
    return rows[[place[name] for name in wanted]]


def check_choice(name: str, value: str, *allowed: str) -> None:
    """ValueError unless the value is one of those allowed."""
    if value not in allowed:
        raise ValueError(f"{name}: {value!r}, allowed {', '.join(map(repr, allowed))}")


def check_neighbours(k: int, n: int) -> None:
    """ValueError unless 1 <= k <= n - 1, the number of other rows."""
    if not 1 <= k <= n - 1:
        raise ValueError(f"k: {k} neighbours, allowed 1 to {n - 1} for {n} rows")


def row_blocks(n: int, columns: int) -> Iterator[slice]:
    """Row ranges such that a block of that many rows and `columns` columns has at most BLOCK entries."""
    step = max(1, BLOCK // max(1, columns))
    return (slice(start, min(start + step, n)) for start in range(0, n, step))


Metric = Literal["cosine", "l2", "sqeuclidean"]
Array = np.ndarray


def prepared(x: Matrix, metric: Metric, name: str = "x") -> Float[Tensor, "n d"]:
    """Rows whose inner products give the distances of `block_distances`: unit for cosine, else centred."""
    check_choice("metric", metric, *get_args(Metric))
    rows = as_rows(x, name)
    return unit_rows(rows, name) if metric == "cosine" else centred(rows)


def block_distances(a: Float[Tensor, "m d"], b: Float[Tensor, "k d"], metric: Metric) -> Float[Tensor, "m k"]:
    """Distances of prepared rows: 1 - cosine in [0, 2], Euclidean, or squared Euclidean.

    From inner products, so a squared distance is off by about 1e-15 (|a|² + |b|²); one below ten times
    that is set to 0, which makes equal rows exactly equal.
    """
    if metric == "cosine":
        return (a @ b.T).neg_().add_(1).clamp_(0, 2)
    norms = a.square().sum(1, keepdim=True) + b.square().sum(1)
    squared = torch.addmm(norms, a, b.T, alpha=-2)
    squared.masked_fill_(squared <= norms.mul_(1e-14), 0.0)
    return squared.sqrt_() if metric == "l2" else squared


def pair_blocks(rows: Float[Tensor, "n d"], metric: Metric) -> Iterator[Float[Array, " p"]]:
    """Distances of all pairs in Algorithm 2's order, in pieces that depend on n only (not on d or metric)."""
    n = len(rows)
    for block in row_blocks(n, n):
        distances = block_distances(rows[block], rows[block.start :], metric)
        later = np.arange(n - block.start)[None, :] > np.arange(block.stop - block.start)[:, None]  # pairs j > i
        yield distances.cpu().numpy()[later]


def pair_distances(x: Matrix, metric: Metric = "cosine", name: str = "x") -> Float[Array, " p"]:
    """Algorithm 2's vector: the n(n-1)/2 distances of all pairs i < j, float64 (400 MB for n = 10,000)."""
    return np.concatenate(list(pair_blocks(prepared(x, metric, name), metric)))


def pair_index(p: Int[Array, " p"], n: int) -> tuple[Int[Array, " p"], Int[Array, " p"]]:
    """(i, j) of the p-th pair in Algorithm 2's order; ValueError outside 0 .. n(n-1)/2 - 1."""
    p = np.asarray(p, np.int64)
    total = math.comb(n, 2)
    if p.size and not (p.min() >= 0 and p.max() < total):
        raise ValueError(f"p: pair numbers {p.min()} to {p.max()}, allowed 0 to {total - 1} for n = {n}")
    starts = np.arange(n) * (2 * n - 1 - np.arange(n)) // 2  # number of (i, i + 1)
    i = np.searchsorted(starts[: n - 1], p, side="right") - 1
    j = p - starts[i] + i + 1
    return i, j


class DistanceCorrelation(NamedTuple):
    """Correlations, in [-1, 1], of the pair distances of two spaces; spearman is nan where left out."""

    pearson: float
    spearman: float
    pairs: int


def distance_correlation(
    x: Matrix, y: Matrix, x_metric: Metric = "cosine", y_metric: Metric = "cosine", spearman: bool = True
) -> DistanceCorrelation:
    """Algorithm 2 and the correlation of its two vectors over all n(n-1)/2 pairs, exact; ties share their mean rank."""
    from scipy.stats import rankdata

    rows, others = paired(x, y)
    a, b = pair_distances(rows, x_metric, "x"), pair_distances(others, y_metric, "y")
    ranks = vector_correlation(rankdata(a), rankdata(b)) if spearman else math.nan
    return DistanceCorrelation(vector_correlation(a, b), ranks, len(a))


def vector_correlation(a: Float[Array, " p"], b: Float[Array, " p"]) -> float:
    """Pearson correlation of two vectors; ValueError where one is constant."""
    if np.ptp(a) == 0 or np.ptp(b) == 0:
        raise ValueError("distances: all pairs of one space are equally far, no correlation is defined")
    a, b = a - a.mean(), b - b.mean()
    return float(np.clip(a @ b / (np.linalg.norm(a) * np.linalg.norm(b)), -1, 1))
