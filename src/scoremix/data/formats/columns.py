"""Tables of Apache Arrow with encoded images and labels, as Hugging Face's `datasets` writes them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from jaxtyping import Int64

from scoremix.data import limits
from scoremix.data.layout import part_of
from scoremix.data.source import Encoded, Rows, Told
from scoremix.data.tables import splits_of


class Columned(Encoded[int]):
    """A table's column of encoded images and one of labels (see `columns_of`); classes in ascending order of label.

    Parts with the names of a split are the split where no class is in two of them.
    """

    rows: Rows

    def take_labels(self, chunks: Iterable[Any], names: list[str], column: str, parts: Sequence[str]) -> None:
        """The classes, from the chunks of the labels' column, and the split, from the part of every row.

        ValueError as `classes_in`.
        """
        self.class_names, classes = classes_in(chunks, names, column, self.place)
        self.rows = Rows(classes)
        self.counts = self.rows.counts
        if len(set(parts)) > 1 and all(map(part_of, set(parts))):
            self.splits, self.notes = splits_of(parts, classes, str(self.place))

    def items(self, k: int) -> Int64[np.ndarray, " n"]:
        return self.rows.of(k)

    def name(self, item: int) -> str:
        return str(item)


def arrow(place: Path, what: str) -> ModuleType:
    """The library that reads such tables; ValueError with what installs it where it is missing."""
    try:
        import pyarrow as pa
        import pyarrow.parquet  # also pa.parquet
    except ImportError:
        raise ValueError(f"{place} is {what}, which needs pyarrow: pip install 'scoremix[hf]'") from None
    return pa  # type: ignore[no-any-return]


def columns_of(schema: Any, path: Path, told_by: Told) -> tuple[str, str, list[str]]:
    """The image column, the label column, and the names of the classes where the table has them.

    The image column is the one of type Image (or with a field `bytes`), the label column the ClassLabel, or else
    `label`. ValueError names the columns there are, where these are not one each.
    """
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
                f"--{what}-column COLUMN names it"
            )
    names = told.get(labels[0], {}).get("names") or []
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise ValueError(f"{path}: the names of the classes must be a list of texts")
    return images[0], labels[0], names


def _features(schema: Any) -> dict[str, dict[str, Any]]:
    """What the library `datasets` says of each column; nothing where its word cannot be read."""
    try:
        found = limits.parsed_json((schema.metadata or {}).get(b"huggingface", b"{}"))["info"]["features"]
        return {name: of for name, of in found.items() if isinstance(of, dict)}
    except (AttributeError, KeyError, TypeError, ValueError):
        return {}


def classes_in(
    chunks: Iterable[Any], names: list[str], column: str, place: Path
) -> tuple[tuple[str, ...], Int64[np.ndarray, " n"]]:
    """Names of the classes in ascending order of label, and the class of every row of a column of labels.

    A chunk is an arrow array, encoded by its distinct values one way or another: a long text that all rows share is
    held once. ValueError unless every row has a whole number or a text.
    """
    number: dict[int | str, int] = {}
    rows: list[np.ndarray] = []
    for chunk in chunks:
        told = chunk if hasattr(chunk, "dictionary") else chunk.dictionary_encode()
        values = told.dictionary.to_pylist()
        if told.null_count or not all(type(value) in (int, str) for value in values):
            raise ValueError(f"{place}: column {column!r} must hold a whole number or a name for every image")
        ids = np.array([number.setdefault(value, len(number)) for value in values], np.int64)
        rows.append(ids[np.asarray(told.indices)])
    if len({type(value) for value in number}) != 1:
        raise ValueError(f"{place}: column {column!r} must hold a whole number or a name for every image")
    present = set(np.unique(found := np.concatenate(rows)).tolist())
    distinct: list[Any] = sorted(label for label, i in number.items() if i in present)
    if names and not (isinstance(distinct[0], int) and 0 <= distinct[0] <= distinct[-1] < len(names)):
        raise ValueError(f"{place}: labels go from {distinct[0]} to {distinct[-1]}, {len(names)} names are given")
    place_of = np.zeros(len(number), np.int64)
    place_of[[number[label] for label in distinct]] = np.arange(len(distinct))
    named = (names[x] if names else f"{x:07d}" if isinstance(x, int) else x for x in distinct)
    return tuple(named), place_of[found]


def image_bytes(value: Any) -> bytes:
    """The encoded image of one row; ValueError where it has none."""
    content = value.get("bytes") if isinstance(value, dict) else value
    if not isinstance(content, bytes) or not content:
        raise ValueError("no bytes (null, or only a path)")
    return content
