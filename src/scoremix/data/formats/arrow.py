"""Tables of Apache Arrow as Hugging Face's `datasets` writes them, parquet and save_to_disk; they need the extra `hf`."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from jaxtyping import Int64

from scoremix.data import limits
from scoremix.data.formats.folders import listed
from scoremix.data.layout import part_of
from scoremix.data.source import DEFAULTS, Encoded, Opening, SourceHints, readable
from scoremix.data.tables import splits_of


class ImageColumn(Encoded[int]):
    """A table's column of encoded images and one of labels (see `columns_of`); classes in ascending order of label.

    Parts with the names of a split are the split where no class is in two of them.
    """

    def take_labels(self, chunks: Iterable[Any], names: list[str], column: str, parts: Sequence[str]) -> None:
        """The classes, from the chunks of the labels' column, and the split, from the part of every row.

        ValueError as `classes_in`.
        """
        self.class_names, classes = classes_in(chunks, names, column, self.place)
        self.number(classes)
        if len(set(parts)) > 1 and all(map(part_of, set(parts))):
            self.splits, self.notes = splits_of(parts, classes, str(self.place))

    def name(self, item: int) -> str:
        return str(item)

    def where(self, item: int) -> str:
        return f"{self.place}, image {item}"


def arrow(place: Path, what: str) -> ModuleType:
    """The library that reads such tables; ValueError with what installs it where it is missing."""
    try:
        import pyarrow as pa
        import pyarrow.parquet  # also pa.parquet
    except ImportError:
        raise ValueError(f"{place} is {what}, which needs pyarrow: pip install 'scoremix[hf]'") from None
    return pa  # type: ignore[no-any-return]


def columns_of(schema: Any, path: Path, hints: SourceHints) -> tuple[str, str, list[str]]:
    """The image column, the label column, and the names of the classes where the table has them.

    The image column is the one of type Image (or with a field `bytes`), the label column the ClassLabel, or else
    `label`. ValueError names the columns there are, where these are not one each.
    """
    features = {name: of for name, of in _features(schema).items() if name in schema.names}
    kinds = {name: of.get("_type") for name, of in features.items()}
    images = [n for n, kind in kinds.items() if kind == "Image"] or [
        field.name for field in schema if str(field.type).startswith("struct") and "bytes:" in str(field.type)
    ]
    labels = [n for n, kind in kinds.items() if kind == "ClassLabel"] or [n for n in schema.names if n == "label"]
    for what, columns, name in (("image", images, hints.image_column), ("label", labels, hints.label_column)):
        if name is not None:
            columns[:] = [column for column in schema.names if column == name]
        if len(columns) != 1:
            raise ValueError(
                f"{path}: {len(columns)} columns of {what}s among {', '.join(schema.names)}, must be one: "
                f"--{what}-column COLUMN names it"
            )
    names = features.get(labels[0], {}).get("names") or []
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise ValueError(f"{path}: the names of the classes must be a list of texts")
    return images[0], labels[0], names


def _features(schema: Any) -> dict[str, dict[str, Any]]:
    """What the library `datasets` says of each column; nothing where its word cannot be read."""
    try:
        features = limits.parsed_json((schema.metadata or {}).get(b"huggingface", b"{}"))["info"]["features"]
        return {name: of for name, of in features.items() if isinstance(of, dict)}
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
        encoded = chunk if hasattr(chunk, "dictionary") else chunk.dictionary_encode()
        values = encoded.dictionary.to_pylist()
        if encoded.null_count or not all(type(value) in (int, str) for value in values):
            raise ValueError(f"{place}: column {column!r} must hold a whole number or a name for every image")
        ids = np.array([number.setdefault(value, len(number)) for value in values], np.int64)
        rows.append(ids[np.asarray(encoded.indices)])
    if len({type(value) for value in number}) != 1:
        raise ValueError(f"{place}: column {column!r} must hold a whole number or a name for every image")
    present = set(np.unique(labels := np.concatenate(rows)).tolist())
    distinct: list[Any] = sorted(label for label, i in number.items() if i in present)
    if names and not (isinstance(distinct[0], int) and 0 <= distinct[0] <= distinct[-1] < len(names)):
        raise ValueError(f"{place}: labels go from {distinct[0]} to {distinct[-1]}, {len(names)} names are given")
    place_of = np.zeros(len(number), np.int64)
    place_of[[number[label] for label in distinct]] = np.arange(len(distinct))
    named = (names[x] if names else f"{x:07d}" if isinstance(x, int) else x for x in distinct)
    return tuple(named), place_of[labels]


def image_bytes(value: Any) -> bytes:
    """The encoded image of one row; ValueError where it has none."""
    content = value.get("bytes") if isinstance(value, dict) else value
    if not isinstance(content, bytes) or not content:
        raise ValueError("no bytes (null, or only a path)")
    return content


DICT, STATE = "dataset_dict.json", "state.json"  # of several parts; of each part


class ArrowFiles(ImageColumn):
    """Arrow files, mapped into memory."""

    kind = "save_to_disk"

    def __init__(self, place: Path, opening: Opening = DEFAULTS) -> None:
        pa = arrow(place, "a set saved by `datasets`")
        self.place, self.workers, self.paths = place, opening.workers, list[Path]()
        images: list[Any] = []
        labels: list[Any] = []
        parts: list[str] = []
        for name, folder in _parts(place).items():
            for path in arrow_files(folder):
                with readable(path, "a readable arrow file", worded=True):
                    for batch in batches(pa, path):
                        image, label, names = columns_of(batch.schema, path, opening.hints)
                        images.append(batch.column(image))
                        labels.append(batch.column(label))
                        parts += [name] * len(batch)
                self.paths.append(path)
        if not parts:
            raise ValueError(f"{place} holds no images")
        self._images = pa.chunked_array(images)  # mapped until one is asked for
        self.take_labels(labels, names, label, parts)

    @classmethod
    def lies_at(cls, place: Path, every: bool) -> bool:
        return any((place / name).is_file() for name in (DICT, STATE))

    def files(self) -> Iterator[tuple[str, Path]]:
        return ((path.relative_to(self.place).as_posix(), path) for path in self.paths)

    def content(self, item: int) -> bytes:
        return image_bytes(self._images[int(item)].as_py())


def batches(pa: Any, path: Path) -> Iterator[Any]:
    """The record batches of an arrow file, whole and none that few bytes stand for; pyarrow's errors, or ValueError."""
    for batch in pa.ipc.open_stream(pa.memory_map(str(path))):
        batch.validate(full=True)  # what lies beyond its buffers would be read like anything else
        limits.refuse_swelling(str(path), path.stat().st_size, batch.nbytes)
        yield batch


def _parts(place: Path) -> dict[str, Path]:
    """The folders of the parts by name; ValueError where the list of them is damaged."""
    if not (place / DICT).is_file():
        return {"": place}
    names = _listed(place / DICT, "splits")
    return {name: place / name for name in names}


def arrow_files(folder: Path) -> list[Path]:
    """The files of one part, in order; ValueError where the list of them is damaged."""
    return [folder / name for name in _listed(folder / STATE, "_data_files", "filename")]


def _listed(path: Path, key: str, of: str | None = None) -> Sequence[str]:
    """Names of what lies beside a file that lists them; ValueError for anything else."""
    with readable(path, "what `datasets` writes"):
        listed = limits.parsed_json(limits.text(path))[key]
        names = [entry[of] for entry in listed] if of else list(listed)
        for name in names:
            if not isinstance(name, str) or name in ("", ".", "..") or Path(name).name != name:
                raise ValueError(f"{key} names {name!r:.80}, must be what lies beside it")
        return names


CONFIGS = 16  # folders at most that are looked into
AT_ONCE = 4  # images in memory: one that all rows share is stored once


def parquet_files(place: Path) -> list[Path]:
    """The .parquet files at or in `place`, or in its folder data or its only one, in order of name; ValueError for several."""
    if not place.is_dir():
        return [place] if place.suffix == ".parquet" and place.is_file() else []
    files = sorted(place.glob("*.parquet")) or sorted(place.glob("data/*.parquet"))
    if not files and 0 < len(inner := listed(place)[0]) <= CONFIGS:
        files = [path for name in inner for path in sorted((place / name).glob("*.parquet"))]
        if len(of := sorted({path.parent.name for path in files})) > 1:
            raise ValueError(f"{place} holds parquet files in {', '.join(of)}: name one of these folders")
    return files


class Parquet(ImageColumn):
    """Parquet files.

    Images are copied to a temporary file at the first use, since files hold them in any order.
    """

    kind = "parquet"

    def __init__(self, place: Path, opening: Opening = DEFAULTS) -> None:
        self._pq = arrow(place, "parquet").parquet
        self.place, self.paths, self.workers = place, parquet_files(place), opening.workers
        with readable(self.paths[0], "readable parquet", worded=True):
            self.image_column, column, names = columns_of(
                self._pq.read_schema(self.paths[0]), self.paths[0], opening.hints
            )
        labels: list[Any] = []
        parts: list[str] = []
        for path in self.paths:
            with readable(path, "readable parquet", worded=True):
                _refuse_swelling(self._pq.read_metadata(path), path, {self.image_column, column})
                label_column = self._pq.read_table(path, columns=[column], read_dictionary=[column])[column]
                labels += label_column.chunks
                parts += [path.stem.partition("-")[0]] * len(label_column)
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

    def items(self, k: int) -> Sequence[int] | Int64[np.ndarray, " n"]:
        _ = self._spooled  # before the threads ask for it
        return super().items(k)

    def content(self, item: int) -> bytes:
        data, starts = self._spooled
        return image_bytes(data[starts[item] : starts[item + 1]].tobytes())


def _refuse_swelling(metadata: Any, path: Path, columns: set[str]) -> None:
    """ValueError where a few bytes of the file stand for very many rows, or very large values."""
    limits.refuse_swelling(f"{path}: its rows", path.stat().st_size, metadata.num_rows)
    for group in map(metadata.row_group, range(metadata.num_row_groups)):
        for part in map(group.column, range(group.num_columns)):
            if (name := part.path_in_schema.partition(".")[0]) in columns:
                what = f"{path}: column {name!r}"
                limits.refuse_swelling(what, part.total_compressed_size, part.total_uncompressed_size)
