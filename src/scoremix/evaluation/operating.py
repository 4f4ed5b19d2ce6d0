"""Operating points by the rules in use, and what decides them: TAR at a target FAR (1:1), TPIR at a target FPIR (1:N).

Published IJB numbers take the point of the ROC whose FAR is nearest to the target, which may exceed it; a
deployment wants the best TAR whose FAR does not. At a FAR of 1e-6 a handful of impostor pairs decides either, so
every point says how many. Only the impostors around the largest target are sorted.

In open-set identification (1:N) a probe is mated where its subject is in the gallery. FPIR is the share of non-mated
probes whose best similarity passes the threshold, TPIR the share of mated probes that pass it with their own subject
ahead of all others. Thresholds are set for each gallery from its own non-mated probes; pooling galleries into one, as
several repositories do, makes every probe mated and the threshold meaningless.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NamedTuple

import numpy as np
import scipy.sparse
import torch
from jaxtyping import Bool, Float, Int
from numpy import ndarray as Array

from scoremix.data.finite import finite_rows
from scoremix.evaluation.bootstrap import TailTooShort, class_draws, weighted_tar
from scoremix.evaluation.metrics import Numbers, PairSimilarities, accepted_counts, allowed_impostors, as_array, corners

FPIRS = (0.01, 0.1)
FARS = (1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 1e-1)
Rule = Literal["nearest", "at_most"]


class OperatingPoint(NamedTuple):
    """A pair is accepted at or above `threshold`; `impostors` of the impostor pairs are."""

    target: float
    rule: Rule
    tar: float
    far: float
    threshold: float
    impostors: int


def operating_points(
    similarity: Float[Array, " n"], same: Bool[Array, " n"], fars: Sequence[float] = FARS
) -> list[OperatingPoint]:
    """Both rules at each target; ValueError for non-finite similarities or pairs of one kind only.

    The values are those of `metrics.tar_at_far`, in time and memory that grow with the pairs above the laxest target.
    """
    if not np.isfinite(similarity).all():
        raise ValueError(f"similarity: {int((~np.isfinite(similarity)).sum())} values are not finite")
    genuine, impostor = similarity[same], similarity[~same]
    if not len(genuine) or not len(impostor):
        raise ValueError(f"same: needs genuine and impostor pairs, got {len(genuine)} genuine of {len(same)}")
    allowed = allowed_impostors(len(impostor), np.asarray(fars, np.float64))
    keep = int(1.1 * allowed.max()) + 1000
    while True:
        tps, fps, values, whole = _top(genuine, impostor, keep)
        if not len(fps):  # all of them tie with the last one
            keep *= 2
            continue
        at_corner = corners(tps, fps)
        at_corner[-1] = whole  # a cut list's last point may be no corner
        beyond = fps[at_corner] >= max(fars) * len(impostor)
        if whole or (beyond.any() and fps[at_corner][beyond].min() < fps[-1]):  # all points of that FAR are in the list
            break
        keep *= 2
    tps, fps, values = np.append(0, tps), np.append(0, fps), np.append(np.inf, values)  # the point that accepts nothing
    at_corner = np.append(True, at_corner)
    # from lax to strict, so that the first of equally near points has the larger FAR
    corner = np.flatnonzero(at_corner)[::-1]

    def point(target: float, rule: Rule, i: int) -> OperatingPoint:
        count = int(fps[i])
        return OperatingPoint(
            target, rule, float(tps[i] / len(genuine)), count / len(impostor), float(values[i]), count
        )

    points = []
    for target, limit in zip(fars, allowed, strict=True):
        nearest = corner[np.abs(fps[corner] / len(impostor) - target).argmin()]
        points += [
            point(target, "nearest", int(nearest)),
            point(target, "at_most", int(np.searchsorted(fps, limit, "right") - 1)),
        ]
    return points


def _top(genuine: Array, impostor: Array, keep: int) -> tuple[Array, Array, Array, bool]:
    """`accepted_counts` of all pairs above the `keep`-th impostor, and whether those are all pairs."""
    whole = keep >= len(impostor)
    if not whole:
        tail = np.partition(impostor, len(impostor) - keep)[-keep:]
        floor = tail.min()
        genuine, impostor = genuine[genuine > floor], tail[tail > floor]
    flags = np.arange(len(genuine) + len(impostor)) < len(genuine)
    return *accepted_counts(np.concatenate([genuine, impostor]), flags), whole


class Resampled(NamedTuple):
    """Classes in bootstrap draws, and the weight of all genuine and impostor pairs in each draw."""

    n: Int[Array, "r c"]
    classes: Int[Array, "p 2"]  # of each pair
    genuine: Int[Array, " r"]
    impostors: Int[Array, " r"]


def resampled(classes: Int[Array, "p 2"], same: Bool[Array, " p"], draws: int, seed: int) -> Resampled:
    """Draws of the classes 0 .. C-1 that a list of pairs compares."""
    count = int(classes.max()) + 1
    n = class_draws(count, draws, seed)
    a, b = classes[~same].T
    pairs = scipy.sparse.coo_array((np.ones(len(a)), (a, b)), (count, count)).tocsr()
    impostors = np.zeros(draws)  # whole numbers below 2^53
    for i in range(0, count, 1024):
        impostors += ((pairs[i : i + 1024].toarray() @ n.T) * n.T[i : i + 1024]).sum(0)
    genuine = n @ np.bincount(classes[same, 0], minlength=count)
    return Resampled(n, classes, genuine, impostors.astype(np.int64))


def tar_draws(
    similarity: Float[Array, " p"], same: Bool[Array, " p"], fars: Sequence[float], draws: Resampled
) -> Float[Array, "r f"]:
    """TAR with weighted FAR <= target in each draw of classes: a pair weighs the product over its classes."""
    genuine, impostor = np.flatnonzero(same), similarity[~same]
    keep = int(1.3 * max(fars) * len(impostor)) + 1000
    while True:
        floor = np.partition(impostor, len(impostor) - keep)[-keep] if keep < len(impostor) else -np.inf
        top = np.flatnonzero(~same & (similarity >= floor))
        top = top[np.argsort(-similarity[top], kind="stable")]
        pairs = PairSimilarities(
            similarity[genuine],
            draws.classes[genuine, 0],
            similarity[top],
            draws.classes[top],
            len(impostor),
            np.arange(draws.n.shape[1]),
            np.ones(draws.n.shape[1], np.int64),
        )
        try:
            return weighted_tar(pairs, fars, draws.n, draws.genuine, draws.impostors)
        except TailTooShort:
            keep *= 2


class GallerySearch(NamedTuple):
    """Best similarities of every probe against one gallery."""

    own: Float[Array, " q"]  # with its own subject, -inf where that is not enrolled
    other: Float[Array, " q"]  # with any other subject
    ahead: Int[Array, " q"]  # other subjects' rows at least as similar as the own one

    @property
    def mated(self) -> Array:
        """Which probes have an image of their own subject in the gallery."""
        return np.asarray(np.isfinite(self.own))


def search(
    gallery: Float[Array, "g d"],
    gallery_subjects: Int[Array, " g"],
    probes: Float[Array, "q d"],
    probe_subjects: Int[Array, " q"],
) -> GallerySearch:
    """`compared`; ValueError, too, for probes of one kind only: open-set identification needs both."""
    searched = compared(gallery, gallery_subjects, probes, probe_subjects)
    if not 0 < searched.mated.sum() < len(probes):
        raise ValueError(f"probes: {int(searched.mated.sum())} of {len(probes)} are mated; open-set needs both kinds")
    return searched


def compared(
    gallery: Float[Numbers, "g d"],
    gallery_subjects: Int[Numbers, " g"],
    probes: Float[Numbers, "q d"],
    probe_subjects: Int[Numbers, " q"],
    block: int = 4096,
) -> GallerySearch:
    """Inner products of all probes with one gallery, a block at a time. ValueError for rows that are not finite."""
    g, p = (
        torch.as_tensor(np.ascontiguousarray(finite_rows(as_array(rows), name)))
        for rows, name in ((gallery, "gallery"), (probes, "probes"))
    )
    owners, wanted = torch.as_tensor(gallery_subjects), torch.as_tensor(probe_subjects)
    parts = []
    for i in range(0, len(p), block):
        similarity, mate = p[i : i + block] @ g.T, wanted[i : i + block, None] == owners
        own = similarity.masked_fill(~mate, -torch.inf).amax(1)
        other = similarity.masked_fill(mate, -torch.inf)
        parts.append((own, other.amax(1), (other >= own[:, None]).sum(1)))
    return GallerySearch(*(torch.cat(column).numpy() for column in zip(*parts, strict=True)))


class IdentificationRate(NamedTuple):
    """TPIR of one gallery at a target FPIR."""

    target: float
    rule: str
    tpir: float
    fpir: float
    threshold: float  # a probe passes strictly above it
    non_mated: int  # probes above the threshold


def identified(searched: GallerySearch, n: Int[Array, " q"] | None = None) -> list[IdentificationRate]:
    """TPIR at each of FPIRS by two rules; `n` are multiplicities of the probes (bootstrap).

    `at_most`: the best TPIR with FPIR <= target. `published`: insightface's corrected script, the threshold is the
    non-mated similarity of falling rank max(int(count * target), 1).
    """
    weight = np.ones(len(searched.own), np.int64) if n is None else n
    mated, impostors = searched.mated, int(weight[~searched.mated].sum())
    order = np.argsort(-searched.other[~mated], kind="stable")
    scores = np.repeat(searched.other[~mated][order], weight[~mated][order])
    genuine = weight[mated & (searched.own > searched.other)], searched.own[mated & (searched.own > searched.other)]
    total = int(weight[mated].sum())
    if not impostors or not total:
        return [
            IdentificationRate(f, rule, np.nan, np.nan, np.nan, 0) for f in FPIRS for rule in ("published", "at_most")
        ]
    results = []
    for target in FPIRS:
        ranks = max(int(impostors * target) - 1, 0), int(allowed_impostors(impostors, np.asarray(target)))
        for rule, rank in zip(("published", "at_most"), ranks, strict=True):
            threshold = float(scores[rank]) if rank < impostors else -np.inf
            above = int((scores > threshold).sum())
            tpir = float(genuine[0][genuine[1] > threshold].sum() / total)
            results.append(IdentificationRate(target, rule, tpir, above / impostors, threshold, above))
    return results
