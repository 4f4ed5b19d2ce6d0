"""Hugging Face's parquet files of labelled images as a source; needs the extra `hf` (paper 4.1: any labelled set)."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Int64

from scoremix.data import limits
from scoremix.data.formats.columns import Columned, arrow, columns_of, image_bytes
from scoremix.data.formats.folders import listed
from scoremix.data.source import DEFAULTS, Opening, readable

CONFIGS = 16  # folders at most that are looked into
AT_ONCE = 4  # images in memory: one that all rows share is stored once


def parquet_files(place: Path) -> list[Path]:
    """The .parquet files at or in `place`, or in its folder data or its only one, in order of name; ValueError for several."""
    if not place.is_dir():
        return [place] if place.suffix == ".parquet" and place.is_file() else []
    found = sorted(place.glob("*.parquet")) or sorted(place.glob("data/*.parquet"))
    if not found and 0 < len(inner := listed(place)[0]) <= CONFIGS:
        found = [path for name in inner for path in sorted((place / name).glob("*.parquet"))]
        if len(of := sorted({path.parent.name for path in found})) > 1:
            raise ValueError(f"{place} holds parquet files in {', '.join(of)}: name one of these folders")
    return found


class Parquet(Columned):
    """Parquet files.

    Images are copied to a temporary file at the first use, since files hold them in any order.
    """

    kind = "parquet"

    def __init__(self, place: Path, opening: Opening = DEFAULTS) -> None:
        self._pq = arrow(place, "parquet").parquet
        self.place, self.paths, self.workers = place, parquet_files(place), opening.workers
        with readable(self.paths[0], "readable parquet", worded=True):
            self.image_column, column, names = columns_of(
                self._pq.read_schema(self.paths[0]), self.paths[0], opening.told
            )
        labels: list[Any] = []
        parts: list[str] = []
        for path in self.paths:
            with readable(path, "readable parquet", worded=True):
                _refuse_swelling(self._pq.read_metadata(path), path, {self.image_column, column})
                found = self._pq.read_table(path, columns=[column], read_dictionary=[column])[column]
                labels += found.chunks
                parts += [path.stem.partition("-")[0]] * len(found)
        self.take_labels(labels, names, column, parts)

    @classmethod
    def lies_at(cls, place: Path, every: bool) -> bool:
        return bool(parquet_files(place))

    def files(self) -> Iterator[tuple[str, Path]]:
        return ((path.name, path) for path in self.paths)

    @cached_property
    def _spooled(self) -> tuple[np.ndarray, Int64[np.ndarray, " n1"]]:
        """The bytes of all images one after the other, in the order of the files, and where each starts."""
        starts = [0]
        with tempfile.TemporaryFile() as file:
            for path in self.paths:
                before, size = starts[-1], path.stat().st_size
                batches = self._pq.ParquetFile(path).iter_batches(batch_size=AT_ONCE, columns=[self.image_column])
                for value in (row for batch in batches for row in batch.column(0)):
                    try:
                        content = image_bytes(value.as_py())
                    except ValueError:
                        content = b""  # said of this image, where it is asked for
                    file.write(content)
                    starts.append(starts[-1] + len(content))
                    limits.refuse_swelling(f"{path}: its images", size, starts[-1] - before)
            if starts[-1] == 0:
                raise ValueError(f"{self.place}: no image has bytes (only paths?)")
            file.flush()
            return np.memmap(file, np.uint8, "r"), np.array(starts)

    def items(self, k: int) -> Int64[np.ndarray, " n"]:
        _ = self._spooled  # before the threads ask for it
        return super().items(k)

    def content(self, item: int) -> bytes:
        data, starts = self._spooled
        return image_bytes(data[starts[item] : starts[item + 1]].tobytes())

    def where(self, item: int) -> str:
        return f"{self.place}, image {item}"


def _refuse_swelling(metadata: Any, path: Path, columns: set[str]) -> None:
    """ValueError where a few bytes of the file stand for very many rows, or very large values."""
    limits.refuse_swelling(f"{path}: its rows", path.stat().st_size, metadata.num_rows)
    for group in map(metadata.row_group, range(metadata.num_row_groups)):
        for part in map(group.column, range(group.num_columns)):
            if (name := part.path_in_schema.partition(".")[0]) in columns:
                what = f"{path}: column {name!r}"
                limits.refuse_swelling(what, part.total_compressed_size, part.total_uncompressed_size)
