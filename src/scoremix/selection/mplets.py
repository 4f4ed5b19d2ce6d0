"""Exact extreme m-plets: the K sets of m classes whose distances are extreme, certified (Section 4.4, Appendix H)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import comb
from typing import Any, Literal

import numpy as np

from scoremix.selection.coverage import Coverage, capped, degrees_of, spread
from scoremix.selection.distances import OBJECTIVES, Metric, PairFunction, Term, pair_function
from scoremix.selection.exhaustive import search_all
from scoremix.selection.scores import CpuScores
from scoremix.selection.search import Leaders, Progress, Scores, search_cliques, search_pairs, search_sums

Objective = Literal["sum", "mean", "min", "max", "range", "std"]
Backend = Literal["auto", "numba", "torch"]

FEW = 300_000  # sets: from here on a search pays
MANY = 2_000_000_000  # sets: beyond, an exhaustive search is refused
SETS_PER_SECOND = 3e6  # of an exhaustive search, roughly


@dataclass(frozen=True)
class Certificate:
    """Why nothing better was missed: every set of a better value than `bound` was evaluated or excluded by a bound."""

    kth_value: float  # the last value reported
    bound: float  # the K-th value, less the rounding that the search allows for
    pair_sums: int  # candidate sets evaluated, each from sums of pair scores
    sets: int  # allowed sets there are


@dataclass(frozen=True)
class MPlets:
    """Sets of m classes and the objective value that selected each, best first; equal values in index order."""

    classes: np.ndarray  # (K, m) int64, ascending per row
    values: np.ndarray  # (K,) float64
    certificate: Certificate | None = None  # None where the list is not simply the best K
    coverage: Coverage | None = None

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
    max_degree: int | None = None,
    min_degree: int | None = None,
    groups: Any = None,
    across: bool = True,
    backend: Backend = "auto",
    memory: float = 1.0,
    progress: Progress | None = None,
) -> MPlets:
    """The k best m-subsets of the rows of x (N, D), best first: exact, with a certificate.

    The value of a pair is weight * d(x) plus, for each of `terms` (rows, metric, weight), that weight times the
    distance of those rows. The objective of a set is the sum or mean of its pairs' values, or the smallest (wanted
    large) or largest (wanted small) of them; range and std are searched exhaustively, refused where that takes long.
    With `groups` (N,) only sets across m groups count, or within one group. Values are float64 from the rows as given,
    rounded to 2⁻⁴² of the largest possible one; equal values come in the order of their indices.

    `max_degree` takes sets greedily in that order while none of their classes is used that often; `min_degree` first
    gives every class its own best sets. x may be an array or a tensor; the search runs where the tensor is. `memory` in
    GB bounds the scores kept beside x. `progress(what, share)` is called many times a second. ValueError on input that
    cannot be searched, MemoryError where the pairs that matter do not fit.
    """
    function = pair_function(x, metric, largest=largest, weight=weight, terms=terms, groups=groups, across=across)
    total = check_count(function, m, k)
    _check_objective(objective, largest, m, comb(function.n, m))
    if max_degree is not None and min_degree is not None:
        raise ValueError("max_degree and min_degree exclude each other")
    if min_degree is not None and objective not in ("sum", "mean"):
        raise ValueError(f"min_degree needs objective 'sum' or 'mean', got {objective!r}")
    report = progress or (lambda what, share: None)
    device = _device(x, backend)

    def best(subset: PairFunction, count: int) -> Leaders:
        return _search(subset, m, count, objective, device, memory * 1e9, report)

    per_set = comb(m, 2) if objective == "mean" else 1
    if max_degree is None and min_degree is None:
        leaders = best(function, k)
        classes, values = leaders.best()
        bound = leaders.threshold * function.size * function.sign
        certificate = Certificate(values[-1] / per_set, bound / per_set, leaders.pair_sums, total)
        return MPlets(classes, values / per_set, certificate, Coverage(degrees_of(classes, function.n)))
    free = best(function, k).best()
    if max_degree is not None:
        classes, values = capped(
            lambda left, count: best(function.subset(left), count).best(),
            lambda left: count_sets(len(left), m, None if function.groups is None else function.groups[left], across),
            function.n, m, k, max_degree,
        )  # fmt: skip
    else:
        assert min_degree is not None
        classes, values = spread(function, lambda count: free, m, k, min_degree)
    mean = float(free[1].mean()) / per_set
    cost = abs(mean - float(values.mean()) / per_set)
    return MPlets(classes, values / per_set, None, Coverage(degrees_of(classes, function.n), mean, cost))


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
    """The number of allowed sets; ValueError unless 2 <= m <= N and 1 <= k <= that number, both whole."""
    for name, value in (("m", m), ("k", k)):
        if not isinstance(value, (int, np.integer)):
            raise ValueError(f"{name} must be a whole number, got {value!r}")
    if not 2 <= m <= function.n:
        raise ValueError(f"m must lie between 2 and the number of rows, {function.n}, got {m}")
    total = count_sets(function.n, m, function.groups, function.across)
    if not total:
        raise ValueError(
            f"no {m}-plet is allowed: the groups leave none {'across' if function.across else 'within'} them"
        )
    if not 1 <= k <= total:
        raise ValueError(f"k must lie between 1 and the number of allowed {m}-plets, {total}, got {k}")
    return total


def _check_objective(objective: str, largest: bool, m: int, total: int) -> None:
    if objective not in OBJECTIVES:
        raise ValueError(f"objective must be one of {', '.join(OBJECTIVES)}, got {objective!r}")
    if m > 2 and (objective, largest) in (("max", True), ("min", False)):
        extreme = "largest max" if largest else "smallest min"
        raise ValueError(
            f"objective={objective!r} with largest={largest} is degenerate: the {extreme} is reached by one extreme "
            f"pair, whatever else is in the set; use m = 2, or objective={'min' if largest else 'max'!r}"
        )
    if objective in ("range", "std"):
        if m == 2:
            raise ValueError(f"objective={objective!r} is 0 for every pair, it needs m >= 3")
        if total > MANY:
            raise ValueError(
                f"objective={objective!r} needs all {total:.3g} sets evaluated, about "
                f"{total / SETS_PER_SECOND / 3600:.3g} hours; at most {MANY:.0e} are allowed: "
                "take fewer rows, a smaller m, or another objective"
            )


def _device(x: Any, backend: str) -> Any:
    """The torch device to search on, or None for numba."""
    if backend not in ("auto", "numba", "torch"):
        raise ValueError(f"backend must be auto, numba or torch, got {backend!r}")
    device = getattr(x, "device", None)
    on_gpu = getattr(device, "type", "cpu") != "cpu"
    if backend == "numba" or (backend == "auto" and not on_gpu):
        return None
    return device if on_gpu else "cpu"


def _search(
    function: PairFunction, m: int, k: int, objective: str, device: Any, memory: float, progress: Progress
) -> Leaders:
    if objective in ("range", "std") or comb(function.n, m) <= FEW:
        return search_all(function, m, k, "sum" if objective == "mean" else objective, progress)
    scores: Scores
    if device is None:
        scores = CpuScores(function, memory, matrix=m > 2)
    else:
        from scoremix.selection.gpu import TorchScores

        scores = TorchScores(function, memory, device, matrix=m > 2)
    if m == 2:
        return search_pairs(scores, k, progress)
    if objective in ("min", "max"):
        return search_cliques(scores, m, k, objective, progress)
    return search_sums(scores, m, k, progress)
