"""Real and synthetic images as one training set (paper 4.1: each mix is a new class)."""

import numpy as np
from numpy.typing import NDArray

from scoremix.config import Mixing
from scoremix.data import images as imagesets
from scoremix.data.images import LabeledImages
from scoremix.execution.artifacts import Artifact
from scoremix.execution.work import Work
from scoremix.outputs.images import MixedImages, MixedTraining, real_images


def combine(config: Mixing, real: Artifact, synthetic: Artifact, *, work: Work) -> None:
    """Writes the real training classes, if wanted, followed by one class per m-plet; targets where labels are soft.

    recipe.json, where training treats mixes differently from real images: in what, and how many of the first images and
    classes are real. Beside it, where mixes are pushed away from their sources, the sources of each mixed class.
    """
    train, mixed = real_images(real), MixedImages.load(synthetic)
    added = mixed.images
    kept = [train] if config.real else []
    both = imagesets.concatenate([*kept, added], work.folder)
    if config.labels != "new_class":
        labels, weights, names = targets(config, mixed, train)
        work.write_array("target_labels.npy", labels)
        work.write_array("target_weights.npy", weights)
        work.write_json("targets.json", {"class_names": names})
    if config.recipe:
        MixedTraining(len(train), len(train.class_names), **config.recipe).write(work)
    if config.source_margin:
        work.write_array(MixedTraining.SOURCES, mixed.mplets)
    work.write_json(
        "summary.json",
        {
            "real": {"classes": len(train.class_names), "images": len(train)} if config.real else None,
            "synthetic": {"classes": len(added.class_names), "images": len(added)},
            "labels": config.labels,
            "total": len(both),
        },
    )


def targets(
    config: Mixing, mixed: MixedImages, train: LabeledImages
) -> tuple[NDArray[np.int32], NDArray[np.float32], list[str]]:
    """Labels (N, k), weights (N, k) with sum 1, and the head's classes: real ones, then with "both" the mixes."""
    share = mixed.weights / mixed.weights.sum(1, keepdims=True)
    names = list(train.class_names)
    labels = mixed.sources
    if config.labels == "both":
        labels = np.concatenate([len(names) + mixed.images.labels[:, None], labels], 1)
        share = np.concatenate(
            [np.full((len(share), 1), 1 - config.soft_share, np.float32), config.soft_share * share], 1
        )
        names += mixed.images.class_names
    if config.real:
        alone = np.zeros((len(train), labels.shape[1]), np.int64)
        alone[:, 0] = train.labels
        labels = np.concatenate([alone, labels])
        share = np.concatenate([(np.arange(alone.shape[1]) == 0).astype(np.float32) * np.ones((len(alone), 1)), share])
    return labels.astype(np.int32), share.astype(np.float32), names
