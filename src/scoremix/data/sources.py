"""The formats of sets of labelled images, one table through which everything reads them; and images one by one."""

from __future__ import annotations

import functools
import hashlib
import io
import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Int32, Int64, UInt8

from scoremix.data.decode import size_of, with_channels
from scoremix.data.files import file_hash
from scoremix.data.formats.archives import Archive, Shards
from scoremix.data.formats.arrow import ArrowFiles, Parquet
from scoremix.data.formats.cifar import Cifar
from scoremix.data.formats.folders import ClasslessImages, Folders
from scoremix.data.formats.fonts import Fonts, Glyphs
from scoremix.data.formats.listed import Listed
from scoremix.data.formats.npz import Npz
from scoremix.data.formats.packed import Packed
from scoremix.data.formats.records import Records
from scoremix.data.source import DEFAULTS, Encoded, ImageBlock, Opening, Source, SourceHints, readable, windowed

# A new format is one file in `formats` and one word here; the first that lies at a place reads it.
FORMATS: tuple[type[Source], ...] = (
    *(Glyphs, Npz, ArrowFiles, Parquet, Packed, Records, Cifar),
    *(Shards, Archive, Fonts, Listed, ClasslessImages, Folders),
)


def format_of(place: str | Path, every: bool = False) -> type[Source]:
    """The reader of what lies at `place`, found by looking; ValueError if nothing readable does (`every`: see Opening)."""
    path = Path(place)
    if not path.exists() and not Glyphs.lies_at(path, every):
        raise ValueError(f"data source {path} does not exist")
    for reader in FORMATS:
        if reader.lies_at(path, every):
            return reader
    raise ValueError(
        f"data source {path} is none of: folder of class folders, .zip or .tar of them, WebDataset shards, RecordIO, parquet, "
        "save_to_disk, packed set, CIFAR, folder of fonts, .npz, table of path,label, 'glyphs'"
    )


def open_source(place: str | Path, opening: Opening = DEFAULTS) -> Source:
    """The source at `place`; ValueError of one line where it cannot be read."""
    reader = format_of(place, opening.every)
    with readable(Path(place), f"readable {reader.kind}", worded=True):
        return reader(Path(place), opening)


def fingerprint(place: str | Path, hints: SourceHints = DEFAULTS.hints) -> str:
    """SHA-256 (hex) of what would be read from `place`: names relative to it and contents, in order of name.

    Independent of where `place` lies, of times and of files that are passed over.
    """
    total = hashlib.sha256()
    with ThreadPoolExecutor(os.cpu_count() or 1) as pool:
        for name, content in windowed(pool, _digest, open_source(place, Opening(hints=hints)).files()):
            total.update(len(name).to_bytes(8, "big") + name + content)
    return total.hexdigest()


def _digest(named: tuple[str, Path]) -> tuple[bytes, bytes]:
    name, path = named
    return os.fsencode(name), bytes.fromhex(file_hash(path)) if path.is_file() else b"not a regular file"


Sides = tuple[str, int, int]  # what an error calls an image, its width and its height
Blocks = Callable[[int], Iterator[ImageBlock]]  # side -> all images in order, some of them bad


@dataclass(frozen=True, eq=False)
class Listing:
    """N images in a fixed order, read only when asked for."""

    names: tuple[str, ...]  # path relative to the folder, or the row in its file
    labels: Int32[np.ndarray, " n"] | None
    class_names: tuple[str, ...]
    stored: Blocks
    sides: Callable[[], Iterator[Sides]]  # of the images as they are stored

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


def open_listing(place: Path, hints: SourceHints | None = None) -> Listing:
    """All images at `place`, with or without classes; ValueError if there are none."""
    source = open_source(place, Opening(every=True, hints=hints or SourceHints()))
    names, labels = source.listed()
    sides = functools.partial(_sides, source)
    if not source.labelled:
        return Listing(names, None, (), source.every_block, sides)
    return Listing(names, labels.astype(np.int32), source.class_names, source.every_block, sides)


def _sides(source: Source) -> Iterator[Sides]:
    """The sides of every image that can be opened, once for all of an array; fonts are drawn at any size and have none."""
    if not isinstance(source, Encoded):
        if source.size is not None and not isinstance(source, Fonts):
            yield str(source.place), source.size, source.size
        return
    for item in (item for k in range(len(source.counts)) for item in source.items(k)):
        try:
            content = source.content(item)
            width, height = size_of(content if isinstance(content, Path) else io.BytesIO(content))
        except Exception:  # reading says what is wrong with it
            continue
        yield source.where(item), width, height
