"""A recognizer that was trained on mixes as one of the real classes, so that it can choose what is mixed (re-selection)."""

from dataclasses import replace

from scoremix.analysis.spaces import in_order
from scoremix.config import RealClasses
from scoremix.execution.artifacts import Artifact
from scoremix.execution.work import Work
from scoremix.outputs.images import real_images
from scoremix.outputs.networks import CHECKPOINT, RecognizerSummary, centers_of
from scoremix.stages.train.guide import link


def keep_real(config: RealClasses, recognizer: Artifact, real: Artifact, *, work: Work) -> None:
    """Writes the recognizer with the centers of the real training classes alone, in their order; its head stays whole."""
    info, names = RecognizerSummary.load(recognizer), list(real_images(real).class_names)
    link(recognizer / CHECKPOINT, work / CHECKPOINT)
    centers = in_order(centers_of(recognizer), info.class_names, names, "the recognizer")
    work.write_array("centers.npy", centers.numpy())
    replace(info, classes=len(names), class_names=names).write(work)
