"""What every source of labelled images offers, and work done a bounded number of items ahead."""

from __future__ import annotations

import collections
import io
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, TypeVar, runtime_checkable

import numpy as np
from jaxtyping import Int64, Integer, UInt8

from scoremix.data.decode import decode
from scoremix.data.splits import Splits

Choose = Callable[[int], Int64[np.ndarray, " chosen"]]  # class -> ascending positions among its images
BLOCK_BYTES = 4 << 20
AT_ONCE = 64  # images decoded by one task
A = TypeVar("A")
B = TypeVar("B")


@dataclass(frozen=True)
class Block:
    """Images of one or more classes on their way into the packed array."""

    images: UInt8[np.ndarray, "b size size c"]
    classes: Integer[np.ndarray, " b"]  # as numbered by the source
    places: Int64[np.ndarray, " b"] | None = None  # rows of the packed array; None: the next ones
    bad: tuple[tuple[str, str], ...] = ()  # (path, reason) of files left out here


@runtime_checkable
class Source(Protocol):
    """Classes with their numbers of images, and their images on request."""

    class_names: tuple[str, ...]
    groups: tuple[str, ...] | None
    splits: Splits | None
    counts: Int64[np.ndarray, " c"]
    size: int | None  # side of the images where none is asked for
    channels: int
    ignored: int  # files passed over

    def blocks(self, kept: Int64[np.ndarray, " k"], choose: Choose, size: int) -> Iterator[Block]:
        """The chosen images of the kept classes, grouped by class in the order of `kept` (or with places)."""


@runtime_checkable
class EncodedSource(Source, Protocol):
    """A source that holds its images as files do: encoded."""

    def encoded(self, k: int, chosen: Int64[np.ndarray, " chosen"]) -> Iterator[tuple[str, bytes]]:
        """File name and content of some images of class k; ValueError for one that cannot be read at all."""


def windowed(pool: ThreadPoolExecutor, work: Callable[[A], B], items: Iterator[A], ahead: int = 64) -> Iterator[B]:
    """`work` of each item, in order, a bounded number of items ahead."""
    pending: collections.deque[Future[B]] = collections.deque()
    for item in items:
        pending.append(pool.submit(work, item))
        if len(pending) >= ahead:
            yield pending.popleft().result()
    while pending:
        yield pending.popleft().result()


def decoded(
    rows_of: Callable[[int], Int64[np.ndarray, " n"]],
    content: Callable[[int], bytes],
    where: Callable[[int], str],
    kept: Int64[np.ndarray, " k"],
    choose: Choose,
    size: int,
    workers: int,
) -> Iterator[Block]:
    """`Source.blocks` for encoded images: `content` and `where` of a row give its bytes and its name in errors.

    An unreadable image is a block of its own, so that the order of the blocks is that of the images.
    """

    def cut(task: tuple[int, Int64[np.ndarray, " b"]]) -> list[Block]:
        k, rows = task
        blocks: list[Block] = []
        images: list[np.ndarray] = []
        for row in map(int, rows):
            try:
                images.append(decode(io.BytesIO(content(row)), size))
            except ValueError as error:
                blocks += [_block(images, k, size), _block([], k, size, (where(row), str(error)))]
                images = []
        return [*blocks, _block(images, k, size)]

    tasks = (
        (k, rows[start : start + AT_ONCE])
        for k in map(int, kept)
        for rows in [rows_of(k)[choose(k)]]
        for start in range(0, len(rows), AT_ONCE)
    )
    with ThreadPoolExecutor(workers) as pool:
        for blocks in windowed(pool, cut, tasks, ahead=4 * workers):
            yield from blocks


def block_of_file(path: Path, k: int, size: int) -> Block:
    """The image in a file as a block of class k; an unreadable one is a block without images."""
    try:
        return _block([decode(path, size)], k, size)
    except ValueError as error:
        return _block([], k, size, (str(path), str(error)))


def all_blocks(source: Source, size: int) -> Iterator[Block]:
    """Every image of a source, class by class."""
    return source.blocks(np.arange(len(source.counts)), lambda k: np.arange(source.counts[k]), size)


def _block(images: list[np.ndarray], k: int, size: int, *bad: tuple[str, str]) -> Block:
    stacked = np.stack(images) if images else np.zeros((0, size, size, 3), np.uint8)
    return Block(stacked, np.full(len(images), k), bad=bad)
