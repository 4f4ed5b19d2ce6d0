"""Generated images that give a real one away are dropped: those nearer to a training image than unseen ones are."""

import shutil

import numpy as np

from scoremix.config import LeakGate
from scoremix.data.images import LabeledImages
from scoremix.evaluation.privacy import nearest_similarity
from scoremix.execution.artifacts import Artifact
from scoremix.execution.work import Work
from scoremix.outputs.images import MixedImages, write_part
from scoremix.outputs.mplets import LeakSummary
from scoremix.stages.embedding import all_embedded, opened

CARRIED = ("screening.json", "rejected.npz")  # what screening said of the same images


def drop_leaks(config: LeakGate, synthetic: Artifact, recognizer: Artifact, real: Artifact, *, work: Work) -> None:
    """Writes the images that stay, as `sample` does but with fewer of some m-plets, and leaks.json.

    The threshold is the cosine to the nearest training image that a share `rate` of unseen real images exceeds: those
    set apart of the training classes (data.held_out), else those of the validation classes. ValueError where nothing
    stays.
    """
    net = opened(recognizer, work)
    stored = LabeledImages.load(real.folder)
    part = "validation" if stored.held_out is None else "held_out"
    mixed = MixedImages.load(synthetic)
    with work.bar(3, "sets of images") as advance:
        train = all_embedded(net, stored.of_classes("train"))
        advance(1)
        unseen, _ = nearest_similarity(all_embedded(net, stored.of_classes(part)), train)
        advance(2)
        near, _ = nearest_similarity(all_embedded(net, mixed.images), train)
        advance(3)
    threshold = float(np.quantile(unseen.numpy(), 1 - config.rate))
    stay = near.numpy() <= threshold
    rows = np.flatnonzero(stay)
    if not len(rows):
        raise ValueError(
            f"sampling.leak_gate {config.rate:g}: all {len(stay):,} images are nearer to a training image than "
            f"{1 - config.rate:.0%} of unseen ones; the generator copies"
        )
    used = write_part(work, mixed, rows)
    for name in CARRIED:
        if (synthetic / name).exists():
            shutil.copyfile(synthetic / name, work / name)
    lost = len(mixed.mplets) - len(used)
    LeakSummary(config.rate, threshold, part, len(unseen), len(stay), len(stay) - len(rows), lost).write(work)
    work.count("images", len(stay))
