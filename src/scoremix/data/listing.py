"""Images one by one, each with its name and its class where it has one: for uses that need no split."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
from jaxtyping import Int32, Int64, UInt8

from scoremix.data.blocks import Block, all_blocks, block_of_file, windowed
from scoremix.data.decode import resize_area, with_channels
from scoremix.data.images import LabeledImages
from scoremix.data.insightface import InsightFace, record_files
from scoremix.data.parquet import Parquet, parquet_files
from scoremix.data.sources import Folders, Npz, listed, may_be_image

Blocks = Callable[[int], Iterator[Block]]  # side -> all images in order, some of them bad


@dataclass(frozen=True, eq=False)
class Listing:
    """N images in a fixed order, read only when asked for."""

    names: tuple[str, ...]  # path relative to the folder, or the row in its file
    labels: Int32[np.ndarray, " n"] | None
    class_names: tuple[str, ...]
    stored: Blocks

    def __len__(self) -> int:
        return len(self.names)

    def blocks(
        self, size: int, channels: int, rows: int, bad: list[tuple[str, str]]
    ) -> Iterator[tuple[UInt8[np.ndarray, "b size size c"], Int64[np.ndarray, " b"]]]:
        """Images and their indices, `rows` at a time but for the last; unreadable ones go to `bad` (path, reason)."""
        pixels: list[UInt8[np.ndarray, "b size size c"]] = []
        indices: list[Int64[np.ndarray, " b"]] = []
        at = 0
        for block in self.stored(size):
            pixels.append(with_channels(block.images, channels))
            indices.append(np.arange(at, at + len(block.images)))
            bad += block.bad
            at += len(block.images) + len(block.bad)
            if sum(map(len, indices)) >= rows:
                images, which = np.concatenate(pixels), np.concatenate(indices)
                whole = len(which) // rows * rows
                for start in range(0, whole, rows):
                    yield images[start : start + rows], which[start : start + rows]
                pixels, indices = [images[whole:]], [which[whole:]]
        if sum(map(len, indices)):
            yield np.concatenate(pixels), np.concatenate(indices)


def open_listing(place: Path, workers: int | None = None) -> Listing:
    """The images at `place`; ValueError if there are none.

    A folder of class folders, a folder of images, one image, RecordIO, parquet, an .npz with `images` and perhaps
    `labels`, or a packed set such as an artifact of ingest. Files are read by `decode`'s rules, arrays resized by area, as ingest does.
    """
    workers = workers or os.cpu_count() or 1
    if not place.exists():
        raise ValueError(f"images {place}: does not exist")
    if parquet_files(place):
        return _one_file(Parquet(place, workers))
    if record_files(place) is not None:
        return _one_file(InsightFace(place, workers))
    if place.is_file():
        return _npz(place) if place.suffix.lower() == ".npz" else _files(place.parent, (place.name,), workers)
    if (place / "images.npy").exists():
        return _packed(LabeledImages.load(place))
    folders, loose = listed(place)
    files = tuple(name for name in loose if may_be_image(name))
    if folders and files:
        raise ValueError(
            f"images {place}: holds {len(folders)} folders and {len(files)} images such as {files[0]!r}: must be one or the other"
        )
    if not folders and not files:
        raise ValueError(f"images {place}: has neither images nor class folders")
    return _class_folders(Folders(place, workers)) if folders else _files(place, files, workers)


def _class_folders(source: Folders) -> Listing:
    files = [source.files(k) for k in range(len(source.class_names))]
    names = tuple(f"{path.parent.name}/{path.name}" for of_class in files for path in of_class)
    labels = np.repeat(np.arange(len(files), dtype=np.int32), source.counts)
    return Listing(names, labels, source.class_names, partial(all_blocks, source))


def _one_file(source: InsightFace | Parquet) -> Listing:
    labels = np.repeat(np.arange(len(source.counts), dtype=np.int32), source.counts)
    return Listing(source.names(), labels, source.class_names, partial(all_blocks, source))


def _files(folder: Path, files: tuple[str, ...], workers: int) -> Listing:
    def blocks(size: int) -> Iterator[Block]:
        with ThreadPoolExecutor(workers) as pool:
            yield from windowed(pool, lambda path: block_of_file(path, 0, size), (folder / name for name in files))

    return Listing(files, None, (), blocks)


def _npz(path: Path) -> Listing:
    source = Npz(path, labelled=False)
    return Listing(
        tuple(str(i) for i in range(source.shape[0])),
        source.labels.astype(np.int32) if source.labelled else None,
        source.class_names if source.labelled else (),
        partial(all_blocks, source),
    )


def _packed(images: LabeledImages) -> Listing:
    """All rows of the file, those held out from training too."""
    if images.held_out is not None:
        images = replace(images, counts=images.counts + images.held_out, held_out=None)

    def blocks(size: int) -> Iterator[Block]:
        for rows in images.blocks(1024):
            pixels, labels = images.take(rows)
            yield Block(resize_area(pixels, size), labels)

    return Listing(tuple(str(i) for i in range(len(images))), images.labels, images.class_names, blocks)
