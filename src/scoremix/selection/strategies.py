"""Which classes to mix, by name: random, far, close, a window of distances, two spaces (Section 4.3, Table 2)."""

from dataclasses import replace
from math import comb
from typing import Any, Literal, get_args

import numpy as np

from scoremix.selection.coverage import Coverage, degrees_of, refuse_degrees, take
from scoremix.selection.criterion import Criterion, Metric, Objective
from scoremix.selection.distribution import FEW, pair_moments, pair_quantiles
from scoremix.selection.mplets import MPlets, refuse_impossible, top_mplets
from scoremix.selection.search import Progress, unrank

Strategy = Literal["random", "window", "far", "close", "joint_top", "joint_worst"]

PATIENCE = 256  # rounds of draws without a new m-plet


def select(
    centers: Any,
    strategy: Strategy,
    count: int,
    *,
    m: int = 2,
    metric: Metric = "cosine",
    objective: Objective = "sum",
    seed: int = 0,
    conditions: Any = None,
    condition_metric: Metric = "cosine",
    window: tuple[float, float] = (0.05, 0.25),
    groups: Any = None,
    across: bool = True,
    max_degree: int | None = None,
    min_degree: int | None = None,
    verify: int = 0,
    memory: float = 1.0,
    progress: Progress | None = None,
) -> MPlets:
    """`count` m-plets of the classes whose centers are the rows of `centers` (N, D), which may be any space.

    far, close: the largest or smallest objectives (by default sums) of pair distances, exact, best first.
    joint_top, joint_worst: likewise with z(distance of centers) - z(distance of `conditions`) in place of a pair's
        distance, z over all pairs: close conditions with far centers, and the reverse.
    random: distinct, uniform without replacement, in the order drawn.
    window: likewise, of the m-plets all of whose pair distances lie between these quantiles of all pair distances
        (semi-hard; beyond a million m-plets the quantiles are those of four million random pairs).

    Values are objectives of pair distances, or of z differences. `groups` (N,) allows only m-plets across m groups, or
    within one group; `max_degree` caps how often a class is used (greedily in the order above); `min_degree`, for far,
    close and joint, first gives every class its own best m-plets; their lists without such limits are held against
    `verify` random m-plets. The result's coverage says how often each class is used. ValueError where the choice is impossible, such as a count above the number of m-plets.
    """
    if strategy not in get_args(Strategy):
        raise ValueError(f"strategy must be one of {', '.join(get_args(Strategy))}, got {strategy!r}")
    if strategy in ("random", "window"):
        criterion = Criterion.of(centers, metric, groups=groups, across=across)
        refuse_impossible(criterion.n, m, count, groups=criterion.groups, across=across)
        if min_degree is not None:
            raise ValueError(f"min_degree needs strategy far, close, joint_top or joint_worst, got {strategy!r}")
        refuse_degrees(criterion.n, m, count, max_degree)
        rng = np.random.default_rng(seed)
        limits = pair_quantiles(criterion, window) if strategy == "window" else None
        classes = _draw(criterion, m, count, rng, limits, max_degree)
        values = replace(criterion, objective=objective).values(classes)
        return MPlets(classes, values, None, Coverage(degrees_of(classes, criterion.n)))
    options: dict[str, Any] = dict(
        objective=objective, groups=groups, across=across, max_degree=max_degree, min_degree=min_degree,
        verify=verify, memory=memory, progress=progress,
    )  # fmt: skip
    if strategy in ("far", "close"):
        return top_mplets(centers, m, count, metric=metric, largest=strategy == "far", **options)
    if conditions is None:
        raise ValueError(f"strategy={strategy!r} needs conditions, a second space with one row per class")
    return _joint(centers, metric, conditions, condition_metric, m, count, strategy == "joint_top", options)


def _joint(
    centers: Any,
    metric: Metric,
    conditions: Any,
    condition_metric: Metric,
    m: int,
    count: int,
    largest: bool,
    options: dict[str, Any],
) -> MPlets:
    mean, spread = pair_moments(centers, metric)
    other_mean, other_spread = pair_moments(conditions, condition_metric)
    if spread == 0 or other_spread == 0:
        raise ValueError("all pairs of centers, or of conditions, are equally far: there is nothing to choose by")
    terms = [(conditions, condition_metric, -1 / other_spread)]
    best = top_mplets(centers, m, count, metric=metric, largest=largest, weight=1 / spread, terms=terms, **options)
    shift = other_mean / other_spread - mean / spread  # of a pair's value
    shift *= {"sum": comb(m, 2), "range": 0, "std": 0}.get(options["objective"], 1)
    certificate, coverage = best.certificate, best.coverage
    if certificate is not None:
        certificate = replace(certificate, kth_value=certificate.kth_value + shift, bound=certificate.bound + shift)
    if coverage is not None and coverage.unconstrained is not None:
        coverage = replace(coverage, unconstrained=coverage.unconstrained + shift)
    return replace(best, values=best.values + shift, certificate=certificate, coverage=coverage)


def _draw(
    criterion: Criterion,
    m: int,
    count: int,
    rng: np.random.Generator,
    limits: tuple[float, float] | None,
    max_degree: int | None,
) -> np.ndarray:
    """int64 (count, m) distinct allowed sets, uniform without replacement, in the order drawn."""

    def wanted(sets: np.ndarray) -> np.ndarray:
        sets = sets[criterion.allowed(sets)]
        if limits is None or not len(sets):
            return sets
        distances = criterion.rounded(criterion.distances(sets))
        return sets[((distances >= limits[0]) & (distances <= limits[1])).all(axis=1)]

    if comb(criterion.n, m) <= FEW:
        every = wanted(unrank(np.arange(comb(criterion.n, m)), criterion.n, m))
        return _first_free(every[rng.permutation(len(every))], criterion.n, count, max_degree)
    kept = taken = np.zeros((0, m), np.int64)
    idle = 0
    left = np.arange(criterion.n)
    while len(taken) < count and idle < PATIENCE and len(left) >= m:
        pool = np.concatenate([kept, wanted(_random_sets(left, m, 2 * count + 1024, criterion, rng))])
        pool = pool[np.sort(np.unique(pool, axis=0, return_index=True)[1])]
        idle = 0 if len(pool) > len(kept) else idle + 1
        kept = pool
        taken = _first_free(kept, criterion.n, min(count, len(kept)), max_degree, strict=False)
        if max_degree is not None:
            left = np.flatnonzero(degrees_of(taken, criterion.n) < max_degree)
    if len(taken) < count:
        raise ValueError(f"only {len(taken)} of {count} {m}-plets were found: widen the window, the groups or the cap")
    return taken


def _random_sets(left: np.ndarray, m: int, size: int, criterion: Criterion, rng: np.random.Generator) -> np.ndarray:
    """About `size` sets of m of these classes, ascending, independent and uniform (within one group where asked)."""
    if criterion.groups is None or criterion.across:
        sets = left[rng.integers(0, len(left), (size, m))]
    else:
        # a group in proportion to its m-tuples; those with repeats fall away below
        order = left[np.argsort(criterion.groups[left], kind="stable")]
        sizes = np.bincount(criterion.groups[left])
        share = sizes.astype(np.float64) ** m * (sizes >= m)
        if not share.any():
            return np.zeros((0, m), np.int64)
        group = rng.choice(len(sizes), size, p=share / share.sum())
        start = np.cumsum(sizes) - sizes
        sets = order[start[group, None] + (rng.random((size, m)) * sizes[group, None]).astype(np.int64)]
    sets = np.sort(sets, axis=1)
    return sets[(np.diff(sets, axis=1) > 0).all(axis=1)]


def _first_free(sets: np.ndarray, n: int, count: int, max_degree: int | None, strict: bool = True) -> np.ndarray:
    """The first `count` sets, or with a cap the first whose classes are all used fewer times than that so far."""
    if max_degree is not None:
        chosen = np.zeros(len(sets), np.bool_)
        take(sets, np.zeros(n, np.int64), max_degree, count, chosen)
        sets = sets[chosen]
    if strict and len(sets) < count:
        raise ValueError(
            f"only {len(sets)} m-plets are allowed, {count} were asked for: widen the window or raise the cap"
        )
    return sets[:count]
