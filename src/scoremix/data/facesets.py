"""What a public set of faces is once it is read: pairs, templates, or probes and a gallery (paper 4.2), and its images.

Encoded images in a fixed order are decoded and aligned a block at a time: faces are brought to 112 x 112 by five points, the
least-squares similarity (Umeyama 1991) and one bilinear warp.
"""

from __future__ import annotations

import functools
import hashlib
import io
import itertools
import os
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float, Int64, UInt8
from PIL import Image, ImageOps

from scoremix.data.decode import decode, upright_rgb
from scoremix.data.source import windowed

SIZE = 112
# eyes, nose tip, corners of the mouth, as (x, y) of pixel centres: the template of the ArcFace family
TEMPLATE = np.array(
    [(38.2946, 51.6963), (73.5318, 51.5014), (56.0252, 71.7366), (41.5493, 92.3655), (70.7299, 92.2041)]
)


def similarity_transform(
    points: Float[np.ndarray, "n p 2"], target: Float[np.ndarray, "p 2"] = TEMPLATE
) -> Float[np.ndarray, "n 2 3"]:
    """For each set of points the rotation, scale and shift that brings it nearest to `target`, never mirrored.

    The closed form in the plane: points as complex numbers, the factor is their covariance over their variance. ValueError
    for points that coincide or are not finite.
    """
    z = points[..., 0] + 1j * points[..., 1]
    t = target[:, 0] + 1j * target[:, 1]
    centre = z.mean(1, keepdims=True)
    spread = np.square(np.abs(z - centre)).sum(1)
    if wrong := np.flatnonzero(~(np.isfinite(spread) & (spread > 1e-6))).tolist():
        raise ValueError(f"points of face {wrong[0]} coincide or are not finite ({len(wrong)} such faces)")
    factor = (np.conj(z - centre) * (t - t.mean())).sum(1) / spread
    shift = t.mean() - factor * centre[:, 0]
    a, b = factor.real, factor.imag
    return np.stack([np.stack([a, -b, shift.real], -1), np.stack([b, a, shift.imag], -1)], 1)


def warped(image: Image.Image, matrix: Float[np.ndarray, "2 3"], size: int = SIZE) -> UInt8[np.ndarray, "size size 3"]:
    """`image` (RGB) under a map of pixel centres to pixel centres, bilinear and rounded, black outside."""
    inverse = np.linalg.inv(np.vstack([matrix, [0, 0, 1]]))[:2]
    # Pillow's coordinates have pixel centres at halves; the black frame makes edges blend into black
    linear, shift = inverse[:, :2], inverse[:, 2] + 1.5 - inverse[:, :2] @ (0.5, 0.5)
    coefficients = (*linear[0], shift[0], *linear[1], shift[1])
    bands = ImageOps.expand(image, 1).convert("RGB").split()
    affine = (size, size), Image.Transform.AFFINE, coefficients, Image.Resampling.BILINEAR
    # in float: Pillow cuts the fraction of 8-bit results off, half a grey level on average
    return np.stack([np.rint(np.asarray(b.convert("F").transform(*affine))) for b in bands], -1).astype(np.uint8)


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
        wanted = range(start, len(self) if end is None else end)
        with ThreadPoolExecutor(workers) as pool:
            pixels = windowed(pool, lambda i: self._pixels(i, size), iter(wanted), ahead=2 * rows)
            while block := list(itertools.islice(pixels, rows)):
                yield np.stack(block)

    def _pixels(self, i: int, size: int) -> UInt8[Array, "size size 3"]:
        try:
            if self.points is None:
                return decode(io.BytesIO(self._bytes(i)), size)
            aligned = warped(upright_rgb(io.BytesIO(self._bytes(i))), similarity_transform(self.points[i : i + 1])[0])
            if size == SIZE:
                return aligned
            return np.asarray(Image.fromarray(aligned).resize((size, size), Image.Resampling.LANCZOS))
        except (ValueError, OSError) as error:
            name = self.files[i] if self.folder is not None else f"image {i}"
            raise ValueError(f"{name!s} cannot be read ({error})") from None


EXPECTED: dict[str, dict[str, int]] = {
    "lfw": {"pairs": 6000},
    "cfp_fp": {"pairs": 7000},
    "cplfw": {"pairs": 6000},
    "calfw": {"pairs": 6000},
    "agedb_30": {"pairs": 6000},
    "ijbb": {"images": 227_630, "templates": 12_115, "pairs": 8_010_270, "genuine": 10_270},
    "ijbc": {
        "images": 469_375,
        "templates": 23_124,
        "pairs": 15_658_489,
        "genuine": 19_557,
        "gallery templates": 3_531,
        "probe templates": 19_593,
    },
    "tinyface": {"probes": 3_728, "mates": 4_443, "distractors": 153_428},
}
Array = np.ndarray


@dataclass(frozen=True)
class PairSet:
    """Pair i compares images `first[i]` and `second[i]`."""

    name: str
    images: FaceImages
    first: Int64[Array, " p"]
    second: Int64[Array, " p"]
    same: Bool[Array, " p"]
    unlike: str = ""


@dataclass(frozen=True)
class TemplateGallery:
    """Templates (or images) of known subjects, one or more of each."""

    name: str
    templates: Int64[Array, " g"]
    subjects: Int64[Array, " g"]


@dataclass(frozen=True)
class TemplateSet:
    """Images in templates, template pairs (1:1) and galleries with probes (1:N); either may be absent."""

    name: str
    images: FaceImages
    templates: Int64[Array, " n"]
    media: Int64[Array, " n"]
    detector: Float[Array, " n"] | None
    pairs: Int64[Array, "p 2"] | None = None
    same: Bool[Array, " p"] | None = None
    galleries: tuple[TemplateGallery, ...] = ()
    probes: TemplateGallery | None = None
    unlike: str = ""


@dataclass(frozen=True)
class RankSet:
    """Closed-set identification: probes, their mates, and distractors (subject -100), as image indices."""

    name: str
    images: FaceImages
    gallery: Int64[Array, " g"]
    gallery_subjects: Int64[Array, " g"]
    probes: Int64[Array, " q"]
    probe_subjects: Int64[Array, " q"]
    unlike: str = ""


FaceSet = PairSet | TemplateSet | RankSet


def unlike(name: str, counts: Mapping[str, int]) -> str:
    """How the counts differ from the published set's, or nothing; what is absent is not counted."""
    expected = EXPECTED.get(name, {})
    wrong = [f"{counts[k]:,} {k} instead of {v:,}" for k, v in expected.items() if counts.get(k, v) != v]
    return f"not the published set: {', '.join(wrong)}" if wrong else ""


def subject_of(folder: Path, name: str) -> int:
    """The number before the first underscore of a TinyFace image's name; ValueError where there is none."""
    text = name.rpartition("/")[2].partition("_")[0]
    if not text.isdecimal():
        raise ValueError(f"{folder / name}: the name must start with the subject's number and an underscore")
    return int(text)
