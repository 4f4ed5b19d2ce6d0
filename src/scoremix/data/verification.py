"""Verification sets: the pickled `.bin` files of InsightFace, read without running anything they hold (paper 4.2).

A `.bin` is a pickle of (2P encoded images, P booleans); images 2i and 2i + 1 are pair i. In circulation are
bytes, Python-2 strings and numpy arrays of uint8. Only the few names that numpy and bytes need are known to
the reader, and stand-ins of this module answer for them: no code of the file's choice runs, numpy's included.
"""

from __future__ import annotations

import pickle
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool

from scoremix.data import limits
from scoremix.data.source import readable

PROTOCOL = 4  # lists of bytes and booleans: a file that names nothing
_KIND = re.compile(r"b1|[ui][1248]|f[48]|O8?|[US][1-9]\d{0,3}")


@dataclass(frozen=True, eq=False)
class VerificationPairs:
    """P pairs of encoded images: pair i is images[2i] and images[2i + 1], of one class where same[i]."""

    images: list[bytes]
    same: Bool[np.ndarray, " pairs"]


def read(path: Path) -> VerificationPairs:
    """The pairs in a `.bin`; ValueError names what is refused, damaged or out of step."""
    value = unpickled(path, "a verification set")
    if not isinstance(value, (tuple, list)) or len(value) != 2:
        raise ValueError(f"{path} holds a {type(value).__name__}, must be a pair: images and booleans")
    items, encoded = _items(value[0], "images", path), dict[int, bytes]()
    for i, item in enumerate(items):
        if id(item) not in encoded:  # a file may name one image many times
            encoded[id(item)] = _encoded(item, i, path)
    images = [encoded[id(item)] for item in items]
    flags = _items(value[1], "booleans", path)
    if strange := [flag for flag in flags if not isinstance(flag, (bool, int)) or flag not in (0, 1)]:
        said = repr(strange[0]) if isinstance(strange[0], (int, float, str)) else f"a {type(strange[0]).__name__}"
        raise ValueError(f"{path}: the list of booleans holds {said:.80}")
    same = np.array(flags, bool)
    if len(images) != 2 * len(same) or not len(same):
        raise ValueError(f"{path} has {len(images)} images for {len(same)} pairs, must be two for each")
    return VerificationPairs(images, same)


def unpickled(path: Path, what: str) -> Any:
    """What a pickle of numpy arrays (as stand-ins with `values`), bytes and plain values holds; ValueError for others."""
    with readable(path, f"a pickle of {what}"), open(path, "rb") as file:
        return limits.unpickled(file, lambda *name: ALLOWED.get(name), encoding="bytes")


def packed(images: Sequence[bytes], same: Sequence[bool] | Bool[np.ndarray, " pairs"]) -> bytes:
    """The content of a `.bin` that every reader of the format takes; ValueError unless two images for each pair."""
    if len(images) != 2 * len(same) or not len(same):
        raise ValueError(f"{len(images)} images for {len(same)} pairs, must be two for each")
    return pickle.dumps(([bytes(image) for image in images], [bool(s) for s in same]), protocol=PROTOCOL)


class _Dtype:
    """Stands for numpy.dtype: numbers, text, bytes, and objects; any other kind is refused."""

    def __init__(self, code: str | bytes, *_: Any) -> None:
        self.kind = code.decode("latin1") if isinstance(code, bytes) else code
        if not _KIND.fullmatch(self.kind):
            raise limits.refused(f"numpy.dtype {self.kind!r}")

    def __setstate__(self, state: Any) -> None:
        """Byte order and flags: of no account for the kinds allowed, but for integers of another order."""
        if isinstance(state, tuple) and len(state) > 1 and state[1] in (">", b">") and self.kind[1:] != "1":
            self.kind = ">" + self.kind


class Array:
    """Stands for numpy.ndarray: its elements in one dimension, objects in a list."""

    elements: np.ndarray | list[Any] = np.zeros(0, np.uint8)
    raw: bytes = b""

    def __setstate__(self, state: Any) -> None:
        _, _, dtype, _, raw = state
        if isinstance(raw, list):
            self.elements = raw
        else:
            self.take(dtype, raw)

    def take(self, dtype: _Dtype, raw: Any) -> None:
        """Elements that lie in bytes, which are not copied: arrays may share them."""
        self.elements, self.raw = _elements(dtype, raw), raw

    @property
    def values(self) -> bytes | list[Any]:
        """The elements as Python values, or as bytes for uint8."""
        if isinstance(self.elements, list):
            return self.elements
        return self.raw if self.elements.dtype == np.uint8 else list(self.elements.tolist())


def _elements(dtype: _Dtype, raw: Any) -> np.ndarray:
    if not isinstance(raw, bytes):
        raise ValueError(f"an array's content is of type {type(raw).__name__}, must be bytes")
    return np.frombuffer(raw, dtype.kind)


def _reconstruct(*_: Any) -> Array:
    return Array()


def _frombuffer(buffer: Any, dtype: _Dtype, *_: Any) -> Array:
    array = Array()
    array.take(dtype, bytes(buffer) if isinstance(buffer, bytearray) else buffer)
    return array


def _scalar(dtype: _Dtype, raw: Any) -> Any:
    return _elements(dtype, raw)[0].item()


def _latin1(text: str, encoding: str = "latin1") -> bytes:
    if encoding not in ("latin1", b"latin1"):
        raise limits.refused(f"_codecs.encode to {encoding!r}")
    return text.encode("latin1") if isinstance(text, str) else text


_NUMPY = {
    ("multiarray", "_reconstruct"): _reconstruct,
    ("multiarray", "scalar"): _scalar,
    ("numeric", "_frombuffer"): _frombuffer,
}
ALLOWED: dict[tuple[str, str], Callable[..., Any]] = {
    ("numpy", "ndarray"): Array,
    ("numpy", "dtype"): _Dtype,
    ("_codecs", "encode"): _latin1,
    **{(f"numpy.{core}.{module}", name): f for core in ("core", "_core") for (module, name), f in _NUMPY.items()},
}


def _items(value: Any, what: str, path: Path) -> list[Any] | tuple[Any, ...]:
    value = value.values if isinstance(value, Array) else value
    if not isinstance(value, (list, tuple)):
        raise ValueError(f"{path}: the {what} are of type {type(value).__name__}, must be a list")
    return value


def _encoded(item: Any, i: int, path: Path) -> bytes:
    content = item.values if isinstance(item, Array) else item
    if not isinstance(content, (bytes, bytearray)) or not content:
        what = "empty" if content in (b"", []) else f"of type {type(content).__name__}"
        raise ValueError(f"{path}: image {i} is {what}, must be bytes or a uint8 array of an encoded image")
    return bytes(content)
