"""Files of images: folders of classes, a folder of images, one image."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np

from scoremix.data.layout import Steps, layout
from scoremix.data.source import DEFAULTS, Encoded, Opening

# Files that may lie beside images and are passed over; everything else must be an image.
TEXTS = {".txt", ".md", ".rst", ".csv", ".tsv", ".json", ".jsonl", ".xml", ".yaml", ".yml", ".toml", ".ini", ".log"}
PAGES = {".html", ".htm", ".py", ".sh"}
ARRAYS = {".npy", ".npz", ".mat", ".pkl", ".pt", ".db", ".lst", ".idx", ".rec", ".zip", ".tar", ".gz"}
NOT_IMAGES = TEXTS | PAGES | ARRAYS
# What file systems, archivers and photo stations put beside images.
LITTER = {"__macosx", "@eadir", "lost+found", "#recycle", "$recycle.bin", "system volume information", "thumbs.db"}
DEEPEST = 16  # folders


class Files(Encoded[Path]):
    """Images in files of their own."""

    together = 1

    def content(self, item: Path) -> Path:
        return item

    def where(self, item: Path) -> str:
        return str(item)

    def name(self, item: Path) -> str:
        return item.name

    def file_name(self, item: Path, content: bytes) -> str:
        return item.name


class Folders(Files):
    """<root>/<class>/<image>: classes are the folders directly in root, in order of their names.

    Or a set in parts, of sessions, or with a split, as `layout` tells them apart. Hidden names and LITTER are passed over,
    and files whose suffix is in NOT_IMAGES; links are followed. ValueError where there are no class folders.
    """

    kind, form = "folders", "folders"

    def __init__(self, place: Path, opening: Opening = DEFAULTS) -> None:
        self.place, self.workers = place, opening.workers
        names, loose = listed(place)
        if not names:
            what = (
                f"{len(loose)} files but no folders"
                if loose
                else "an empty folder, with neither images nor class folders"
            )
            raise ValueError(f"{place} is {what}: it must hold one folder of images per class")
        counts, self.ignored = _counted(place, names)
        self.ignored += len(loose)
        found = layout(counts, str(place), opening.told.class_level)
        if opening.every and (images := list(filter(may_be_image, loose))):
            raise ValueError(
                f"{place} holds {len(found.classes)} folders and {len(images)} images such as {images[0]!r}: must be one or the other"
            )
        self.folders, self.class_names, self._at = found.classes, tuple(found.classes), found.at
        self._shared = {steps for folders in self.folders.values() if len(folders) > 1 for steps in folders}
        self.counts = np.array([sum(counts[steps] for steps in of) for of in self.folders.values()], np.int64)
        self.splits, self.notes = found.splits, found.notes

    @classmethod
    def lies_at(cls, place: Path, every: bool) -> bool:
        return place.is_dir()

    def files(self) -> Iterator[tuple[str, Path]]:
        for k in range(len(self.counts)):
            yield from ((self.name(path), path) for path in self.items(k))

    def items(self, k: int) -> list[Path]:
        folders = [self.place.joinpath(*steps) for steps in self.folders[self.class_names[k]]]
        return [folder / name for folder in folders for name in listed(folder)[1] if may_be_image(name)]

    def name(self, item: Path) -> str:
        return item.relative_to(self.place).as_posix()

    def file_name(self, item: Path, content: bytes) -> str:
        """Its own, after the other folders on the way where its class is in several."""
        *steps, name = item.relative_to(self.place).parts
        return "_".join([*steps[: self._at], *steps[self._at + 1 :], name]) if tuple(steps) in self._shared else name


class Loose(Files):
    """A folder of images or one image, without classes."""

    kind, labelled = "images", False

    def __init__(self, place: Path, opening: Opening = DEFAULTS) -> None:
        self.place, self.workers = place, opening.workers
        names = filter(may_be_image, listed(place)[1]) if place.is_dir() else ()
        self.paths = [place / name for name in names] or [place]
        self.class_names, self.counts = ("",), np.array([len(self.paths)])

    @classmethod
    def lies_at(cls, place: Path, every: bool) -> bool:
        if not every or place.is_file():
            return every
        folders, files = listed(place)
        return not folders and any(map(may_be_image, files))

    def files(self) -> Iterator[tuple[str, Path]]:
        return ((path.name, path) for path in self.paths)

    def items(self, k: int) -> list[Path]:
        return self.paths


def _counted(root: Path, names: Iterable[str]) -> tuple[dict[Steps, int], int]:
    """The numbers of images in the folders that hold images or no folders, and of the files that are none."""
    counts: dict[Steps, int] = {}
    ignored = 0
    ways: list[Steps] = [(name,) for name in reversed(tuple(names))]
    while ways:
        steps = ways.pop()
        folder = root.joinpath(*steps)
        if folder.is_symlink() and folder.parent.resolve().is_relative_to(folder.resolve()):
            raise ValueError(f"{folder} is a link to a folder that it lies in")
        inner, files = listed(folder)
        if inner and len(steps) == DEEPEST:
            raise ValueError(f"{folder} is {DEEPEST} folders deep: no deeper ones are read")
        images = sum(map(may_be_image, files))
        ignored += len(files) - images
        if images or not inner:
            counts[steps] = images
        ways += [(*steps, name) for name in reversed(inner)]
    return counts, ignored


def listed(folder: Path) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Names of the folders and of all else in `folder`, each sorted, hidden ones and LITTER left out."""
    try:
        with os.scandir(folder) as entries:
            found = [(e.name, e.is_dir()) for e in entries if e.name[0] != "." and e.name.lower() not in LITTER]
    except OSError as error:
        raise ValueError(f"{folder} cannot be listed ({error.strerror})") from None
    found.sort()
    return tuple(n for n, inner in found if inner), tuple(n for n, inner in found if not inner)


def may_be_image(name: str) -> bool:
    """Whether a file of that name may hold an image; its content decides."""
    return os.path.splitext(name)[1].lower() not in NOT_IMAGES
