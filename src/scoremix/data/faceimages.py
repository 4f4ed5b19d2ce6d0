"""Encoded images of a benchmark in a fixed order, decoded and aligned a block at a time."""

from __future__ import annotations

import functools
import hashlib
import io
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float, UInt8
from PIL import Image

from scoremix.data import align
from scoremix.data.decode import decode, upright_rgb

Array = np.ndarray


@dataclass(frozen=True)
class FaceImages:
    """Encoded images in a fixed order: files of a folder or bytes; with five points each they are aligned."""

    folder: Path | None
    files: Sequence[str | bytes]
    points: Float[Array, "n 5 2"] | None = None

    def __len__(self) -> int:
        return len(self.files)

    def check(self) -> None:
        """ValueError if files are not there, with their number and the first."""
        if self.folder is None:
            return
        listed: dict[str, set[str]] = {}
        missing = []
        for name in self.files:
            assert isinstance(name, str)
            head, tail = os.path.split(name)
            if head not in listed:
                place = self.folder / head
                listed[head] = set(os.listdir(place)) if place.is_dir() else set()
            if tail not in listed[head]:
                missing.append(name)
        if missing:
            raise ValueError(f"{self.folder} lacks {len(missing):,} of {len(self):,} images, the first is {missing[0]}")

    @functools.cached_property
    def key(self) -> str:
        """SHA-256 of all images and points, in order, wherever they lie."""
        total = hashlib.sha256(b"" if self.points is None else np.ascontiguousarray(self.points).tobytes())
        with ThreadPoolExecutor(os.cpu_count() or 1) as pool:
            for digest in pool.map(self._digest, range(len(self)), chunksize=64):
                total.update(digest)
        return total.hexdigest()

    def _digest(self, i: int) -> bytes:
        return hashlib.sha256(self._bytes(i)).digest()

    def _bytes(self, i: int) -> bytes:
        item = self.files[i]
        if isinstance(item, bytes):
            return item
        assert self.folder is not None
        return (self.folder / item).read_bytes()

    def blocks(
        self, start: int, rows: int, size: int, workers: int, end: int | None = None
    ) -> Iterator[UInt8[Array, "b size size 3"]]:
        """Images from `start` on, up to `end`, `rows` at a time, RGB; decoded ahead by a pool of threads."""
        stop = len(self) if end is None else end
        with ThreadPoolExecutor(workers) as pool:
            bounds = [(i, min(i + rows, stop)) for i in range(start, stop, rows)]

            def submit(k: int) -> Iterator[Array] | None:
                if k >= len(bounds):
                    return None
                i, j = bounds[k]
                matrices = None if self.points is None else align.similarity_transform(self.points[i:j])
                return pool.map(
                    lambda r: self._pixels(r, size, None if matrices is None else matrices[r - i]), range(i, j)
                )

            ahead = submit(0)
            for k in range(len(bounds)):
                current, ahead = ahead, submit(k + 1)
                assert current is not None
                yield np.stack(list(current))

    def _pixels(self, i: int, size: int, matrix: Array | None) -> UInt8[Array, "size size 3"]:
        try:
            if matrix is None:
                return decode(io.BytesIO(self._bytes(i)), size)
            aligned = align.warped(upright_rgb(io.BytesIO(self._bytes(i))), matrix)
            if size == align.SIZE:
                return aligned
            return np.asarray(Image.fromarray(aligned).resize((size, size), Image.Resampling.LANCZOS))
        except (ValueError, OSError) as error:
            name = self.files[i] if self.folder is not None else f"image {i}"
            raise ValueError(f"{name!s} cannot be read ({error})") from None
