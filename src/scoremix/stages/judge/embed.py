"""Embeddings of a public benchmark's images, kept in the store: one forward pass for all protocols (paper 4.2)."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import torch

from scoremix.config import Embedding
from scoremix.data.decode import with_channels
from scoremix.data.faceimages import FaceImages
from scoremix.execution import processes as engine
from scoremix.execution.artifacts import Work
from scoremix.recognition.checkpoints import Description, network_input
from scoremix.recognition.training import embed


def embed_images(
    config: Embedding, net: torch.nn.Module, description: Description, images: FaceImages, *, work: Work
) -> None:
    """Writes embeddings.npy (N, D) float32: raw, the mirrored image's added where `flip`; continues where it stopped."""
    device = engine.start(work.runtime.device).device
    net.to(device)
    unfinished, shape = work.progress / "embeddings.npy", (len(images), description.embedding)
    done, digest, out = _reached(work, unfinished, shape)
    with work.bar(len(images), "images", done) as advance:
        for pixels in images.blocks(done, config.batch, description.size, os.cpu_count() or 1):
            x = network_input(torch.from_numpy(with_channels(pixels, description.channels)), description)
            y = embed(net, x.to(device), flip=config.flip, batch=config.batch, precision=config.precision)
            out[done : done + len(pixels)] = rows = y.float().cpu().numpy()
            digest.update(np.ascontiguousarray(rows).data)
            done += len(pixels)
            work.count("images", len(pixels))
            if work.due():
                out.flush()
                work.keep("rows.json", json.dumps({"rows": done, "sha256": digest.hexdigest()}))
            advance(done)
    out.flush()
    os.replace(unfinished, work / "embeddings.npy")


def _reached(work: Work, file: Path, shape: tuple[int, int]) -> tuple[int, Any, Any]:
    """(rows, their SHA-256 so far, the open file) of what was kept; from the start where the file's rows are others."""
    known = json.loads(work.kept("rows.json") or "null")
    if known and file.exists():
        with contextlib.suppress(ValueError, OSError):
            out = np.load(file, mmap_mode="r+", allow_pickle=False)
            digest = hashlib.sha256(np.ascontiguousarray(out[: known["rows"]]).data)
            if out.shape == shape and out.dtype == np.float32 and digest.hexdigest() == known["sha256"]:
                return known["rows"], digest, out
    return 0, hashlib.sha256(), np.lib.format.open_memmap(file, mode="w+", dtype=np.float32, shape=shape)
