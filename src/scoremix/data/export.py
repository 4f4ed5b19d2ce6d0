"""Sets of labelled images from one form to another, encoded bytes kept: folders, RecordIO, WebDataset, `.bin`.

What arcface_torch, AdaFace and CVLFace train on: RecordIO with all of train.rec, .idx, .lst, .tsv and property,
or class folders. OUT appears whole or not at all (paper 4.1: real and synthetic sets train the same way).
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import re
import shutil
import tarfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Int64

from scoremix.data import faces, verification
from scoremix.data.decode import decode, opened, png
from scoremix.data.files import refuse_existing, whole, write_file
from scoremix.data.formats.packed import Packed
from scoremix.data.images import packed_file, write_classes
from scoremix.data.order import batch_indices, stream_seed
from scoremix.data.recordio import EXACT, Writer
from scoremix.data.source import Encoded, Form, Opening, Source, extension, refuse_empty
from scoremix.data.sources import format_of, open_source

SHARD = 10_000  # images of one WebDataset shard
Advance = Callable[[int, int], None]


@dataclass(frozen=True)
class Export:
    """What was written."""

    form: str
    classes: int
    images: int
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Item:
    """One image on its way: its class as numbered in OUT, its file name and its encoded bytes."""

    label: int
    name: str
    content: bytes


def convert(
    place: str | Path,
    out: Path,
    form: Form | None = None,
    *,
    keep: Callable[[Source], Int64[np.ndarray, " k"]] | None = None,
    size: int | None = None,
    seed: int = 0,
    skip_bad: bool = False,
    advance: Advance | None = None,
) -> Export:
    """Writes the images at `place` to `out` in another form; returns what was written.

    `form` is by default recordio for folders and folders for all else; `.bin` files become pairs of images with
    pairs.txt, and a list of pairs becomes a `.bin` where `out` ends so. `keep` chooses classes of the source
    (ascending); labels are their positions. Encoded images are copied as they are, unless `size` asks for
    squares of that side by `decode`'s rules; those, and what is not encoded, become PNG. WebDataset shards hold
    the images in an order shuffled by `seed`. `skip_bad` leaves classes without images out. ValueError for what cannot be written.
    """
    place = Path(place) if str(place) != "glyphs" else place
    if isinstance(place, Path) and place.is_file() and (place.suffix == ".bin" or out.suffix == ".bin"):
        if form is not None or size is not None:
            raise ValueError(f"{place} holds pairs: they become a .bin or images with pairs.txt, as they are")
        return _convert_pairs(place, out, advance)
    if out.suffix == ".bin":
        raise ValueError(f"{out}: a .bin holds pairs, {place} is no list of pairs (lines of: image image 0|1)")
    form = form or ("recordio" if format_of(place).form == "folders" else "folders")
    with _new_folder(out, place) as part:
        source = open_source(place, Opening(seed=seed))
        kept = np.arange(len(source.counts)) if keep is None else keep(source)
        refuse_empty(source, kept, str(place), skip_bad)
        kept = kept[source.counts[kept] > 0]
        if not kept.size:
            raise ValueError(f"{place} has no classes")
        with _encoded(source, part) as encoded:
            images = Images(encoded, kept, size, advance)
            match form:
                case "folders":
                    notes = _write_folders(part, images)
                case "recordio":
                    notes = _write_records(part, images)
                case "webdataset":
                    notes = _write_shards(part, images, seed)
    return Export(form, len(kept), len(images), (*source.notes, *notes))


def form_of(place: str | Path) -> Form:
    """The form to write a part of `place` in: its own, or folders where that is none of them."""
    return format_of(place).form or "folders"


def chosen_classes(
    source: Source, *, classes: int | None, least: int, most: int | None, seed: int
) -> Int64[np.ndarray, " k"]:
    """Ascending indices of `classes` of the classes with `least` to `most` images (all of them if None).

    Classes are ranked by a hash of (seed, name): order of files and other classes do not matter. ValueError if
    there are fewer.
    """
    fit = np.flatnonzero((source.counts >= least) & (source.counts <= (most or source.counts.max(initial=0))))
    if classes is None:
        classes = len(fit)
    if not len(fit) or classes > len(fit):
        raise ValueError(
            f"{len(fit)} of {len(source.counts)} classes have {least} to {most or 'any number of'} images, "
            f"{classes or 1} are asked for"
        )
    ranked = sorted(fit, key=lambda k: (stream_seed("subset", seed, source.class_names[k]), source.class_names[k]))
    return np.array(sorted(ranked[:classes]), np.int64)


@contextlib.contextmanager
def _new_folder(out: Path, source: str | Path) -> Iterator[Path]:
    """A folder to write to, which becomes `out` when the block ends, and vanishes if it ends in an exception."""
    refuse_existing(out)
    if Path(source).resolve() in (out.resolve(), *out.resolve().parents):
        raise ValueError(f"{out} lies inside {source}: name another place")
    out.parent.mkdir(parents=True, exist_ok=True)
    with whole(out, folder=True) as part:
        yield part


class Images:
    """The images of the kept classes, labels 0, 1, ... in their order, with file names that are unique in a class."""

    def __init__(
        self, source: Encoded[Any] | Packed, kept: Int64[np.ndarray, " k"], size: int | None, advance: Advance | None
    ) -> None:
        self.source, self.kept, self.size, self._advance = source, kept, size, advance
        self.names = [source.class_names[k] for k in kept]
        self.folders = folder_names(self.names)
        self.counts = source.counts[kept]
        self.ends = np.cumsum(self.counts)
        self._done = 0

    def __len__(self) -> int:
        return int(self.ends[-1])

    def __iter__(self) -> Iterator[Item]:
        for label, k in enumerate(self.kept):
            seen: set[str] = set()
            for name, content in self.source.encoded(int(k), np.arange(self.counts[label])):
                item = self._item(label, name, content)
                if item.name in seen:
                    raise ValueError(f"class {self.names[label]!r} has two images named {item.name!r}")
                seen.add(item.name)
                yield item

    def at(self, index: int) -> Item:
        """One image by its position in the order of `__iter__`."""
        label = int(np.searchsorted(self.ends, index, side="right"))
        row = np.array([index - (self.ends[label] - self.counts[label])])
        return self._item(label, *next(self.source.encoded(int(self.kept[label]), row)))

    def _item(self, label: int, name: str, content: bytes) -> Item:
        name = _safe(name)
        where = f"{self.names[label]}/{name}"
        if not content:
            raise ValueError(f"{where}: empty file (0 bytes)")
        if self.size is not None:
            try:
                content = png(decode(io.BytesIO(content), self.size))
            except ValueError as error:
                raise ValueError(f"{where}: {error}") from None
            name = os.path.splitext(name)[0] + ".png"
        self._done += 1
        if self._advance is not None and (self._done % 64 == 0 or self._done == len(self)):
            self._advance(self._done, len(self))
        return Item(label, name, content)


@contextlib.contextmanager
def _encoded(source: Source, part: Path) -> Iterator[Encoded[Any] | Packed]:
    """The source, or its images packed beside for the time of the block, if it has none encoded."""
    if isinstance(source, Encoded | Packed):
        yield source
        return
    size = source.size
    assert size is not None  # only folders and records have none, and they are encoded
    pixels = part / ".pixels"
    pixels.mkdir()
    with packed_file(pixels / "images.npy", (size, size, source.channels)) as packed:
        for block in source.every_block(size):
            packed.put(block.images, block.places)
    write_classes(pixels, source.counts, source.class_names, None, None)
    yield Packed(pixels)
    shutil.rmtree(pixels)


def folder_names(names: Sequence[str]) -> list[str]:
    """A folder for each class: its name where that can be one; ValueError if two classes would share one."""
    folders = [_safe(name) if len(name.encode()) <= 200 else f"{k:07d}" for k, name in enumerate(names)]
    if len(set(folders)) < len(folders):
        first: dict[str, int] = {}
        for k, folder in enumerate(folders):
            if (other := first.setdefault(folder, k)) != k:
                raise ValueError(f"classes {names[other]!r} and {names[k]!r} would both be folder {folder!r}")
    return folders


def _safe(name: str) -> str:
    """The name as one part of a path, in UTF-8 and on one line of a list."""
    name = name.encode("utf-8", "replace").decode()
    name = re.sub(r"[/\\\x00-\x1f]", "_", name)
    return "_" + name[1:] if name.startswith(".") else name


def _classes_table(images: Images) -> str:
    rows = (
        f"{label}\t{folder}\t{_line(name)}\n"
        for label, (folder, name) in enumerate(zip(images.folders, images.names, strict=True))
    )
    return "label\tfolder\tclass\n" + "".join(rows)


def _line(text: str) -> str:
    return re.sub(r"[\x00-\x1f]", " ", text.encode("utf-8", "replace").decode())


def _write_folders(part: Path, images: Images) -> list[str]:
    """<class>/<image>, and classes.tsv with the labels."""
    folder_of = -1
    for item in images:
        folder = part / images.folders[item.label]
        if item.label != folder_of:
            folder.mkdir()
            folder_of = item.label
        (folder / item.name).write_bytes(item.content)
    (part / "classes.tsv").write_text(_classes_table(images), "utf-8")
    if images.folders != sorted(images.folders):
        return [
            "folder names sort in another order than the labels; tools that sort them number classes otherwise (classes.tsv)"
        ]
    return []


def _write_records(part: Path, images: Images) -> list[str]:
    """InsightFace's layout: key 0 announces, images are keys 1 .. N, then one record per class; lists and property.

    From 2^24 on float32 would round the announcements: then images are keys 0 .. N - 1 and there is nothing else.
    """
    n, c = len(images), len(images.kept)
    if c > EXACT:
        raise ValueError(f"{c} classes: labels are float32, which is not exact from 2^24 on")
    announced = n + c + 1 <= EXACT
    first = int(announced)
    side: tuple[int, int] | None = None
    with (
        (part / "train.rec").open("wb") as rec,
        (part / "train.lst").open("w", encoding="utf-8") as lst,
        (part / "train.tsv").open("w", encoding="utf-8") as tsv,
    ):
        writer = Writer(rec)
        if announced:
            writer.put(0, [n + 1, n + c + 1])
        for key, item in enumerate(images, first):
            side = side or _side(item)
            writer.put(key, float(item.label), item.content)
            path = f"{images.folders[item.label]}/{item.name}"
            lst.write(f"{key}\t{item.label}.000000\t{path}\n")
            tsv.write(f"{key}\t{path}\t{item.label}\n")
        if announced:
            for label, (end, count) in enumerate(zip(images.ends.tolist(), images.counts.tolist(), strict=True)):
                writer.put(n + 1 + label, [end - count + 1, end + 1])
    (part / "train.idx").write_bytes(writer.index())
    height, width = side or (0, 0)
    (part / "property").write_text(f"{c},{height},{width}")
    (part / "classes.tsv").write_text(_classes_table(images), "utf-8")
    notes = [] if announced else ["no record announces the images: beyond 2^24 float32 would round their keys"]
    if (height, width) != (112, 112):
        notes.append(f"images are {width} x {height}; arcface_torch, AdaFace and CVLFace expect 112 x 112 (--size 112)")
    return notes


def _side(item: Item) -> tuple[int, int]:
    """Height and width of an encoded image."""
    try:
        with opened(io.BytesIO(item.content)) as image:
            return image.height, image.width
    except ValueError as error:
        raise ValueError(f"{item.name}: {error}") from None


def _write_shards(part: Path, images: Images, seed: int) -> list[str]:
    """WebDataset: shards of <key>.<extension> and <key>.cls in one shuffled order, so that reading in order mixes classes."""
    n = len(images)
    shards = -(-n // SHARD)
    for shard in range(shards):
        start = shard * SHARD
        with tarfile.open(part / f"train-{shard:06d}.tar", "w", format=tarfile.USTAR_FORMAT) as tar:
            for key, index in enumerate(batch_indices(n, seed, start, min(SHARD, n - start)), start):
                item = images.at(int(index))
                _add(tar, f"{key:09d}{os.path.splitext(item.name)[1].lower() or extension(item.content)}", item.content)
                _add(tar, f"{key:09d}.cls", str(item.label).encode())
    (part / "classes.tsv").write_text(_classes_table(images), "utf-8")
    described = {"classes": len(images.kept), "images": n, "shards": shards, "images_per_shard": SHARD, "seed": seed}
    (part / "dataset.json").write_text(json.dumps(described, indent=1) + "\n")
    return []


def _add(tar: tarfile.TarFile, name: str, content: bytes) -> None:
    info = tarfile.TarInfo(name)
    info.size, info.mode = len(content), 0o644
    tar.addfile(info, io.BytesIO(content))


def _convert_pairs(place: Path, out: Path, advance: Advance | None) -> Export:
    """A `.bin` or a list of pairs as a `.bin`, or as images with pairs.txt, the list that `evaluate` reads."""
    pairs = verification.read(place) if place.suffix == ".bin" else _listed_pairs(place)
    total = len(pairs.images)
    if out.suffix == ".bin":
        refuse_existing(out)
        write_file(out, verification.packed(pairs.images, pairs.same))
        return Export(".bin", 0, total)
    with _new_folder(out, place) as part:
        (part / "images").mkdir()
        names = [f"images/{i:06d}{extension(content)}" for i, content in enumerate(pairs.images)]
        for i, (name, content) in enumerate(zip(names, pairs.images, strict=True), 1):
            (part / name).write_bytes(content)
            if advance is not None:
                advance(i, total)
        rows = zip(names[0::2], names[1::2], pairs.same, strict=True)
        (part / "pairs.txt").write_text("".join(f"{a} {b} {int(same)}\n" for a, b, same in rows))
    return Export("images and pairs.txt", 0, total)


def _listed_pairs(place: Path) -> verification.Pairs:
    listed = faces.pair_list(place)
    both = np.stack([listed.first, listed.second], 1).ravel()
    files = [place.parent / str(name) for name in listed.images.files]
    if missing := [path for path in files if not path.is_file()]:
        raise ValueError(
            f"{place} names {missing[0]}, which is not there, nor are {len(missing) - 1} more of {len(files)}"
        )
    return verification.Pairs([files[i].read_bytes() for i in both], listed.same)
