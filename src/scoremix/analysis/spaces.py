"""Spaces to compare, a row per class, the same classes in the same order (ScoreMix section 4.3), and distances in them.

A space is a matrix (n, d), torch or numpy; everything is computed in float64 on the CPU or on the
tensor's own device, so that results do not depend on the precision in which rows were stored. Pairs (i, j), i < j, come in
the order of Algorithm 2 (DistanceCorrelation): (0, 1), (0, 2), ..., (1, 2), ...
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any, Literal, NamedTuple

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
    check_choice("metric", metric, "cosine", "l2", "sqeuclidean")
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


def pair_distances(x: Matrix, metric: Metric = "cosine") -> Float[Array, " p"]:
    """Algorithm 2's vector: the n(n-1)/2 distances of all pairs i < j, float64 (400 MB for n = 10,000)."""
    rows = prepared(x, metric)
    out = np.empty(math.comb(len(rows), 2))
    _fill(out, pair_blocks(rows, metric))
    return out


def _fill(out: Array, pieces: Iterator[Array]) -> None:
    start = 0
    for piece in pieces:
        out[start : start + len(piece)] = piece
        start += len(piece)


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
    """Algorithm 2 and the correlation of its two vectors over all n(n-1)/2 pairs, exact.

    Pearson is accumulated over blocks. Spearman (ties share their mean rank) sorts one vector at a time
    and keeps its doubled ranks as int32: at most 24 bytes a pair, 1.2 GB for n = 10,000.
    """
    rows, others = paired(x, y)
    rows, others = prepared(rows, x_metric, "x"), prepared(others, y_metric, "y")
    total = math.comb(len(rows), 2)
    pearson = _pearson(zip(pair_blocks(rows, x_metric), pair_blocks(others, y_metric), strict=True))
    if not spearman:
        return DistanceCorrelation(pearson, math.nan, total)
    ranks: list[Array] = []
    for space, metric in ((rows, x_metric), (others, y_metric)):
        distances = np.empty(total)
        _fill(distances, pair_blocks(space, metric))
        ranks.append(doubled_ranks(distances))
        del distances
    return DistanceCorrelation(pearson, vector_correlation(ranks[0], ranks[1]), total)


def vector_correlation(a: Array, b: Array) -> float:
    """Pearson correlation of two long vectors, in pieces; ValueError where one is constant."""
    parts = (slice(start, start + 2**22) for start in range(0, len(a), 2**22))
    return _pearson((a[part].astype(np.float64), b[part].astype(np.float64)) for part in parts)


def _pearson(blocks: Iterator[tuple[Array, Array]]) -> float:
    """Pearson correlation of two vectors given as aligned pieces.

    The moments of each piece about its own means are merged (Chan et al.), so nothing cancels.
    """
    count, means, moments = 0, np.zeros(2), np.zeros((2, 2))
    for a, b in blocks:
        if not len(a):
            continue
        own = np.array([a.mean(), b.mean()])
        a, b = a - own[0], b - own[1]
        shift = own - means
        joined = count + len(a)
        moments += np.array([[a @ a, a @ b], [a @ b, b @ b]]) + np.outer(shift, shift) * count * len(a) / joined
        means += shift * len(a) / joined
        count = joined
    scale = math.sqrt(moments[0, 0]) * math.sqrt(moments[1, 1])
    if scale == 0:
        raise ValueError("distances: all pairs of one space are equally far, no correlation is defined")
    return float(np.clip(moments[0, 1] / scale, -1, 1))


def doubled_ranks(values: Float[Array, " p"], chunk: int = 2**20) -> Int[Array, " p"]:
    """Twice the 1-based mean rank of each value: integers even where ties share half a rank.

    One sort of integers that hold a value's leading bits and its position, twice as fast as an
    argsort; values of equal leading bits are then put in order by themselves.
    """
    size = len(values)
    ranks = np.empty(size, np.int32 if size < 2**30 else np.int64)
    keys, bits = _sorted_keys(values, chunk)
    start = 0
    while start < size:
        last = int(keys[min(start + chunk, size) - 1] >> bits)
        stop = int(np.searchsorted(keys, (last + 1) << bits))  # equal leading bits stay in one piece
        lead, members = keys[start:stop] >> bits, keys[start:stop] & ((1 << bits) - 1)
        ordered = values[members]
        doubtful = np.flatnonzero(lead[1:] == lead[:-1])
        doubtful = np.union1d(doubtful, doubtful + 1)
        settled = doubtful[np.lexsort((ordered[doubtful], lead[doubtful]))]
        members[doubtful], ordered[doubtful] = members[settled], ordered[settled]
        edges = np.concatenate([[0], np.flatnonzero(ordered[1:] != ordered[:-1]) + 1, [stop - start]])
        ranks[members] = np.repeat(2 * start + edges[:-1] + edges[1:] + 1, np.diff(edges))
        start = stop
    return ranks


def _sorted_keys(values: Float[Array, " p"], chunk: int) -> tuple[Int[Array, " p"], int]:
    """Ascending integers (leading bits of value - minimum, position), and the number of position bits."""
    size = len(values)
    bits = max(1, (size - 1).bit_length())
    low, high = float(values.min()), float(values.max())
    scale = 2.0 ** (62 - bits) / (high - low) if high > low else 0.0
    keys = np.empty(size, np.int64)
    for start in range(0, size, chunk):
        piece = slice(start, min(start + chunk, size))
        keys[piece] = ((values[piece] - low) * scale).astype(np.int64) << bits
        keys[piece] |= np.arange(piece.start, piece.stop)
    keys.sort()
    return keys, bits
