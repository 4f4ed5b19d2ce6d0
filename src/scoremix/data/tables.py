"""Tables that say which image is of which class: CSV, TSV, JSON lines, and what labels in them may be."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Int64

from scoremix.data import limits
from scoremix.data.csv_text import csv_rows
from scoremix.data.layout import part_of
from scoremix.data.lists import noun
from scoremix.data.splits import SPLITS, Splits

IMAGES = ("file_name", "image", "path", "file", "filename", "filepath", "image_path", "img", "img_path")
LABELS = ("label", "class", "class_name", "identity", "person", "subject", "target", "category", "labels", "id")
WRITTEN = ["label", "folder", "class"]  # the columns of a `classes.tsv` of `convert`
HALF = re.compile(r"[\ud800-\udc7f\udd00-\udfff]")  # of a pair of surrogates: no name of a file

Row = dict[str, Any]


def read_table(path: Path) -> list[Row]:
    """The rows of a .csv, .tsv or .jsonl by the names of its columns; two columns without names are path and label."""
    text = limits.text(path, limits.TEXT_BYTES)
    if path.suffix.lower() == ".jsonl":
        return [_object(path, i, line) for i, line in enumerate(text.split("\n"), 1) if line.strip()]
    first = text.partition("\n")[0]
    separator = next((mark for mark in "\t;" if mark in first), ",")
    return _rows([[cell.strip() for cell in row] for row in csv_rows(text, path, separator)], path)


def _rows(lines: list[list[str]], path: Path) -> list[Row]:
    """The lines by the names of the columns."""
    if not lines:
        raise ValueError(f"{path} is empty")
    header = lines[0]
    if not {name.lower() for name in header} & {*IMAGES, *LABELS}:
        header, lines = ["path", "label"], [header, *lines]
    if wrong := next((i for i, line in enumerate(lines[1:], 2) if len(line) != len(header)), None):
        raise ValueError(f"{path}: line {wrong} has {len(lines[wrong - 1])} columns, must be {', '.join(header)}")
    return [dict(zip(header, line, strict=True)) for line in lines[1:]]


def _object(path: Path, number: int, line: str) -> Row:
    try:
        row = limits.parsed_json(line)
    except ValueError as error:
        raise ValueError(f"{path}: line {number} is no JSON ({error})") from None
    if not isinstance(row, dict):
        raise ValueError(f"{path}: line {number} is no object of names and values")
    return row


def column(columns: Sequence[str], asked: str | None, usual: Sequence[str], setting: str, where: str) -> str:
    """The name of the column told, else the first of the usual names; ValueError that names the columns there are."""
    if asked is not None and asked not in columns:
        raise ValueError(f"{where} has no column {asked!r} ({setting}), but {', '.join(columns)}")
    by_name = {name.lower(): name for name in reversed(columns)}
    chosen = asked or next((by_name[name] for name in usual if name in by_name), None)
    if chosen is None:
        raise ValueError(f"{where} has columns {', '.join(columns)}: name the one by {setting} COLUMN")
    return chosen


def cell(row: Row, name: str, where: str) -> str:
    """The text or the number in a column of a row, as text; ValueError, of `where`, for anything else."""
    value = row.get(name)
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if value is None or value == "" or isinstance(value, (list, dict)) or HALF.search(str(value)):
        raise ValueError(f"{where}: column {name!r} has {value!r:.80}, must be text or a number for every image")
    return str(value)


def classes_of(labels: Sequence[Any] | np.ndarray, where: str) -> tuple[tuple[str, ...], Int64[np.ndarray, " n"]]:
    """Names of the classes in ascending order, and the class of every image: labels are whole numbers or text.

    Whole numbers may be floats or text; rows of one element or one-hot rows count as what they say. ValueError else.
    """
    if not isinstance(labels, np.ndarray) and all(isinstance(label, str) and label for label in labels):
        distinct_names = tuple(sorted(set(labels)))
        number = {name: k for k, name in enumerate(distinct_names)}  # in an array each would be as long as the longest
        return distinct_names, np.array([number[label] for label in labels], np.int64)
    values = np.asarray(labels)
    if values.ndim == 2 and values.shape[1] > 1 and values.dtype.kind in "iufb":
        if not (((values == 0) | (values == 1)).all() and (values.sum(1) == 1).all()):
            raise ValueError(f"{where}: labels are {values.shape}, must be (N,), (N, 1) or rows with a single 1")
        values = values.argmax(1)
    values = values.reshape(len(values)) if values.shape[1:] == (1,) else values
    if values.dtype.kind == "f" and (np.isfinite(values) & (values == np.rint(values)) & (abs(values) < 1 << 53)).all():
        values = values.astype(np.int64)
    if values.dtype.kind == "S":
        values = np.char.decode(values, "utf-8")
    if (
        values.ndim != 1
        or values.dtype.kind not in "iubU"
        or (values.dtype.kind == "U" and not np.char.str_len(values).all())
    ):
        raise ValueError(
            f"{where}: labels are {values.dtype} {values.shape}, must be a whole number or a name for every image"
        )
    distinct, classes = np.unique(values, return_inverse=True)
    return tuple(map(str, distinct.tolist())), classes.astype(np.int64)


def names_of(table: Path, labels: Sequence[str]) -> tuple[str, ...] | None:
    """The names of labels by a table with columns label and class (`classes.tsv`); None unless it names each.

    As `convert` writes it a name is all between two tabs, quotes and blanks included; another is read as any table.
    """
    lines = [line.split("\t") for line in limits.text(table, limits.TEXT_BYTES).split("\n") if line]
    ours = lines and lines[0] == WRITTEN
    names = {row.get("label"): row.get("class") for row in (_rows(lines, table) if ours else read_table(table))}
    in_order = tuple(str(names[label]) for label in labels if names.get(label))
    return in_order if len(in_order) == len(labels) == len(set(in_order)) else None


def splits_of(
    parts: Sequence[str], classes: Int64[np.ndarray, " n"], where: str
) -> tuple[Splits | None, tuple[str, ...]]:
    """The split that names of parts, one for every image, make of the classes, and what is to be said of it."""
    number = {name: k for k, name in enumerate(SPLITS)}
    called = {name: part_of(name) for name in set(parts)}
    if strange := sorted(name for name, part in called.items() if part is None):
        return None, (
            f"{where} names the part {strange[0]!r}, which is none of train, val, test: parts are passed over",
        )
    which = np.array([number[called[name] or ""] for name in parts])
    pairs = np.unique(np.stack([classes, which], 1), axis=0)
    if shared := len(pairs) - len(np.unique(classes)):
        return None, (f"{noun(shared, 'class', 'classes')} in several of train, val, test: split by data.fractions",)
    splits = {part: pairs[pairs[:, 1] == k, 0] for part, k in number.items() if (pairs[:, 1] == k).any()}
    return (splits, (f"the split is that of {where}",)) if len(splits) > 1 and "train" in splits else (None, ())
