"""Open-set identification (1:N): is the probe's person enrolled, and who is it.

A probe is mated where its subject is in the gallery. FPIR is the share of non-mated probes whose best similarity passes
the threshold, TPIR the share of mated probes that pass it with their own subject ahead of all others. Thresholds are
set for each gallery from its own non-mated probes; pooling galleries into one, as several repositories do, makes every
probe mated and the threshold meaningless.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Int
from numpy import ndarray as Array

from scoremix.evaluation.metrics import allowed_impostors

FPIRS = (0.01, 0.1)


class Search(NamedTuple):
    """Best similarities of every probe against one gallery."""

    own: Float[Array, " q"]  # with its own subject, -inf where that is not enrolled
    other: Float[Array, " q"]  # with any other subject
    ahead: Int[Array, " q"]  # other subjects' templates at least as similar as the own one

    @property
    def mated(self) -> Array:
        return np.asarray(np.isfinite(self.own))


def search(
    gallery: Float[Array, "g d"],
    gallery_subjects: Int[Array, " g"],
    probes: Float[Array, "q d"],
    probe_subjects: Int[Array, " q"],
    block: int = 4096,
) -> Search:
    """Inner products of all probes with one gallery, a block at a time. ValueError for probes of one kind only."""
    g = torch.from_numpy(np.ascontiguousarray(gallery))
    owners = torch.from_numpy(gallery_subjects)
    parts = []
    for i in range(0, len(probes), block):
        similarity = torch.from_numpy(np.ascontiguousarray(probes[i : i + block])) @ g.T
        mate = torch.from_numpy(probe_subjects[i : i + block])[:, None] == owners
        own = similarity.masked_fill(~mate, -torch.inf).amax(1)
        other = similarity.masked_fill(mate, -torch.inf)
        parts.append((own, other.amax(1), (other >= own[:, None]).sum(1)))
    found = Search(*(torch.cat(column).numpy() for column in zip(*parts, strict=True)))
    if not 0 < found.mated.sum() < len(probes):
        raise ValueError(f"probes: {int(found.mated.sum())} of {len(probes)} are mated; open-set needs both kinds")
    return found


class Identified(NamedTuple):
    """TPIR of one gallery at a target FPIR."""

    target: float
    rule: str
    tpir: float
    fpir: float
    threshold: float  # a probe passes strictly above it
    non_mated: int  # probes above the threshold


def identified(found: Search, fpirs: Sequence[float] = FPIRS, n: Int[Array, " q"] | None = None) -> list[Identified]:
    """TPIR at each FPIR by two rules; `n` are multiplicities of the probes (bootstrap).

    `at_most`: the best TPIR with FPIR <= target. `published`: insightface's corrected script, the threshold is the
    non-mated similarity of falling rank max(int(count * target), 1).
    """
    weight = np.ones(len(found.own), np.int64) if n is None else n
    mated, impostors = found.mated, int(weight[~found.mated].sum())
    order = np.argsort(-found.other[~mated], kind="stable")
    scores = np.repeat(found.other[~mated][order], weight[~mated][order])
    genuine = weight[mated & (found.own > found.other)], found.own[mated & (found.own > found.other)]
    total = int(weight[mated].sum())
    if not impostors or not total:
        return [Identified(f, rule, np.nan, np.nan, np.nan, 0) for f in fpirs for rule in ("published", "at_most")]
    results = []
    for target in fpirs:
        ranks = max(int(impostors * target) - 1, 0), int(allowed_impostors(impostors, np.asarray(target)))
        for rule, rank in zip(("published", "at_most"), ranks, strict=True):
            threshold = float(scores[rank]) if rank < impostors else -np.inf
            above = int((scores > threshold).sum())
            tpir = float(genuine[0][genuine[1] > threshold].sum() / total)
            results.append(Identified(target, rule, tpir, above / impostors, threshold, above))
    return results
