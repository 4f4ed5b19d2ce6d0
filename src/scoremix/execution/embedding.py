"""Embeddings of any images by a trained recognizer, in one file another tool can open."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from scoremix.config import Runtime
from scoremix.data.csv_text import csv_text, printable
from scoremix.data.files import refuse_existing, refuse_place, whole, write_file
from scoremix.data.reading import UnreadableImages
from scoremix.data.source import SourceHints
from scoremix.data.sources import Listing, open_listing
from scoremix.execution import workers
from scoremix.execution.trained import ROWS, Device, load_recognizer
from scoremix.execution.work import Work

FORMATS = (".npz", ".npy")
SHARED = 4096  # images from which on workers share them


def embed_images(
    checkpoint: Path, place: Path, out: Path, runtime: Runtime, skip_bad: bool = False, hints: SourceHints | None = None
) -> int:
    """Writes the embeddings of the images at `place`; returns how many.

    `out` ending in .npz: `embeddings` float32 (N, D) unit rows, `names` (N,), and where classes are known `labels` int32
    (N,) and `class_names`. Ending in .npy: the embeddings, and name and class of every row in a .csv beside them.
    Written whole or not at all. ValueError for a wrong place or ending and where that .csv is there; UnreadableImages
    unless `skip_bad`.
    """
    refuse_place(out, *FORMATS)
    if out.suffix == ".npy":
        refuse_existing(out.with_suffix(".csv"))
    recognizer = load_recognizer(checkpoint, out=runtime.out, device=runtime.device)
    size, channels = recognizer.description.size, recognizer.description.channels
    listing = open_listing(place, hints)
    embeddings: list[NDArray[np.float32]] = []
    indices: list[NDArray[np.int64]] = []
    bad: list[tuple[str, str]] = []
    crew = workers.crew(runtime, [])
    shared = crew.size > 1 and len(listing) > SHARED
    with Work(out.parent, runtime, "embed").bar(len(listing), "images") as advance:

        def pixels() -> Iterator[NDArray[np.uint8]]:
            for images, rows in listing.blocks(size, channels, ROWS, bad):
                if not bad or skip_bad:  # else only the other unreadable files are still of interest
                    indices.append(rows)
                    yield images
                advance(int(rows[-1]) + 1)

        opened = (checkpoint, runtime.out, runtime.device)
        embeddings += workers.mapped(crew, embedder, opened, pixels()) if shared else map(recognizer.embed, pixels())
    if bad and not skip_bad:
        raise UnreadableImages(bad)
    if not embeddings:
        raise ValueError(f"images {place}: none of {len(bad)} files can be read")
    write(out, np.concatenate(embeddings), listing, np.concatenate(indices))
    return sum(map(len, indices))


def embedder(checkpoint: Path, out: Path, device: Device) -> Callable[[NDArray[np.uint8]], NDArray[np.float32]]:
    """What a worker embeds images with."""
    return load_recognizer(checkpoint, out=out, device=device).embed


def write(out: Path, embeddings: NDArray[np.float32], listing: Listing, rows: NDArray[np.int64]) -> None:
    """Writes the embeddings of some rows of a listing as `embed_images` says; in the .csv what no UTF-8 can hold is written out."""
    columns: dict[str, Sequence[object]] = {"name": [listing.names[i] for i in rows]}
    more: dict[str, Any] = {"names": np.array(columns["name"])}
    if listing.labels is not None:
        labels, names = listing.labels[rows], listing.class_names
        columns |= {"label": labels.tolist(), "class": [names[k] for k in labels]}
        more |= {"labels": labels, "class_names": np.array(names)}
    with whole(out) as partial, open(partial, "wb") as file:
        if out.suffix == ".npz":
            np.savez(file, embeddings=embeddings, **more)
        else:
            np.save(file, embeddings, allow_pickle=False)
            table = csv_text([list(columns), *zip(*columns.values(), strict=True)])
            write_file(out.with_suffix(".csv"), printable(table))
