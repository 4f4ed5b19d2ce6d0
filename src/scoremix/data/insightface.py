"""InsightFace training sets in all variants in circulation, as a source of labelled images (paper 4.1).

Images are the records with an encoded image. Where key 0 holds none, it announces the keys 1 .. N - 1 of the
images and N .. of one record per class (first and end key of its images); a float32 rounds all of these from
2^24 on, so they only confirm what the index says. Labels come from the headers (the first, where there are
several), or from a list beside the records where every header says 0 (DCFace). Lists also name the classes.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import replace
from functools import cached_property
from pathlib import Path

import numpy as np
from jaxtyping import Int64

from scoremix.data.blocks import Block, Choose, decoded
from scoremix.data.imagelist import ImageList, read_list
from scoremix.data.recordio import EXACT, RecordFile
from scoremix.data.splits import Splits

EXTENSIONS = {b"\xff\xd8\xff": ".jpg", b"\x89PNG": ".png", b"RIFF": ".webp", b"BM": ".bmp", b"GIF8": ".gif"}


def record_files(place: Path) -> tuple[Path, Path] | None:
    """The `.rec` at or in `place` (or in its folder `record`) and its `.idx`; None if there is none.

    Of several in one folder it is train.rec; ValueError if none has that name, or without an index.
    """
    if place.suffix == ".rec" and place.is_file():
        found = [place]
    elif not place.is_dir():
        return None
    else:
        found = sorted(place.glob("*.rec")) or sorted(place.glob("record/*.rec"))
    if not found:
        return None
    named = [rec for rec in found if rec.name == "train.rec"] or found
    if len(named) > 1:
        raise ValueError(f"{place} holds {', '.join(rec.name for rec in found)}: name the one to read")
    idx = named[0].with_suffix(".idx")
    if not idx.is_file():
        raise ValueError(f"{named[0]} has no index: {idx.name} must lie beside it")
    return named[0], idx


class InsightFace:
    """A `.rec` with its `.idx` and list, classes in ascending order of label.

    Classes are named by the folders of the list where each class has its own, else by their labels. `notes`
    says what other readers stumble over. ValueError names what does not fit.
    """

    groups: tuple[str, ...] | None = None
    splits: Splits | None = None
    size: int | None = None
    channels = 3
    ignored = 0

    def __init__(self, place: Path, workers: int) -> None:
        files = record_files(place)
        if files is None:
            raise ValueError(f"{place} has no .rec file")
        self.records, self.workers = RecordFile(*files), workers
        self.rec = self.records.rec
        self.notes: list[str] = []
        self.rows = self._images()
        labels = self._labels()
        named = self._listing(len(np.unique(labels)) > 1)
        self.listing = named and self._fits(named, labels)
        if self.listing is not None and len(np.unique(labels)) == 1:
            labels = self._labels_of(self.listing, labels)
        distinct, self.labels = np.unique(labels, return_inverse=True)
        self.order = np.argsort(self.labels, kind="stable")
        self.counts = np.bincount(self.labels).astype(np.int64)
        self._ends = np.cumsum(self.counts)
        self.class_names = self._names(distinct)
        self._confirm(labels, distinct)

    def files(self) -> list[Path]:
        """Every file that decides what is read."""
        return [self.rec, self.records.idx, *([self.listing.file] if self.listing else [])]

    def blocks(self, kept: Int64[np.ndarray, " k"], choose: Choose, size: int) -> Iterator[Block]:
        """See Source."""
        return decoded(
            self._rows_of,
            self._image,
            lambda row: f"{self.rec}, key {self.records.keys[row]}",
            kept,
            choose,
            size,
            self.workers,
        )

    def encoded(self, k: int, chosen: Int64[np.ndarray, " chosen"]) -> Iterator[tuple[str, bytes]]:
        """See EncodedSource; files are named by the list, else by their keys."""
        for place in self._places_of(k)[chosen]:
            row = self.rows[place]
            try:
                content = self._image(row)
            except ValueError as error:
                raise ValueError(f"{self.rec}, key {self.records.keys[row]}: {error}") from None
            if self.listing is not None:
                yield os.path.basename(self.listing.paths[place]), content
            else:
                yield f"{self.records.keys[row]:08d}{extension(content)}", content

    def names(self) -> tuple[str, ...]:
        """Of every image in order of class: its path in the list, else its key."""
        listed, keys = self.listing, self.records.keys[self.rows]
        return tuple(listed.paths[i] if listed is not None else str(keys[i]) for i in self.order)

    def _places_of(self, k: int) -> Int64[np.ndarray, " n"]:
        """Positions among all images of those of class k."""
        places: np.ndarray = self.order[self._ends[k] - self.counts[k] : self._ends[k]]
        return places

    def _rows_of(self, k: int) -> Int64[np.ndarray, " n"]:
        rows: np.ndarray = self.rows[self._places_of(k)]
        return rows

    def _image(self, row: int) -> bytes:
        content = self.records.image(row)
        if not content:
            raise ValueError("an empty image (0 bytes)")
        return content

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
        values = self.records.labels[self.rows, 0]
        if (odd := np.flatnonzero(~((values >= 0) & (values < EXACT) & (values == np.floor(values))))).size:
            row = self.rows[odd[0]]
            raise ValueError(
                f"{self.rec}: key {self.records.keys[row]} has label {values[odd[0]]:.10g}, must be a whole number from 0 "
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
        keys = self.records.keys[self.rows]
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

    def _names(self, distinct: Int64[np.ndarray, " c"]) -> tuple[str, ...]:
        if self.listing is not None:
            folders = [os.path.dirname(path) for path in self.listing.paths]
            pairs = set(zip(folders, self.labels.tolist(), strict=True))
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
            keys = np.arange(1, len(self.rows) + 1)
            owner = np.searchsorted(ranges[:, 1], keys, side="right")
            inside = (owner < len(ranges)) & (keys >= ranges[np.minimum(owner, len(ranges) - 1), 0])
            pairs = np.unique(owner * np.int64(EXACT) + labels)
            if not inside.all() or not len(pairs) == len(ranges) == len(distinct):
                self.notes.append(
                    "the records of classes (first and end key) do not agree with the labels of the images"
                )
        try:
            told = int((self.rec.parent / "property").read_text().split(",")[0])
        except (OSError, ValueError):
            return
        if told != len(distinct):
            self.notes.append(f"property says {told} classes, the records have {len(distinct)}")


def extension(content: bytes) -> str:
    """The usual file extension of an encoded image, by its first bytes; .img if unknown."""
    return next((e for start, e in EXTENSIONS.items() if content.startswith(start)), ".img")


def _natural(name: str) -> tuple[int, str]:
    """Numbers in order of size before other names."""
    return (int(name), "") if name.isascii() and name.isdigit() else (1 << 62, name)
