"""Real, unseen and mixed classes on one map, and the pairs that arms get wrong."""

from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn.functional import normalize

from scoremix.analysis.geometry import pca_map
from scoremix.config import ConfigError
from scoremix.data.images import LabeledImages
from scoremix.explore.opened import OpenedRun
from scoremix.outputs.errors import ErrorsSummary
from scoremix.stages.embedding import embedded

PER_CLASS, CLASSES = 8, 300  # images a class's place is the mean of; classes of a kind on the map
SHOWN = 24  # images of a class that is clicked


class Kind(NamedTuple):
    """Classes of one kind on the map; `places` (n, 2)."""

    name: str
    images: LabeledImages
    classes: NDArray[np.int64]
    places: NDArray[np.floating[Any]]


def embedding_map(run: OpenedRun) -> tuple[list[Kind], float]:
    """Means of the classes' embeddings on the two principal axes of the real ones, and their share of the variance."""
    sets = {"real": run.train, "unseen": run.unseen}
    treatment = run.exp.evaluation.treatment
    if treatment in run.parts.added:
        sets[f"mixed ({treatment})"] = run.mixes(treatment).images
    chosen = {
        name: np.unique(np.linspace(0, len(s.counts) - 1, CLASSES).round().astype(int)) for name, s in sets.items()
    }
    means = [class_means(run.net, s, chosen[name]) for name, s in sets.items()]
    places, share = pca_map(*means)
    kinds = [Kind(name, s, chosen[name], at) for (name, s), at in zip(sets.items(), places, strict=True)]
    return kinds, float(share.sum())


def class_means(net: torch.nn.Module, images: LabeledImages, classes: NDArray[np.int64]) -> torch.Tensor:
    """Unit mean directions (n, d) of at most PER_CLASS images of some classes."""
    first = np.cumsum(images.counts) - images.counts
    counts = np.minimum(images.counts[classes], PER_CLASS)
    rows = np.concatenate([first[k] + np.arange(n) for k, n in zip(classes, counts, strict=True)])
    unit = embedded(net, images, rows)
    return normalize(torch.stack([part.mean(0) for part in torch.split(unit, counts.tolist())]))


def errors(run: OpenedRun) -> tuple[ErrorsSummary, NDArray[np.uint8]]:
    """What every arm gets wrong, and the images that it names by row; ConfigError for a run that kept no errors."""
    if (artifact := run.parts.chain.get("errors")) is None:
        raise ConfigError(f"run {run.exp.name!r}: kept no errors; `scoremix run` once more adds them")
    return ErrorsSummary.load(artifact), np.load(artifact / "images.npy")


def thresholds(run: OpenedRun, arm: str) -> dict[float, float]:
    """FAR -> threshold of an arm's first seed, {} for a run that kept none."""
    if (artifact := run.parts.chain.get("errors")) is None:
        return {}
    summary = ErrorsSummary.load(artifact)
    return dict(zip(summary.fars, summary.arms[arm].thresholds, strict=True))
