"""Images one by one, each with its name and its class where it has one: for uses that need no split."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Int32, Int64, UInt8

from scoremix.data.decode import with_channels
from scoremix.data.source import Block, Opening, Told
from scoremix.data.sources import open_source

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


def open_listing(place: Path, told: Told | None = None) -> Listing:
    """All images at `place`, with or without classes; ValueError if there are none."""
    source = open_source(place, Opening(every=True, told=told or Told()))
    names, labels = source.listed()
    if not source.labelled:
        return Listing(names, None, (), source.every_block)
    return Listing(names, labels.astype(np.int32), source.class_names, source.every_block)
