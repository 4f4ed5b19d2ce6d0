"""Embeddings of the classes no recognizer has seen (paper 4.2)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch

from scoremix.data.images import LabeledImages
from scoremix.data.order import stream_seed
from scoremix.data.pixelmix import averaged
from scoremix.evaluation.morphing import morph_sources
from scoremix.stages.closed import rank_held_out
from scoremix.stages.embeddings import BLOCK, embedded, embedded_pixels, opened

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from scoremix.artifacts import Artifact, Work
    from scoremix.config import Evaluation


def evaluate(config: Evaluation, real: Artifact, recognizer: Artifact, *, work: Work) -> None:
    """Writes embeddings.npy (N, D) float32, unit rows, and labels.npy (N,), classes numbered within their part.

    With `config.morphs` also morphs.npy (K, D), unit rows of pixel averages of two classes, and morph_sources.npy
    (K, 2), the rows of the two images. Where images of the training classes were held out also held_out.npz, see `rank_held_out`.
    """
    stored = LabeledImages.load(real.folder)
    images = stored.of_classes(config.classes)
    chosen = evaluated(images.counts, config.images, config.seed)
    net = opened(recognizer, work)
    blocks = (chosen[start : start + BLOCK] for start in range(0, len(chosen), BLOCK))
    unit = torch.cat([embedded(net, images, rows) for rows in blocks])
    labels = images.labels_of(chosen).astype(np.int32)
    work.write_array("embeddings.npy", unit.numpy())
    work.write_array("labels.npy", labels)
    if config.morphs:
        sources = morph_sources(labels, config.morphs, config.seed)
        work.write_array("morph_sources.npy", sources)
        work.write_array("morphs.npy", embedded_morphs(net, images, chosen[sources]).numpy())
    work.count("images", len(chosen))
    if stored.held_out is not None:
        rank_held_out(net, recognizer, stored, work=work)


def evaluated(counts: NDArray[np.int64], most: int, seed: int) -> NDArray[np.int64]:
    """Indices of the images that are evaluated, ascending: all, or some `most` drawn evenly from the classes.

    No class keeps fewer than two of its images: a class with one has no genuine pair.
    """
    if counts.sum() <= most:
        return np.arange(int(counts.sum()))
    low, high = 2, int(counts.max())
    while low < high:  # the largest number of images of a class that fits
        middle = (low + high + 1) // 2
        low, high = (middle, high) if np.minimum(counts, middle).sum() <= most else (low, middle - 1)
    rng = np.random.default_rng(stream_seed(seed, "evaluated"))
    starts = np.cumsum(counts) - counts
    kept = [start + rng.permutation(count)[:low] for start, count in zip(starts, counts, strict=True)]
    return np.sort(np.concatenate(kept))


def embedded_morphs(net: torch.nn.Module, images: LabeledImages, rows: NDArray[np.int64]) -> torch.Tensor:
    """Unit embeddings (K, D) of the pixel averages of the images of each row (K, 2)."""
    blocks = (rows[start : start + BLOCK // 2] for start in range(0, len(rows), BLOCK // 2))
    halves = np.full(2, 0.5)
    found = []
    for block in blocks:
        pixels = images.take(block.reshape(-1))[0]
        pairs = pixels.reshape(*block.shape, *pixels.shape[1:])
        found.append(embedded_pixels(net, averaged(pairs, np.broadcast_to(halves, block.shape))))
    return torch.cat(found)
