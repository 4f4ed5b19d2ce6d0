"""InsightFace training sets in all variants in circulation, as a source of labelled images (paper 4.1).

Images are the records with an encoded image. Where key 0 holds none, it announces the keys 1 .. N - 1 of the
images and N .. of one record per class (first and end key of its images); a float32 rounds all of these from
2^24 on, so they only confirm what the index says. Labels come from the headers (the first, where there are
several), or from a list beside the records where every header says 0 (DCFace). Lists also name the classes.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np
from jaxtyping import Int64

from scoremix.data import limits
from scoremix.data.recordio import EXACT, RecordFile
from scoremix.data.source import DEFAULTS, Encoded, Opening


def record_files(place: Path) -> tuple[Path, Path] | None:
    """The `.rec` at or in `place` (or in its folder `record`) and its `.idx`; None if there is none.

    Of several in one folder it is train.rec; ValueError if none has that name. The `.idx` may be missing.
    """
    if place.suffix == ".rec" and place.is_file():
        files = [place]
    else:
        files = sorted(place.glob("*.rec")) or sorted(place.glob("record/*.rec"))
    if not files:
        return None
    named = [rec for rec in files if rec.name == "train.rec"] or files
    if len(named) > 1:
        raise ValueError(f"{place} holds {', '.join(rec.name for rec in files)}: name the one to read")
    return named[0], named[0].with_suffix(".idx")


class Records(Encoded[int]):
    """A `.rec` with its `.idx` and list, classes in ascending order of label.

    Classes are named by the folders of the list where each class has its own, else by their labels. Items are
    positions among all images. ValueError names what does not fit.
    """

    kind, form = "records", "recordio"

    def __init__(self, place: Path, opening: Opening = DEFAULTS) -> None:
        files = record_files(place)
        if files is None:
            raise ValueError(f"{place} has no .rec file")
        self.place, self.workers = place, opening.workers
        self.records = RecordFile(*files)
        self.rec = self.records.rec
        self.notes: list[str] = [] if files[1].is_file() else [f"{files[1].name} is missing: the records were counted"]
        self.images = self._images()
        self.keys = self.records.keys[self.images]
        labels = self._labels()
        listing = self._listing(len(np.unique(labels)) > 1)
        self.listing = listing and self._fits(listing, labels)
        if self.listing is not None and len(np.unique(labels)) == 1:
            labels = self._labels_of(self.listing, labels)
        distinct, classes = np.unique(labels, return_inverse=True)
        self.number(classes)
        self.class_names = self._names(classes, distinct)
        self._confirm(labels, distinct)

    @classmethod
    def lies_at(cls, place: Path, every: bool) -> bool:
        return place.suffix == ".rec" or record_files(place) is not None

    def files(self) -> Iterator[tuple[str, Path]]:
        listing = [self.listing.file] if self.listing else []
        return ((path.name, path) for path in (self.rec, self.records.idx, *listing) if path.is_file())

    def content(self, item: int) -> bytes:
        content = self.records.image(self.images[item])
        if not content:
            raise ValueError("an empty image (0 bytes)")
        return content

    def where(self, item: int) -> str:
        return f"{self.rec}, key {self.keys[item]}"

    def name(self, item: int) -> str:
        """Its path in the list, else its key."""
        return self.listing.paths[item] if self.listing is not None else str(self.keys[item])

    def file_name(self, item: int, content: bytes) -> str:
        """By the list, else by its key."""
        return os.path.basename(self.name(item)) if self.listing else super().file_name(self.keys[item], content)

    @cached_property
    def header(self) -> bool:
        """Whether key 0 announces the images instead of being one."""
        r = self.records
        return bool(r.keys[0] == 0 and r.flags[0] > 0 and r.image_bytes[0] == 0)

    def _images(self) -> Int64[np.ndarray, " n"]:
        """Rows of the records that hold images; ValueError if some that are announced are not there."""
        r = self.records
        rows = np.flatnonzero((r.image_bytes > 0) | (r.flags == 0))
        if not rows.size:
            raise ValueError(f"{self.rec} has no images")
        if self.header:
            end = r.labels[0, 0]
            if not end >= 1 or end % 1:
                raise ValueError(f"{self.rec}: key 0 announces images 1 to {end - 1}, must end at a whole number")
            if end >= EXACT:
                self.notes.append(
                    f"key 0 and the class ranges are rounded: {len(rows)} images are beyond 2^24, the index was used; "
                    "readers that trust key 0 lose or add images at the end"
                )
            elif not np.array_equal(r.keys[rows], np.arange(1, int(end))):
                missing = np.setdiff1d(np.arange(1, int(end)), r.keys[rows])
                what = f"key {missing[0]} has none" if missing.size else f"key {r.keys[rows][-1]} has one too"
                raise ValueError(f"{self.rec}: key 0 announces images 1 to {int(end) - 1}, but {what}")
        if (r.flags[rows] > 0).any():
            self.notes.append("images carry several labels: the first is the class")
        return rows

    def _labels(self) -> Int64[np.ndarray, " n"]:
        values = self.records.labels[self.images, 0]
        if (odd := np.flatnonzero(~((values >= 0) & (values < EXACT) & (values == np.floor(values))))).size:
            raise ValueError(
                f"{self.rec}: key {self.keys[odd[0]]} has label {values[odd[0]]:.10g}, must be a whole number from 0 "
                f"to {EXACT - 1}: labels are float32, which is not exact from 2^24 on"
            )
        labels: np.ndarray = values.astype(np.int64)
        return labels

    def _listing(self, labelled: bool) -> ImageList | None:
        for file in (self.rec.with_suffix(".tsv"), self.rec.with_suffix(".lst")):
            if file.is_file():
                return read_list(file)
        file = self.rec.with_name("list.txt")
        if not file.is_file():
            return None
        try:
            return replace(read_list(file), strict=not labelled)
        except ValueError as error:  # anything may have that name: it matters where nothing else tells the classes
            if not labelled:
                raise
            self.notes.append(f"list.txt is passed over: {error}")
            return None

    def _fits(self, listing: ImageList, labels: Int64[np.ndarray, " n"]) -> ImageList | None:
        """The list in the order of the images, if both have the same ones (and labels, where the headers have any)."""
        keys = self.keys
        order = np.argsort(listing.keys, kind="stable")
        sorted_keys = listing.keys[order]
        wrong: str | None = None
        if not np.array_equal(sorted_keys, keys):
            if (twice := sorted_keys[1:][np.diff(sorted_keys) == 0]).size:
                wrong = f"names key {twice[0]} twice"
            elif (extra := np.setdiff1d(sorted_keys, keys)).size:
                path = listing.paths[int(np.flatnonzero(listing.keys == extra[0])[0])]
                wrong = f"names key {extra[0]} ({path}), an image that {self.rec.name} does not have"
            else:
                wrong = f"does not name key {np.setdiff1d(keys, sorted_keys)[0]}, an image of {self.rec.name}"
        fitted = None if listing.labels is None or wrong else listing.labels[order]
        if fitted is not None and len(np.unique(labels)) > 1 and (other := np.flatnonzero(fitted != labels)).size:
            row = other[0]
            wrong = f"gives key {keys[row]} label {fitted[row]}, its record in {self.rec.name} has {labels[row]}"
        if wrong is None:
            return ImageList(listing.file, keys, [listing.paths[i] for i in order], fitted, listing.dialect)
        if listing.strict:
            raise ValueError(f"{listing.file} {wrong}")
        self.notes.append(f"{listing.file.name} is passed over: it {wrong}")
        return None

    def _labels_of(self, listing: ImageList, labels: Int64[np.ndarray, " n"]) -> Int64[np.ndarray, " n"]:
        """Labels from the list, where the headers have one class only and the list has more."""
        listed = listing.labels
        if listed is None:
            folders = [os.path.dirname(path) for path in listing.paths]
            places = {name: i for i, name in enumerate(sorted(set(folders), key=_natural))}
            listed = np.array([places[name] for name in folders], np.int64)
        if len(np.unique(listed)) == 1:
            return labels
        self.notes.append(
            f"every record has label {labels[0]}: the classes come from {listing.file.name}; readers of records alone "
            "see one class"
        )
        return listed

    def _names(self, classes: Int64[np.ndarray, " n"], distinct: Int64[np.ndarray, " c"]) -> tuple[str, ...]:
        if self.listing is not None:
            folders = [os.path.dirname(path) for path in self.listing.paths]
            pairs = set(zip(folders, classes.tolist(), strict=True))
            if len(pairs) == len(distinct) == len({name for name, _ in pairs}):
                return tuple(name or "." for name, _ in sorted(pairs, key=lambda pair: pair[1]))
        return tuple(f"{label:07d}" for label in distinct)

    def _confirm(self, labels: Int64[np.ndarray, " n"], distinct: Int64[np.ndarray, " c"]) -> None:
        """Notes where property, class ranges or numbering say something else than the records."""
        if distinct[0] != 0 or len(distinct) != distinct[-1] + 1:
            self.notes.append(
                f"labels go from {distinct[0]} to {distinct[-1]} with {len(distinct)} in use: they are renumbered; trainers "
                f"told num_classes={len(distinct)} fail on the largest"
            )
        r = self.records
        about = np.flatnonzero((r.image_bytes == 0) & (r.flags == 2) & (r.keys > 0))
        if self.header and r.labels[0, 0] < EXACT and about.size:
            ranges = np.nan_to_num(r.labels[about]).clip(0, EXACT).astype(np.int64)
            ranges = ranges[np.argsort(ranges[:, 1])]
            keys = np.arange(1, len(self.images) + 1)
            owner = np.searchsorted(ranges[:, 1], keys, side="right")
            inside = (owner < len(ranges)) & (keys >= ranges[np.minimum(owner, len(ranges) - 1), 0])
            pairs = np.unique(owner * np.int64(EXACT) + labels)
            if not inside.all() or not len(pairs) == len(ranges) == len(distinct):
                self.notes.append(
                    "the records of classes (first and end key) do not agree with the labels of the images"
                )
        try:
            announced = int((self.rec.parent / "property").read_text().split(",")[0])
        except (OSError, ValueError):
            return
        if announced != len(distinct):
            self.notes.append(f"property says {announced} classes, the records have {len(distinct)}")


def _natural(name: str) -> tuple[int, str]:
    """Numbers in order of size before other names."""
    return (int(name), "") if name.isascii() and name.isdigit() else (1 << 62, name)


@dataclass(frozen=True)
class ImageList:
    """A list that lies beside records: keys of images, their paths, and their labels where the list has them."""

    file: Path
    keys: Int64[np.ndarray, " n"]
    paths: list[str]
    labels: Int64[np.ndarray, " n"] | None
    dialect: str
    strict: bool = True  # False: keys are only line numbers


def read_list(file: Path) -> ImageList:
    """A list of images in any dialect in circulation, told apart by which column is a number and which a path.

    key, path (DCFace's list.txt); key, path, label (CVLface's train.tsv); key, labels ..., path (im2rec's .lst);
    aligned 0/1, path, label, box, landmarks (the older .lst of InsightFace, whose keys are line numbers from 1).
    """
    content = limits.text(file, limits.TEXT_BYTES)
    if not (lines := [line.rstrip("\r").split("\t") for line in content.split("\n") if line.strip()]):
        raise ValueError(f"{file} is empty")
    first = lines[0]
    if len(first) == 2 and not _number(first[1]):
        key, path, label, dialect = 0, 1, None, "key, path"
    elif file.suffix == ".tsv" and len(first) == 3 and not _number(first[1]):
        key, path, label, dialect = 0, 1, 2, "key, path, label"
    elif len(first) >= 3 and _number(first[1]) and not _number(first[-1]):
        key, path, label, dialect = 0, -1, 1, "key, label, path (im2rec)"
    elif len(first) >= 3 and first[0] in ("0", "1") and not _number(first[1]) and _number(first[2]):
        key, path, label, dialect = None, 1, 2, "aligned, path, label (face2rec2)"
        lines = [line for line in lines if line[0] == "1" or len(line) >= 17]  # what its packer takes
    else:
        raise ValueError(f"{file}: the first line is {chr(9).join(first)[:80]!r}, of no known list of images")
    numbers, labels = [], []
    for n, line in enumerate(lines, 1):
        try:
            numbers.append(n if key is None else int(line[key]))
            if label is not None:
                value = float(line[label])
                if value % 1 or value < 0:
                    raise ValueError
                labels.append(int(value))
            if len(line) < 2:
                raise ValueError
        except (ValueError, IndexError, OverflowError):
            raise ValueError(f"{file}: line {n} is {chr(9).join(line)[:80]!r}, must be {dialect}") from None
    if any(abs(number) >= 1 << 63 for number in (*numbers, *labels)):
        raise ValueError(f"{file}: a key or label is beyond 64 bits")
    listed = np.array(labels, np.int64) if label is not None else None
    paths = [line[path].replace("\\", "/") for line in lines]
    return ImageList(file, np.array(numbers, np.int64), paths, listed, dialect, strict=key is not None)


def _number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
