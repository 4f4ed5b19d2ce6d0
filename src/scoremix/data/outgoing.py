"""Images on their way to another form: their order, labels, names and bytes, and what they were mixed of."""

from __future__ import annotations

import functools
import io
import json
import os
import re
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Int64

from scoremix.data.decode import decode, png, refuse_unreadable
from scoremix.data.formats.packed import Packed
from scoremix.data.reading import UnreadableImages
from scoremix.data.source import A, Advance, B, Encoded, reason, windowed

LISTED = 1024  # classes whose images are listed once, in whatever order they are written
# class, position in it -> classes mixed and weights; none: real
Made = Callable[[int, int], tuple[list[str], list[float]]]


@dataclass(frozen=True)
class Item:
    """One image on its way: its class as numbered in OUT and place in it, its file name and its encoded bytes."""

    label: int
    place: int
    name: str
    content: bytes


class OutgoingImages:
    """The images of the kept classes, labels 0, 1, ... in their order, with file names that are unique in a class."""

    def __init__(
        self,
        source: Encoded[Any] | Packed,
        kept: Int64[np.ndarray, " k"],
        rows: Sequence[Int64[np.ndarray, " n"]],  # positions of the images of each in its class
        size: int | None,
        advance: Advance | None,
        made: Made | None = None,
        look: bool = False,  # whether images are copied only if they can be decoded
    ) -> None:
        self.source, self.kept, self.rows, self.size = source, kept, rows, size
        self._advance, self._made, self._look = advance, made, look
        self.provenance: list[str] = []  # lines of JSON on the images so far
        self.names = [source.class_names[k] for k in kept]
        self.folders = folder_names(self.names)
        self.counts = np.array([len(of) for of in rows])
        self.ends = np.cumsum(self.counts)

    def __len__(self) -> int:
        return int(self.ends[-1])

    def __iter__(self) -> Iterator[Item]:
        label, given = -1, dict[str, int]()
        for item in self.ordered(range(len(self)), listed=2):
            if item.label != label:
                label, given = item.label, {}
            yield replace(item, name=_new_name(item.name, given))

    def ordered(self, indices: Iterable[int], listed: int = LISTED) -> Iterator[Item]:
        """The images at these positions in the order of `__iter__`, read and looked at ahead of their use.

        The files of so many classes are `listed` at a time. UnreadableImages, once all were looked at, where some cannot
        be decoded: after the first of them nothing is given.
        """
        bad: list[tuple[int, str, str]] = []
        encoded = self.source if isinstance(self.source, Encoded) else None
        items = functools.lru_cache(listed)(encoded.items) if encoded else None
        workers = encoded.workers if encoded else os.cpu_count()
        for looked in _looked(functools.partial(self._load, items), iter(indices), workers, len(self), self._advance):
            if not isinstance(looked, Item):
                bad.append(looked)
            elif not bad:
                yield looked
        if bad:
            raise UnreadableImages([(where, why) for _, where, why in sorted(bad)])

    @property
    def knows(self) -> bool:
        """Whether it is known what the images were made of."""
        return self._made is not None

    def tell(self, item: Item, name: str) -> dict[str, Any]:
        """Notes of which classes and weights the image of that name in OUT was mixed, none for a real one; returns them.

        Empty where nobody knows.
        """
        if self._made is None:
            return {}
        sources, weights = self._made(int(self.kept[item.label]), item.place)
        mixed = {"sources": sources, "weights": weights}
        line = {"image": name, "label": item.label, "real": not sources, **mixed}
        self.provenance.append(json.dumps(line, ensure_ascii=False) + "\n")
        return mixed

    def table(self) -> str:
        """classes.tsv: label, folder and class, since tools number folders differently."""
        names = (re.sub(r"[\x00-\x1f]", " ", name.encode("utf-8", "replace").decode()) for name in self.names)
        rows = (
            f"{label}\t{folder}\t{name}\n" for label, (folder, name) in enumerate(zip(self.folders, names, strict=True))
        )
        return "label\tfolder\tclass\n" + "".join(rows)

    def row(self, item: Item) -> dict[str, Any]:
        """The image as a row of a table of `datasets`."""
        path = f"{self.folders[item.label]}/{item.name}"
        return {"image": {"bytes": item.content, "path": path}, "label": item.label, **self.tell(item, path)}

    def _load(self, items: Callable[[int], Any] | None, index: int) -> Item | tuple[int, str, str]:
        """The image at a position, or that with where it lies and why it cannot be read."""
        label = int(np.searchsorted(self.ends, index, side="right"))
        k, place = int(self.kept[label]), int(self.rows[label][index - (self.ends[label] - self.counts[label])])
        if items is None or not isinstance(self.source, Encoded):
            ((name, content),) = self.source.encoded(k, np.array([place]))
            return self._sized(label, place, name, content)
        item = items(k)[place]
        where = self.source.where(item)
        try:
            name, content = self.source.one(item)
            if self._look and self.size is None:
                refuse_unreadable(io.BytesIO(content))
            return self._sized(label, place, name, content)
        except Exception as error:  # whatever a reader raises is said of this image
            return index, where, reason(error).removeprefix(f"{where}: ")

    def _sized(self, label: int, place: int, name: str, content: bytes) -> Item:
        name = _safe(name)
        if self.size is not None:
            content, name = png(decode(io.BytesIO(content), self.size)), os.path.splitext(name)[0] + ".png"
        return Item(label, place, name, content)


def sound_rows(
    source: Encoded[Any] | Packed, kept: Int64[np.ndarray, " k"], advance: Advance | None = None
) -> tuple[list[Int64[np.ndarray, " n"]], list[tuple[str, str]]]:
    """Which images of each kept class can be decoded, and (name, reason) of all others."""
    rows = [np.arange(source.counts[k]) for k in kept]
    if not isinstance(source, Encoded):
        return rows, []

    def look(task: tuple[int, int, Any]) -> tuple[int, int, str, str]:
        k, row, item = task
        try:
            content = source.content(item)
            refuse_unreadable(content if isinstance(content, Path) else io.BytesIO(content))
        except Exception as error:  # whatever a reader raises is said of this image
            return k, row, source.where(item), reason(error)
        return k, row, "", ""

    tasks = ((int(k), row, item) for k in kept for row, item in enumerate(source.items(int(k))))
    total, lost, bad = int(source.counts[kept].sum()), dict[int, list[int]](), list[tuple[str, str]]()
    for k, row, where, wrong in _looked(look, tasks, source.workers, total, advance):
        if where:
            lost.setdefault(k, []).append(row)
            bad.append((where, wrong))
    return [np.setdiff1d(of, lost.get(int(k), [])) for k, of in zip(kept, rows, strict=True)], bad


def _looked(
    look: Callable[[A], B], tasks: Iterator[A], workers: int | None, total: int, advance: Advance | None
) -> Iterator[B]:
    """What is seen of each task, in order, looked at ahead of its use; how far it is, now and then."""
    with ThreadPoolExecutor(workers) as pool, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Pillow's, on odd but readable files
        for done, looked in enumerate(windowed(pool, look, tasks), 1):
            yield looked
            if advance is not None and (done % 64 == 0 or done == total):
                advance(done, total)


def folder_names(names: Sequence[str]) -> list[str]:
    """A folder for each class: its name where that can be one; ValueError if two classes would share one."""
    folders = [_safe(name) if len(name.encode()) <= 200 else f"{k:07d}" for k, name in enumerate(names)]
    if len(set(folders)) < len(folders):
        first: dict[str, int] = {}
        for k, folder in enumerate(folders):
            if (other := first.setdefault(folder, k)) != k:
                raise ValueError(f"classes {names[other]!r} and {names[k]!r} would both be folder {folder!r}")
    return folders


def _new_name(name: str, given: dict[str, int]) -> str:
    """The name, with a number behind it where one like it was given before; `given` counts how often."""
    stem, ending = os.path.splitext(name)
    new = name
    while new in given:
        given[name] += 1
        new = f"{stem}_{given[name]}{ending}"
    given[new] = 1
    return new


def _safe(name: str) -> str:
    """The name as one part of a path, in UTF-8 and on one line of a list."""
    name = name.encode("utf-8", "replace").decode()
    name = re.sub(r"[/\\\x00-\x1f]", "_", name)
    return "_" + name[1:] if name.startswith(".") else name
