"""Embeddings of a public benchmark's images, kept in the store: one forward pass for all protocols (paper 4.2)."""

import io
import os

import numpy as np
import torch

from scoremix.config import Embedding
from scoremix.data.decode import with_channels
from scoremix.data.facesets import FaceImages
from scoremix.data.files import whole
from scoremix.execution import processes as engine
from scoremix.execution.work import Work
from scoremix.recognition.checkpoints import Description, network_input
from scoremix.recognition.training import embed

BLOCK = 4096  # images whose embeddings are kept together, about


def embed_images(
    config: Embedding, net: torch.nn.Module, description: Description, images: FaceImages, *, work: Work
) -> None:
    """Writes embeddings.npy (N, D) float32: raw, the mirrored image's added where `flip`; continues where it stopped.

    A process that is given a part of the blocks (`work.part`) makes that part and stops; another one gathers them.
    """
    device = engine.start(work.runtime.device).device
    net.to(device)
    each = max(1, BLOCK // config.batch) * config.batch
    blocks = {f"rows-{start:09d}.npy": (start, min(start + each, len(images))) for start in range(0, len(images), each)}
    mine, sharing = work.part or (0, 1)
    with work.bar(len(images), "images") as advance:
        for number, (name, (start, end)) in enumerate(blocks.items()):
            if number % sharing == mine and work.kept(name) is None:
                rows, done = [], start
                for pixels in images.blocks(start, config.batch, description.size, os.cpu_count() or 1, end):
                    x = network_input(torch.from_numpy(with_channels(pixels, description.channels)), description)
                    y = embed(net, x.to(device), flip=config.flip, batch=config.batch, precision=config.precision)
                    rows.append(y.float().cpu().numpy())
                    advance(done := done + len(pixels))
                buffer = io.BytesIO()
                np.save(buffer, np.concatenate(rows))
                work.keep(name, buffer.getvalue())
            advance(end)
    if work.part:
        return
    work.count("images", len(images))
    described = {"descr": "<f4", "fortran_order": False, "shape": (len(images), description.embedding)}
    with whole(work / "embeddings.npy") as partial, partial.open("wb") as file:  # mapped, a full disk ends the process
        np.lib.format.write_array_header_1_0(file, described)
        for name in blocks:
            block = np.load(io.BytesIO(work.surely_kept(name)), allow_pickle=False)
            file.write(np.ascontiguousarray(block, "<f4").data)
