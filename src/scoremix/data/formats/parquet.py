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
from scoremix.data.source import DEFAULTS, Encoded, Opening, Rows, Told, readable


def parquet_files(place: Path) -> list[Path]:
    """The .parquet files at or in `place`, or in its folder data, in order of name."""
    if not place.is_dir():
        return [place] if place.suffix == ".parquet" and place.is_file() else []
    return sorted(place.glob("*.parquet")) or sorted(place.glob("data/*.parquet"))


class Parquet(Encoded[int]):
    """A column of encoded images and one of labels, as `datasets` writes them; classes in ascending order of label.

    The image column is the one of type Image (or with a field `bytes`), the label column the ClassLabel, or else
    `label`. Images are copied to a temporary file at the first use, since files hold them in any order. ValueError
    names what is missing.
    """

    kind = "parquet"

    def __init__(self, place: Path, opening: Opening = DEFAULTS) -> None:
        try:
            import pyarrow.parquet as pq
        except ImportError:
            raise ValueError(f"{place} is parquet, which needs pyarrow: pip install 'scoremix[hf]'") from None
        self.place, self.paths, self.workers, self._pq = place, parquet_files(place), opening.workers, pq
        with readable(self.paths[0], "readable parquet"):
            schema = pq.read_schema(self.paths[0])
        self.image_column, column, names = _columns(schema, self.paths[0], opening.told)
        labels: list[Any] = []
        for path in self.paths:
            with readable(path, "readable parquet"):
                _refuse_swelling(pq.read_metadata(path), path, self.image_column)
                labels += pq.read_table(path, columns=[column])[column].to_pylist()
        if (
            not labels
            or type(labels[0]) not in (int, str)
            or any(type(label) is not type(labels[0]) for label in labels)
        ):
            raise ValueError(f"{place}: column {column!r} must hold a whole number or a name for every image")
        distinct, classes = np.unique(np.array(labels), return_inverse=True)
        if names and not 0 <= distinct[0] <= distinct[-1] < len(names):
            raise ValueError(f"{place}: labels go from {distinct[0]} to {distinct[-1]}, {len(names)} names are given")
        numbers = distinct.dtype.kind in "iu"
        self.class_names = tuple(names[i] if names else f"{i:07d}" if numbers else str(i) for i in distinct)
        self.rows = Rows(classes)
        self.counts = self.rows.counts

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
                for batch in self._pq.ParquetFile(path).iter_batches(batch_size=16, columns=[self.image_column]):
                    for value in batch.column(0).to_pylist():
                        content = value.get("bytes") if isinstance(value, dict) else value
                        file.write(content or b"")
                        starts.append(starts[-1] + len(content or b""))
                    limits.refuse_swelling(f"{path}: its images", size, starts[-1] - before)
            if starts[-1] == 0:
                raise ValueError(f"{self.place}: no image has bytes (only paths?)")
            file.flush()
            return np.memmap(file, np.uint8, "r"), np.array(starts)

    def items(self, k: int) -> Int64[np.ndarray, " n"]:
        _ = self._spooled  # before the threads ask for it
        return self.rows.of(k)

    def content(self, item: int) -> bytes:
        data, starts = self._spooled
        content: bytes = data[starts[item] : starts[item + 1]].tobytes()
        if not content:
            raise ValueError("no bytes (null, or only a path)")
        return content

    def where(self, item: int) -> str:
        return f"{self.paths[0].parent}, image {item}"

    def name(self, item: int) -> str:
        return str(item)


def _refuse_swelling(metadata: Any, path: Path, column: str) -> None:
    """ValueError where the images of a group of rows are stored in far fewer bytes than they take."""
    for group in map(metadata.row_group, range(metadata.num_row_groups)):
        for part in map(group.column, range(group.num_columns)):
            if part.path_in_schema.partition(".")[0] == column:
                limits.refuse_swelling(f"{path}: its images", part.total_compressed_size, part.total_uncompressed_size)


def _features(schema: Any) -> dict[str, dict[str, Any]]:
    """What the library `datasets` says of each column; nothing where its word cannot be read."""
    try:
        found = limits.parsed_json((schema.metadata or {}).get(b"huggingface", b"{}"))["info"]["features"]
        return {name: of for name, of in found.items() if isinstance(of, dict)}
    except (AttributeError, KeyError, TypeError, ValueError):
        return {}


def _columns(schema: Any, path: Path, told_by: Told) -> tuple[str, str, list[str]]:
    """The image column, the label column, and the names of the classes where the file has them."""
    told = {name: of for name, of in _features(schema).items() if name in schema.names}
    kinds = {name: of.get("_type") for name, of in told.items()}
    images = [n for n, kind in kinds.items() if kind == "Image"] or [
        field.name for field in schema if str(field.type).startswith("struct") and "bytes:" in str(field.type)
    ]
    labels = [n for n, kind in kinds.items() if kind == "ClassLabel"] or [n for n in schema.names if n == "label"]
    for what, columns, name in (("image", images, told_by.image_column), ("label", labels, told_by.label_column)):
        if name is not None:
            columns[:] = [column for column in schema.names if column == name]
        if len(columns) != 1:
            raise ValueError(
                f"{path}: {len(columns)} columns of {what}s among {', '.join(schema.names)}, must be one: "
                f"--set data.{what}_column=COLUMN names it"
            )
    names = told.get(labels[0], {}).get("names") or []
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise ValueError(f"{path}: the names of the classes must be a list of texts")
    return images[0], labels[0], names
