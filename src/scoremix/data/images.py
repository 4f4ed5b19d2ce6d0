"""Labelled images in one packed, memory-mapped uint8 array.

Images are kept grouped by class, so a set of classes is a list of ranges: views cost memory in proportion to
their classes, not to their images. On disk: images.npy (N, H, W, C), labels.npy (N,), classes.json (names,
splits, groups, perhaps held_out: how many images at the end of each class are kept from training).
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import IO

import numpy as np
from jaxtyping import Float32, Int32, Int64, Integer, UInt8

from scoremix.data import limits
from scoremix.data.files import whole, write_file
from scoremix.data.splits import SPLITS, Splits

BLOCK_BYTES, BLOCK_LABELS = 4 << 20, 1 << 16  # handled at a time

Classes = Sequence[int] | Integer[np.ndarray, " _"]  # class indices


@dataclass(frozen=True, eq=False)
class LabeledImages:
    """N images of C classes in order of class: class k is `counts[k]` rows of `stored` from `starts[k]`.

    `splits` holds ascending class indices of 'train', 'validation' and 'test', pairwise disjoint ({} where
    there is no split); `groups` one name per class (an alphabet, say) or None. Every class has at least one
    image. `held_out` counts images of each class that lie after its rows: `of_classes("held_out")` alone has them.
    """

    stored: UInt8[np.ndarray, "m h w c"]
    class_names: tuple[str, ...]
    starts: Int64[np.ndarray, " classes"]
    counts: Int64[np.ndarray, " classes"]
    splits: Splits = field(default_factory=dict)
    groups: tuple[str, ...] | None = None
    held_out: Int64[np.ndarray, " classes"] | None = None

    def __post_init__(self) -> None:
        shape, names = self.stored.shape, self.class_names
        if self.stored.dtype != np.uint8 or len(shape) != 4 or shape[3] not in (1, 3):
            raise ValueError(f"images are {self.stored.dtype} {shape}, must be uint8 (N, H, W, 1 or 3)")
        if not len(names) == len(self.starts) == len(self.counts) >= 1:
            raise ValueError(f"{len(names)} class names for {len(self.counts)} classes, must be as many, at least 1")
        if self.groups is not None and len(self.groups) != len(names):
            raise ValueError(f"{len(self.groups)} groups for {len(names)} classes, must be as many")
        if len(set(names)) < len(names):
            raise ValueError(f"class name {next(n for n in names if names.count(n) > 1)!r} is used more than once")
        if (empty := np.flatnonzero(self.counts < 1)).size:
            raise ValueError(f"class {names[empty[0]]!r} has no images")
        held = np.zeros_like(self.counts) if self.held_out is None else self.held_out
        if len(held) != len(names) or (held < 0).any():
            raise ValueError(f"held_out has {len(held)} counts for {len(names)} classes, must be as many, none below 0")
        if (self.starts < 0).any() or (self.starts + self.counts + held > shape[0]).any():
            raise ValueError(f"classes reach beyond the {shape[0]} stored images")
        if not set(self.splits) <= set(SPLITS):
            raise ValueError(f"splits are {sorted(self.splits)}, allowed are {', '.join(SPLITS)}")
        members = np.concatenate([np.zeros(0, np.int64), *self.splits.values()])
        if members.size and not 0 <= members.min() <= members.max() < len(names):
            raise ValueError(f"splits name class {members.max()}, there are classes 0 to {len(names) - 1}")
        if len(np.unique(members)) < len(members):
            raise ValueError("splits share classes, must be disjoint")

    @classmethod
    def of(
        cls,
        images: UInt8[np.ndarray, "n h w c"],
        labels: Integer[np.ndarray, " n"],
        class_names: Sequence[str],
        splits: Mapping[str, Classes] | None = None,
        groups: Sequence[str] | None = None,
        held_out: Classes | None = None,
    ) -> LabeledImages:
        """The whole of `images`, with labels 0 .. C - 1 in ascending order (ValueError otherwise).

        `held_out` is the number of images at the end of each class that are set apart.
        """
        if labels.shape != images.shape[:1]:
            raise ValueError(f"labels have shape {labels.shape}, must be {images.shape[:1]}, one per image")
        classes = np.arange(len(class_names) + 1, dtype=labels.dtype)  # another type would copy all labels
        edges = np.searchsorted(labels, classes).astype(np.int64)
        for start in range(0, len(labels), BLOCK_LABELS):
            if (np.diff(labels[start : start + BLOCK_LABELS + 1]) < 0).any():
                raise ValueError("labels descend, images must be grouped by class in ascending order")
        if len(labels) and (labels[0] < 0 or labels[-1] >= len(class_names)):
            raise ValueError(f"labels go from {labels[0]} to {labels[-1]}, there are {len(class_names)} class names")
        parts = {part: np.sort(np.asarray(members, np.int64)) for part, members in (splits or {}).items()}
        named = tuple(groups) if groups is not None else None
        if held_out is None:
            return cls(images, tuple(class_names), edges[:-1], np.diff(edges), parts, named)
        held = np.asarray(held_out, np.int64)
        return cls(images, tuple(class_names), edges[:-1], np.diff(edges) - held, parts, named, held)

    @classmethod
    def load(cls, folder: Path) -> LabeledImages:
        """The set in `folder`, images memory-mapped; ValueError names what is missing or does not fit."""
        try:
            table = limits.parsed_json(limits.text(folder / "classes.json", limits.TEXT_BYTES))
            for key in ("names", "groups"):
                if wrong := [name for name in table[key] or () if not isinstance(name, str)]:
                    raise ValueError(f"classes.json has {wrong[0]!r:.80} among its {key}, must be text")
            images = np.load(folder / "images.npy", mmap_mode="r", allow_pickle=False)
            labels = np.load(folder / "labels.npy", mmap_mode="r", allow_pickle=False)
            return cls.of(images, labels, table["names"], table["splits"], table["groups"], table.get("held_out"))
        except Exception as error:  # damaged headers make numpy raise almost anything
            raise ValueError(f"{folder} is not a packed set of images: {' '.join(str(error).split())}") from None

    def save(self, folder: Path) -> LabeledImages:
        """Writes the three files, without images held out; returns the set as `load(folder)` does."""
        return concatenate([self], folder)

    def __len__(self) -> int:
        return int(self._ends[-1])

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """(N, H, W, C)."""
        h, w, c = self.stored.shape[1:]
        return len(self), h, w, c

    @property
    def size(self) -> int:
        """The side of square images; ValueError for oblong ones."""
        if self.stored.shape[1] != self.stored.shape[2]:
            raise ValueError(f"images are {self.stored.shape[1]} x {self.stored.shape[2]}, must be square")
        return int(self.stored.shape[1])

    @property
    def channels(self) -> int:
        """1 (grey) or 3 (RGB)."""
        return int(self.stored.shape[3])

    @cached_property
    def _ends(self) -> Int64[np.ndarray, " classes"]:
        return np.cumsum(self.counts)

    @cached_property
    def labels(self) -> Int32[np.ndarray, " n"]:
        """The label of every image (4 bytes each; `take` and `labels_of` do without)."""
        return np.repeat(np.arange(len(self.counts), dtype=np.int32), self.counts)

    @property
    def images(self) -> UInt8[np.ndarray, "n h w c"]:
        """All images without a copy; ValueError for a view whose classes are not neighbours in the array."""
        if (self.starts[1:] != self.starts[:-1] + self.counts[:-1]).any():
            raise ValueError("this view of some classes is not one array, use take(indices)")
        return self.stored[self.starts[0] : self.starts[0] + len(self)]

    def of_class(self, k: int) -> UInt8[np.ndarray, "n h w c"]:
        """The images of class k without a copy."""
        return self.stored[self.starts[k] : self.starts[k] + self.counts[k]]

    def labels_of(self, indices: Integer[np.ndarray, " b"]) -> Int64[np.ndarray, " b"]:
        """The labels of some images; IndexError outside 0 .. N - 1."""
        indices = np.asarray(indices, np.int64)
        if indices.size and not 0 <= indices.min() <= indices.max() < len(self):
            raise IndexError(f"image indices go from {indices.min()} to {indices.max()}, there are {len(self)} images")
        return np.searchsorted(self._ends, indices, side="right").astype(np.int64)

    def take(self, indices: Integer[np.ndarray, " b"]) -> tuple[UInt8[np.ndarray, "b h w c"], Int64[np.ndarray, " b"]]:
        """Copies of the images at `indices`, and their labels; IndexError outside 0 .. N - 1."""
        labels = self.labels_of(indices)
        rows = np.asarray(indices, np.int64) + (self.starts - self._ends + self.counts)[labels]
        return np.asarray(self.stored[rows]), labels

    def blocks(self, size: int) -> Iterator[Int64[np.ndarray, " b"]]:
        """The indices of all images in order, `size` at a time."""
        for start in range(0, len(self), size):
            yield np.arange(start, min(start + size, len(self)))

    def _stored_blocks(self) -> Iterator[UInt8[np.ndarray, "b h w c"]]:
        step = max(1, BLOCK_BYTES // int(np.prod(self.shape[1:])))
        for start, count in zip(self.starts, self.counts, strict=True):
            for first in range(start, start + count, step):
                yield self.stored[first : min(first + step, start + count)]

    def of_classes(self, which: str | Classes) -> LabeledImages:
        """A view of some classes, relabelled 0, 1, ... in the order given; no image is copied.

        `which` is the name of a split (ascending order of its class indices) or distinct class indices.
        Splits are kept as far as their classes are. "held_out" has the classes with images held out, and those
        images only; every other view is without them.
        """
        if isinstance(which, str) and which == "held_out":
            held = self.held_out if self.held_out is not None else np.zeros_like(self.counts)
            if not held.any():
                raise ValueError("no images are held out")
            return self._view(np.flatnonzero(held), self.starts + self.counts, held, {})
        if isinstance(which, str):
            if which not in self.splits:
                raise ValueError(f"split {which!r} does not exist, there are {', '.join(self.splits) or 'none'}")
            which = self.splits[which]
        kept = np.asarray(which, np.int64)
        if not kept.size or kept.min() < 0 or kept.max() >= len(self.class_names):
            raise ValueError(
                f"classes {kept.tolist()[:5]} ..., must be at least one of 0 to {len(self.class_names) - 1}"
            )
        new = np.full(len(self.class_names), -1, np.int64)
        new[kept] = np.arange(len(kept))
        splits = {part: np.sort(new[old][new[old] >= 0]) for part, old in self.splits.items() if (new[old] >= 0).any()}
        return self._view(kept, self.starts, self.counts, splits)

    def _view(
        self, kept: Int64[np.ndarray, " k"], starts: np.ndarray, counts: np.ndarray, splits: Splits
    ) -> LabeledImages:
        names, groups = tuple(self.class_names[k] for k in kept), self.groups
        groups = tuple(groups[k] for k in kept) if groups is not None else None
        return LabeledImages(self.stored, names, starts[kept], counts[kept], splits, groups)


@dataclass(frozen=True, eq=False)
class Targets:
    """What every image is an example of, where that is more than one class or not the class it lies in.

    Row i of `labels` and `weights` belongs to image i; weights are >= 0, of any sum; weight 0 fills up.
    """

    labels: Int32[np.ndarray, "n k"]
    weights: Float32[np.ndarray, "n k"]
    class_names: tuple[str, ...]  # of the head

    @classmethod
    def load(cls, folder: Path) -> Targets | None:
        """The targets in a packed set's folder, memory-mapped, or None where labels are the classes."""
        if not (folder / "targets.json").exists():
            return None
        names = tuple(json.loads((folder / "targets.json").read_text())["class_names"])
        labels = np.load(folder / "target_labels.npy", mmap_mode="r")
        return cls(labels, np.load(folder / "target_weights.npy", mmap_mode="r"), names)

    def take(self, rows: Integer[np.ndarray, " b"]) -> tuple[Int64[np.ndarray, "b k"], Float32[np.ndarray, "b k"]]:
        """Copies of the labels and weights of some images."""
        return np.asarray(self.labels[rows], np.int64), np.asarray(self.weights[rows])


def write(
    folder: Path,
    *,
    shape: tuple[int, int, int, int],
    blocks: Iterable[UInt8[np.ndarray, "b h w c"]],
    counts: Integer[np.ndarray, " classes"] | Sequence[int],
    class_names: Sequence[str],
    splits: Mapping[str, Classes] | None = None,
    groups: Sequence[str] | None = None,
) -> LabeledImages:
    """Writes images that come in blocks, in order of class, as a packed set; returns it loaded.

    Needs memory for one block. images.npy appears whole or not at all, classes.json comes last. ValueError if
    the images that came are not `shape` or not the sum of `counts`.
    """
    edges = np.cumsum([0, *counts])
    parts = {part: np.asarray(members, np.int64) for part, members in (splits or {}).items()}
    nothing = np.broadcast_to(np.uint8(0), shape)  # all checks come before the first image
    LabeledImages(nothing, tuple(class_names), edges[:-1], np.diff(edges), parts, tuple(groups) if groups else None)
    (folder / "classes.json").unlink(missing_ok=True)
    with packed_file(folder / "images.npy", shape[1:]) as packed:
        for block in blocks:
            packed.put(block)
        if not packed.rows == shape[0] == int(np.sum(counts)):
            raise ValueError(
                f"{packed.rows} images came, announced were {shape[0]} in classes of {int(np.sum(counts))}"
            )
    write_classes(folder, counts, class_names, splits, groups)
    return LabeledImages.load(folder)


def concatenate(parts: Sequence[LabeledImages], folder: Path) -> LabeledImages:
    """Writes the classes of all parts, one part after the other, as one packed set with splits and groups.

    ValueError if shapes differ or a class name occurs twice. Parts without groups get the group "".
    """
    if len({part.shape[1:] for part in parts}) != 1:
        raise ValueError(f"image shapes are {[part.shape[1:] for part in parts]}, must be equal")
    offsets = np.cumsum([0, *(len(part.class_names) for part in parts)])
    splits: Splits = {}
    for part, offset in zip(parts, offsets, strict=False):
        for name, members in part.splits.items():
            splits[name] = np.concatenate([splits.get(name, members[:0]), members + offset])
    groups = [g for part in parts for g in part.groups or [""] * len(part.class_names)]
    return write(
        folder,
        shape=(sum(map(len, parts)), *parts[0].shape[1:]),
        blocks=(block for part in parts for block in part._stored_blocks()),
        counts=np.concatenate([part.counts for part in parts]),
        class_names=[name for part in parts for name in part.class_names],
        splits=splits,
        groups=groups if any(groups) else None,
    )


@contextlib.contextmanager
def packed_file(path: Path, shape: tuple[int, int, int]) -> Iterator[PackedFile]:
    """An uint8 .npy of growing length; the file appears under its name when the block ends without an exception."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with whole(path) as partial, partial.open("wb") as file:
        file.write(_header((0, *shape)))
        packed = PackedFile(file, shape)
        yield packed
        file.seek(0)
        file.write(_header((packed.rows, *shape)))


class PackedFile:
    """Rows of images written through a file, so that memory does not grow with it."""

    def __init__(self, file: IO[bytes], shape: tuple[int, int, int]) -> None:
        self._file, self.shape, self.rows = file, shape, 0
        self._row = int(np.prod(shape))

    def put(self, images: UInt8[np.ndarray, "b h w c"], places: Int64[np.ndarray, " b"] | None = None) -> None:
        """Writes images to some rows, by default the next ones."""
        if images.dtype != np.uint8 or images.shape[1:] != self.shape:
            raise ValueError(f"images are {images.dtype} {images.shape[1:]}, must be uint8 {self.shape}")
        if not len(images):
            return
        places = np.arange(self.rows, self.rows + len(images)) if places is None else places
        runs = np.split(np.arange(len(images)), np.flatnonzero(np.diff(places) != 1) + 1)
        for run in runs:
            self._file.seek(HEADER_BYTES + int(places[run[0]]) * self._row)
            self._file.write(np.ascontiguousarray(images[run[0] : run[-1] + 1]).data)
        self.rows = max(self.rows, int(places.max()) + 1)


HEADER_BYTES = 128


def _header(shape: tuple[int, ...]) -> bytes:
    """A version 1.0 .npy header of fixed length, so that the number of rows can be written last."""
    text = f"{{'descr': '|u1', 'fortran_order': False, 'shape': {tuple(map(int, shape))}, }}"
    return (
        b"\x93NUMPY\x01\x00"
        + (HEADER_BYTES - 10).to_bytes(2, "little")
        + text.ljust(HEADER_BYTES - 11).encode()
        + b"\n"
    )


def write_classes(
    folder: Path,
    counts: Integer[np.ndarray, " classes"] | Sequence[int],
    class_names: Sequence[str],
    splits: Mapping[str, Classes] | None,
    groups: Sequence[str] | None,
    held_out: Classes | None = None,
) -> None:
    """Writes labels.npy and then classes.json beside a finished images.npy."""
    with (
        whole(folder / "labels.npy") as partial,
        partial.open("wb") as file,
    ):  # not memory-mapped: a full disk ends that
        header = {"descr": "<i4", "fortran_order": False, "shape": (int(np.sum(counts)),)}
        np.lib.format.write_array_header_1_0(file, header)
        for k, count in enumerate(counts):
            for first in range(0, int(count), BLOCK_LABELS):
                file.write(np.full(min(BLOCK_LABELS, count - first), k, "<i4").data)
    table = {
        "names": list(class_names),
        "splits": {part: np.asarray(members).tolist() for part, members in (splits or {}).items()},
        "groups": list(groups) if groups is not None else None,
        **({"held_out": np.asarray(held_out).tolist()} if held_out is not None else {}),
    }
    write_file(folder / "classes.json", json.dumps(table, indent=1))
