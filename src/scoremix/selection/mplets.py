"""Exact extreme m-plets: the K sets of m classes whose pair distances are extreme, with a certificate (Section 4.4, Appendix H)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import comb
from typing import Any, Literal

import numpy as np

from scoremix.selection.distances import Metric, PairFunction, Term, pair_function
from scoremix.selection.search import Progress, search_pairs

Objective = Literal["sum", "mean", "min", "max", "range", "std"]


@dataclass(frozen=True)
class Certificate:
    """Why nothing better exists: no set beyond `bound` was left unvisited, and every reported value is at least as good."""

    kth_value: float  # the last reported value
    bound: float  # every set with a better value than this was visited
    pair_sums: int  # sums of pair scores evaluated by the search
    sets: int  # sets there are


@dataclass(frozen=True)
class MPlets:
    """Sets of m classes and the objective value that selected each, best first; ties in the order of their indices."""

    classes: np.ndarray  # (K, m) int64, ascending per row
    values: np.ndarray  # (K,) float64
    certificate: Certificate | None = None

    def __len__(self) -> int:
        return len(self.classes)


def top_mplets(
    x: Any,
    m: int,
    k: int,
    *,
    objective: Objective = "sum",
    metric: Metric = "cosine",
    largest: bool = True,
    weight: float = 1.0,
    terms: Sequence[Term] | None = None,
    groups: Any = None,
    across: bool = True,
    progress: Progress | None = None,
) -> MPlets:
    """The k best m-subsets of the rows of x (N, D), exact up to a rounding of values to 2⁻³⁸ of the largest possible one."""
    function = pair_function(
        x, metric, largest=largest, weight=weight, terms=terms, groups=groups, across=across
    )
    check_count(function, m, k)
    if m != 2:
        raise NotImplementedError(f"m = {m}")
    leaders = search_pairs(function, k, progress)
    classes, values = leaders.best()
    bound = float(leaders.threshold) * function.size * function.sign
    certificate = Certificate(float(values[-1]), bound, comb(function.n, 2), comb(function.n, m))
    return MPlets(classes, values, certificate)


def count_sets(n: int, m: int, groups: np.ndarray | None = None, across: bool = True) -> int:
    """How many m-subsets of n rows are allowed: all, or only those of m different groups, or of one group."""
    if groups is None:
        return comb(n, m)
    sizes = np.bincount(groups).tolist()
    if not across:
        return sum(comb(size, m) for size in sizes)
    ways = [1] + [0] * m
    for size in sizes:
        for chosen in range(m, 0, -1):
            ways[chosen] += ways[chosen - 1] * size
    return ways[m]


def check_count(function: PairFunction, m: int, k: int) -> None:
    """ValueError unless 2 <= m <= N and 1 <= k <= the number of allowed sets."""
    if not 2 <= m <= function.n:
        raise ValueError(f"m must lie between 2 and the number of rows, {function.n}, got {m}")
    total = count_sets(function.n, m, function.groups, function.across)
    if not 1 <= k <= total:
        raise ValueError(f"k must lie between 1 and the number of allowed {m}-plets, {total}, got {k}")
