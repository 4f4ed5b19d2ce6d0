"""Closed-set accuracy of the arms from the ranks of held-out images, and its tables by class and by group."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from scoremix.config import Evaluation
from scoremix.data.csv_text import csv_text
from scoremix.data.images import LabeledImages
from scoremix.evaluation import bootstrap, closed
from scoremix.execution.artifacts import Artifact
from scoremix.outputs.comparison import ClosedClass, ClosedGroup

KS = {"accuracy": 1, "top5": 5}
SHOWN = 10  # worst and best classes


@dataclass(frozen=True)
class ClassAccuracies:
    """Accuracy of every class with held-out images, and draws of those classes."""

    names: list[str]
    groups: list[str] | None
    images: NDArray[np.int64]  # (C,) held out
    draws: NDArray[np.int64]  # (1 + resamples, C), the first all ones
    accuracy: dict[str, dict[str, NDArray[np.float64]]]  # arm -> metric -> (seeds, C)

    def values(self, arm: str, metric: str, classes: NDArray[np.int64] | None = None) -> NDArray[np.float64]:
        """Macro average over all classes or some, (seeds, 1 + resamples)."""
        these = slice(None) if classes is None else classes
        return np.stack([closed.macro(a[these], self.draws[:, these]) for a in self.accuracy[arm][metric]])


def measure(config: Evaluation, real: Artifact, by_arm: Mapping[str, list[Artifact]]) -> ClassAccuracies | None:
    """Accuracies of all arms that can name the real classes; None where no images were held out."""
    stored = LabeledImages.load(real.folder)
    if stored.held_out is None:
        return None
    held = stored.of_classes("held_out")
    classes = len(held.class_names)
    accuracy: dict[str, dict[str, NDArray[np.float64]]] = {}
    for arm, artifacts in by_arm.items():
        ranks = [np.load(artifact / "held_out.npz") for artifact in artifacts]
        if all("rank" in file.files for file in ranks):
            accuracy[arm] = {
                key: np.stack([closed.class_accuracy(file["rank"], held.labels, classes, k) for file in ranks])
                for key, k in KS.items()
            }
    return ClassAccuracies(
        list(held.class_names),
        list(held.groups) if held.groups is not None else None,
        held.counts,
        bootstrap.plain_and_drawn(classes, config.bootstrap, config.seed),
        accuracy,
    )


def by_class(measured: ClassAccuracies) -> str:
    """CSV with a row per class: its held-out images, and the mean over seeds of each arm's metrics."""
    columns = [(arm, key) for arm in measured.accuracy for key in KS]
    rows: list[list[object]] = [["class", "group", "images", *(f"{arm} {key}" for arm, key in columns)]]
    means = [measured.accuracy[arm][key].mean(0) for arm, key in columns]
    for c, name in enumerate(measured.names):
        group = measured.groups[c] if measured.groups is not None else ""
        rows.append([name, group, measured.images[c], *(float(mean[c]) for mean in means)])
    return csv_text(rows)


def extremes(measured: ClassAccuracies, arm: str) -> tuple[list[ClosedClass], list[ClosedClass]]:
    """The worst and best classes of an arm, with all arms' accuracies."""
    means = {name: of_arm["accuracy"].mean(0) for name, of_arm in measured.accuracy.items()}
    worst, best = closed.extremes(means[arm], measured.names, SHOWN)

    def row(c: int) -> ClosedClass:
        accuracy = {name: float(mean[c]) for name, mean in means.items()}
        group = measured.groups[c] if measured.groups is not None else ""
        return ClosedClass(measured.names[c], group, int(measured.images[c]), accuracy)

    return [row(c) for c in worst], [row(c) for c in best]


def by_group(measured: ClassAccuracies) -> dict[str, NDArray[np.int64]]:
    """Indices of the classes of every group, in order of name; nothing where there are no groups."""
    groups = np.array(measured.groups or [])
    return {str(name): np.flatnonzero(groups == name) for name in np.unique(groups)}


def groups_csv(groups: Sequence[ClosedGroup]) -> str:
    """CSV with a row per group and arm: macro-averaged accuracy and its interval, empty for a group of one class."""
    rows: list[list[object]] = [["group", "classes", "images", "arm", "accuracy", "low", "high"]]
    for group in groups:
        for arm, e in group.arms.items():
            rows.append([group.name, group.classes, group.images, arm, e.value, e.low, e.high])
    return csv_text(rows)
