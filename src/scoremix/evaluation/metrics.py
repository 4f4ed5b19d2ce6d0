"""Verification and identification from similarities or embeddings (paper 4.2).

A pair is accepted when its similarity exceeds the threshold. FAR (false accept rate) is the accepted
share of impostor pairs, TAR the accepted share of genuine pairs. Arrays may be numpy or torch; results
are numpy, in float64.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, NamedTuple

import numba
import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from numpy import ndarray as Array
from torch import Tensor

from scoremix.data.finite import finite_rows

Numbers = Tensor | Array


def as_array(x: Any) -> Array:
    """Numpy view of an array, or copy of a tensor elsewhere."""
    return x.detach().cpu().numpy() if isinstance(x, Tensor) else np.asarray(x)


def _scores(similarity: Any, same: Any) -> tuple[Array, Array]:
    """Checked similarities and flags, both flat."""
    similarity, same = as_array(similarity).ravel(), as_array(same).ravel().astype(bool)
    if similarity.shape != same.shape:
        raise ValueError(f"same: {same.size} flags for {similarity.size} similarities")
    if not np.isfinite(similarity).all():
        raise ValueError(f"similarity: {int((~np.isfinite(similarity)).sum())} values are not finite")
    if same.all() or not same.any():
        raise ValueError(f"same: needs genuine and impostor pairs, got {int(same.sum())} genuine of {same.size}")
    return similarity, same


class ROC(NamedTuple):
    """Operating points from strict to lax; the first accepts nothing and has threshold inf.

    A pair is accepted at a point when its similarity is at least the point's threshold.
    """

    far: Float[Array, " t"]
    tar: Float[Array, " t"]
    thresholds: Float[Array, " t"]


def roc(similarity: Float[Numbers, " n"], same: Bool[Numbers, " n"], drop_intermediate: bool = False) -> ROC:
    """One point per distinct similarity; `drop_intermediate` keeps the corners, scikit-learn's default."""
    similarity, same = _scores(similarity, same)
    tps, fps, values = accepted_counts(similarity, same)
    if drop_intermediate:
        keep = corners(tps, fps)
        tps, fps, values = tps[keep], fps[keep], values[keep]
    return ROC(np.append(0, fps) / fps[-1], np.append(0, tps) / tps[-1], np.append(np.inf, values.astype(np.float64)))


def accepted_counts(similarity: Float[Array, " n"], same: Bool[Array, " n"]) -> tuple[Array, Array, Array]:
    """Genuine and impostor pairs at or above each distinct similarity, and those similarities, falling."""
    order = np.argsort(-similarity, kind="stable")
    values, genuine = similarity[order], np.cumsum(same[order])
    last = np.flatnonzero(np.append(values[1:] != values[:-1], len(values) > 0))  # last pair of each tie
    return genuine[last], 1 + last - genuine[last], values[last]


def corners(tps: Int[Array, " t"], fps: Int[Array, " t"]) -> Bool[Array, " t"]:
    """Which points scikit-learn's roc_curve keeps by default: the ends, and where a step differs from the last."""
    inner = (np.diff(fps, 2) != 0) | (np.diff(tps, 2) != 0)
    return np.concatenate([[True], inner, [True]])[: len(fps)]


def tar_at_far(
    similarity: Float[Numbers, " n"],
    same: Bool[Numbers, " n"],
    far: float | Sequence[float] | Float[Array, "*f"],
    rule: Literal["at_most", "nearest"] = "at_most",
) -> Float[Array, "*f"]:
    """TAR at each target FAR, in the shape of `far`.

    `at_most`: the best TAR over thresholds with FAR <= target. `nearest`: arcface_torch's rule for IJB,
    the corner of the ROC with FAR nearest to the target, of equally near ones the largest FAR and TAR;
    its FAR may exceed the target. Raises ValueError for non-finite similarities, one kind of pairs only,
    or a target outside [0, 1].
    """
    similarity, same = _scores(similarity, same)
    target = np.asarray(far, np.float64)
    if not ((target >= 0) & (target <= 1)).all():
        raise ValueError(f"far: {far} is not within 0 to 1")
    match rule:
        case "at_most":
            genuine, impostor = np.sort(similarity[same]), np.sort(similarity[~same])[::-1]
            # the first impostor that must be refused bounds the threshold from below
            bound = np.append(impostor, -np.inf)[allowed_impostors(len(impostor), target)]
            return np.asarray((len(genuine) - np.searchsorted(genuine, bound, side="right")) / len(genuine))
        case "nearest":
            curve = roc(similarity, same, drop_intermediate=True)
            corner = np.abs(curve.far[::-1] - target[..., None]).argmin(-1)
            return np.asarray(curve.tar[::-1][corner])
        case _:
            raise ValueError(f"rule: {rule!r} is not one of 'at_most', 'nearest'")


def allowed_impostors(impostors: int | Array, far: Array) -> Array:
    """Largest k with k / impostors <= far in float64, broadcast; a level such as 3 / 10 is met exactly."""
    k = np.floor(far * impostors).astype(np.int64)
    k = np.where((k + 1) / impostors <= far, k + 1, k)
    return np.asarray(np.where(k / impostors > far, k - 1, k))


def refused_at(impostors: int, far: float, name: str = "far") -> int:
    """Place, from the largest down, of the impostor similarity that is the threshold at `far`: all above it are accepted.

    ValueError for a FAR outside (0, 1], or one below 1 / impostors; `name` is what the caller calls it.
    """
    if not 0 < far <= 1 or min(impostors, allowed := int(allowed_impostors(max(impostors, 1), np.asarray(far)))) < 1:
        raise ValueError(f"{name}: {far}, allowed {1 / max(impostors, 1):.3g} to 1 with {impostors} impostor pairs")
    return min(allowed, impostors - 1)


class Level(NamedTuple):
    """Whether a FAR can be reported from a number of impostor pairs."""

    far: float
    impostors: int  # pairs above the threshold
    supported: bool
    reason: str


def supported_fars(
    impostors: int, fars: Sequence[float] = (1e-1, 1e-2, 1e-3, 1e-4, 1e-5, 1e-6), least: int = 10
) -> list[Level]:
    """For each FAR whether at least `least` of `impostors` pairs lie above its threshold, and why not."""
    levels = []
    for far in fars:
        above = int(far * impostors * (1 + 1e-12))
        reason = f"{above} of {impostors:,} impostor pairs decide FAR {far:g}" + (
            "" if above >= least else f"; at least {least} are needed ({int(np.ceil(least / far)):,} pairs)"
        )
        levels.append(Level(far, above, above >= least, reason))
    return levels


class KFold(NamedTuple):
    """Pair accuracy over folds."""

    mean: float
    std: float  # population
    accuracy: Float[Array, " k"]
    thresholds: Float[Array, " k"]  # squared distances


def kfold_accuracy(
    a: Float[Numbers, "n d"], b: Float[Numbers, "n d"], same: Bool[Numbers, " n"], folds: int = 10
) -> KFold:
    """Accuracy of "same if squared distance < threshold" per fold, thresholds chosen on the others.

    Rows are normalised in float64. Consecutive folds, thresholds 0, .01 .. 3.99, of equally good ones the
    smallest: the protocol of LFW-like sets in arcface_torch and AdaFace.
    """
    squared, same = pair_distances(a, b), as_array(same).astype(bool)
    if not 2 <= folds <= len(same) or len(squared) != len(same):
        raise ValueError(f"same: {len(same)} flags for {len(squared)} pairs in {folds} folds")
    grid = np.arange(0, 4, 0.01)
    bounds = fold_bounds(len(same), folds)
    # right answers per fold and threshold; a threshold accepts what lies strictly below
    right = np.stack([_right(squared[i:j], same[i:j], grid) for i, j in bounds])
    sizes = np.array([j - i for i, j in bounds])
    train = (right.sum(0) - right) / (sizes.sum() - sizes)[:, None]
    best = train.argmax(1)
    accuracy = right[np.arange(folds), best] / sizes
    return KFold(float(accuracy.mean()), float(accuracy.std()), accuracy, grid[best])


def pair_distances(a: Float[Numbers, "n d"], b: Float[Numbers, "n d"]) -> Float[Array, " n"]:
    """Squared distances in [0, 4] of the normalised rows, in float64."""
    x, y = unit_rows(a), unit_rows(b)
    if x.shape != y.shape:
        raise ValueError(f"b: shape {y.shape} differs from a's {x.shape}")
    return np.asarray(np.square(x - y).sum(1))


def fold_bounds(n: int, folds: int) -> list[tuple[int, int]]:
    """Start and end of consecutive folds; the first n mod folds have one more."""
    ends = np.cumsum(np.full(folds, n // folds) + (np.arange(folds) < n % folds)).tolist()
    return list(zip([0, *ends[:-1]], ends, strict=True))


def _right(squared: Array, same: Array, grid: Array) -> Array:
    accepted = np.sort(squared[same]).searchsorted(grid, side="left")
    refused = (~same).sum() - np.sort(squared[~same]).searchsorted(grid, side="left")
    return np.asarray(accepted + refused)


def unit_rows(x: Float[Numbers, "*n d"]) -> Float[Array, "*n d"]:
    """Rows divided by their norm, in float64; a zero row stays zero. ValueError for rows that are not finite."""
    rows = finite_rows(as_array(x).astype(np.float64))
    return np.asarray(rows / np.maximum(np.linalg.norm(rows, axis=-1, keepdims=True), 1e-12))


class PairSimilarities(NamedTuple):
    """All genuine similarities and the largest impostor ones; class k is label `classes[k]`."""

    genuine: Float[Array, " g"]
    genuine_class: Int[Array, " g"]
    impostor: Float[Array, " t"]  # sorted downwards
    impostor_classes: Int[Array, "t 2"]
    impostors: int  # all impostor pairs, kept or not
    classes: Int[Array, " c"]  # labels as given
    sizes: Int[Array, " c"]  # images per class

    def refuse_tail(self) -> None:
        """ValueError where only a tail was kept."""
        if len(self.impostor) < self.impostors:
            raise ValueError(f"impostor: only {len(self.impostor)} of {self.impostors} pairs were kept")

    def flat(self) -> tuple[Array, Array]:
        """(similarity, same) of all pairs. Raises ValueError where only a tail was kept."""
        self.refuse_tail()
        similarity = np.concatenate([self.genuine, self.impostor])
        return similarity, np.arange(len(similarity)) < len(self.genuine)


def pair_similarities(
    embeddings: Float[Numbers, "n d"], labels: Int[Numbers, " n"], tail: int | None = None, block: int = 1024
) -> PairSimilarities:
    """Cosine similarities of all pairs of images in float32; `tail` keeps only the largest impostor ones.

    Memory is some 30 bytes for each of block x n pairs and of twice the tail, plus the genuine pairs; without
    `tail` for all n (n - 1) / 2 pairs.
    """
    unit = torch.nn.functional.normalize(torch.as_tensor(embeddings).detach().float().cpu())
    label_of = as_array(labels)
    classes, dense, sizes = np.unique(label_of, return_inverse=True, return_counts=True)
    if len(unit) != len(label_of):
        raise ValueError(f"labels: {len(label_of)} labels for {len(unit)} embeddings")
    finite_rows(unit)
    n = len(unit)
    impostors = n * (n - 1) // 2 - int((sizes * (sizes - 1) // 2).sum())
    keep = impostors if tail is None else min(tail, impostors)
    same_parts: list[tuple[Array, Array]] = []
    other: list[tuple[Array, Array]] = []
    held, floor = 0, -np.inf
    owner = dense.astype(np.int32)
    for start in range(0, n, block):
        similarity = (unit[start : start + block] @ unit[start:].T).numpy()
        genuine_part, impostor_part = _split(similarity, owner[start : start + block], owner[start:], floor)
        same_parts.append(genuine_part)
        other.append(impostor_part)
        held += len(impostor_part[0])
        if held > 2 * keep:
            other = [_largest(other, keep)]
            held, floor = keep, float(other[0][0].min())
    impostor, impostor_classes = _largest(other, keep)
    order = np.argsort(-impostor)
    genuine, genuine_class = (np.concatenate(part) for part in zip(*same_parts, strict=True))
    return PairSimilarities(genuine, genuine_class, impostor[order], impostor_classes[order], impostors, classes, sizes)


@numba.njit(cache=True)
def _split(
    similarity: Array, left: Array, right: Array, floor: float
) -> tuple[tuple[Array, Array], tuple[Array, Array]]:
    """(similarities, class) of the genuine and (similarities, classes) of the impostor pairs of a block of the upper
    triangle that begins on the diagonal; impostors below `floor` are left out.
    """
    same, kept = 0, 0
    for i in range(len(left)):
        for j in range(i + 1, len(right)):
            same += left[i] == right[j]
            kept += left[i] != right[j] and similarity[i, j] >= floor
    genuine, genuine_class = np.empty(same, np.float32), np.empty(same, np.int32)
    impostor, classes = np.empty(kept, np.float32), np.empty((kept, 2), np.int32)
    same, kept = 0, 0
    for i in range(len(left)):
        for j in range(i + 1, len(right)):
            if left[i] == right[j]:
                genuine[same], genuine_class[same] = similarity[i, j], left[i]
                same += 1
            elif similarity[i, j] >= floor:
                impostor[kept], classes[kept, 0], classes[kept, 1] = similarity[i, j], left[i], right[j]
                kept += 1
    return (genuine, genuine_class), (impostor, classes)


def _largest(parts: list[tuple[Array, Array]], keep: int) -> tuple[Array, Array]:
    values, classes = (np.concatenate(part) for part in zip(*parts, strict=True))
    if len(values) <= keep:
        return values, classes
    top = np.argpartition(-values, keep - 1)[:keep]
    return values[top], classes[top]


def enrolled(labels: Int[Array, " n"], draws: int, seed: int) -> Int[Array, "r c"]:
    """For each draw the index of one enrolled image per class, classes in order of label."""
    classes, dense, sizes = np.unique(labels, return_inverse=True, return_counts=True)
    by_class = np.argsort(dense, kind="stable")
    first = np.cumsum(sizes) - sizes
    choice = np.random.default_rng(seed).integers(0, sizes, (draws, len(classes)))
    return np.asarray(by_class[first + choice])
