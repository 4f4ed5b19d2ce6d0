"""What may be decoded: one limit per kind of file, held against headers before anything is allocated.

Every reader asks here; `docs/formats.md` states the numbers. What is beyond a limit is a ValueError of one line.
"""

from __future__ import annotations

import json
import math
import pickletools
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO, Any

import numpy as np
import yaml

PIXELS = 1 << 27  # of one image: 11,585 x 11,585
ARRAY_BYTES = 1 << 30  # of one array beside the images in an .npz
IMAGE_BYTES = 1 << 28  # of one image in an .npz, of one cell of a parquet file
PICKLE_STRING = 1 << 28  # bytes of one string of a pickle, and never more than its file has
TEXT_BYTES = 1 << 28  # of a list of classes, images or pairs
SETTINGS_BYTES = 1 << 20  # of a file of settings
VALUES = 100_000  # of a file of settings, aliases counted as what they stand for
DEPTH = 64  # of nested lists and tables
PARAMETERS = 1 << 33  # of a network that a checkpoint describes


def text(path: Path, limit: int = SETTINGS_BYTES) -> str:
    """The text of a file, UTF-8 with or without a mark at its start; ValueError where it is too long or other text."""
    if (size := path.stat().st_size) > limit:
        raise ValueError(f"{size:,} bytes, the limit is {limit:,}")
    return path.read_text("utf-8-sig")


def parsed_yaml(content: str, loader: type[yaml.SafeLoader] = yaml.SafeLoader) -> Any:
    """What a YAML text holds; ValueError for anything else, and for one that unfolds into more than a limit."""
    reader = loader(content)
    try:
        node = reader.get_single_node()
        if node is None:
            return None
        unfolded(node, _inside)
        return reader.construct_document(node)
    except (yaml.YAMLError, RecursionError) as error:
        raise ValueError(_first_line(error)) from None
    finally:
        reader.dispose()


def parsed_json(content: str | bytes, **how: Any) -> Any:
    """What a JSON text holds; ValueError for anything else, and where it is nested too deep."""
    try:
        return json.loads(content, **how)
    except RecursionError as error:
        raise ValueError(_first_line(error)) from None


def unfolded(value: Any, inside: Any) -> int:
    """How many values a tree has whose branches may be shared; ValueError beyond VALUES or DEPTH.

    `inside(value)` are the branches of a value.
    """
    known: dict[int, int] = {}

    def count(value: Any, depth: int) -> int:
        if depth > DEPTH:
            raise ValueError(f"nested deeper than {DEPTH} levels")
        if id(value) not in known:
            known[id(value)] = 1 + sum(count(branch, depth + 1) for branch in inside(value))
        if known[id(value)] > VALUES:
            raise ValueError(f"more than {VALUES:,} values once its aliases are unfolded")
        return known[id(value)]

    return count(value, 0)


def _inside(node: Any) -> Iterator[Any]:
    """The nodes directly in a YAML node."""
    if isinstance(node, yaml.MappingNode):
        yield from (part for pair in node.value for part in pair)
    elif isinstance(node, yaml.SequenceNode):
        yield from node.value


def _first_line(error: Exception) -> str:
    return "nested too deep" if isinstance(error, RecursionError) else " ".join(str(error).split())


def refuse_pixels(width: int, height: int) -> None:
    """ValueError for an image of more than PIXELS."""
    if width * height > PIXELS:
        raise ValueError(f"{width} x {height} pixels, the limit is {PIXELS} in all")


def pickle_strings(file: IO[bytes]) -> None:
    """ValueError where a pickle, without being run, announces a string that is longer than its file or PICKLE_STRING.

    The file is back at its start afterwards.
    """
    size = file.seek(0, 2)
    file.seek(0)
    try:
        for opcode, argument, at in pickletools.genops(file):
            if isinstance(argument, int) and opcode.name in _ALLOCATING and argument > size:
                raise ValueError(f"its pickle asks for {argument:,} places at byte {at}, the file has {size:,} bytes")
    finally:
        file.seek(0)


_ALLOCATING = {"LONG_BINPUT", "FRAME"}


def member(archive: zipfile.ZipFile, name: str, limit: int = ARRAY_BYTES) -> None:
    """ValueError where an array of an .npz would take more than `limit` bytes, by its own header."""
    with archive.open(f"{name}.npy") as file:
        shape, _, dtype = header(file)
        if (size := math.prod(shape) * dtype.itemsize) > limit:
            raise ValueError(f"array {name!r} is {dtype} {shape}, {size:,} bytes; the limit is {limit:,}")


def header(file: IO[bytes]) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    """Shape, whether in Fortran order, and type of an .npy, whose data follow; ValueError for anything else."""
    readers = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
    version = np.lib.format.read_magic(file)
    if version not in readers:
        raise ValueError(f"an array in version {version[0]}.{version[1]} of its format, read are 1.0 and 2.0")
    shape, fortran, dtype = readers[version](file)
    if dtype.hasobject:
        raise ValueError("an array of Python objects, must be of numbers or text")
    if any(side < 0 for side in shape):
        raise ValueError(f"an array of shape {shape}")
    return shape, fortran, dtype


def refuse_tensors(wanted: Mapping[str, Any], shapes: Mapping[str, tuple[int, ...]]) -> None:
    """ValueError where tensors of other names or shapes are wanted than a file has, before any is read."""
    for name, shape in wanted.items():
        if name not in shapes:
            raise ValueError(f"no tensor {name!r}")
        if tuple(shape) != tuple(shapes[name]):
            raise ValueError(f"tensor {name!r} is {tuple(shapes[name])}, must be {tuple(shape)}")
