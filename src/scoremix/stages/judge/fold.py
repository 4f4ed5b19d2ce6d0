"""A fold of the classes that a choice may look at: its classes measure, the others train; test classes are not in it."""

from dataclasses import replace

import numpy as np

from scoremix.config import Fold
from scoremix.data.images import LabeledImages
from scoremix.data.splits import folded
from scoremix.execution.artifacts import Artifact
from scoremix.execution.work import Work


def set_aside(config: Fold, real: Artifact, *, work: Work) -> None:
    """Writes the images of the training and validation classes as `ingest` does: those of the fold are its validation
    classes, all others its training classes. Images held out of classes are left out, as test classes are.
    """
    stored = LabeledImages.load(real.folder)
    kept = np.sort(np.concatenate([stored.splits[part] for part in ("train", "validation")]))
    images = stored.of_classes(kept)
    fold = folded(images.splits, images.class_names, config.of, config.seed)[config.number - 1]
    parts = {"train": np.setdiff1d(np.arange(len(kept)), fold), "validation": fold}
    replace(images, splits=parts).save(work.folder)
    work.count("images", len(images))
