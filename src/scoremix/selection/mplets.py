"""Exact extreme m-plets: the K sets of m classes whose pair distances are extreme, with a certificate (Section 4.4, Appendix H)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import comb
from typing import Any, Literal

import numpy as np

from scoremix.selection.distances import OBJECTIVES, Metric, PairFunction, Term, pair_function
from scoremix.selection.exhaustive import search_all
from scoremix.selection.scores import CpuScores
from scoremix.selection.search import Leaders, Progress, search_cliques, search_pairs, search_sums

Objective = Literal["sum", "mean", "min", "max", "range", "std"]

FEW = 300_000  # sets: from here on a search pays
MANY = 2_000_000_000  # sets: beyond, an exhaustive search is refused
SETS_PER_SECOND = 3e6  # of an exhaustive search, roughly


@dataclass(frozen=True)
class Certificate:
    """Why nothing better was missed: every set whose value is better than `bound` was evaluated or shown to be impossible."""

    kth_value: float  # the last value reported
    bound: float  # the K-th value, less the rounding that the search allows for
    pair_sums: int  # candidate sets evaluated, each from sums of pair scores
    sets: int  # allowed sets there are


@dataclass(frozen=True)
class MPlets:
    """Sets of m classes and the objective value that selected each, best first; equal values in the order of the indices."""

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
    backend: Literal["auto", "numba", "torch"] = "auto",
    memory: float = 1.0,
    progress: Progress | None = None,
) -> MPlets:
    """The k best m-subsets of the rows of x (N, D), best first: exact, with a certificate.

    The value of a pair is weight * d(x) plus, for each of `terms` (rows, metric, weight), that weight times the distance
    of those rows. The objective of a set is the sum or mean of its pairs' values, or the smallest (wanted large) or
    largest (wanted small) of them; range and std are searched exhaustively and refused where that takes too long.
    With `groups` (N,) only sets across m groups count, or within one group. Values are float64 from the rows as given,
    rounded to 2⁻³⁸ of the largest possible one; equal values come in the order of their indices.

    x may be an array or a tensor; on a GPU tensor the search runs there. `memory` in GB bounds the scores kept beside x.
    `progress(what, share)` is called many times a second. ValueError on what cannot be searched.
    """
    function = pair_function(x, metric, largest=largest, weight=weight, terms=terms, groups=groups, across=across)
    total = check_count(function, m, k)
    _check_objective(objective, largest, m, comb(function.n, m))
    progress = progress or (lambda what, share: None)
    leaders, pair_sums = _search(function, x, m, k, objective, backend, memory * 1e9, progress)
    classes, values = leaders.best()
    if objective == "mean":
        values = values / comb(m, 2)
    if objective in ("sum", "mean", "min", "max"):
        scale = function.size / (comb(m, 2) if objective == "mean" else 1)
        bound = float(leaders.threshold) * scale * function.sign
    else:
        bound = float(values[-1])
    return MPlets(classes, values, Certificate(float(values[-1]), bound, pair_sums, total))


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


def check_count(function: PairFunction, m: int, k: int) -> int:
    """The number of allowed sets; ValueError unless 2 <= m <= N and 1 <= k <= that number."""
    if not 2 <= m <= function.n:
        raise ValueError(f"m must lie between 2 and the number of rows, {function.n}, got {m}")
    total = count_sets(function.n, m, function.groups, function.across)
    if not 1 <= k <= total:
        raise ValueError(f"k must lie between 1 and the number of allowed {m}-plets, {total}, got {k}")
    return total


def _check_objective(objective: str, largest: bool, m: int, total: int) -> None:
    if objective not in OBJECTIVES:
        raise ValueError(f"objective must be one of {', '.join(OBJECTIVES)}, got {objective!r}")
    if m > 2 and (objective, largest) in (("max", True), ("min", False)):
        extreme = "largest max" if largest else "smallest min"
        raise ValueError(
            f"objective={objective!r} with largest={largest} is degenerate: the {extreme} is reached by one extreme pair with "
            f"any {m - 2} other classes; use m = 2, or objective={'min' if largest else 'max'!r}"
        )
    if objective in ("range", "std"):
        if m == 2:
            raise ValueError(f"objective={objective!r} is 0 for every pair, it needs m >= 3")
        if total > MANY:
            raise ValueError(
                f"objective={objective!r} needs all {total:.3g} sets evaluated, about {total / SETS_PER_SECOND / 3600:.3g} "
                f"hours; at most {MANY:.0e} sets are allowed: take fewer rows, a smaller m, or another objective"
            )


def _search(
    function: PairFunction, x: Any, m: int, k: int, objective: str, backend: str, memory: float, progress: Progress
) -> tuple[Leaders, int]:
    total = comb(function.n, m)
    if m > 2 and (objective in ("range", "std") or total <= FEW):
        return search_all(function, m, k, "sum" if objective == "mean" else objective, progress), total
    scores = CpuScores(function, memory)
    if m == 2:
        return search_pairs(scores, k, progress), total
    if objective in ("min", "max"):
        leaders = search_cliques(scores, m, k, objective, progress)
    else:
        leaders = search_sums(scores, m, k, progress)
    return leaders, scores.pair_sums
