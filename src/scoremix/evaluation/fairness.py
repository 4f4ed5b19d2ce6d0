"""Does recognition serve all groups alike: error rates per group and the usual summaries of their spread.

A pair of images belongs to a group when both images do; pairs across groups are the caller's to leave out,
or to give a group of their own. FMR is the accepted share of a group's impostor pairs, FNMR the refused
share of its genuine pairs. A pair is accepted when its similarity exceeds the threshold.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numba
import numpy as np
from jaxtyping import Bool, Float, Int
from numpy import ndarray as Array

from scoremix.evaluation.bootstrap import genuine_weight, impostor_weight, weighted_thresholds
from scoremix.evaluation.metrics import Numbers, PairSimilarities, allowed_impostors, as_array

Weight = Callable[[Array, Array], Array]  # of all pairs of classes of those sizes, in each draw


class DrawnGroupErrors(NamedTuple):
    """Error rates within groups in draws of classes, NaN where a draw has no such pair of a group."""

    groups: Array
    fmr: Float[Array, "r g"]
    fnmr: Float[Array, "r g"]
    classes: Int[Array, " g"]
    impostor: Int[Array, " g"]  # pairs of images, each class once
    genuine: Int[Array, " g"]


def within_groups(
    pairs: PairSimilarities, groups: Sequence[str], far: float, n: Int[Array, "r c"]
) -> DrawnGroupErrors | None:
    """Rates within every group in draws of classes, weighted as in `bootstrap`; multiplicities 1 give the plain rates.

    In each draw one threshold holds for all groups: FAR <= `far` over all impostor pairs, across groups too. `groups` has
    the group of each label. Groups without a genuine or an impostor pair are left out; None where fewer than two are
    left, or the impostor pairs are too few for `far`. ValueError where only a tail of `pairs` was kept.
    """
    pairs.refuse_tail()
    if not pairs.impostors or allowed_impostors(pairs.impostors, np.asarray(far)) < 1:
        return None
    names, of_label = np.unique(np.array(groups), return_inverse=True)
    of = of_label[pairs.classes]
    member = of[:, None] == np.arange(len(names))
    every = np.ones((1, len(of)), np.int64)
    genuine, impostors = (_by_group(w, pairs.sizes, member, every)[0] for w in (genuine_weight, impostor_weight))
    kept = (genuine > 0) & (impostors > 0)
    if kept.sum() < 2:
        return None
    member, place = member[:, kept], np.cumsum(kept) - 1
    threshold = weighted_thresholds(pairs, [far], n, impostor_weight(pairs.sizes, n))[:, 0]
    multiplicities = np.ascontiguousarray(n.T)

    def above(similarity: Array, first: Array, second: Array) -> Int[Array, "r g"]:
        used = (of[first] == of[second]) & kept[of[first]] & (similarity > threshold.min())
        chosen = similarity[used], first[used], second[used], place[of[first[used]]]
        return np.asarray(_weight_above(*chosen, threshold, multiplicities, int(kept.sum())))

    right = above(pairs.genuine, pairs.genuine_class, pairs.genuine_class)
    accepted = above(pairs.impostor, *pairs.impostor_classes.T)
    with np.errstate(invalid="ignore", divide="ignore"):
        fnmr = 1 - right / _by_group(genuine_weight, pairs.sizes, member, n)
        fmr = accepted / _by_group(impostor_weight, pairs.sizes, member, n)
    return DrawnGroupErrors(names[kept], fmr, fnmr, member.sum(0), impostors[kept], genuine[kept])


def _by_group(weight: Weight, sizes: Int[Array, " c"], member: Bool[Array, "c g"], n: Int[Array, "r c"]) -> Array:
    """Weight of the pairs within each group, (r, g): that of the classes that are in it."""
    return np.stack([weight(sizes * inside, n) for inside in member.T], axis=1)


@numba.njit(cache=True)
def _weight_above(
    similarity: Array, first: Array, second: Array, group: Array, threshold: Array, n: Array, groups: int
) -> Array:
    """Weight of the pairs above each draw's threshold by group; classes `first` and `second`, one for genuine pairs."""
    draws = len(threshold)
    total = np.zeros((draws, groups), np.int64)
    for i in range(len(similarity)):
        a, b, g = first[i], second[i], group[i]
        for r in range(draws):
            if similarity[i] > threshold[r]:
                total[r, g] += n[a, r] if a == b else n[a, r] * n[b, r]
    return total


def _rates(values: Any, name: str) -> Float[Array, "*r g"]:
    rates = np.asarray(values, np.float64)
    if rates.ndim < 1 or rates.shape[-1] < 2 or not (np.isnan(rates) | ((rates >= 0) & (rates <= 1))).all():
        raise ValueError(f"{name}: needs rates in [0, 1] of at least 2 groups, got {rates.tolist()}")
    return rates


def _both(
    summary: Callable[[Array], Array], fmr: Any, fnmr: Any, alpha: float
) -> tuple[Float[Array, "*r"], Float[Array, "*r"]]:
    """A summary of both rates over their groups that are not NaN; NaN where fewer than two are left."""
    if not 0 <= alpha <= 1:
        raise ValueError(f"alpha: {alpha}, allowed 0 to 1")
    both = []
    for rates in (_rates(fmr, "fmr"), _rates(fnmr, "fnmr")):
        both.append(np.where((~np.isnan(rates)).sum(-1) >= 2, summary(rates), np.nan))
    return both[0], both[1]


def _range(rates: Float[Array, "*r g"]) -> Float[Array, "*r"]:
    return np.asarray(np.fmax.reduce(rates, -1) - np.fmin.reduce(rates, -1))


def _max_over_min(rates: Float[Array, "*r g"]) -> Float[Array, "*r"]:
    low, high = np.fmin.reduce(rates, -1), np.fmax.reduce(rates, -1)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(low > 0, high / low, np.where(high > 0, np.inf, 1.0))


def gini(rates: Float[Numbers, "*r g"], name: str = "rates") -> Float[Array, "*r"]:
    """Gini coefficient with the factor g/(g-1), in [0, 1]: 0 when all are alike (all 0 included).

    Of the rates that are not NaN; NaN where fewer than two are left.
    """
    ordered = np.sort(_rates(rates, name), axis=-1)  # NaN last
    there = ~np.isnan(ordered)
    k, values = there.sum(-1, keepdims=True), np.where(there, ordered, 0)
    total = values.sum(-1)
    spread = ((2 * np.arange(1, ordered.shape[-1] + 1) - k - 1) * values).sum(-1)
    with np.errstate(invalid="ignore", divide="ignore"):
        coefficient = np.where(total > 0, spread / (total * (k[..., 0] - 1)), 0.0)
    return np.where(k[..., 0] >= 2, coefficient, np.nan)


def fairness_discrepancy(
    fmr: Float[Numbers, "*r g"], fnmr: Float[Numbers, "*r g"], alpha: float = 0.5
) -> Float[Array, "*r"]:
    """Fairness discrepancy rate FDR = 1 - [α max ΔFMR + (1 - α) max ΔFNMR], 1 when all groups are alike.

    FMRs at strict thresholds are tiny, so with equal weights FDR hardly sees them: read IR or GARBE, too.
    """
    accept, reject = _both(_range, fmr, fnmr, alpha)
    return np.asarray(1 - (alpha * accept + (1 - alpha) * reject))


def inequity_rate(fmr: Float[Numbers, "*r g"], fnmr: Float[Numbers, "*r g"], alpha: float = 0.5) -> Float[Array, "*r"]:
    """IR = (max/min FMR)^α (max/min FNMR)^(1-α), at least 1; inf where some group, not all, has rate 0."""
    accept, reject = _both(_max_over_min, fmr, fnmr, alpha)
    return np.asarray(accept**alpha * reject ** (1 - alpha))


def garbe(fmr: Float[Numbers, "*r g"], fnmr: Float[Numbers, "*r g"], alpha: float = 0.5) -> Float[Array, "*r"]:
    """GARBE = α Gini(FMR) + (1 - α) Gini(FNMR), in [0, 1], 0 when all groups are alike."""
    accept, reject = _both(gini, fmr, fnmr, alpha)
    return np.asarray(alpha * accept + (1 - alpha) * reject)


SUMMARIES = {"garbe": garbe, "fdr": fairness_discrepancy, "inequity": inequity_rate}  # keys of the table of metrics


def pairs_across(mplets: Int[Numbers, "k m"], groups: Sequence[str]) -> float:
    """Share of the pairs of classes within the m-plets that join two groups; `groups` has the group of each class."""
    rows, names = as_array(mplets), np.array(groups)
    if rows.ndim != 2 or rows.shape[1] < 2 or not 0 <= rows.min() <= rows.max() < len(names):
        raise ValueError(f"mplets: shape {rows.shape}, needs at least 2 labels a row, of 0 to {len(names) - 1}")
    first, second = np.triu_indices(rows.shape[1], 1)
    return float((names[rows[:, first]] != names[rows[:, second]]).mean())
