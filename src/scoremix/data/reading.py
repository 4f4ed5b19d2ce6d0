"""Any source of labelled images read once into a packed set with a three-way split of its classes."""

from __future__ import annotations

import os
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Int64

from scoremix.data.decode import enlarged, is_grey, too_dark, with_channels
from scoremix.data.files import whole
from scoremix.data.image_order import batch_indices, stream_seed
from scoremix.data.images import LabeledImages, packed_file, write_classes
from scoremix.data.lists import groups_of
from scoremix.data.source import DEFAULTS, Advance, Choose, Opening, Source, SourceHints, refuse_empty
from scoremix.data.sources import open_source
from scoremix.data.splits import SPLITS, Splits, by_fractions, checked, completed, from_list, subset


class UnreadableImages(ValueError):
    """Some files are no images; `bad` lists all of them with the reason, as the message does, one a line."""

    def __init__(self, bad: Sequence[tuple[str, str]]) -> None:
        self.bad = list(bad)
        lines = [f"  {path}: {reason}" for path, reason in bad]
        files = "1 unreadable image file" if len(bad) == 1 else f"{len(bad)} unreadable image files"
        super().__init__("\n".join([f"{files} (--skip-bad leaves them out):", *lines]))


@dataclass(frozen=True)
class Wanted:
    """What of a set is read, and how its classes are split; ValueError for numbers that cannot be.

    The split comes from `split_list`, else from the source, else from `fractions` and `seed`; classes in no part are
    left out. Subsets are seeded, drawn per part and per class.
    """

    size: int | None = None  # side of the images; by default that of the .npz or 16 for fonts, folders need it
    channels: int | None = None  # 1 or 3; by default 1 exactly if every pixel of every image is grey
    classes: int | None = None
    images_per_class: int | None = None  # for fonts: how many are drawn
    split_list: Path | None = None
    groups: str | None = None  # 'name' or a list file (`lists.groups_of`); by default the source's own
    fractions: Sequence[float] | None = (0.6, 0.1, 0.3)  # None: every class is in 'train'
    skip_bad: bool = False
    held_out: float = (
        0.0  # share of a training class's images that `of_classes("held_out")` alone has: one or more, not all
    )
    seed: int = 0
    hints: SourceHints = DEFAULTS.hints

    def __post_init__(self) -> None:
        if self.channels not in (None, 1, 3):
            raise ValueError(f"channels is {self.channels}, must be 1, 3 or None")
        if not 0 <= self.held_out < 1:
            raise ValueError(f"held_out is {self.held_out:g}, must be at least 0 and below 1")
        for name in ("size", "classes", "images_per_class"):
            if (value := getattr(self, name)) is not None and value < 1:
                raise ValueError(f"{name} is {value}, must be at least 1")


@dataclass(frozen=True)
class Reading:
    """What a reading left out, to be said."""

    unreadable: tuple[tuple[str, str], ...]  # (path, reason) of files left out by skip_bad
    empty_classes: tuple[str, ...]  # left out by skip_bad for want of a readable image
    unsplit_classes: int  # in no part of the given split
    ignored_files: int  # passed over: names that are not images'
    notes: tuple[str, ...] = ()  # what other readers of the source stumble over


ALL = Wanted()


def read(
    place: str | Path, folder: Path, wanted: Wanted = ALL, workers: int | None = None, progress: Advance | None = None
) -> tuple[LabeledImages, Reading]:
    """Writes the images at `place` as a packed set in `folder`; returns the set and what was left out.

    `place`: see `sources.FORMATS`. `progress(done, total)` is called after every block of images.

    ValueError: one line that names what is wrong. UnreadableImages: every unreadable file, unless `skip_bad`.
    Nothing is left in `folder` under a final name by a reading that fails.
    """
    opening = Opening(wanted.images_per_class, wanted.seed, workers or os.cpu_count() or 1, hints=wanted.hints)
    source = open_source(place, opening)
    if (size := wanted.size or source.size) is None:
        raise ValueError("size is None, must be given for folders of images")
    plan = planned(source, str(place), wanted)
    channels = wanted.channels or (1 if source.channels == 1 else None)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "classes.json").unlink(missing_ok=True)
    with whole(folder / "images.npy") as unfinished:
        counts, bad, grey = _fill(unfinished, (size, size, channels or 3), source, plan, progress)
        if bad and not wanted.skip_bad:
            raise UnreadableImages(bad)
        kept = plan.kept[counts[plan.kept] > 0]
        names = [source.class_names[k] for k in kept]
        splits = {part: np.searchsorted(kept, np.intersect1d(kept, of)) for part, of in plan.splits.items()}
        if wanted.fractions is not None:
            splits = checked(splits, names, str(place))
        held = _hold_out(unfinished, counts[kept], splits["train"], names, wanted) if wanted.held_out else None
        if channels is None and grey:
            _reduce(unfinished)
    grouped = [plan.groups[k] for k in kept] if plan.groups is not None else None
    write_classes(folder, counts[kept], names, splits, grouped, held)
    lost = [source.class_names[k] for k in plan.kept[counts[plan.kept] == 0]]
    notes = (*source.notes, *too_dark(getattr(source, "deep", ())), *enlarged(getattr(source, "small", ()), size))
    reading = Reading(tuple(bad), (*plan.empty, *lost), plan.unsplit, source.ignored, notes)
    return LabeledImages.load(folder), reading


@dataclass(frozen=True)
class Plan:
    """What of a source is read: its classes by their indices there, their parts, and the images of each."""

    kept: Int64[np.ndarray, " k"]
    splits: Splits
    groups: Mapping[int, str] | None
    empty: tuple[str, ...]  # classes left out for want of images
    unsplit: int  # classes in no part
    choose: Choose


def planned(source: Source, place: str, wanted: Wanted) -> Plan:
    """What `read` reads of an open source, before any image is; errors as there."""
    refuse_unwritable(source.class_names, place)
    empty = refuse_empty(source, np.arange(len(source.counts)), place, wanted.skip_bad)
    filled, groups, seed = np.flatnonzero(source.counts), wanted.groups, wanted.seed
    if wanted.fractions is not None and len(filled) == 1:
        raise ValueError(f"{place} has one class only, {source.class_names[filled[0]]!r}: a split needs at least 6")
    splits = _splits(source, filled, wanted)
    members = np.sort(np.concatenate([splits[part] for part in SPLITS]))
    of_class: Mapping[int, str] | None = dict(enumerate(source.groups)) if source.groups is not None else None
    if groups is not None:
        of_class = dict(zip(members.tolist(), groups_of(groups, [source.class_names[k] for k in members]), strict=True))
    kept = members if wanted.classes is None else subset(splits, source.class_names, wanted.classes, seed)

    def choose(k: int) -> Int64[np.ndarray, " chosen"]:
        count = int(source.counts[k])
        most = min(count, wanted.images_per_class or count)
        order = stream_seed("images", seed, source.class_names[k])
        return np.arange(count) if most == count else np.sort(batch_indices(count, order, 0, most))

    return Plan(kept, splits, of_class, tuple(empty), len(filled) - len(members), choose)


def refuse_unwritable(names: Sequence[str], place: str) -> None:
    """ValueError for a class whose name no text file can hold: a folder's name that is not UTF-8."""
    for name in names:
        try:
            name.encode()
        except UnicodeEncodeError:
            raise ValueError(
                f"{place}: the class {os.fsencode(name)!r} has a name that is not UTF-8: rename it"
            ) from None


def _splits(source: Source, filled: Int64[np.ndarray, " c"], wanted: Wanted) -> Splits:
    """Class indices of the source per part: from the list, else the source's own, else by fractions.

    Nobody is in two parts where the source knows of which person a class is.
    """
    if wanted.fractions is None:
        return {part: filled if part == "train" else filled[:0] for part in SPLITS}
    names = [source.class_names[k] for k in filled]
    if wanted.split_list is not None:
        return {part: filled[of] for part, of in from_list(wanted.split_list, names).items()}
    owners = names if not source.apart or source.groups is None else [source.groups[k] for k in filled]
    units = list(dict.fromkeys(owners))  # what is in one part: classes, or people with all their classes
    number = {unit: i for i, unit in enumerate(units)}
    unit_of = np.array([number[owner] for owner in owners])
    if source.splits is not None:
        given = {part: np.unique(unit_of[np.isin(filled, of)]) for part, of in source.splits.items()}
        splits = completed(given, units, wanted.fractions, wanted.seed)
    else:
        splits = by_fractions(units, wanted.fractions, wanted.seed)
    return {part: filled[np.isin(unit_of, of)] for part, of in splits.items()}


def _fill(
    path: Path, shape: tuple[int, int, int], source: Source, plan: Plan, progress: Advance | None
) -> tuple[Int64[np.ndarray, " classes"], list[tuple[str, str]], bool]:
    """Writes all that is planned; returns images per class of the source, unreadable files, whether all is grey."""
    counts, grey = np.zeros(len(source.counts), np.int64), True
    bad: list[tuple[str, str]] = []
    done, total = 0, sum(len(plan.choose(int(k))) for k in plan.kept)
    with packed_file(path, shape) as packed, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Pillow's, on odd but readable files
        for block in source.blocks(plan.kept, plan.choose, shape[0]):
            packed.put(with_channels(block.images, shape[2]), block.places)
            grey = grey and is_grey(block.images)
            np.add.at(counts, block.classes, 1)
            bad += block.bad
            done += len(block.images) + len(block.bad)
            if progress is not None:
                progress(done, total)
    return counts, bad, grey


def _hold_out(
    path: Path,
    counts: Int64[np.ndarray, " classes"],
    train: Int64[np.ndarray, " t"],
    names: Sequence[str],
    wanted: Wanted,
) -> Int64[np.ndarray, " classes"]:
    """Shuffles the images of every training class in the file; returns how many at its end are held out."""
    held, share = np.zeros_like(counts), wanted.held_out
    held[train] = np.minimum(np.maximum(np.rint(share * counts[train]).astype(np.int64), 1), counts[train] - 1)
    if not held.any():
        raise ValueError(f"held_out is {share:g}, but every training class has one image only")
    images = np.load(path, mmap_mode="r+", allow_pickle=False)
    ends = np.cumsum(counts)
    for k in train:
        rows = slice(ends[k] - counts[k], ends[k])
        order = batch_indices(int(counts[k]), stream_seed("held out", wanted.seed, names[k]), 0, int(counts[k]))
        images[rows] = np.asarray(images[rows])[order]
    images.flush()
    return held


def _reduce(path: Path) -> None:
    """Packed grey images in three channels become images of one channel."""
    images = np.load(path, mmap_mode="r", allow_pickle=False)
    with packed_file(path, (*images.shape[1:3], 1)) as packed:
        for start in range(0, len(images), 1024):
            packed.put(with_channels(images[start : start + 1024], 1))
