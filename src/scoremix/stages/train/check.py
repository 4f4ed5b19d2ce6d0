"""The generator gate: does the baseline recognizer see reproductions as what they should be?"""

import numpy as np
import torch
from numpy.typing import NDArray

from scoremix.config import Gate
from scoremix.data.images import LabeledImages
from scoremix.execution.artifacts import Artifact
from scoremix.execution.work import Work
from scoremix.outputs.images import MixedImages, real_images
from scoremix.outputs.networks import GateResult, centers_of
from scoremix.stages.embedding import BLOCK, embedded, opened


def check_generator(
    config: Gate,
    real: Artifact,
    recognizer: Artifact,
    singles: Artifact,
    reproductions: Artifact,
    *,
    work: Work,
) -> None:
    """Writes gate.json: shares of reproductions, and of real training images, nearest to their own class center."""
    net = opened(recognizer, work)
    centers, train = centers_of(recognizer), real_images(real)
    reproduced = MixedImages.load(reproductions)
    of_reproductions = shares(net, reproduced.images, centers, reproduced.sources[:, 0])
    of_real = shares(net, train, centers, train.labels)
    counts = len(reproduced.mplets), len(reproduced.images)
    GateResult(*of_reproductions, *of_real, config.floor, *counts).write(work)


def shares(
    net: torch.nn.Module, images: LabeledImages, centers: torch.Tensor, truth: NDArray[np.int64]
) -> tuple[float, float]:
    """Shares of images whose class center is the nearest, and among the five nearest."""
    hits = np.zeros(2, np.int64)
    k = min(5, len(centers))
    for rows in images.blocks(BLOCK):
        nearest = (embedded(net, images, rows) @ centers.T).topk(k).indices.numpy()
        right = nearest == truth[rows][:, None]
        hits += right[:, 0].sum(), right.any(1).sum()
    return float(hits[0] / len(images)), float(hits[1] / len(images))
