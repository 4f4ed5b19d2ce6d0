"""Intervals by bootstrap over test classes, all recognizer seeds kept (the paper's tables have none).

One table of multiplicities n (draws, classes) is shared by all arms and seeds, so differences are paired.
In a draw

- a genuine pair of class c weighs n_c, an impostor pair of classes a and b weighs n_a n_b: the product
  over its distinct classes. Copies of one class drawn twice are not compared with each other;
- a probe of class c weighs n_c, and the enrolled image of class b is in the gallery if n_b > 0. Galleries
  of draws are smaller than the whole one (63 % of many classes), so rates lie above the plain metric;
  `gallery="all"` keeps every enrolled image and resamples probes only.

With all multiplicities 1 each function returns the plain metric. A draw without genuine or impostor pairs
gives NaN.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NamedTuple

import numba
import numpy as np
import torch
from jaxtyping import Float, Int
from numpy import ndarray as Array

from scoremix.data.finite import finite_rows
from scoremix.evaluation.metrics import Numbers, PairSimilarities, allowed_impostors, as_array, enrolled


def class_draws(classes: int, draws: int = 1000, seed: int = 0) -> Int[Array, "r c"]:
    """Multiplicities of the classes in bootstrap draws: each row is multinomial and sums to `classes`."""
    if classes < 2 or draws < 1:
        raise ValueError(f"class_draws: needs at least 2 classes and 1 draw, got {classes} and {draws}")
    return np.random.default_rng(seed).multinomial(classes, np.full(classes, 1 / classes), draws)


def plain_and_drawn(classes: int, draws: int, seed: int) -> Int[Array, "r1 c"]:
    """The multiplicities of the plain metric, all one, and those of the draws after it."""
    return np.concatenate([np.ones((1, classes), np.int64), class_draws(classes, draws, seed)])


class TailTooShort(ValueError):
    """The kept impostor pairs do not reach the threshold of every draw."""


def weighted_tar_at_far(
    pairs: PairSimilarities, far: Sequence[float] | Float[Array, " f"], n: Int[Array, "r c"]
) -> Float[Array, "r f"]:
    """Best TAR with weighted FAR <= target in each draw; TailTooShort if `pairs` keeps too few impostors."""
    return weighted_tar(pairs, far, n, genuine_weight(pairs.sizes, n), impostor_weight(pairs.sizes, n))


def weighted_tar(
    pairs: PairSimilarities,
    far: Sequence[float] | Float[Array, " f"],
    n: Int[Array, "r c"],
    genuine: Int[Array, " r"],
    impostors: Int[Array, " r"],
) -> Float[Array, "r f"]:
    """`weighted_tar_at_far` for a list of pairs, given the total weights of its genuine and impostor pairs.

    A list need not hold all pairs of its classes; only the similarities and classes of `pairs` are read.
    """
    order = np.argsort(np.asarray(far, np.float64), kind="stable")
    threshold = weighted_thresholds(pairs, far, n, impostors)[:, order]
    down = np.argsort(-pairs.genuine, kind="stable")
    accepted = _genuine_above(pairs.genuine[down], pairs.genuine_class[down], n, threshold)
    tar = np.empty(accepted.shape)
    with np.errstate(invalid="ignore"):
        tar[:, order] = accepted / genuine[:, None]
    tar[impostors == 0] = np.nan
    return tar


def weighted_thresholds(
    pairs: PairSimilarities,
    far: Sequence[float] | Float[Array, " f"],
    n: Int[Array, "r c"],
    impostors: Int[Array, " r"],
) -> Float[Array, "r f"]:
    """The similarity above which pairs are accepted in each draw: the largest that keeps FAR <= target."""
    target = np.asarray(far, np.float64)
    if not ((target >= 0) & (target <= 1)).all():
        raise ValueError(f"far: {far} is not within 0 to 1")
    order = np.argsort(target, kind="stable")
    allowed = allowed_impostors(np.maximum(impostors, 1)[:, None], target[order])
    at = _first_refused(pairs.impostor_classes, n, allowed)
    if len(pairs.impostor) < pairs.impostors and (at == len(pairs.impostor)).any():
        raise TailTooShort(
            f"far: {len(pairs.impostor)} of {pairs.impostors} impostor pairs are too few for {target.max():g}"
        )
    thresholds = np.empty(at.shape)
    thresholds[:, order] = np.append(pairs.impostor, -np.inf)[at]
    return thresholds


class Curves(NamedTuple):
    """Area under the ROC and equal error rate of each draw."""

    auc: Float[Array, " r"]
    eer: Float[Array, " r"]


def weighted_auc_eer(pairs: PairSimilarities, n: Int[Array, "r c"]) -> Curves:
    """AUC (ties count half) and EER (linear between ROC points); needs all pairs, 0.1 to 0.3 ns per pair and draw."""
    pairs.refuse_tail()
    down = np.argsort(-pairs.genuine)
    genuine = pairs.genuine[down], pairs.genuine_class[down]
    weights = genuine_weight(pairs.sizes, n), impostor_weight(pairs.sizes, n)
    multiplicities = np.ascontiguousarray(n.T, np.float64)
    return Curves(*_auc_eer(*genuine, pairs.impostor, pairs.impostor_classes, multiplicities, *weights))


def weighted_identification(
    embeddings: Float[Numbers, "n d"],
    labels: Int[Numbers, " n"],
    n: Int[Array, "r c"],
    ranks: Sequence[int] = (1, 5),
    draws: int = 10,
    seed: int = 0,
    gallery: Literal["drawn", "all"] = "drawn",
) -> Float[Array, "r k"]:
    """Rank-k rates of `metrics.identification`, its `draws` and `seed`, in each draw of classes."""
    unit = finite_rows(torch.nn.functional.normalize(torch.as_tensor(embeddings).detach().float().cpu()))
    given = as_array(labels)
    dense = np.unique(given, return_inverse=True)[1]
    _check_classes(int(dense.max()) + 1, n)
    hits = np.zeros((len(n), len(ranks)), np.int64)
    trials = np.zeros(len(n), np.int64)
    present = n > 0 if gallery == "drawn" else np.ones(n.shape, bool)
    for chosen in enrolled(given, draws, seed):
        probe = np.setdiff1d(np.arange(len(unit)), chosen)
        own = dense[probe]
        similarity = (unit[probe] @ unit[chosen].T).numpy()
        ahead = similarity >= similarity[np.arange(len(own)), own][:, None]
        ahead[np.arange(len(own)), own] = False
        rows, rivals = np.nonzero(ahead)
        starts = np.searchsorted(rows, np.arange(len(own) + 1))
        _count_hits(own, starts, rivals, n, present, np.asarray(ranks, np.int64), hits)
        trials += n @ np.bincount(own, minlength=n.shape[1])
    with np.errstate(invalid="ignore"):
        return np.asarray(hits / trials[:, None])


def genuine_weight(sizes: Int[Array, " c"], n: Int[Array, "r c"]) -> Int[Array, " r"]:
    """Total weight of all genuine pairs in each draw."""
    _check_classes(len(sizes), n)
    return np.asarray(n @ (sizes * (sizes - 1) // 2))


def impostor_weight(sizes: Int[Array, " c"], n: Int[Array, "r c"]) -> Int[Array, " r"]:
    """Total weight of all impostor pairs in each draw."""
    _check_classes(len(sizes), n)
    images = n * sizes
    return np.asarray((images.sum(1) ** 2 - (images**2).sum(1)) // 2)


def _check_classes(classes: int, n: Array) -> None:
    if n.ndim != 2 or n.shape[1] != classes:
        raise ValueError(f"n: shape {n.shape} does not give multiplicities of {classes} classes")


@numba.njit(cache=True)
def _first_refused(classes: Array, n: Array, allowed: Array) -> Array:
    """Index of the first impostor (sorted downwards) whose cumulative weight exceeds each allowed one,
    else their number.
    """
    draws, levels = allowed.shape
    at = np.full((draws, levels), len(classes))
    for r in range(draws):
        weight, level = 0, 0
        for i in range(len(classes)):
            weight += n[r, classes[i, 0]] * n[r, classes[i, 1]]
            while level < levels and weight > allowed[r, level]:
                at[r, level] = i
                level += 1
            if level == levels:
                break
    return at


@numba.njit(cache=True)
def _genuine_above(values: Array, classes: Array, n: Array, threshold: Array) -> Array:
    """Weight of the genuine pairs strictly above each threshold; thresholds fall along a row, values
    downwards.
    """
    draws, levels = threshold.shape
    above = np.zeros((draws, levels), np.int64)
    for r in range(draws):
        weight, i = 0, 0
        for level in range(levels):
            while i < len(values) and values[i] > threshold[r, level]:
                weight += n[r, classes[i]]
                i += 1
            above[r, level] = weight
    return above


@numba.njit(cache=True)
def _auc_eer(
    own_value: Array, own: Array, value: Array, classes: Array, n: Array, genuine: Array, impostor: Array
) -> tuple[Array, Array]:
    """One walk down genuine and impostor pairs, each sorted downwards, for all draws at once: trapezoids between ends
    of ties, and the first crossing of FAR = 1 - TAR.

    Impostors between two genuine pairs are only summed, for TAR stays the same. Multiplicities `n` are (classes, draws)
    in float64, so counts are whole numbers and the inner loops run over neighbouring memory.
    """
    draws = n.shape[1]
    tp, fp, area = np.zeros(draws), np.zeros(draws), np.zeros(draws)
    more_tp, more_fp = np.zeros(draws), np.zeros(draws)
    eer = np.full(draws, np.nan)
    waiting = (genuine > 0) & (impostor > 0)
    g, i = 0, 0
    while g < len(own) or i < len(value):
        next_own = own_value[g] if g < len(own) else -np.inf
        more_fp[:] = 0
        while i < len(value) and value[i] > next_own:
            _add_products(more_fp, n[classes[i, 0]], n[classes[i, 1]])
            i += 1
        for r in range(draws):
            area[r] += more_fp[r] * tp[r]
            if waiting[r] and (fp[r] + more_fp[r]) / impostor[r] + tp[r] / genuine[r] >= 1:
                eer[r] = 1 - tp[r] / genuine[r]
                waiting[r] = False
            fp[r] += more_fp[r]
        more_tp[:], more_fp[:] = 0, 0
        while g < len(own) and own_value[g] == next_own:
            more_tp += n[own[g]]
            g += 1
        while i < len(value) and value[i] == next_own:
            _add_products(more_fp, n[classes[i, 0]], n[classes[i, 1]])
            i += 1
        for r in range(draws):
            area[r] += more_fp[r] * (tp[r] + more_tp[r] / 2)
            if waiting[r]:
                before = fp[r] / impostor[r] + tp[r] / genuine[r] - 1
                after = (fp[r] + more_fp[r]) / impostor[r] + (tp[r] + more_tp[r]) / genuine[r] - 1
                if after >= 0:
                    eer[r] = fp[r] / impostor[r] - before / (after - before) * (more_fp[r] / impostor[r])
                    waiting[r] = False
            fp[r] += more_fp[r]
            tp[r] += more_tp[r]
    auc = np.full(draws, np.nan)
    for r in range(draws):
        if genuine[r] > 0 and impostor[r] > 0:
            auc[r] = area[r] / genuine[r] / impostor[r]
    return auc, eer


@numba.njit(cache=True)
def _add_products(total: Array, a: Array, b: Array) -> None:
    for r in range(len(total)):
        total[r] += a[r] * b[r]


@numba.njit(cache=True)
def _count_hits(own: Array, starts: Array, rivals: Array, n: Array, present: Array, ranks: Array, hits: Array) -> None:
    """Adds the weight of the probes with fewer than k rivals present to `hits` (draws, ranks)."""
    most = ranks.max()
    for r in range(len(n)):
        for p in range(len(own)):
            weight = n[r, own[p]]
            if weight == 0:
                continue
            ahead = 0
            for i in range(starts[p], starts[p + 1]):
                if present[r, rivals[i]]:
                    ahead += 1
                    if ahead == most:
                        break
            for k in range(len(ranks)):
                if ahead < ranks[k]:
                    hits[r, k] += weight
