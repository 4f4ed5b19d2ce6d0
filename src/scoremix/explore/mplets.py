"""The m-plets of an arm, a page at a time: sources, images kept and rejected, distance and coherence."""

from __future__ import annotations

from itertools import combinations
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from scoremix.evaluation import coherence
from scoremix.outputs.mplets import ScreeningSummary
from scoremix.stages.embedding import embedded

if TYPE_CHECKING:
    from scoremix.explore.opened import OpenedRun
    from scoremix.report.charts import Image

ROWS, SHOWN = 10, 8  # m-plets of a page; images of one


class PicturedMPlet(NamedTuple):
    """An m-plet in pictures; distance and coherence in the baseline recognizer's space."""

    names: tuple[str, ...]
    sources: tuple[Image, ...]
    kept: tuple[Image, ...]
    rejected: tuple[Image, ...]
    distance: float  # mean cosine distance of the classes' centers
    coherence: float | None  # mean similarity of an image to the others of its m-plet; None of one image


def pages_of(run: OpenedRun, arm: str) -> int:
    """How many pages of m-plets an arm has."""
    return -(-len(run.mixes(arm).mplets) // ROWS)


def listed(run: OpenedRun, arm: str, page: int) -> tuple[list[PicturedMPlet], str]:
    """A page of an arm's m-plets, and what it shows in words; those whose rejected images were stored come first."""
    mixed, artifact = run.mixes(arm), run.parts.added[arm]
    screened = artifact.arrays("rejected.npz") if (artifact / "rejected.npz").exists() else None
    rejected = {} if screened is None else dict(zip(screened["rows"].tolist(), screened["rejected"], strict=True))
    order = [*rejected, *(k for k in range(len(mixed.mplets)) if k not in rejected)]
    rows = [_row(run, arm, k, rejected.get(k)) for k in order[page * ROWS : (page + 1) * ROWS]]
    about = (
        f"{len(order)} m-plets of {arm}, page {page + 1} of {pages_of(run, arm)}. An m-plet: the classes of one mix."
    )
    if rejected:
        screening = ScreeningSummary.load(artifact)
        about += (
            f" {screening.kept} of {screening.drawn} images were kept; rejected ones are stored of {len(rejected)} "
        )
        about += "m-plets."
    return rows, about


def _row(run: OpenedRun, arm: str, k: int, rejected: np.ndarray | None) -> PicturedMPlet:
    mixed = run.mixes(arm)
    classes, images = mixed.mplets[k], mixed.images.of_class(k)
    start = int(mixed.images.counts[:k].sum())
    unit = embedded(run.net, mixed.images, np.arange(start, start + len(images)))
    pairs = list(combinations(run.centers[classes.tolist()], 2))
    return PicturedMPlet(
        tuple(run.names[c] for c in classes),
        tuple(run.train.of_class(c)[0] for c in classes),
        tuple(images[:SHOWN]),
        () if rejected is None else tuple(rejected[:SHOWN]),
        float(np.mean([1 - float(a @ b) for a, b in pairs])) if pairs else 0.0,
        float(coherence.own_similarity(unit[None]).mean()) if len(unit) > 1 else None,
    )
