"""Plain metrics, one list of pairs or embeddings at a time, that weighted and grouped ones are held against."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from numpy import ndarray as Array

from scoremix.evaluation.metrics import ROC, Numbers, as_array, enrolled, roc
from scoremix.evaluation.operating import compared


def auc(similarity: Float[Numbers, " n"], same: Bool[Numbers, " n"]) -> float:
    """Probability that a genuine pair is more similar than an impostor pair; ties count half."""
    curve = roc(similarity, same)
    return float(np.trapezoid(curve.tar, curve.far))


def eer(similarity: Float[Numbers, " n"], same: Bool[Numbers, " n"]) -> float:
    """Equal error rate: where FAR = 1 - TAR on the straight line between the two neighbouring points of
    the ROC.
    """
    return eer_of(roc(similarity, same))


def eer_of(curve: ROC) -> float:
    """Equal error rate of a ROC."""
    gap = curve.far + curve.tar - 1  # rises from -1 to 1
    i = int(np.argmax(gap >= 0))
    share = -gap[i - 1] / (gap[i] - gap[i - 1])
    return float(curve.far[i - 1] + share * (curve.far[i] - curve.far[i - 1]))


def closed_set_rank(
    gallery: Float[Numbers, "g d"],
    gallery_labels: Int[Numbers, " g"],
    probes: Float[Numbers, "p d"],
    probe_labels: Int[Numbers, " p"],
    ranks: Sequence[int] = (1, 5, 20),
    block: int = 4096,
) -> Float[Array, " r"]:
    """Share of probes with a mate among their k most similar gallery rows, over probes that have a mate.

    Inner products as given (normalise before); a non-mate as similar as the best mate counts as ahead of
    it. Distractors carry a label that no probe has. TinyFace's protocol in AdaFace and CVLFace.
    """
    found = compared(gallery, gallery_labels, probes, probe_labels, block)
    return np.array([float((found.ahead[found.mated] < k).mean()) for k in ranks])


class Identification(NamedTuple):
    """Closed-set identification with one enrolled image per class."""

    ranks: tuple[int, ...]
    rates: Float[Array, " r"]  # over all probes of all draws
    by_draw: Float[Array, "draws r"]
    probes: int  # per draw


def identification(
    embeddings: Float[Numbers, "n d"],
    labels: Int[Numbers, " n"],
    ranks: Sequence[int] = (1, 5),
    draws: int = 10,
    seed: int = 0,
) -> Identification:
    """Share of probes whose class is among the k most similar enrolled images.

    One image of every class is enrolled, all others are probes, averaged over draws of the enrolled image; a
    class of one image is only enrolled. Another class as similar as the probe's own counts as ahead.
    """
    unit = torch.nn.functional.normalize(torch.as_tensor(embeddings).detach().float().cpu())
    given = as_array(labels)
    dense = torch.from_numpy(np.unique(given, return_inverse=True)[1])
    by_draw = []
    for gallery in torch.from_numpy(enrolled(given, draws, seed)):
        probe = torch.ones(len(unit), dtype=torch.bool)
        probe[gallery] = False
        if not bool(probe.any()):
            raise ValueError("labels: every class has one image, none is left as a probe")
        own = torch.arange(len(gallery))
        by_draw.append(closed_set_rank(unit[gallery], own, unit[probe], dense[probe], ranks))
    table = np.stack(by_draw)
    return Identification(tuple(ranks), table.mean(0), table, len(unit) - len(own))


def _pairs(similarity: Numbers, same: Numbers, groups: Any) -> tuple[Array, Array, Array]:
    values, genuine, names = as_array(similarity).astype(np.float64), as_array(same).astype(bool), as_array(groups)
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


def group_rates(
    similarity: Float[Numbers, " n"], same: Bool[Numbers, " n"], groups: Any, threshold: float
) -> GroupRates:
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
