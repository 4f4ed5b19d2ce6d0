"""What measuring recognizers hands over: by "arm/seed" the metrics in every draw of classes, embeddings, labels."""

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from scoremix.execution.artifacts import Artifact
from scoremix.outputs.record import Record

ROC_POINTS = np.logspace(-5, 0, 101)  # false accept rates of the rows of roc.npy
Values = dict[str, "NDArray[np.float64]"]  # metric -> (seeds, 1 + resamples), the plain value first


def of_arms(evaluated: Mapping[str, Artifact]) -> dict[str, list[Artifact]]:
    """By arm what is named "arm/seed"."""
    by_arm: dict[str, list[Artifact]] = {}
    for name, artifact in evaluated.items():
        by_arm.setdefault(name.rpartition("/")[0], []).append(artifact)
    return by_arm


def labels_of(evaluated: Mapping[str, Artifact]) -> NDArray[np.int32]:
    """The classes of the images that all of them were measured on, numbered from 0."""
    labels: NDArray[np.int32] = np.load(next(iter(evaluated.values())) / "labels.npy")
    return labels


def pairs_of(labels: NDArray[np.int32]) -> tuple[int, int]:
    """Numbers of genuine and impostor pairs of images with these labels."""
    sizes = np.bincount(labels)
    genuine = int((sizes * (sizes - 1) // 2).sum())
    return genuine, len(labels) * (len(labels) - 1) // 2 - genuine


def stacked(artifacts: Sequence[Artifact]) -> Values:
    """The metrics of an arm's recognizers, one row each."""
    measured = [artifact.arrays("measures.npz") for artifact in artifacts]
    return {key: np.stack([values[key] for values in measured]) for key in measured[0]}


class GroupPairs(Record):
    """Groups of unseen classes, their classes and pairs; rates within them at one threshold for all of FAR `far`."""

    FILE = "groups.json"  # null without groups
    far: float
    groups: Sequence[str]
    classes: Sequence[int]
    impostor: Sequence[int]
    genuine: Sequence[int]
