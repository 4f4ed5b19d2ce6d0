"""All classes of a run as one training set: those it was trained on first, then validation and test classes."""

from dataclasses import replace

import numpy as np

from scoremix.config.delivery import AllClasses
from scoremix.data.images import LabeledImages
from scoremix.data.splits import SPLITS
from scoremix.execution.artifacts import Artifact
from scoremix.execution.work import Work


def everything(config: AllClasses, real: Artifact, *, work: Work) -> None:
    """Writes a packed set whose classes are all in 'train', with the images that were held out.

    The run's training classes keep their numbers, so its m-plets name the same classes.
    """
    stored = LabeledImages.load(real.folder)
    held = stored.held_out if stored.held_out is not None else np.zeros_like(stored.counts)
    order = np.concatenate([stored.splits[part] for part in SPLITS if part in stored.splits])
    every = replace(stored, counts=stored.counts + held, held_out=None).of_classes(order)
    written = replace(every, splits={"train": np.arange(len(order))}).save(work.folder)
    work.count("images", len(written))
