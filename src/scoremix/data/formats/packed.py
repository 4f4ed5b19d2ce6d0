"""A packed set: the images of a finished stage, such as a synthetic set."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
from jaxtyping import Int64

from scoremix.data.decode import png, resize_area
from scoremix.data.images import LabeledImages
from scoremix.data.source import BLOCK_BYTES, DEFAULTS, Choose, ImageBlock, Opening, Source
from scoremix.data.splits import SPLITS

NAMES = ("images.npy", "labels.npy", "classes.json")


class Packed(Source):
    """The three files of a `LabeledImages`; images held out from training are there if the opening wants every image."""

    kind = "packed"

    def __init__(self, place: Path, opening: Opening = DEFAULTS) -> None:
        self.place, images = place, LabeledImages.load(place)
        if opening.every and images.held_out is not None:
            images = replace(images, counts=images.counts + images.held_out, held_out=None)
        self.images, self.class_names, self.groups, self.counts = (
            images,
            images.class_names,
            images.groups,
            images.counts,
        )
        self.splits = images.splits if set(images.splits) == set(SPLITS) else None
        self.size, self.channels = min(images.shape[1:3]), images.channels

    @classmethod
    def lies_at(cls, place: Path, every: bool) -> bool:
        return all((place / name).is_file() for name in NAMES)

    def files(self) -> Iterator[tuple[str, Path]]:
        return ((name, self.place / name) for name in NAMES)

    def _blocks(self, kept: Int64[np.ndarray, " k"], choose: Choose, size: int) -> Iterator[ImageBlock]:
        step = max(1, BLOCK_BYTES // int(np.prod(self.images.shape[1:])))
        for k in map(int, kept):
            rows, images = choose(k), self.images.of_class(k)
            for part in (rows[start : start + step] for start in range(0, len(rows), step)):
                yield ImageBlock(resize_area(images[part], size), np.full(len(part), k))

    def encoded(self, k: int, chosen: Int64[np.ndarray, " chosen"]) -> Iterator[tuple[str, bytes]]:
        """File name and content of some images of class k, as PNG."""
        for i in map(int, chosen):
            yield f"{i:06d}.png", png(self.images.of_class(k)[i])
