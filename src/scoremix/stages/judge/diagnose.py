"""What a mix is: how alike its images are, how near to its sources, how hard for the baseline recognizer."""

from collections.abc import Mapping

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn.functional import normalize

from scoremix.config import MixDiagnostics
from scoremix.data import images as imagesets
from scoremix.data.images import LabeledImages
from scoremix.evaluation import coherence
from scoremix.execution.artifacts import Artifact
from scoremix.execution.work import Work
from scoremix.outputs.diagnosis import Diagnosis, Group
from scoremix.outputs.images import MixedImages
from scoremix.stages.embedding import BLOCK, all_embedded, opened

COLUMNS = ("own_center", "sources", "nearest_other", "percentile", "loss")


def diagnose_mixes(
    config: MixDiagnostics,
    real: Artifact,
    recognizer: Artifact,
    sets: Mapping[str, Artifact],
    *,
    work: Work,
) -> None:
    """Writes examination.json, one row per group of images, and similarities.npz, own_center of every image.

    Groups: real training classes, real classes nobody trained on (validation), and `sets`: reproductions, the images
    each arm adds. Similarities are to the mean directions of the training classes' real images.
    """
    net = opened(recognizer, work)
    everything = imagesets.LabeledImages.load(real.folder)
    train = everything.of_classes("train")
    unit = all_embedded(net, train)
    centers = coherence.mean_directions(unit, torch.from_numpy(train.labels.astype(np.int64)), len(train.counts))
    groups: dict[str, dict[str, NDArray[np.float64]]] = {}
    sources = train.labels.astype(np.int64)[:, None]
    groups["training classes"] = measured(unit, train, centers, sources, np.ones_like(sources, np.float32), True)
    if "validation" in everything.splits:
        unseen = everything.of_classes("validation")
        groups["unseen classes"] = measured(all_embedded(net, unseen), unseen, centers, None, None, False)
    by_key: dict[str, dict[str, NDArray[np.float64]]] = {}  # arms may share their images
    with work.bar(len(sets), "groups") as advance:
        for done, (name, artifact) in enumerate(sets.items()):
            if artifact.key not in by_key:
                mixed = MixedImages.load(artifact)
                unit = all_embedded(net, mixed.images)
                by_key[artifact.key] = measured(unit, mixed.images, centers, mixed.sources, mixed.weights, False)
            groups[name] = by_key[artifact.key]
            advance(done + 1)
    work.write_arrays(
        "similarities.npz", **{name: columns["own_center"].astype(np.float32) for name, columns in groups.items()}
    )
    rows = [
        Group(name, len(columns["own_center"]), **{k: _mean(v) for k, v in columns.items()})
        for name, columns in groups.items()
    ]
    Diagnosis(rows, coherence.SCALE).write(work)


def measured(
    unit: torch.Tensor,
    images: LabeledImages,
    centers: torch.Tensor,
    sources: NDArray[np.int64] | None,
    weights: NDArray[np.float32] | None,
    of_training: bool,
) -> dict[str, NDArray[np.float64]]:
    """Values per image: similarity to the own class, whether nearer to it than to others, to sources, loss."""
    labels = torch.from_numpy(images.labels.astype(np.int64))
    mixed = coherence.mean_directions(unit, labels, len(images.counts))
    own_center = _own_similarity(unit, labels, images.counts)
    nan = torch.full((len(unit),), torch.nan)
    columns = {name: nan.clone() for name in ("nearer_than_real", "nearer_than_mixed", *COLUMNS)}
    columns["own_center"] = own_center
    for start in range(0, len(unit), BLOCK):
        part = slice(start, min(start + BLOCK, len(unit)))
        cosine = unit[part] @ centers.T
        beside = unit[part] @ mixed.T
        beside.scatter_(1, labels[part, None], -torch.inf)
        to_real = cosine.scatter(1, labels[part, None], -torch.inf) if of_training else cosine
        columns["nearer_than_real"][part] = (own_center[part] > to_real.amax(1)).float()
        if not of_training and mixed.shape[0] > 1:
            columns["nearer_than_mixed"][part] = (own_center[part] > beside.amax(1)).float()
        if sources is not None and weights is not None:
            rows, shares = torch.from_numpy(sources[part]), torch.from_numpy(weights[part])
            to_sources, other, percentile = coherence.source_similarity(unit[part], centers, rows)
            columns["sources"][part] = to_sources.mean(1)
            columns["nearest_other"][part], columns["percentile"][part] = other, percentile
            columns["loss"][part] = coherence.source_loss(cosine, rows, shares, coherence.SCALE)
    return {name: value.double().numpy() for name, value in columns.items()}


def _own_similarity(unit: torch.Tensor, labels: torch.Tensor, counts: NDArray[np.int64]) -> torch.Tensor:
    """Cosine of every image with the mean direction of the others of its class; NaN for a lone image."""
    sums = torch.zeros(len(counts), unit.shape[1]).index_add_(0, labels, unit)
    others = normalize(sums[labels] - unit)
    return (unit * others).sum(1).masked_fill(torch.from_numpy(counts == 1)[labels], torch.nan)


def _mean(values: NDArray[np.float64]) -> float | None:
    """Mean over the images that have a value, None if none has."""
    return float(np.nanmean(values)) if np.isfinite(values).any() else None
