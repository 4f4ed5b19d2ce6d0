"""Mixed images without those of classes that are set aside, which recognizers of a fold must not have seen."""

from dataclasses import replace

import numpy as np

from scoremix.config import Fold
from scoremix.execution.artifacts import Artifact
from scoremix.execution.work import Work
from scoremix.outputs.images import MixedImages, real_images, write_part


def leave_out(config: Fold, mixed: Artifact, real: Artifact, fold: Artifact, *, work: Work) -> None:
    """Writes the images of the m-plets of `real` whose classes are all training classes of `fold`, numbered as there.

    ValueError where no m-plet is left.
    """
    images, kept = MixedImages.load(mixed), {name: k for k, name in enumerate(real_images(fold).class_names)}
    number = np.array([kept.get(name, -1) for name in real_images(real).class_names])
    mplets = number[images.mplets]
    used = np.flatnonzero((mplets >= 0).all(1))
    if not len(used):
        raise ValueError(
            f"choice.folds {config.of}: each of the {len(mplets)} m-plets has a class of fold {config.number}; mix more of "
            "them (selection.count), or set choice.folds=1"
        )
    rows = np.flatnonzero(np.isin(images.images.labels, used))
    write_part(work, replace(images, mplets=mplets, log_weight=None, disagreement=None), rows)
    work.count("images", len(rows))
