"""Sets of labelled images from one form to another, encoded bytes kept: folders, RecordIO, WebDataset, parquet, `.bin`.

What arcface_torch, AdaFace and CVLFace train on: RecordIO with all of train.rec, .idx, .lst, .tsv and property,
or class folders. OUT appears whole or not at all (paper 4.1: real and synthetic sets train the same way).
"""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from jaxtyping import Int64

from scoremix.data import faces, verification
from scoremix.data.files import refuse_existing, whole, write_file
from scoremix.data.formats.folders import NOT_IMAGES
from scoremix.data.formats.npz import Npz
from scoremix.data.formats.packed import Packed
from scoremix.data.image_order import stream_seed
from scoremix.data.images import packed_file, write_classes
from scoremix.data.lists import noun
from scoremix.data.outgoing import Made, OutgoingImages, sound_rows
from scoremix.data.reading import refuse_unwritable
from scoremix.data.source import Advance, Encoded, Form, Opening, Source, SourceHints, extension, refuse_empty
from scoremix.data.sources import format_of, open_source
from scoremix.data.writers import pyarrow_of, write_folders, write_parquet, write_records, write_shards

TABLE, PROVENANCE, CARD = "classes.tsv", "provenance.jsonl", "README.md"
FILES = NOT_IMAGES | {".bin", ".parquet", ".tgz", ".bz2", ".xz", ".zst", ".7z", ".rar"}  # no folder ends so
Written = Form | Literal["parquet"]


@dataclass(frozen=True)
class Export:
    """What was written."""

    form: str
    classes: int
    images: int
    notes: tuple[str, ...] = ()


def convert(
    place: str | Path,
    out: Path,
    form: Written | None = None,
    *,
    keep: Callable[[Source], Int64[np.ndarray, " k"]] | None = None,
    made: Made | None = None,
    card: str | None = None,
    size: int | None = None,
    seed: int = 0,
    skip_bad: bool = False,
    hints: SourceHints | None = None,
    advance: Advance | None = None,
) -> Export:
    """Writes the images at `place` to `out` in another form; returns what was written.

    `form` is by default recordio for folders and folders for all else; `.bin` files become pairs of images with
    pairs.txt, and a list of pairs becomes a `.bin` where `out` ends so. `keep` chooses classes of the source
    (ascending); labels are their positions. Encoded images are copied as they are, unless `size` asks for
    squares of that side by `decode`'s rules; those, and what is not encoded, become PNG. WebDataset shards hold
    the images in an order shuffled by `seed`. `skip_bad` leaves out unreadable images and classes without
    images, else UnreadableImages names all of the former. Where `made` tells what images
    were mixed of, provenance.jsonl has it for each; `card` becomes README.md. ValueError for what cannot be written.
    """
    place = Path(place) if str(place) != "glyphs" else place
    if isinstance(place, Path) and place.is_file() and (place.suffix == ".bin" or out.suffix == ".bin"):
        if form is not None or size is not None or seed or skip_bad or (hints or SourceHints()) != SourceHints():
            others = (
                "--to, --size, --seed, --skip-bad, --class-level, --image-column and --label-column go with classes"
            )
            raise ValueError(
                f"{place} holds pairs: they become a .bin or images with pairs.txt, as they are ({others})"
            )
        return _convert_pairs(place, out, advance)
    if out.suffix == ".bin":
        raise ValueError(f"{out}: a .bin holds pairs, {place} is no list of pairs (lines of: image image 0|1)")
    form = form or ("recordio" if format_of(place).form == "folders" else "folders")
    if form == "parquet":
        pyarrow_of(out)
    with _new_folder(out, place) as part:
        source = open_source(place, Opening(seed=seed, hints=hints or SourceHints()))
        refuse_unwritable(source.class_names, str(place))
        kept = np.arange(len(source.counts)) if keep is None else keep(source)
        refuse_empty(source, kept, str(place), skip_bad)
        kept = kept[source.counts[kept] > 0]
        if not kept.size:
            raise ValueError(f"{place} has no classes")
        with _encoded(source, kept, part) as (encoded, kept):
            every = [np.arange(encoded.counts[k]) for k in kept]
            rows, bad = sound_rows(encoded, kept, advance) if skip_bad else (every, [])
            kept = np.array([k for k, of in zip(kept, rows, strict=True) if len(of)], np.int64)
            if not kept.size:
                raise ValueError(f"{place} has no readable image")
            images = OutgoingImages(
                encoded, kept, [of for of in rows if len(of)], size, advance, made, look=not skip_bad
            )
            if form == "folders":
                beside = {TABLE, *([PROVENANCE] if made is not None else []), *([CARD] if card is not None else [])}
                _refuse_beside(images, place, beside)
            match form:
                case "folders":
                    notes = write_folders(part, images)
                case "recordio":
                    notes = write_records(part, images)
                case "webdataset":
                    notes = write_shards(part, images, seed)
                case "parquet":
                    notes = write_parquet(part, images)
            (part / TABLE).write_text(images.table(), "utf-8")
            if made is not None:
                (part / PROVENANCE).write_text("".join(images.provenance), "utf-8")
            if card is not None:
                (part / CARD).write_text(card, "utf-8")
    left = (f"{noun(len(bad), 'unreadable image')} left out",) if bad else ()
    return Export(form, len(kept), len(images), (*source.notes, *_cropped(source), *left, *notes))


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


def _refuse_beside(images: OutgoingImages, place: str | Path, beside: Collection[str]) -> None:
    """ValueError for a class whose folder would have the name of a file beside the class folders."""
    for name, folder in zip(images.names, images.folders, strict=True):
        if folder in beside:
            raise ValueError(f"class {name!r} of {place}: {folder} is a file beside the class folders: rename it")


@contextlib.contextmanager
def _new_folder(out: Path, source: str | Path) -> Iterator[Path]:
    """A folder to write to, which becomes `out` when the block ends, and vanishes if it ends in an exception."""
    if out.suffix.lower() in FILES:
        stem = out.with_name(out.name.partition(".")[0] or "images")
        raise ValueError(f"{out}: is named like a file, but a folder is made: name one, such as {stem}")
    refuse_existing(out)
    if Path(source).resolve() in (out.resolve(), *out.resolve().parents):
        raise ValueError(f"{out} lies inside {source}: name another place")
    out.parent.mkdir(parents=True, exist_ok=True)
    with whole(out, folder=True) as part:
        yield part


@contextlib.contextmanager
def _encoded(
    source: Source, kept: Int64[np.ndarray, " k"], part: Path
) -> Iterator[tuple[Encoded[Any] | Packed, Int64[np.ndarray, " k"]]]:
    """The source and the kept classes; if it has no images encoded, these classes alone, packed beside for the time of the block."""
    if isinstance(source, Encoded | Packed):
        yield source, kept
        return
    size = source.size
    assert size is not None  # only folders and records have none, and they are encoded
    pixels = part / ".pixels"
    pixels.mkdir()
    with packed_file(pixels / "images.npy", (size, size, source.channels)) as packed:
        for block in source.blocks(kept, lambda k: np.arange(source.counts[k]), size):
            packed.put(block.images, block.places)
    write_classes(pixels, source.counts[kept], [source.class_names[k] for k in kept], None, None)
    yield Packed(pixels), np.arange(len(kept))
    shutil.rmtree(pixels)


def _cropped(source: Source) -> tuple[str, ...]:
    """What is to be said of oblong pixels: they leave as a run reads them."""
    if not isinstance(source, Npz) or source.shape[1] == source.shape[2]:
        return ()
    height, width = source.shape[1:3]
    return (f"images are {width} x {height}: of each the centred square is written, which is what a run reads",)


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


def _listed_pairs(place: Path) -> verification.VerificationPairs:
    listed = faces.pair_list(place)
    both = np.stack([listed.first, listed.second], 1).ravel()
    files = [place.parent / str(name) for name in listed.images.files]
    if missing := [path for path in files if not path.is_file()]:
        raise ValueError(
            f"{place} names {missing[0]}, which is not there, nor are {len(missing) - 1} more of {len(files)}"
        )
    return verification.VerificationPairs([files[i].read_bytes() for i in both], listed.same)
