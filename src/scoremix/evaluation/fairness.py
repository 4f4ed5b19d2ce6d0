"""Does recognition serve all groups alike: error rates per group and the usual summaries of their spread.

A pair of images belongs to a group when both images do; pairs across groups are the caller's to leave out,
or to give a group of their own. FMR is the accepted share of a group's impostor pairs, FNMR the refused
share of its genuine pairs. A pair is accepted when its similarity exceeds the threshold.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int
from torch import Tensor

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


def group_tar(
    similarity: Float[Data, " n"], same: Bool[Data, " n"], groups: Any, far: float, per_group: bool = False
) -> tuple[GroupRates, Float[Array, " g"]]:
    """Rates of every group where FAR <= `far`, and the threshold used for each group.

    One threshold over all impostor pairs, as a deployed system has it; with `per_group` each group's own.
    ValueError where the impostor pairs that set a threshold cannot resolve `far` (fewer than 1 / far).
    """
    values, genuine, names = _pairs(similarity, same, groups)
    found = np.unique(names)
    if not per_group:
        threshold = _threshold(values[~genuine], far, "all groups")
        return group_rates(values, genuine, names, threshold), np.full(len(found), threshold)
    thresholds = np.array([_threshold(values[~genuine & (names == g)], far, str(g)) for g in found])
    rates = group_rates(values - thresholds[np.searchsorted(found, names)], genuine, names, 0.0)
    return rates, thresholds


def _threshold(impostors: Float[Array, " n"], far: float, group: str) -> float:
    """Smallest impostor similarity that at most a share `far` of them exceeds."""
    if not 0 < far <= 1 or far * len(impostors) < 1:
        raise ValueError(f"far: {far} for {group}, allowed {1 / max(len(impostors), 1):.3g} to 1")
    allowed = min(math.floor(far * len(impostors) * (1 + 1e-12)), len(impostors) - 1)
    return float(np.sort(impostors)[::-1][allowed])


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


def accuracy_spread(accuracy: Float[Data, " g"]) -> tuple[float, float]:
    """RFW's pair: standard deviation (ddof 1) of the groups' accuracies, and SER = max error / min error.

    SER is inf where some group, not all, has no error.
    """
    values = _rates(accuracy, "accuracy")
    return float(values.std(ddof=1)), _max_over_min(1 - values)


def group_pair_matrix(mplets: Int[Data, "k m"], class_groups: Any) -> tuple[Array, Int[Array, "g g"]]:
    """Groups and how many class pairs within the m-plets join group s and group t (symmetric counts).

    `class_groups` gives the group of each class. Each pair of an m-plet counts once in [s, t] and, where
    s ≠ t, once in [t, s].
    """
    rows, names = _numpy(mplets), _numpy(class_groups)
    if rows.ndim != 2 or not 0 <= rows.min() <= rows.max() < len(names):
        raise ValueError(f"mplets: shape {rows.shape}, labels must be 0 to {len(names) - 1}")
    found, index = np.unique(names, return_inverse=True)
    first, second = np.triu_indices(rows.shape[1], 1)
    s, t = index[rows[:, first]].ravel(), index[rows[:, second]].ravel()
    counts = np.bincount(s * len(found) + t, minlength=len(found) ** 2).reshape(len(found), -1)
    return found, counts + counts.T - np.diag(np.diag(counts))
