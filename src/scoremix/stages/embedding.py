"""What stages share: a trained recognizer opened, and images embedded with it.

Apart from the stage `evaluate`, so that what is measured does not decide whether a trained recognizer is stale.
"""

import numpy as np
import torch
from numpy.typing import NDArray

from scoremix.data.images import LabeledImages
from scoremix.execution import processes as engine
from scoremix.execution.artifacts import Artifact
from scoremix.execution.work import Work
from scoremix.outputs.networks import CHECKPOINT
from scoremix.recognition import checkpoints
from scoremix.recognition.training import embed

BLOCK = 8192  # images read at a time


def opened(recognizer: Artifact, work: Work) -> torch.nn.Module:
    """The trained network of a recognizer, on the device of the work."""
    net, _ = checkpoints.load(recognizer / CHECKPOINT)
    return net.to(engine.start(work.runtime.device).device)


def all_embedded(net: torch.nn.Module, images: LabeledImages) -> torch.Tensor:
    """Unit embeddings of all images in order, on the CPU."""
    return torch.cat([embedded(net, images, rows) for rows in images.blocks(BLOCK)])


def embedded(net: torch.nn.Module, images: LabeledImages, rows: NDArray[np.int64]) -> torch.Tensor:
    """Unit embeddings of some rows, on the CPU."""
    return embedded_pixels(net, images.take(rows)[0])


def embedded_pixels(net: torch.nn.Module, pixels: NDArray[np.uint8]) -> torch.Tensor:
    """Unit embeddings of images (B, H, W, C), on the CPU."""
    return torch.nn.functional.normalize(embed(net, torch.from_numpy(pixels).permute(0, 3, 1, 2))).cpu()
