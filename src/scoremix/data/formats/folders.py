"""Files of images: folders of classes, a folder of images, one image."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from scoremix.data.source import DEFAULTS, Encoded, Opening

# Files that may lie beside images and are passed over; everything else must be an image.
TEXTS = {".txt", ".md", ".rst", ".csv", ".tsv", ".json", ".jsonl", ".xml", ".yaml", ".yml", ".toml", ".ini", ".log"}
PAGES = {".html", ".htm", ".py", ".sh"}
ARRAYS = {".npy", ".npz", ".mat", ".pkl", ".pt", ".db", ".lst", ".idx", ".rec", ".zip", ".tar", ".gz"}
NOT_IMAGES = TEXTS | PAGES | ARRAYS
PARTS = {"train", "training", "validation", "valid", "val", "dev", "test"}  # of one set of classes


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

    Or <root>/<part>/<class>/<image>, as WebFace260M (parts 0 to 9) and imagefolder sets (parts train, test ...) lie
    on disk: the parts train, validation and test share their classes, other parts must not.

    Hidden names and __MACOSX are passed over, and files whose suffix is in NOT_IMAGES; links are followed.
    ValueError for folders inside class folders and where there are no class folders.
    """

    kind, form = "folders", "folders"

    def __init__(self, place: Path, opening: Opening = DEFAULTS) -> None:
        self.place, self.workers = place, opening.workers
        self.folders, loose = _class_folders(place)
        if opening.every and (images := list(filter(may_be_image, loose))):
            raise ValueError(
                f"{place} holds {len(self.folders)} folders and {len(images)} images such as {images[0]!r}: must be one or the other"
            )
        self.class_names, self.ignored, counts = tuple(self.folders), len(loose), []
        for of_class in self.folders.values():
            counts.append(0)
            for folder in of_class:
                inner, files = listed(folder)
                if inner:
                    raise ValueError(
                        f"{folder / inner[0]} is a folder inside a class folder: classes are the folders "
                        f"directly in {folder.parent}, and hold images only"
                    )
                images_here = sum(map(may_be_image, files))
                counts[-1] += images_here
                self.ignored += len(files) - images_here
        self.counts = np.array(counts, np.int64)

    @classmethod
    def lies_at(cls, place: Path, every: bool) -> bool:
        return place.is_dir()

    def files(self) -> Iterator[tuple[str, Path]]:
        for k, name in enumerate(self.class_names):
            yield from ((f"{name}/{path.name}", path) for path in self.items(k))

    def items(self, k: int) -> list[Path]:
        folders = self.folders[self.class_names[k]]
        return [folder / name for folder in folders for name in listed(folder)[1] if may_be_image(name)]

    def name(self, item: Path) -> str:
        return f"{item.parent.name}/{item.name}"

    def file_name(self, item: Path, content: bytes) -> str:
        """Its own, after the part's where a class is in several."""
        return f"{item.parent.parent.name}_{item.name}" if len(self.folders[item.parent.name]) > 1 else item.name


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


def _class_folders(root: Path) -> tuple[dict[str, tuple[Path, ...]], tuple[str, ...]]:
    """The folders of each class, in order of its name, and the loose files."""
    names, loose = listed(root)
    if not names:
        what = (
            f"{len(loose)} files but no folders" if loose else "an empty folder, with neither images nor class folders"
        )
        raise ValueError(f"{root} is {what}: it must hold one folder of images per class")
    inner, files = listed(root / names[0])
    if not inner or any(map(may_be_image, files)):
        return {name: (root / name,) for name in names}, loose
    folders: dict[str, tuple[Path, ...]] = {}
    for part in names:
        inner, files = listed(root / part)
        if not inner or any(map(may_be_image, files)):
            raise ValueError(f"{root / names[0]} holds class folders and {root / part} does not: give one of them")
        for name in inner:
            if name in folders and not {part, folders[name][0].parent.name} <= PARTS:
                raise ValueError(f"{folders[name][0]} and {root / part / name} have the same name: one class or two?")
            folders[name] = (*folders.get(name, ()), root / part / name)
    return dict(sorted(folders.items())), loose


def listed(folder: Path) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Names of the folders and of all else in `folder`, each sorted, hidden ones left out."""
    try:
        names = sorted(n for n in os.listdir(folder) if not n.startswith(".") and n != "__MACOSX")
    except OSError as error:
        raise ValueError(f"{folder} cannot be listed ({error.strerror})") from None
    inner = {n for n in names if os.path.isdir(folder / n)}
    return tuple(n for n in names if n in inner), tuple(n for n in names if n not in inner)


def may_be_image(name: str) -> bool:
    return os.path.splitext(name)[1].lower() not in NOT_IMAGES
