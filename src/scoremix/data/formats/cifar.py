"""CIFAR-10 and CIFAR-100 as they are handed out: the python version (pickles, of which nothing runs) and the binary one."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from jaxtyping import Int64, Integer, UInt8

from scoremix.data import limits
from scoremix.data.decode import resize_area
from scoremix.data.source import BLOCK_BYTES, DEFAULTS, Choose, ImageBlock, Opening, Source, readable
from scoremix.data.verification import unpickled

SIDE, PIXELS = 32, 3 * 32 * 32  # planes of red, green, blue
BATCHES = [f"data_batch_{i}" for i in range(1, 6)]
# (files of images, file of names, keys of the names, keys of the labels, bytes of labels before an image)
TEN = ([*BATCHES, "test_batch"], "batches.meta", (b"label_names",), (b"labels",))
HUNDRED = (["train", "test"], "meta", (b"fine_label_names", b"coarse_label_names"), (b"fine_labels", b"coarse_labels"))
TEN_BINARY = ([f"{name}.bin" for name in (*BATCHES, "test_batch")], ("batches.meta.txt",))
HUNDRED_BINARY = (["train.bin", "test.bin"], ("fine_label_names.txt", "coarse_label_names.txt"))


class Cifar(Source):
    """All images of the set, training and test: classes are in both, so they are split anew. CIFAR-100's coarse labels are groups."""

    kind, size = "CIFAR", SIDE

    def __init__(self, place: Path, opening: Opening = DEFAULTS) -> None:
        self.place = place
        self.paths = [place / name for name in _files(place) if (place / name).is_file()]
        names, labels = self._python() if self.paths[0].suffix != ".bin" else self._binary()
        wrong = next(
            (i for i, (of, named) in enumerate(zip(labels, names, strict=True)) if of.max() >= len(named)), None
        )
        if wrong is not None:
            raise ValueError(f"{place}: label {labels[wrong].max()}, there are {len(names[wrong])} names")
        self.class_names = names[0]
        if len(set(self.class_names)) < len(self.class_names):
            raise ValueError(f"{place}: two classes have one name")
        self.number(labels[0], len(names[0]))
        if len(names) > 1:
            first = np.unique(labels[0], return_index=True)
            group = dict(zip(first[0].tolist(), labels[1][first[1]].tolist(), strict=True))
            self.groups = tuple(names[1][group[k]] if k in group else "" for k in range(len(names[0])))
        self.notes = ("training and test images are read as one set: their classes are the same",)

    def _python(self) -> tuple[list[tuple[str, ...]], list[Int64[np.ndarray, " n"]]]:
        _, meta, name_keys, label_keys = TEN if self.paths[0].name in TEN[0] else HUNDRED
        batches = []
        for path in (self.place / meta, *self.paths):
            content = unpickled(path, "CIFAR's python version")
            if not isinstance(content, dict):
                raise ValueError(f"{path} holds a {type(content).__name__}, must be a dictionary")
            batches.append({key.encode() if isinstance(key, str) else key: value for key, value in content.items()})
        names = [_texts(batches[0].get(key), self.place / meta) for key in name_keys]
        self._images = []
        labels: list[list[np.ndarray]] = [[] for _ in label_keys]
        for path, batch in zip(self.paths, batches[1:], strict=True):
            pixels = getattr(batch.get(b"data"), "values", None)
            if not isinstance(pixels, bytes) or len(pixels) % PIXELS:
                raise ValueError(f"{path}: its data are no images of {PIXELS} bytes")
            self._images.append(np.frombuffer(pixels, np.uint8).reshape(-1, PIXELS))
            for of, key in zip(labels, label_keys, strict=True):
                of.append(_labels(batch.get(key), len(self._images[-1]), path))
        return names, [np.concatenate(of) for of in labels]

    def _binary(self) -> tuple[list[tuple[str, ...]], list[Int64[np.ndarray, " n"]]]:
        tables = (TEN_BINARY if self.paths[0].name in TEN_BINARY[0] else HUNDRED_BINARY)[1]
        texts = (limits.text(self.place / table) for table in tables)
        names = [tuple(line.strip() for line in text.splitlines() if line.strip()) for text in texts]
        row = len(tables) + PIXELS
        parts = []
        for path in self.paths:
            with readable(path, "CIFAR's binary version"):
                if not (size := path.stat().st_size) or size % row:
                    raise ValueError(f"{size:,} bytes are no whole number of images of {row} bytes with their labels")
                parts.append(np.memmap(path, np.uint8, "r").reshape(-1, row))
        self._images = [part[:, len(tables) :] for part in parts]
        fine_last = [np.concatenate([part[:, i] for part in parts]).astype(np.int64) for i in range(len(tables))]
        return names, fine_last[::-1]  # an image's coarse label comes first

    @classmethod
    def lies_at(cls, place: Path, every: bool) -> bool:
        return place.is_dir() and bool(_files(place))

    def files(self) -> Iterator[tuple[str, Path]]:
        tables = [self.place / name for name in ("batches.meta", "meta", *TEN_BINARY[1], *HUNDRED_BINARY[1])]
        return ((path.name, path) for path in (*self.paths, *tables) if path.is_file())

    def _blocks(self, kept: Int64[np.ndarray, " k"], choose: Choose, size: int) -> Iterator[ImageBlock]:
        starts = np.cumsum([0, *map(len, self._images)])
        for k in map(int, kept):
            rows = self.rows.of(k)[choose(k)]
            for chosen in np.array_split(rows, -(-len(rows) * PIXELS // BLOCK_BYTES)) if len(rows) else ():
                yield ImageBlock(resize_area(self._pixels(chosen, starts), size), np.full(len(chosen), k))

    def _pixels(
        self, rows: Integer[np.ndarray, " b"], starts: Integer[np.ndarray, " f"]
    ) -> UInt8[np.ndarray, "b 32 32 3"]:
        files = np.searchsorted(starts, rows, side="right") - 1
        flat = np.stack([self._images[file][row] for file, row in zip(files, rows - starts[files], strict=True)])
        return np.ascontiguousarray(flat.reshape(-1, 3, SIDE, SIDE).transpose(0, 2, 3, 1))


def _files(place: Path) -> list[str]:
    """The names of the files of images of the version that lies at a folder, there or not; none where none does."""
    versions = ((*TEN[:1], (TEN[1],)), (*HUNDRED[:1], (HUNDRED[1],)), TEN_BINARY, HUNDRED_BINARY)
    for images, tables in versions:
        if all((place / table).is_file() for table in tables) and any((place / name).is_file() for name in images):
            return images
    return []


def _texts(value: object, path: Path) -> tuple[str, ...]:
    if not isinstance(value, list) or not value or not all(isinstance(name, (bytes, str)) for name in value):
        raise ValueError(f"{path}: has no list of names")
    return tuple(name.decode("utf-8", "replace") if isinstance(name, bytes) else name for name in value)


def _labels(value: object, n: int, path: Path) -> Int64[np.ndarray, " n"]:
    if not isinstance(value, list) or len(value) != n or not all(type(x) is int and 0 <= x < 256 for x in value):
        raise ValueError(f"{path}: must have a label from 0 for each of its {n} images")
    return np.array(value, np.int64)
