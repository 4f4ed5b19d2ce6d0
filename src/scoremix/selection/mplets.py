"""Exact extreme m-plets: the K sets of m classes whose distances are extreme, certified (Section 4.4, Appendix H)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import comb
from typing import Any

import numpy as np
from jaxtyping import Int

from scoremix.selection.coverage import Coverage, capped, degrees_of, spread
from scoremix.selection.criterion import Criterion, Metric, Objective, Term
from scoremix.selection.scores import Scores
from scoremix.selection.search import Leaders, Progress, search_all, search_cliques, search_pairs, search_sums

FEW = 300_000  # sets: from here on a search pays
MANY = 2_000_000_000  # sets: beyond, an exhaustive search is refused
SETS_PER_SECOND = 3e6  # of an exhaustive search, roughly
STEP = 1 << 16  # random m-plets scored at a time


@dataclass(frozen=True)
class Certificate:
    """Why nothing better was missed: every set of a better value than `bound` was evaluated or excluded by a bound."""

    kth_value: float  # the last value reported
    bound: float  # the K-th value, less the rounding that the search allows for
    pair_sums: int  # candidate sets evaluated, each from sums of pair scores
    sets: int  # allowed sets there are


@dataclass(frozen=True)
class Verification:
    """What random m-plets say about a reported list; an exact one has top1_violations = new = worst_margin = 0."""

    samples: int  # allowed m-plets drawn, with repeats
    top1_violations: int  # strictly better than the first reported value
    known: int  # strictly better than the K-th reported value, and reported
    new: int  # strictly better than the K-th reported value, yet not reported
    worst_margin: float  # by how much the best of the new ones beats the K-th value


@dataclass(frozen=True)
class MPlets:
    """Sets of m classes and the objective value that selected each, best first; equal values in index order."""

    classes: np.ndarray  # (K, m) int64, ascending per row
    values: np.ndarray  # (K,) float64
    certificate: Certificate | None = None  # None where the list is not simply the best K
    coverage: Coverage | None = None
    verification: Verification | None = None

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
    verify: int = 0,
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
    gives every class its own best sets. `verify` random m-plets are held against a list without such limits. x may be
    an array or a tensor; the search runs on the CPU. `memory` in GB bounds the scores kept beside x. `progress(what,
    share)` is called many times a second. ValueError on input that cannot be searched, MemoryError where the pairs that
    matter do not fit.
    """
    criterion = Criterion.of(
        x, metric, largest=largest, objective=objective, weight=weight, terms=terms, groups=groups, across=across
    )
    total = refuse_impossible(criterion.n, m, k, objective, criterion.sign > 0, criterion.groups, criterion.across)
    if max_degree is not None and min_degree is not None:
        raise ValueError("max_degree and min_degree exclude each other")
    if min_degree is not None and objective not in ("sum", "mean"):
        raise ValueError(f"min_degree needs objective 'sum' or 'mean', got {objective!r}")
    per_set = 1
    if objective == "mean":
        criterion, per_set = replace(criterion, objective="sum"), comb(m, 2)

    def best(subset: Criterion, count: int) -> Leaders:
        return _search(subset, m, count, memory * 1e9, progress or (lambda what, share: None))

    leaders = best(criterion, k)
    classes, values = leaders.best()
    if max_degree is None and min_degree is None:
        bound = leaders.threshold * criterion.size * criterion.sign
        certificate = Certificate(values[-1] / per_set, bound / per_set, leaders.pair_sums, total)
        proof = verified(criterion, classes, values, verify) if verify else None
        if proof is not None:
            proof = replace(proof, worst_margin=proof.worst_margin / per_set)
        return MPlets(classes, values / per_set, certificate, Coverage(degrees_of(classes, criterion.n)), proof)
    free = classes, values
    if max_degree is not None:
        classes, values = capped(
            lambda left, count: best(criterion.subset(left), count).best(),
            lambda left: count_sets(len(left), m, None if criterion.groups is None else criterion.groups[left], across),
            criterion.n, m, k, max_degree,
        )  # fmt: skip
    else:
        assert min_degree is not None
        classes, values = spread(criterion, lambda count: free, m, k, min_degree)
    mean = float(free[1].mean()) / per_set
    cost = abs(mean - float(values.mean()) / per_set)
    return MPlets(classes, values / per_set, None, Coverage(degrees_of(classes, criterion.n), mean, cost))


def verified(
    criterion: Criterion, classes: np.ndarray, values: np.ndarray, samples: int = 1_000_000, seed: int = 0
) -> Verification:
    """Stochastic check of a reported list (K, m) with its values, best first: random m-plets, scored in float64, must

    not beat it (Appendix H, verification).
    """
    reported = {tuple(row) for row in classes.tolist()}
    first, last = criterion.sign * values[0], criterion.sign * values[-1]
    rng = np.random.default_rng(seed)
    drawn = violations = known = new = 0
    worst = 0.0
    for begin in range(0, samples, STEP):
        size = min(STEP, samples - begin), classes.shape[1]
        sets = np.sort(rng.integers(0, criterion.n, size), axis=1)
        sets = sets[(np.diff(sets, axis=1) > 0).all(axis=1)]
        sets = sets[criterion.allowed(sets)]
        scores = criterion.sign * criterion.values(sets)
        drawn += len(sets)
        violations += int((scores > first).sum())
        for at in np.flatnonzero(scores > last).tolist():
            if tuple(sets[at].tolist()) in reported:
                known += 1
            else:
                new += 1
                worst = max(worst, float(scores[at] - last))
    return Verification(drawn, violations, known, new, worst)


def count_sets(n: int, m: int, groups: Int[np.ndarray, " n"] | None = None, across: bool = True) -> int:
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


def refuse_impossible(
    n: int,
    m: int,
    k: int,
    objective: Objective = "sum",
    largest: bool = True,
    groups: Int[np.ndarray, " n"] | None = None,
    across: bool = True,
) -> int:
    """The number of allowed m-subsets of n rows.

    ValueError unless 2 <= m <= n and 1 <= k <= that number, both whole, and where the objective cannot order them.
    """
    for name, value in (("m", m), ("k", k)):
        if not isinstance(value, (int, np.integer)):
            raise ValueError(f"{name} must be a whole number, got {value!r}")
    if not 2 <= m <= n:
        raise ValueError(f"m must lie between 2 and the number of rows, {n}, got {m}")
    total = count_sets(n, m, groups, across)
    if not total:
        raise ValueError(f"no {m}-plet is allowed: the groups leave none {'across' if across else 'within'} them")
    if not 1 <= k <= total:
        raise ValueError(f"k must lie between 1 and the number of allowed {m}-plets, {total}, got {k}")
    if m > 2 and (objective, largest) in (("max", True), ("min", False)):
        extreme = "largest max" if largest else "smallest min"
        raise ValueError(
            f"objective={objective!r} with largest={largest} is degenerate: the {extreme} is reached by one extreme "
            f"pair, whatever else is in the set; use m = 2, or objective={'min' if largest else 'max'!r}"
        )
    if objective in ("range", "std"):
        if m == 2:
            raise ValueError(f"objective={objective!r} is 0 for every pair, it needs m >= 3")
        if (sets := comb(n, m)) > MANY:
            raise ValueError(
                f"objective={objective!r} needs all {sets:.3g} sets evaluated, about "
                f"{sets / SETS_PER_SECOND / 3600:.3g} hours; at most {MANY:.0e} are allowed: "
                "take fewer rows, a smaller m, or another objective"
            )
    return total


def _search(criterion: Criterion, m: int, k: int, memory: float, progress: Progress) -> Leaders:
    if criterion.objective in ("range", "std") or comb(criterion.n, m) <= FEW:
        return search_all(criterion, m, k, progress)
    scores = Scores(criterion, memory, matrix=m > 2)
    if m == 2:
        return search_pairs(scores, k, progress)
    if criterion.objective in ("min", "max"):
        return search_cliques(scores, m, k, progress)
    return search_sums(scores, m, k, progress)
