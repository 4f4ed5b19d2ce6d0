"""Embeddings of a public benchmark's images, kept in the store: one forward pass for all protocols (paper 4.2)."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING

import numpy as np
import torch

from scoremix.data.decode import with_channels
from scoremix.data.faceimages import FaceImages
from scoremix.execution import processes as engine
from scoremix.recognition.checkpoints import Description, network_input
from scoremix.recognition.training import embed

if TYPE_CHECKING:
    from scoremix.config import Embedding
    from scoremix.execution.artifacts import Work


def embed_images(
    config: Embedding, net: torch.nn.Module, description: Description, images: FaceImages, *, work: Work
) -> None:
    """Writes embeddings.npy (N, D) float32: raw, the mirrored image's added where `flip`; continues where it stopped."""
    device = engine.start(work.runtime.device).device
    net.to(device)
    unfinished, reached = work.progress / "embeddings.npy", work.progress / "rows.json"
    done = json.loads(reached.read_text()) if reached.exists() and unfinished.exists() else 0
    shape = (len(images), description.embedding)
    mode = "r+" if done else "w+"
    out = np.lib.format.open_memmap(unfinished, mode=mode, dtype=np.float32, shape=shape)
    with work.bar(len(images), "images", done) as advance:
        for pixels in images.blocks(done, config.batch, description.size, os.cpu_count() or 1):
            x = network_input(torch.from_numpy(with_channels(pixels, description.channels)), description)
            y = embed(net, x.to(device), flip=config.flip, batch=config.batch, precision=config.precision)
            out[done : done + len(pixels)] = y.cpu().numpy()
            done += len(pixels)
            work.count("images", len(pixels))
            if work.due():
                out.flush()
                work.keep("rows.json", json.dumps(done))
            advance(done)
    out.flush()
    os.replace(unfinished, work / "embeddings.npy")
