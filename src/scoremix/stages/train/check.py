"""The generator gate: does the baseline recognizer see reproductions as what they should be?"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch

from scoremix.data.images import LabeledImages
from scoremix.stages.judge.embeddings import BLOCK, embedded, opened

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from scoremix.config import Gate
    from scoremix.execution.artifacts import Artifact, Work


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
    centers = torch.from_numpy(np.load(recognizer / "centers.npy"))
    made = LabeledImages.load(reproductions.folder)
    classes = np.load(singles / "classes.npy")[:, 0]
    train = LabeledImages.load(real.folder).of_classes("train")
    top1, top5 = shares(net, made, centers, classes[made.labels])
    real_top1, real_top5 = shares(net, train, centers, train.labels)
    result = {"top1": top1, "top5": top5, "real_top1": real_top1, "real_top5": real_top5}
    work.write_json("gate.json", {**result, "floor": config.floor, "classes": len(classes), "images": len(made)})


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
