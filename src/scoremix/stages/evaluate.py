"""Embeddings of the classes no recognizer has seen (paper 4.2)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch

from scoremix import engine
from scoremix.data.images import LabeledImages
from scoremix.recognition import checkpoints
from scoremix.recognition.training import embed
from scoremix.stages.closed import rank_held_out

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from scoremix.artifacts import Artifact, Work
    from scoremix.config import Evaluation

BLOCK = 8192  # images read at a time


def evaluate(config: Evaluation, real: Artifact, recognizer: Artifact, *, work: Work) -> None:
    """Writes embeddings.npy (N, D) float32, unit rows, and labels.npy (N,), classes numbered within their part.

    Where images of the training classes were held out also held_out.npz, see `rank_held_out`.
    """
    stored = LabeledImages.load(real.folder)
    images = stored.of_classes(config.classes)
    net, _ = checkpoints.load(recognizer / "recognizer.safetensors")
    net.to(engine.start(work.runtime.device).device)
    unit = torch.cat([embedded(net, images, rows) for rows in images.blocks(BLOCK)])
    work.write_array("embeddings.npy", unit.numpy())
    work.write_array("labels.npy", images.labels.astype(np.int32))
    work.count("images", len(images))
    if stored.held_out is not None:
        rank_held_out(net, recognizer, stored, work=work)


def embedded(net: torch.nn.Module, images: LabeledImages, rows: NDArray[np.int64]) -> torch.Tensor:
    """Unit embeddings of some rows, on the CPU."""
    return embedded_pixels(net, images.take(rows)[0])


def embedded_pixels(net: torch.nn.Module, pixels: NDArray[np.uint8]) -> torch.Tensor:
    """Unit embeddings of images (B, H, W, C), on the CPU."""
    return torch.nn.functional.normalize(embed(net, torch.from_numpy(pixels).permute(0, 3, 1, 2))).cpu()
