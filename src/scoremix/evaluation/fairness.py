"""Does recognition serve all groups alike: error rates per group and the usual summaries of their spread.

A pair of images belongs to a group when both images do; pairs across groups are the caller's to leave out,
or to give a group of their own. FMR is the accepted share of a group's impostor pairs, FNMR the refused
share of its genuine pairs. A pair is accepted when its similarity exceeds the threshold.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int
from torch import Tensor

from scoremix.evaluation.metrics import Pairs, allowed_impostors, refused_at

Array = np.ndarray
Data = Tensor | Array


def _numpy(x: Any) -> Array:
    return x.detach().cpu().numpy() if isinstance(x, Tensor) else np.asarray(x)


def _pairs(similarity: Data, same: Data, groups: Any) -> tuple[Array, Array, Array]:
    values, genuine, names = _numpy(similarity).astype(np.float64), _numpy(same).astype(bool), _numpy(groups)
    if not values.shape == genuine.shape == names.shape or values.ndim != 1:
        raise ValueError(f"similarity, same, groups: shapes {values.shape}, {genuine.shape}, {names.shape}")
    if not np.isfinite(values).all():
        raise ValueError(f"similarity: {int((~np.isfinite(values)).sum())} values are not finite")
    return values, genuine, names


class GroupRates(NamedTuple):
    """Error rates at one threshold; one entry per group, in the order of `groups`."""

    groups: Array
    fmr: Float[Array, " g"]
    fnmr: Float[Array, " g"]
    impostor: Int[Array, " g"]  # pairs behind each rate
    genuine: Int[Array, " g"]

    @property
    def tar(self) -> Float[Array, " g"]:
        """Accepted share of genuine pairs, 1 - FNMR."""
        return 1 - self.fnmr


def group_rates(similarity: Float[Data, " n"], same: Bool[Data, " n"], groups: Any, threshold: float) -> GroupRates:
    """Rates of every group at one common threshold; ValueError names groups without one kind of pair."""
    values, genuine, names = _pairs(similarity, same, groups)
    found, index = np.unique(names, return_inverse=True)
    accepted = values > threshold
    positives = np.bincount(index[genuine], minlength=len(found))
    negatives = np.bincount(index[~genuine], minlength=len(found))
    lacking = found[(positives == 0) | (negatives == 0)]
    if len(lacking):
        raise ValueError(f"groups: no genuine or no impostor pair in {lacking.tolist()[:5]}")
    false_accepts = np.bincount(index[~genuine & accepted], minlength=len(found))
    false_rejects = np.bincount(index[genuine & ~accepted], minlength=len(found))
    return GroupRates(found, false_accepts / negatives, false_rejects / positives, negatives, positives)


def within_groups(pairs: Pairs, groups: Sequence[str], far: float) -> GroupRates | None:
    """Rates within every group, at the one threshold that gives FAR <= `far` over all impostor pairs (across groups too).

    `groups` has the group of each label. Groups without a genuine or an impostor pair are left out; None where fewer
    than two are left, or the impostor pairs are too few for `far`. ValueError where only a tail of `pairs` was kept.
    """
    pairs.refuse_tail()
    if not pairs.impostors or allowed_impostors(pairs.impostors, np.asarray(far)) < 1:
        return None
    names, of_label = np.unique(np.array(groups), return_inverse=True)
    of = of_label[pairs.classes]
    genuine, impostor = of[pairs.genuine_class], of[pairs.impostor_classes]
    inside = impostor[:, 0] == impostor[:, 1]
    both = [np.bincount(kind, minlength=len(names)) > 0 for kind in (genuine, impostor[inside, 0])]
    kept = both[0] & both[1]
    if kept.sum() < 2:
        return None
    similarity, same = pairs.flat()
    index = np.concatenate([genuine, np.where(inside, impostor[:, 0], -1)])
    used = (index >= 0) & kept[index]
    threshold = float(pairs.impostor[refused_at(pairs.impostors, far)])
    return group_rates(similarity[used], same[used], names[index[used]], threshold)


# ---------------------------------------------------------------------------------- summaries


def _rates(values: Any, name: str) -> Float[Array, " g"]:
    rates = np.asarray(values, np.float64)
    if rates.ndim != 1 or len(rates) < 2 or not ((rates >= 0) & (rates <= 1)).all():
        raise ValueError(f"{name}: needs rates in [0, 1] of at least 2 groups, got {rates.tolist()}")
    return rates


def _alpha(alpha: float) -> None:
    if not 0 <= alpha <= 1:
        raise ValueError(f"alpha: {alpha}, allowed 0 to 1")


def fairness_discrepancy(fmr: Float[Data, " g"], fnmr: Float[Data, " g"], alpha: float = 0.5) -> float:
    """Fairness discrepancy rate FDR = 1 - [α max ΔFMR + (1 - α) max ΔFNMR], 1 when all groups are alike.

    FMRs at strict thresholds are tiny, so with equal weights FDR hardly sees them: read IR or GARBE, too.
    """
    _alpha(alpha)
    accept, reject = _rates(fmr, "fmr"), _rates(fnmr, "fnmr")
    return float(1 - (alpha * np.ptp(accept) + (1 - alpha) * np.ptp(reject)))


def inequity_rate(fmr: Float[Data, " g"], fnmr: Float[Data, " g"], alpha: float = 0.5) -> float:
    """IR = (max/min FMR)^α (max/min FNMR)^(1-α), at least 1; inf where some group, not all, has rate 0."""
    _alpha(alpha)
    parts = ((_rates(fmr, "fmr"), alpha), (_rates(fnmr, "fnmr"), 1 - alpha))
    return float(math.prod(_max_over_min(rates) ** power for rates, power in parts if power))


def _max_over_min(rates: Float[Array, " g"]) -> float:
    low, high = float(rates.min()), float(rates.max())
    return high / low if low else (math.inf if high else 1.0)


def gini(rates: Float[Data, " g"], name: str = "rates") -> float:
    """Gini coefficient with the factor g/(g-1), in [0, 1]: 0 when all are alike (all 0 included)."""
    values = _rates(rates, name)
    mean = values.mean()
    spread = np.abs(values[:, None] - values[None, :]).mean()
    return float(spread / (2 * mean) * len(values) / (len(values) - 1)) if mean else 0.0


def garbe(fmr: Float[Data, " g"], fnmr: Float[Data, " g"], alpha: float = 0.5) -> float:
    """GARBE = α Gini(FMR) + (1 - α) Gini(FNMR), in [0, 1], 0 when all groups are alike."""
    _alpha(alpha)
    return alpha * gini(fmr, "fmr") + (1 - alpha) * gini(fnmr, "fnmr")


def pairs_across(mplets: Int[Data, "k m"], groups: Sequence[str]) -> float:
    """Share of the pairs of classes within the m-plets that join two groups; `groups` has the group of each class."""
    rows, names = _numpy(mplets), np.array(groups)
    if rows.ndim != 2 or rows.shape[1] < 2 or not 0 <= rows.min() <= rows.max() < len(names):
        raise ValueError(f"mplets: shape {rows.shape}, needs at least 2 labels a row, of 0 to {len(names) - 1}")
    first, second = np.triu_indices(rows.shape[1], 1)
    return float((names[rows[:, first]] != names[rows[:, second]]).mean())
