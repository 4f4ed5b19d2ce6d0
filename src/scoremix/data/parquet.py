"""Hugging Face's parquet files of labelled images as a source; needs the extra `hf` (paper 4.1: any labelled set)."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Int64

from scoremix.data.blocks import Block, Choose, decoded
from scoremix.data.insightface import extension
from scoremix.data.splits import Splits


def parquet_files(place: Path) -> list[Path]:
    """The .parquet files at or in `place`, or in its folder data, in order of name."""
    if not place.is_dir():
        return [place] if place.suffix == ".parquet" and place.is_file() else []
    return sorted(place.glob("*.parquet")) or sorted(place.glob("data/*.parquet"))


class Parquet:
    """A column of encoded images and one of labels, as `datasets` writes them; classes in ascending order of label.

    The image column is the one of type Image (or with a field `bytes`), the label column the ClassLabel, or else
    `label`. Images are copied to a temporary file at the first use, since files hold them in any order. ValueError
    names what is missing.
    """

    groups: tuple[str, ...] | None = None
    splits: Splits | None = None
    size: int | None = None
    channels = 3
    ignored = 0

    def __init__(self, place: Path, workers: int) -> None:
        try:
            import pyarrow.parquet as pq
        except ImportError:
            raise ValueError(f"{place} is parquet, which needs pyarrow: pip install 'scoremix[hf]'") from None
        self.paths, self.workers, self._pq = parquet_files(place), workers, pq
        try:
            schema = pq.read_schema(self.paths[0])
        except (OSError, ValueError) as error:
            raise ValueError(f"{self.paths[0]} is not readable parquet ({' '.join(str(error).split())})") from None
        self.image_column, label_column, names = _columns(schema, self.paths[0])
        labels = [self._read_labels(path, label_column) for path in self.paths]
        flat = [label for part in labels for label in part]
        if not flat or None in flat or not isinstance(flat[0], (int, str)):
            raise ValueError(f"{place}: column {label_column!r} must hold a whole number or a name for every image")
        distinct, self.labels = np.unique(np.array(flat), return_inverse=True)
        if names and not 0 <= distinct[0] <= distinct[-1] < len(names):
            raise ValueError(f"{place}: labels go from {distinct[0]} to {distinct[-1]}, {len(names)} names are given")
        numbers = distinct.dtype.kind in "iu"
        self.class_names = tuple(names[i] if names else f"{i:07d}" if numbers else str(i) for i in distinct)
        self.order = np.argsort(self.labels, kind="stable")
        self.counts = np.bincount(self.labels).astype(np.int64)
        self._ends = np.cumsum(self.counts)

    def _read_labels(self, path: Path, column: str) -> list[Any]:
        try:
            values: list[Any] = self._pq.read_table(path, columns=[column])[column].to_pylist()
        except (OSError, ValueError, KeyError) as error:
            raise ValueError(f"{path} is not readable parquet ({' '.join(str(error).split())})") from None
        return values

    @cached_property
    def _spooled(self) -> tuple[np.ndarray, Int64[np.ndarray, " n1"]]:
        """The bytes of all images one after the other, in the order of the files, and where each starts."""
        starts = [0]
        with tempfile.TemporaryFile() as file:
            for path in self.paths:
                for batch in self._pq.ParquetFile(path).iter_batches(batch_size=256, columns=[self.image_column]):
                    for value in batch.column(0).to_pylist():
                        content = value.get("bytes") if isinstance(value, dict) else value
                        if not content:
                            raise ValueError(f"{path}: image {len(starts) - 1} has no bytes (only a path?)")
                        file.write(content)
                        starts.append(starts[-1] + len(content))
            file.flush()
            return np.memmap(file, np.uint8, "r"), np.array(starts)

    def blocks(self, kept: Int64[np.ndarray, " k"], choose: Choose, size: int) -> Iterator[Block]:
        """See Source."""
        _ = self._spooled  # before the threads ask for it
        return decoded(
            self._rows_of,
            self._image,
            lambda row: f"{self.paths[0].parent}, image {row}",
            kept,
            choose,
            size,
            self.workers,
        )

    def encoded(self, k: int, chosen: Int64[np.ndarray, " chosen"]) -> Iterator[tuple[str, bytes]]:
        """See EncodedSource; files are named by their rows."""
        for row in self._rows_of(k)[chosen]:
            content = self._image(row)
            yield f"{row:08d}{extension(content)}", content

    def names(self) -> tuple[str, ...]:
        """Of every image in order of class: its row."""
        return tuple(map(str, self.order))

    def _rows_of(self, k: int) -> Int64[np.ndarray, " n"]:
        rows: np.ndarray = self.order[self._ends[k] - self.counts[k] : self._ends[k]]
        return rows

    def _image(self, row: int) -> bytes:
        data, starts = self._spooled
        content: bytes = data[starts[row] : starts[row + 1]].tobytes()
        return content


def _columns(schema: Any, path: Path) -> tuple[str, str, list[str]]:
    """The image column, the label column, and the names of the classes where the file has them."""
    told = json.loads((schema.metadata or {}).get(b"huggingface", b"{}")).get("info", {}).get("features", {})
    kinds = {name: told[name].get("_type") for name in told if isinstance(told[name], dict)}
    images = [n for n, kind in kinds.items() if kind == "Image"] or [
        field.name for field in schema if str(field.type).startswith("struct") and "bytes:" in str(field.type)
    ]
    labels = [n for n, kind in kinds.items() if kind == "ClassLabel"] or [n for n in schema.names if n == "label"]
    for what, found in (("images", images), ("labels", labels)):
        if len(found) != 1:
            raise ValueError(f"{path}: {len(found)} columns of {what} among {', '.join(schema.names)}, must be one")
    return images[0], labels[0], list(told.get(labels[0], {}).get("names", []))
