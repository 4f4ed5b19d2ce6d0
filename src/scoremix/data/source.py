"""What every source of labelled images offers, and the reading of encoded images a bounded number ahead (paper 4.1)."""

from __future__ import annotations

import collections
import contextlib
import errno
import io
import os
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar, Generic, Literal, TypeVar

import numpy as np
from jaxtyping import Int64, Integer, UInt8
from PIL import Image

from scoremix.data.decode import decode, depth, refuse_irregular
from scoremix.data.splits import Splits

Form = Literal["folders", "recordio", "webdataset"]
Advance = Callable[[int, int], None]  # how many are done, of how many
Choose = Callable[[int], Int64[np.ndarray, " chosen"]]  # class -> ascending positions among its images
BLOCK_BYTES = 4 << 20
REASON = 1000  # characters of another reader's words that a message repeats
EXTENSIONS: dict[str, tuple[bytes | tuple[bytes, ...], int]] = {  # what an encoded image has from which byte on
    ".jpg": (b"\xff\xd8\xff", 0),
    ".png": (b"\x89PNG", 0),
    ".webp": (b"RIFF", 0),
    ".bmp": (b"BM", 0),
    ".gif": (b"GIF8", 0),
    ".tif": ((b"II*\0", b"MM\0*"), 0),
    ".jp2": (b"jP  ", 4),
    ".avif": (b"ftypavi", 4),
    ".ppm": ((b"P3", b"P6"), 0),
    ".pgm": ((b"P2", b"P5"), 0),
}
SUFFIXES = {*EXTENSIONS, ".jpeg", ".tiff", ".tga", ".img"}  # of files of a shard that are taken for images
A = TypeVar("A")
B = TypeVar("B")
Item = TypeVar("Item")


@dataclass(frozen=True)
class ImageBlock:
    """Images of one or more classes on their way into the packed array."""

    images: UInt8[np.ndarray, "b size size c"]
    classes: Integer[np.ndarray, " b"]  # as numbered by the source
    places: Int64[np.ndarray, " b"] | None = None  # rows of the packed array; None: the next ones
    bad: tuple[tuple[str, str], ...] = ()  # (path, reason) of files left out here


@dataclass(frozen=True)
class SourceHints:
    """What a person says of a set that does not tell it itself."""

    class_level: int | None = None  # folders so many steps down are classes
    image_column: str | None = None  # of a table
    label_column: str | None = None


@dataclass(frozen=True)
class Opening:
    """How a source is opened."""

    images_per_class: int | None = None  # where images are drawn: how many
    seed: int = 0  # where images are drawn
    workers: int = field(default_factory=lambda: os.cpu_count() or 1)
    every: bool = False  # images without a class and those held out from training, too
    hints: SourceHints = SourceHints()


DEFAULTS = Opening()


class Source(ABC):
    """Classes with their numbers of images at a place, and the images on request: a reader of one format.

    Made from the place and an `Opening`; ValueError names what is wrong there.
    """

    kind: ClassVar[str]  # in what is printed
    form: ClassVar[Form | None] = None  # in which `convert` writes the same
    place: Path
    class_names: tuple[str, ...]
    counts: Int64[np.ndarray, " c"]
    rows: Rows  # where images lie in one file, in any order
    labelled: bool = True  # False: the only class stands for none
    groups: tuple[str, ...] | None = None
    apart: bool = False  # classes of one group belong to one person: they stay in one part of a split
    splits: Splits | None = None  # parts that are missing are drawn from train
    size: int | None = None  # side of the images where none is asked for
    channels: int = 3
    ignored: int = 0  # files passed over
    notes: Sequence[str] = ()  # what other readers stumble over

    @abstractmethod
    def __init__(self, place: Path, opening: Opening = DEFAULTS) -> None: ...

    def number(self, classes: Integer[np.ndarray, " n"], of: int = 0) -> None:
        """Notes which images are of which class, and how many: `classes` has the class of each, in order."""
        self.rows = Rows(classes, of)
        self.counts = self.rows.counts

    @classmethod
    @abstractmethod
    def lies_at(cls, place: Path, every: bool) -> bool:
        """Whether this is the format of what lies at an existing place (`every`: see Opening)."""

    @abstractmethod
    def files(self) -> Iterator[tuple[str, Path]]:
        """Every file that decides what is read, and its name, which does not depend on the place."""

    @abstractmethod
    def _blocks(self, kept: Int64[np.ndarray, " k"], choose: Choose, size: int) -> Iterator[ImageBlock]: ...

    def blocks(self, kept: Int64[np.ndarray, " k"], choose: Choose, size: int) -> Iterator[ImageBlock]:
        """The chosen images of the kept classes, grouped by class in the order of `kept` (or with places)."""
        with readable(self.place, f"readable {self.kind}", worded=True):
            yield from self._blocks(kept, choose, size)

    def every_block(self, size: int) -> Iterator[ImageBlock]:
        """All images, class by class."""
        return self.blocks(np.arange(len(self.counts)), lambda k: np.arange(self.counts[k]), size)

    def listed(self) -> tuple[tuple[str, ...], Integer[np.ndarray, " n"]]:
        """The name and the class of every image, in the order of `every_block`."""
        return tuple(map(str, range(self.counts.sum()))), np.repeat(np.arange(len(self.counts)), self.counts)


def refuse_empty(source: Source, kept: Int64[np.ndarray, " k"], place: str, skip_bad: bool) -> list[str]:
    """The names of those of the kept classes that have no images; ValueError unless these are left out."""
    empty = [source.class_names[k] for k in kept[source.counts[kept] == 0]]
    if empty and not skip_bad:
        more = f", nor have {len(empty) - 1} more" if len(empty) > 1 else ""
        raise ValueError(f"class {empty[0]!r} of {place} has no images{more} (--skip-bad leaves them out)")
    return empty


class Encoded(Source, Generic[Item]):
    """A source that holds its images as files do: a reader says which they are and where the bytes of each lie."""

    together: ClassVar[int] = 64  # images decoded by one task
    workers: int
    deep: list[int]  # the largest values of the images of more than 8 bits that were decoded
    small: list[int]  # shorter sides of those that were decoded to more than twice as much

    def items(self, k: int) -> Sequence[Item] | Int64[np.ndarray, " n"]:
        """The images of class k, in order: by default its rows."""
        return self.rows.of(k)

    @abstractmethod
    def content(self, item: Item) -> Path | bytes:
        """An encoded image or its file; ValueError with a short reason."""

    @abstractmethod
    def where(self, item: Item) -> str:
        """What an error calls the image."""

    @abstractmethod
    def name(self, item: Item) -> str:
        """What a list of all images calls it."""

    def file_name(self, item: Item, content: bytes) -> str:
        """The name of a file with the image: by default its number with the usual extension."""
        return f"{item:08d}{extension(content)}"

    def _blocks(self, kept: Int64[np.ndarray, " k"], choose: Choose, size: int) -> Iterator[ImageBlock]:
        self.deep, self.small = [], []

        def seen(image: Image.Image) -> None:
            if (largest := depth(image)) is not None:
                self.deep.append(largest)
            if 2 * min(image.size) < size:
                self.small.append(min(image.size))

        def decoded(task: tuple[int, list[Item]]) -> list[ImageBlock]:
            """An unreadable image is a block of its own, so that the order of the blocks is that of the images."""
            k, items = task
            blocks: list[ImageBlock] = []
            images: list[np.ndarray] = []
            for item in items:
                try:
                    content = self.content(item)
                    file = content if isinstance(content, Path) else io.BytesIO(content)
                    images.append(decode(file, size, seen))
                except Exception as error:  # whatever a reader raises is said of this image
                    blocks += [_block(images, k, size), _block([], k, size, (self.where(item), reason(error)))]
                    images = []
            return [block for block in (*blocks, _block(images, k, size)) if len(block.images) or block.bad]

        tasks = (
            (k, [items[i] for i in chosen[start : start + self.together]])
            for k in map(int, kept)
            for items, chosen in [(self.items(k), choose(k))]
            for start in range(0, len(chosen), self.together)
        )
        with ThreadPoolExecutor(self.workers) as pool:
            for blocks in windowed(pool, decoded, tasks, ahead=max(4 * self.workers, 64 // self.together)):
                yield from blocks

    def encoded(self, k: int, chosen: Int64[np.ndarray, " chosen"]) -> Iterator[tuple[str, bytes]]:
        """File name and content of some images of class k; ValueError for one that cannot be read at all."""
        items = self.items(k)
        return (self.one(items[i]) for i in chosen)

    def one(self, item: Item) -> tuple[str, bytes]:
        """File name and content of an image; ValueError that names it where it cannot be read at all."""
        try:
            content = self.content(item)
            if isinstance(content, Path):
                refuse_irregular(content)
                content = content.read_bytes()
        except Exception as error:
            raise ValueError(f"{self.where(item)}: {reason(error)}") from None
        return self.file_name(item, content), content

    def listed(self) -> tuple[tuple[str, ...], Integer[np.ndarray, " n"]]:
        names = tuple(self.name(item) for k in range(len(self.counts)) for item in self.items(k))
        return names, super().listed()[1]


class Rows:
    """The rows of a file by their classes: `of(k)` are those of class k, in the order of the file."""

    def __init__(self, labels: Integer[np.ndarray, " n"], classes: int = 0) -> None:
        self.order = np.argsort(labels, kind="stable")
        self.counts = np.bincount(labels, minlength=classes).astype(np.int64)
        self._ends = np.cumsum(self.counts)

    def of(self, k: int) -> Int64[np.ndarray, " n"]:
        """The rows of class k."""
        rows: np.ndarray = self.order[self._ends[k] - self.counts[k] : self._ends[k]]
        return rows


@contextlib.contextmanager
def readable(place: Path | str, what: str, *, worded: bool = False) -> Iterator[None]:
    """Whatever goes wrong in the block is a ValueError of one line: the place is not `what`, and why.

    If `worded`, a plain ValueError that names a file there says it itself. No place is to blame for full memory or a
    full disk.
    """
    try:
        yield
    except MemoryError:
        raise
    except Exception as error:  # damaged files make their readers raise almost anything
        if (worded and type(error) is ValueError and str(place) in str(error)) or (
            isinstance(error, OSError) and error.errno == errno.ENOSPC
        ):
            raise
        raise ValueError(f"{place} is not {what}: {reason(error)}") from None


def reason(error: Exception) -> str:
    """Why something cannot be read, on one line."""
    if isinstance(error, OSError) and error.strerror:
        return f"cannot be read ({error.strerror})"
    words = " ".join(str(error).split()) or type(error).__name__
    return words if len(words) <= REASON else f"{words[:REASON]} ..."  # some readers repeat the damaged content


def extension(content: bytes) -> str:
    """The usual file extension of an encoded image, by its first bytes; .img if unknown."""
    return next((e for e, at in EXTENSIONS.items() if content.startswith(*at)), ".img")


def windowed(pool: ThreadPoolExecutor, work: Callable[[A], B], items: Iterator[A], ahead: int = 64) -> Iterator[B]:
    """`work` of each item, in order, a bounded number of items ahead."""
    pending: collections.deque[Future[B]] = collections.deque()
    for item in items:
        pending.append(pool.submit(work, item))
        if len(pending) >= ahead:
            yield pending.popleft().result()
    while pending:
        yield pending.popleft().result()


def _block(images: list[np.ndarray], k: int, size: int, *bad: tuple[str, str]) -> ImageBlock:
    stacked = np.stack(images) if images else np.zeros((0, size, size, 3), np.uint8)
    return ImageBlock(stacked, np.full(len(images), k), bad=bad)
