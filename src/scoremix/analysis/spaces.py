"""Spaces to compare: one row per class, the same classes in the same order (ScoreMix section 4.3).

A space is a matrix (n, d), torch or numpy; everything is computed in float64 on the CPU or on the
tensor's own device, so that results do not depend on the precision in which rows were stored.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

Numbers = Tensor | np.ndarray
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


def check_neighbours(k: int, n: int) -> None:
    """ValueError unless 1 <= k <= n - 1, the number of other rows."""
    if not 1 <= k <= n - 1:
        raise ValueError(f"k: {k} neighbours, allowed 1 to {n - 1} for {n} rows")


def row_blocks(n: int, columns: int) -> Iterator[slice]:
    """Row ranges such that a block of that many rows and `columns` columns has at most BLOCK entries."""
    step = max(1, BLOCK // max(1, columns))
    return (slice(start, min(start + step, n)) for start in range(0, n, step))
