"""An .npz of images and labels, streamed from the file."""

from __future__ import annotations

import contextlib
import math
import shlex
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO

import numpy as np
from jaxtyping import Int64, Integer

from scoremix.data import limits
from scoremix.data.decode import resize_area
from scoremix.data.lists import refuse_repeated
from scoremix.data.source import BLOCK_BYTES, DEFAULTS, Choose, ImageBlock, Opening, Source, readable
from scoremix.data.splits import Splits, checked
from scoremix.data.tables import classes_of

IMAGES = ("images", "x", "X", "data", "image")
LABELS = ("labels", "y", "Y", "label", "targets", "target", "fine_labels")
PARTED = "import sys,numpy as n; i,o=sys.argv[1:]; f=n.load(i); k=f.files; e=('train','val','test'); p=lambda a: n.concatenate([f[x] for t in e for c in a for x in (c+'_'+t,t+'_'+c) if x in k]); n.savez(o,images=p(('x','images')),labels=p(('y','labels')))"

BESIDE = (  # arrays that are read beside the images
    *("class_names", "train_classes", "val_classes", "test_classes"),
    *("class_group", "group_names", "class_alphabet", "alphabet_names"),
)


def _texts(names: np.ndarray) -> tuple[str, ...]:
    """Names as text: bytes are UTF-8."""
    return tuple(name.decode() if isinstance(name, bytes) else str(name) for name in names.tolist())


class Npz(Source):
    """`images` uint8 (N, H, W) or (N, H, W, 1 or 3) and `labels` (N,) in an .npz, streamed from the file.

    Optional: `class_names` (C,); `train_classes`, `val_classes`, `test_classes` (indices, all three or none);
    a group per class as `class_group` (C,) into `group_names`, or `class_alphabet` into `alphabet_names`.
    Without `class_names` classes are the distinct labels. ValueError names the array that is wrong.
    """

    kind = "npz"

    def __init__(self, place: Path, opening: Opening = DEFAULTS) -> None:
        self.place = place
        with self._readable():
            with zipfile.ZipFile(place) as archive, np.load(place, allow_pickle=False) as arrays:
                files = tuple(arrays.files)
                if "images" not in files and {"x_train", "train_images"} & set(files):
                    there, out = (shlex.quote(str(path)) for path in (place, place.with_name(f"{place.stem}_all.npz")))
                    raise ValueError(f'its images are in parts: python -c "{PARTED}" {there} {out}')
                self._images = next((name for name in IMAGES if name in files), "images")
                known = [name for name in files if name in (*LABELS, *BESIDE)]
                others = [name for name in files if name not in (self._images, *known)]
                for name in known:
                    limits.refuse_array(archive, name)
                small = {name: arrays[name] for name in known}
                if (key := next((name for name in LABELS if name in small), None)) is not None:
                    small["labels"] = small.pop(key)
            with self._stream() as (_, self.shape):
                self.size = min(self.shape[1:3])
                self.channels = 3 if self.shape[3:] == (3,) else 1
        self.labelled = "labels" in small
        if not self.labelled and opening.every:
            small = {"labels": np.zeros(self.shape[0], np.int64)}
        elif not self.labelled:
            raise ValueError(f"{place} has no array 'labels' (it has {', '.join([self._images, *small, *others])})")
        labels = small["labels"]
        if labels.shape[:1] != self.shape[:1]:
            raise ValueError(f"{place}: labels are {labels.dtype} {labels.shape}, must be integers ({self.shape[0]},)")
        names, classes = classes_of(labels, str(place))
        labels = np.array(names, np.int64)[classes] if all(name.lstrip("-").isdecimal() for name in names) else classes
        if "class_names" in small:
            self.class_names = _texts(small["class_names"])
            refuse_repeated(self.class_names, f"{place}: class_names")
            if labels.size and not 0 <= labels.min() <= labels.max() < len(self.class_names):
                raise ValueError(
                    f"{place}: labels go from {labels.min()} to {labels.max()}, class_names has {len(self.class_names)}"
                )
        else:
            self.class_names, labels = names, classes
        self.labels = labels
        self.number(labels, len(self.class_names))
        self.groups = self._groups(small)
        self.splits = self._splits(small)

    @classmethod
    def lies_at(cls, place: Path, every: bool) -> bool:
        return place.is_file() and place.suffix.lower() == ".npz"

    def files(self) -> Iterator[tuple[str, Path]]:
        yield "", self.place

    def _splits(self, small: dict[str, np.ndarray]) -> Splits | None:
        keys = {"train": "train_classes", "validation": "val_classes", "test": "test_classes"}
        given = {part: small[key].astype(np.int64) for part, key in keys.items() if key in small}
        return checked(given, self.class_names, str(self.place)) if given else None

    def _groups(self, small: dict[str, np.ndarray]) -> tuple[str, ...] | None:
        for index, names in (("class_group", "group_names"), ("class_alphabet", "alphabet_names")):
            if index in small and names in small:
                group, known = small[index], small[names]
                if group.shape != (len(self.class_names),) or group.min() < 0 or group.max() >= len(known):
                    raise ValueError(f"{self.place}: {index} must be one index into {names} for each class")
                return tuple(_texts(known)[g] for g in group)
        return None

    @contextlib.contextmanager
    def _readable(self) -> Iterator[None]:
        with readable(self.place, "a readable .npz of images"):
            if not zipfile.is_zipfile(self.place):
                raise ValueError("not a zip file, or cut short")
            yield

    @contextlib.contextmanager
    def _stream(self) -> Iterator[tuple[IO[bytes], tuple[int, ...]]]:
        """The bytes of `images` after the header, and the shape."""
        with zipfile.ZipFile(self.place) as archive:
            if f"{self._images}.npy" not in archive.namelist():
                names = ", ".join(name.removesuffix(".npy") for name in archive.namelist())
                raise ValueError(f"it has no array 'images' (it has {names or 'nothing'})")
            with archive.open(f"{self._images}.npy") as file:
                shape, fortran, dtype = limits.header(file)
                if dtype != np.uint8 or len(shape) not in (3, 4) or shape[3:] not in ((), (1,), (3,)):
                    raise ValueError(f"images are {dtype} {shape}, must be uint8 (N, H, W) or (N, H, W, 1 or 3)")
                if 0 in shape:
                    raise ValueError("images are empty")
                if fortran:
                    raise ValueError("images are in Fortran order, must be in C order")
                limits.refuse_pixels(shape[2], shape[1])
                each, stored = math.prod(shape[1:]), archive.getinfo(f"{self._images}.npy").file_size
                if shape[0] * each > stored:
                    raise ValueError(f"images end after {stored // each} of {shape[0]}")
                yield file, shape

    def _blocks(self, kept: Int64[np.ndarray, " k"], choose: Choose, size: int) -> Iterator[ImageBlock]:
        n, h, w, c = (*self.shape, 1)[:4]
        chosen = np.concatenate([self.rows.of(k)[choose(int(k))] for k in kept])
        place = np.full(n, -1, np.int64)
        place[chosen] = np.arange(len(chosen))
        step = max(1, BLOCK_BYTES // (h * w * c))
        with self._readable(), self._stream() as (file, _):
            for start in range(0, n, step):
                count = min(step, n - start)
                data = file.read(count * h * w * c)
                if len(data) < count * h * w * c:
                    raise ValueError(f"images end after {start} of {n}")
                wanted = np.flatnonzero(place[start : start + count] >= 0)
                images = np.frombuffer(data, np.uint8).reshape(count, h, w, c)[wanted]
                if len(wanted):
                    rows = start + wanted
                    yield ImageBlock(resize_area(images, size), self.labels[rows], place[rows])

    def listed(self) -> tuple[tuple[str, ...], Integer[np.ndarray, " n"]]:
        """In the order of the file."""
        return super().listed()[0], self.labels
