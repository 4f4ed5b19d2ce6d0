"""Files of images: folders of classes, a folder of images, one image."""

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np

from scoremix.data.layout import Steps, layout
from scoremix.data.lists import noun, some
from scoremix.data.source import DEFAULTS, Encoded, Item, Opening

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


class FolderedImages(Encoded[Item]):
    """Images in folders of which `layout` says what they mean: on disk or in an archive."""

    folders: Mapping[str, list[Steps]]  # by class

    def lay(self, images: Mapping[Steps, int], loose: Sequence[str], opening: Opening) -> None:
        """Sets what is known of the classes from the numbers of images in every folder (see `layout`).

        `loose` are files beside the folders. ValueError where images are among them and every image is wanted.
        """
        laid = layout(images, str(self.place), opening.hints.class_level)
        beside = list(filter(may_be_image, loose))
        if beside and opening.every:
            raise ValueError(
                f"{self.place} holds {len(laid.classes)} folders and {len(beside)} images such as {beside[0]!r}: "
                "must be one or the other"
            )
        self.folders, self.class_names, self._at = laid.classes, tuple(laid.classes), laid.at
        self._shared = {steps for folders in self.folders.values() if len(folders) > 1 for steps in folders}
        self.counts = np.array([sum(images[steps] for steps in of) for of in self.folders.values()], np.int64)
        if not self.counts.any():
            raise ValueError(f"{self.place} has no images in {noun(len(self.counts), 'class folder')}")
        self.splits, self.notes = laid.splits, laid.notes
        if beside:
            self.notes = (*laid.notes, f"passed over, for they lie in no class folder: {some(beside)}")
        self.ignored += len(loose) - len(beside)
        self.groups, self.apart = laid.people, laid.people is not None

    def plain_name(self, steps: Steps, name: str) -> str:
        """The file's own name, after the other folders on the way where its class is in several."""
        return "_".join([*steps[: self._at], *steps[self._at + 1 :], name]) if steps in self._shared else name


class Folders(Files, FolderedImages[Path]):
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
        self.lay(counts, loose, opening)
        if runs := [entry.name for entry in os.scandir(place) if entry.is_dir() and is_of_runs(entry.path)]:
            self.notes = (*self.notes, f"passed over, for they hold runs: {some(sorted(runs))}")

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
        *steps, name = item.relative_to(self.place).parts
        return self.plain_name(tuple(steps), name)


class ClasslessImages(Files):
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
    """Names of the folders and of all else in `folder`, each sorted; hidden ones, LITTER and folders of runs left out."""
    try:
        with os.scandir(folder) as entries:
            shown = [e for e in entries if e.name[0] != "." and e.name.lower() not in LITTER]
            # a link in a circle is no folder
            inner = [(e, os.path.isdir(e.path) if e.is_symlink() else e.is_dir()) for e in shown]
            inside = [(e.name, is_folder) for e, is_folder in inner if not (is_folder and is_of_runs(e.path))]
    except OSError as error:
        raise ValueError(f"{folder} cannot be listed ({error.strerror})") from None
    inside.sort()
    return tuple(n for n, inner in inside if inner), tuple(n for n, inner in inside if not inner)


def is_of_runs(folder: str) -> bool:
    """Whether scoremix keeps its runs in a folder: they are no images, wherever they lie."""
    return os.path.isfile(os.path.join(folder, "store", "store.json"))


def may_be_image(name: str) -> bool:
    """Whether a file of that name may hold an image; its content decides."""
    return os.path.splitext(name)[1].lower() not in NOT_IMAGES
