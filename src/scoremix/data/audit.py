"""What is in a set of labelled images and what is wrong with it, before anything trains on it (paper, Table 4)."""

from __future__ import annotations

import collections
import contextlib
import hashlib
import io
import os
import re
import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Int64, UInt8, UInt64
from PIL import Image

from scoremix.data import facesets, verification
from scoremix.data.decode import depth, opened, rgb, too_dark
from scoremix.data.duplicates import RULE, difference_hash, exact_duplicates, near_duplicates, small_grey
from scoremix.data.formats.archives import Archive
from scoremix.data.formats.folders import Folders
from scoremix.data.formats.packed import Packed
from scoremix.data.formats.records import Records
from scoremix.data.lists import name_notes, noun
from scoremix.data.reading import refuse_unwritable
from scoremix.data.source import Advance, Encoded, Opening, Source, SourceHints, reason, windowed
from scoremix.data.sources import open_source

KNOWN_SETS = {
    "CASIA-WebFace": (10_572, 490_623),
    "MS1MV2": (85_742, 5_822_653),
    "MS1MV3": (93_431, 5_179_510),
    "WebFace4M": (205_990, 4_235_242),
    "WebFace12M": (617_970, 12_720_066),
    "WebFace42M": (2_059_906, 42_474_557),
    "Glint360K": (360_232, 17_091_657),
}
TESTS = ("lfw.bin", "cfp_fp.bin", "agedb_30.bin")  # what arcface_torch looks for beside train.rec


@dataclass
class ImageScan:
    """What one look at every image gives; row i is image i in order of class."""

    digests: UInt64[np.ndarray, "n 2"]
    hashes: UInt64[np.ndarray, "n 4"]
    readable: Bool[np.ndarray, " n"]
    shapes: collections.Counter[str] = field(default_factory=collections.Counter)
    unreadable: list[tuple[str, str]] = field(default_factory=list)
    deep: list[int] = field(default_factory=list)  # the largest values of images of more than 8 bits


def audit(
    place: str | Path,
    *,
    skip_bad: bool = False,
    hints: SourceHints | None = None,
    advance: Advance | None = None,
) -> dict[str, Any]:
    """Counts, sizes, duplicates, `problems` and `notes` of the set at `place`, ready for JSON.

    Problems are what training or evaluation would suffer from; the set is sound if there are none. ValueError
    where the set cannot be opened at all. With `skip_bad` what a run leaves out as well is a note.
    """
    workers = os.cpu_count() or 1
    if Path(place).suffix == ".bin":
        return _audit_pairs(Path(place), workers, advance)
    source = open_source(place, Opening(workers=workers, hints=hints or SourceHints()))
    counts = source.counts
    looked = _look(source, workers, advance)
    owners = np.repeat(np.arange(len(counts)), counts)
    name = _namer(source)
    exact = exact_duplicates(looked.digests, looked.readable, owners)
    near = near_duplicates(looked.hashes, looked.readable & ~exact.repeated, owners)
    bad = [f"{noun(len(looked.unreadable), 'image')} cannot be read"] if looked.unreadable else []
    if (empty := np.flatnonzero(counts == 0)).size:
        bad.append(
            f"{noun(len(empty), 'class', 'classes')} without images, the first is {source.class_names[empty[0]]!r}"
        )
    problems, left_out = ([], [f"{line} (left out)" for line in bad]) if skip_bad else (bad, [])
    try:
        refuse_unwritable(source.class_names, str(place))
    except ValueError as error:
        problems.append(str(error))
    if exact.across:
        problems.append(f"{noun(exact.across, 'image')} with the same bytes in different classes")
    filled = counts[counts > 0]
    return {
        "place": str(place),
        "kind": source.kind,
        "classes": len(counts),
        "images": int(counts.sum()),
        "first_class": source.class_names[0],
        "last_class": source.class_names[-1],
        "class_sizes": class_sizes(filled),
        "known_set": next((n for n, size in KNOWN_SETS.items() if size == (len(filled), counts.sum())), None),
        "image_shapes": dict(looked.shapes.most_common()),
        "unreadable": looked.unreadable,
        "exact_duplicates": exact.described(name),
        "near_duplicates": {"rule": RULE} | near.described(name),
        "problems": problems,
        "notes": [*left_out, *_notes(source, looked, filled)],
    }


def class_sizes(counts: Int64[np.ndarray, " c"]) -> dict[str, Any]:
    """The columns of the paper's Table 4, and how many classes have how many images."""
    quartiles = np.percentile(counts, [0, 25, 50, 75, 100])
    sizes, classes = np.unique(counts, return_counts=True)
    return {
        **dict(zip(("min", "25%", "50%", "75%", "max"), map(float, quartiles), strict=True)),
        "mean": float(counts.mean()),
        "histogram": {int(size): int(n) for size, n in zip(sizes, classes, strict=True)},
    }


class ScannedImage(NamedTuple):
    """One image: the hash of its bytes, a small copy, and its size and format, or else why it cannot be read."""

    where: str
    digest: bytes
    thumb: UInt8[np.ndarray, "16 17"] | None
    said: str
    deep: int | None = None


def _look(source: Source, workers: int, advance: Advance | None) -> ImageScan:
    n, done = int(source.counts.sum()), 0
    looked = ImageScan(np.zeros((n, 2), np.uint64), np.zeros((n, 4), np.uint64), np.zeros(n, bool))
    with ThreadPoolExecutor(workers) as pool, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Pillow's, on odd but readable files
        for rows, images in _looks(source, pool):
            fine = np.array([image.thumb is not None for image in images], bool)
            looked.readable[rows] = fine
            looked.digests[rows] = np.frombuffer(b"".join(i.digest for i in images), np.uint64).reshape(-1, 2)
            if fine.any():
                looked.hashes[rows[fine]] = difference_hash(np.stack([i.thumb for i in images if i.thumb is not None]))
            looked.shapes.update(i.said for i in images if i.thumb is not None)
            looked.deep += [i.deep for i in images if i.deep is not None]
            looked.unreadable += [(i.where, i.said) for i in images if i.thumb is None]
            done += len(rows)
            if advance is not None:
                advance(done, n)
    return looked


def _looks(source: Source, pool: ThreadPoolExecutor) -> Iterator[tuple[Int64[np.ndarray, " b"], list[ScannedImage]]]:
    """Rows and what was seen there: encoded images as they are, others as the pixels they are read to."""
    starts = np.cumsum(source.counts) - source.counts
    if isinstance(source, Encoded):
        tasks = (
            (k, np.arange(at, min(at + 64, count)))
            for k, count in enumerate(source.counts.tolist())
            for at in range(0, count, 64)
        )
        yield from windowed(pool, lambda task: (starts[task[0]] + task[1], _look_at(source, *task)), tasks)
        return
    assert source.size is not None
    at = 0
    for block in source.every_block(source.size):
        rows = block.places if block.places is not None else np.arange(at, at + len(block.images))
        at += len(block.images)
        yield rows, list(map(_seen_pixels, block.images))


def _look_at(source: Encoded[Any], k: int, rows: Int64[np.ndarray, " b"]) -> list[ScannedImage]:
    items, seen = source.items(k), []
    for item in (items[row] for row in rows):
        where = source.where(item)
        try:
            seen.append(_seen(where, source.one(item)[1]))
        except ValueError as error:
            seen.append(ScannedImage(where, bytes(16), None, str(error).removeprefix(f"{where}: ")))
    return seen


def _seen(where: str, content: bytes) -> ScannedImage:
    """An encoded image as it is."""
    digest = hashlib.blake2b(content, digest_size=16).digest()
    try:
        with opened(io.BytesIO(content)) as image:
            grey = " grey" if image.mode in ("1", "L", "LA", "I", "I;16") else ""
            shape = f"{image.width} x {image.height} {image.format}{grey}"
            image.load()
            return ScannedImage(where, digest, small_grey(rgb(image)), shape, depth(image))
    except Exception as error:  # Pillow's plugins raise almost anything on damaged files
        return ScannedImage(where, digest, None, reason(error))


def _seen_pixels(pixels: UInt8[np.ndarray, "h w c"]) -> ScannedImage:
    plain = pixels[..., 0] if pixels.shape[-1] == 1 else pixels
    shape = f"{plain.shape[1]} x {plain.shape[0]} pixels{' grey' if plain.ndim == 2 else ''}"
    digest = hashlib.blake2b(plain.tobytes(), digest_size=16).digest()
    return ScannedImage("", digest, small_grey(Image.fromarray(plain)), shape)


def _namer(source: Source) -> Callable[[int], str]:
    ends = np.cumsum(source.counts)

    def name(row: int) -> str:
        k = int(np.searchsorted(ends, row, side="right"))
        i = row - int(ends[k] - source.counts[k])
        file = f"image {i}"
        if isinstance(source, Encoded | Packed):
            with contextlib.suppress(ValueError):  # it cannot be read any more
                file = next(source.encoded(k, np.array([i])))[0]
        return f"{source.class_names[k]}/{file}"

    return name


def _notes(source: Source, looked: ImageScan, counts: Int64[np.ndarray, " c"]) -> list[str]:
    """The known traps of face sets, as far as they apply."""
    notes = [*source.notes, *too_dark(looked.deep), *name_notes(_names(source))]
    if len(counts) < 6:
        notes.append(
            f"{noun(len(counts), 'class', 'classes')}: a run needs 6, two each to train, to choose and to test"
        )
    if ones := int(np.count_nonzero(counts == 1)):
        notes.append(f"{noun(ones, 'class', 'classes')} of a single image: no pair of the same class comes from them")
    sides = {shape.split(" ")[0] + " x " + shape.split(" ")[2] for shape in looked.shapes}
    if len(sides) > 1:
        notes.append(f"images have {len(sides)} different sizes; a trainer that does not resize fails on them")
    elif sides and sides != {"112 x 112"} and isinstance(source, (Folders, Records)):
        notes.append(f"images are {next(iter(sides))}; arcface_torch, AdaFace and CVLFace expect 112 x 112")
    names = list(source.class_names)
    if isinstance(source, Folders) and sorted(names) != sorted(names, key=_natural):
        notes.append(
            "class names sort differently as text (torchvision, im2rec, scoremix) and by number (CVLface): labels differ"
        )
    for name, (classes, images) in KNOWN_SETS.items():
        if len(counts) == classes and images != counts.sum():
            notes.append(f"as many classes as {name}, but {counts.sum():,} images instead of {images:,}")
    if isinstance(source, Records):
        absent = [test for test in TESTS if not (source.rec.parent / test).exists()]
        if absent:
            notes.append(
                f"{', '.join(absent)} not beside {source.rec.name}: arcface_torch skips absent ones in silence"
            )
    return notes


def _names(source: Source) -> Iterator[str]:
    """The names that lie on a disk: of classes, and of files below them where these have their own."""
    yield from source.class_names
    if isinstance(source, Folders | Archive):
        yield from (name for name in source.listed()[0])


def _natural(name: str) -> list[tuple[bool, int, str]]:
    parts = re.split(r"(\d+)", name)
    return [(part.isdecimal(), int(part) if part.isdecimal() else 0, part) for part in parts]


def _audit_pairs(path: Path, workers: int, advance: Advance | None) -> dict[str, Any]:
    """The same for a verification `.bin`."""
    pairs = verification.read(path)
    total = len(pairs.images)
    shapes: collections.Counter[str] = collections.Counter()
    unreadable: list[tuple[str, str]] = []
    with ThreadPoolExecutor(workers) as pool:
        named = ((f"image {i}", content) for i, content in enumerate(pairs.images))
        for done, image in enumerate(windowed(pool, lambda item: _seen(*item), named), 1):
            if image.thumb is None:
                unreadable.append((image.where, image.said))
            else:
                shapes[image.said] += 1
            if advance is not None:
                advance(done, total)
    alike = np.array([a == b for a, b in zip(pairs.images[0::2], pairs.images[1::2], strict=True)])
    problems = [f"{noun(len(unreadable), 'image')} cannot be read"] if unreadable else []
    if wrong := int((alike & ~pairs.same).sum()):
        problems.append(f"{noun(wrong, 'pair')} of one image twice, called different")
    if pairs.same.all() or not pairs.same.any():
        problems.append(f"all pairs are called {'the same' if pairs.same.all() else 'different'}")
    notes = [f"{noun(same, 'pair')} of one image twice"] if (same := int((alike & pairs.same).sum())) else []
    wanted = facesets.EXPECTED.get(path.stem.lower(), {}).get("pairs")
    if wanted not in (None, len(pairs.same)):
        notes.append(f"{path.stem} has {wanted:,} pairs as published, this one {len(pairs.same):,}")
    return {
        "place": str(path),
        "kind": "pairs",
        "pairs": len(pairs.same),
        "same": int(pairs.same.sum()),
        "images": total,
        "distinct_images": len(set(pairs.images)),
        "image_shapes": dict(shapes.most_common()),
        "unreadable": unreadable,
        "problems": problems,
        "notes": notes,
    }
