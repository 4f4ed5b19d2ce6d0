"""RecordIO, the container of InsightFace's training sets: frames, index and image headers, without mxnet.

A record is a frame: u32 magic, u32 part << 29 | length, payload, zeros to a multiple of 4 (all little-endian).
A payload that holds the magic at a multiple of 4 is split there into parts, and those 4 bytes are not stored.
The payload of an image is a header <IfQQ (flag, label, id, id2), `flag` labels if flag > 0 (the label field is
then 0), and the encoded image. The index is text, one `key<tab>offset` a line. The files are memory-mapped.
"""

from __future__ import annotations

import struct
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import IO

import numpy as np
from jaxtyping import Float32, Int64, UInt8

MAGIC = 0xCED7230A  # as dmlc-core writes it; no length word can equal it
EXACT = 1 << 24  # labels are float32: whole numbers are exact below
HEADER = struct.Struct("<IfQQ")
_WORD = struct.pack("<I", MAGIC)
_WHOLE, _FIRST, _MIDDLE, _LAST = range(4)
_LONGEST = (1 << 29) - 1
_HEAD = np.dtype(
    [
        *[(name, "<u4") for name in ("magic", "length", "flag")],
        ("label", "<f4"),
        *[(name, "<u8") for name in ("id", "id2")],
        ("labels", "<f4", (2,)),
    ]
)
_AT_ONCE = 1 << 16  # headers read at a time


class RecordFile:
    """All records of a `.rec`, in order of key, with their headers; payloads are read on request.

    ValueError, one line, for an index that is out of step with the file, wrong magic and cut-off records: the
    records of the index must cover the file to its last byte.
    """

    keys: Int64[np.ndarray, " n"]
    flags: Int64[np.ndarray, " n"]  # number of labels behind the header, 0 for the one inside
    labels: Float32[np.ndarray, "n 2"]  # the first two, the second NaN where there is one
    ids: Int64[np.ndarray, "n 2"]
    image_bytes: Int64[np.ndarray, " n"]  # length of the encoded image, 0 for records about other records

    def __init__(self, rec: Path, idx: Path) -> None:
        self.rec, self.idx = rec, idx
        keys, offsets = read_index(idx) if idx.is_file() else scanned(rec)
        order = np.argsort(keys, kind="stable")
        self.keys, self._offsets = keys[order], offsets[order]
        if (twice := np.flatnonzero(np.diff(self.keys) == 0)).size:
            raise ValueError(f"{idx} has key {self.keys[twice[0]]} twice")
        try:
            self._data: UInt8[np.ndarray, " bytes"] = np.memmap(rec, np.uint8, "r")
            self._bytes = memoryview(self._data.data)
        except (OSError, ValueError) as error:
            raise ValueError(f"{rec} cannot be read ({error})") from None
        self._split: dict[int, list[tuple[int, int]]] = {}  # row -> (start, length) of its parts
        starts = range(0, len(self.keys), _AT_ONCE)
        heads = np.concatenate([self._heads(slice(start, start + _AT_ONCE)) for start in starts])
        self._lengths = (heads["length"] & _LONGEST).astype(np.int64)
        self._check(heads["magic"], heads["length"] >> 29)
        for row in self._split:
            raw = struct.pack("<II", MAGIC, 0) + self.payload(row)[: _HEAD.itemsize - 8]
            heads[row] = np.frombuffer(raw.ljust(_HEAD.itemsize, b"\0"), _HEAD)[0]
        self.flags = heads["flag"].astype(np.int64)
        self.ids = np.stack([heads["id"], heads["id2"]], 1).astype(np.int64)
        self.labels = heads["labels"].copy()
        self.labels[self.flags == 0, 0] = heads["label"][self.flags == 0]
        self.labels[self.flags < 2, 1] = np.nan
        self.image_bytes = self._lengths - HEADER.size - 4 * self.flags
        if (short := np.flatnonzero(self.image_bytes < 0)).size:
            row = short[0]
            raise ValueError(
                f"{rec}: the record of key {self.keys[row]} has {self._lengths[row]} bytes, "
                f"too few for an image header with {self.flags[row]} labels"
            )

    def __len__(self) -> int:
        return len(self.keys)

    def payload(self, row: int) -> bytes:
        """The content of a record, its parts joined."""
        if (parts := self._split.get(int(row))) is not None:
            return _WORD.join(bytes(self._bytes[start : start + length]) for start, length in parts)
        start = int(self._offsets[row]) + 8
        return bytes(self._bytes[start : start + int(self._lengths[row])])

    def image(self, row: int) -> bytes:
        """The encoded image of a record."""
        if int(row) in self._split:
            return self.payload(row)[HEADER.size + 4 * int(self.flags[row]) :]
        end = int(self._offsets[row]) + 8 + int(self._lengths[row])
        return bytes(self._bytes[end - int(self.image_bytes[row]) : end])

    def _heads(self, part: slice) -> np.ndarray:
        """The first 40 bytes of some records; what lies beyond the end of the file reads as its last word."""
        offsets = self._offsets[part]
        if (outside := np.flatnonzero((offsets < 0) | (offsets + 8 > len(self._data)) | (offsets % 4 != 0))).size:
            row = outside[0]
            raise ValueError(
                f"{self.idx}: key {self.keys[part][row]} is at byte {offsets[row]}, no place for a record in {self.rec} "
                f"of {len(self._data)} bytes (a truncated file, or an index of another one)"
            )
        words = self._data[: len(self._data) // 4 * 4].view("<u4")
        at = np.minimum(offsets[:, None] // 4 + np.arange(_HEAD.itemsize // 4), len(words) - 1)
        return np.ascontiguousarray(words[at]).view(_HEAD)[:, 0]

    def _check(self, magic: np.ndarray, part: np.ndarray) -> None:
        """Every record starts where the index says, is whole, and is followed by the next one."""
        if (wrong := np.flatnonzero((magic != MAGIC) | (part > _FIRST))).size:
            row = wrong[0]
            what = "a record continues" if magic[row] == MAGIC else f"the magic is {magic[row]:#010x}, not {MAGIC:#x}"
            raise ValueError(
                f"{self.rec}: at byte {self._offsets[row]}, where {self.idx.name} has key {self.keys[row]}, {what}: "
                "index out of step with the file, or a damaged file"
            )
        ends = self._offsets + 8 + (self._lengths + 3) // 4 * 4
        for row in map(int, np.flatnonzero(part == _FIRST)):
            ends[row] = self._follow(row)
        if (cut := np.flatnonzero(ends > len(self._data))).size:
            self._refuse_cut(int(cut[0]), int(ends[cut[0]]))
        place = np.argsort(self._offsets)
        starts, ends = np.append(self._offsets[place], len(self._data)), np.append(0, ends[place])
        if (gap := np.flatnonzero(starts != ends)).size:
            a, b = sorted((int(ends[gap[0]]), int(starts[gap[0]])))
            raise ValueError(
                f"{self.idx} does not fit {self.rec}: no record of it ends at byte {b} or none starts at byte {a} "
                "(index out of step with the file)"
            )

    def _follow(self, row: int) -> int:
        """Notes the parts of a split record; returns where it ends."""
        parts: list[tuple[int, int]] = []
        at, kind = int(self._offsets[row]), _FIRST
        while kind != _LAST:
            length = int(self._word(at + 4, row))
            kind, length = length >> 29, length & _LONGEST
            if self._word(at, row) != MAGIC or (kind == _FIRST) != (not parts) or kind == _WHOLE:
                raise ValueError(f"{self.rec}: the split record of key {self.keys[row]} breaks off at byte {at}")
            parts.append((at + 8, length))
            at += 8 + (length + 3) // 4 * 4
        self._split[row] = parts
        self._lengths[row] = sum(length for _, length in parts) + 4 * (len(parts) - 1)
        return at

    def _word(self, at: int, row: int) -> int:
        if at + 4 > len(self._data):
            self._refuse_cut(row, at + 4)
        return int(np.frombuffer(self._data[at : at + 4], "<u4")[0])

    def _refuse_cut(self, row: int, end: int) -> None:
        raise ValueError(
            f"{self.rec}: the record of key {self.keys[row]} goes to byte {end}, the file ends at {len(self._data)} "
            "(truncated)"
        )


def read_index(path: Path) -> tuple[Int64[np.ndarray, " n"], Int64[np.ndarray, " n"]]:
    """Keys and byte offsets of an `.idx`, in the order of its lines; ValueError if it is anything else."""
    try:
        text = path.read_bytes()
    except OSError as error:
        raise ValueError(f"{path} cannot be read ({error.strerror})") from None
    with warnings.catch_warnings():
        warnings.simplefilter("error", DeprecationWarning)
        try:
            numbers = np.fromstring(text, np.int64, sep=" ")
        except (DeprecationWarning, ValueError):
            numbers = np.zeros(1, np.int64)
    lines = text.count(b"\n") + (not text.endswith(b"\n"))
    if len(numbers) != 2 * lines or text.count(b"\t") != lines:
        raise ValueError(f"{path} is not an index: it must have two whole numbers, key<tab>offset, on every line")
    return numbers[0::2].copy(), numbers[1::2].copy()


def scanned(rec: Path) -> tuple[Int64[np.ndarray, " n"], Int64[np.ndarray, " n"]]:
    """Keys and byte offsets of the records of a file without an index: records are numbered as they lie, from 0."""
    data = np.memmap(rec, np.uint8, "r")
    offsets, at = [], 0
    while at + 8 <= len(data):
        magic, word = struct.unpack("<II", data[at : at + 8].tobytes())
        if magic != MAGIC:
            raise ValueError(f"{rec} has no index, and no record at byte {at}, where one should start")
        if word >> 29 in (_WHOLE, _FIRST):
            offsets.append(at)
        at += 8 + ((word & _LONGEST) + 3) // 4 * 4
    if not offsets:
        raise ValueError(f"{rec} has no index and no records")
    return np.arange(len(offsets)), np.array(offsets, np.int64)


class Writer:
    """Appends records to an open `.rec` and keeps their places for the `.idx`."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file, self._at = file, 0
        self._keys: list[int] = []
        self._offsets: list[int] = []

    def put(self, key: int, label: float | Sequence[float], image: bytes = b"", id2: int = 0) -> None:
        """One record; several labels go behind the header. ValueError for a label that float32 would change."""
        several = not isinstance(label, (int, float))
        labels = np.atleast_1d(np.asarray(label, np.float64))
        if (labels != labels.astype(np.float32)).any():
            raise ValueError(f"label {labels[labels != labels.astype(np.float32)][0]:.0f} is not exact in float32")
        head = HEADER.pack(len(labels) if several else 0, 0.0 if several else float(labels[0]), key, id2)
        framed = frame(head + (labels.astype("<f4").tobytes() if several else b"") + image)
        self._keys.append(key)
        self._offsets.append(self._at)
        self._file.write(framed)
        self._at += len(framed)

    def index(self) -> bytes:
        """The content of the `.idx`."""
        return "".join(f"{key}\t{at}\n" for key, at in zip(self._keys, self._offsets, strict=True)).encode()


def frame(payload: bytes) -> bytes:
    """A payload as a record, split wherever it holds the magic at a multiple of 4."""
    cuts, at = [], payload.find(_WORD)
    while at >= 0:
        if at % 4 == 0:
            cuts.append(at)
        at = payload.find(_WORD, at + (4 if at % 4 == 0 else 1))
    starts, ends = [0, *(cut + 4 for cut in cuts)], [*cuts, len(payload)]
    last = len(cuts)
    out = bytearray()
    for i, (start, end) in enumerate(zip(starts, ends, strict=True)):
        if end - start > _LONGEST:
            raise ValueError(f"a record of {len(payload)} bytes is too long, the limit is {_LONGEST}")
        kind = _WHOLE if not last else _FIRST if i == 0 else _LAST if i == last else _MIDDLE
        out += struct.pack("<II", MAGIC, kind << 29 | (end - start)) + payload[start:end]
    return bytes(out) + bytes(-len(payload[starts[-1] :]) % 4)
