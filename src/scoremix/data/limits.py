"""What may be decoded: one limit per kind of file, held against headers before anything is allocated.

Every reader asks here; `docs/formats.md` states the numbers. What is beyond a limit is a ValueError of one line. Pickles are
read here alone: each reader says which names it knows, and what stands for them.
"""

import io
import json
import math
import os
import pickle
import pickletools
import struct
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FunctionType
from typing import IO, Any

import numpy as np
import yaml

from scoremix.data.csv_text import NAME

PIXELS = 89_478_485  # of one image, Pillow's own: 9,459 x 9,459
FILE_BYTES = 1 << 28  # of one image in an archive
ARRAY_BYTES = 1 << 30  # of one array beside the images in an .npz
SWELLS = 64  # times its size in the file that a column of parquet may take, from SMALL on: encoded images do not shrink
SMALL = 1 << 26
TEXT_BYTES = 1 << 28  # of a list of classes, images or pairs
SETTINGS_BYTES = 1 << 20  # of a file of settings
VALUES = 100_000  # of a file of settings, aliases counted as what they stand for
DEPTH = 64  # of nested lists and tables
HEADER_BYTES = 10_000  # of an array, numpy's own


def text(path: Path, limit: int = SETTINGS_BYTES) -> str:
    """The text of a file, UTF-8 with or without a mark at its start.

    ValueError, naming the file, where it cannot be read, is too long or other text.
    """
    try:
        if (size := path.stat().st_size) > limit:
            raise ValueError(f"{size:,} bytes, the limit is {limit:,}")
        return path.read_text("utf-8-sig")
    except (OSError, ValueError) as error:
        why = "it does not exist" if isinstance(error, FileNotFoundError) else getattr(error, "strerror", None) or error
        raise ValueError(f"{path}: cannot be read ({why})") from None


def parsed_yaml(content: str, loader: type[yaml.SafeLoader] = yaml.SafeLoader) -> Any:
    """What a YAML text holds; ValueError for anything else, and for one that unfolds into more than a limit."""
    try:
        reader = loader(content)
        node = reader.get_single_node()
        if node is None:
            return None
        _unfolded(node, {})
        return reader.construct_document(node)
    except MemoryError:
        raise
    except Exception as error:  # tags such as !!bool make it raise almost anything
        raise ValueError(_first_line(error).replace('in "<unicode string>", ', "at ")) from None


def parsed_json(content: str | bytes, **how: Any) -> Any:
    """What a JSON text holds; ValueError for anything else, and where it is nested too deep."""
    try:
        return json.loads(content, **how)
    except RecursionError as error:
        raise ValueError(_first_line(error)) from None


def _unfolded(node: yaml.Node, known: dict[int, int], depth: int = 0) -> int:
    """How many values a YAML node holds, its aliases unfolded; ValueError beyond VALUES or DEPTH."""
    if depth > DEPTH:
        raise ValueError(f"nested deeper than {DEPTH} levels")
    if id(node) not in known:
        inside = node.value if isinstance(node, yaml.CollectionNode) else []
        parts = [part for pair in inside for part in pair] if isinstance(node, yaml.MappingNode) else inside
        known[id(node)] = 1 + sum(_unfolded(part, known, depth + 1) for part in parts)
    if known[id(node)] > VALUES:
        raise ValueError(f"more than {VALUES:,} values once its aliases are unfolded")
    return known[id(node)]


def _first_line(error: Exception) -> str:
    if isinstance(error, (RecursionError, yaml.YAMLError, ValueError)):
        return "nested too deep" if isinstance(error, RecursionError) else " ".join(str(error).split())
    return f"a value that is none of its tag ({type(error).__name__})"


def refuse_pixels(width: int, height: int) -> None:
    """ValueError for an image of more than PIXELS."""
    if width * height > PIXELS:
        raise ValueError(f"{width} x {height} pixels, the limit is {PIXELS} in all")


def refuse_swelling(what: str, stored: int, unfolded: int) -> None:
    """ValueError where few bytes of a file stand for very many."""
    if unfolded > max(SMALL, SWELLS * stored):
        raise ValueError(f"{what}: {stored:,} bytes unfold into {unfolded:,}, the limit is {SWELLS} times as many")


def unpickled(file: IO[bytes], stand_in: Callable[[str, str], Any], **how: Any) -> Any:
    """What a pickle holds, without running any of it: `stand_in(module, name)` answers for each name, None refuses it.

    ValueError for a name that is refused, for data outside the file, for more memory than there is, which damage asks for,
    and as for `refuse_greedy` and `sparing`.
    """
    try:
        refuse_greedy(file)
        spare = sparing(file.seek(0, 2))
        file.seek(0)
        return _Unpickler(file, lambda *name: spare(stand_in(*name)), **how).load()
    except MemoryError:
        raise ValueError("its pickle asks for more memory than there is") from None


class _Unpickler(pickle.Unpickler):
    def __init__(self, file: IO[bytes], stand_in: Callable[[str, str], Any], **how: Any) -> None:
        super().__init__(file, **how)
        self.stand_in = stand_in

    def find_class(self, module: str, name: str) -> Any:
        if (known := self.stand_in(module, name)) is None:
            raise refused(f"{module}.{name}")
        return known

    def persistent_load(self, pid: Any) -> Any:
        raise refused("data outside itself")


def sparing(size: int) -> Callable[[Any], Any]:
    """Makes functions that a pickle of `size` bytes may call spare memory: what they make is as long as what they are given.

    ValueError once all their calls together were given more than the file has: then it gives them the same again and again.
    Whatever else stands for a name stays as it is; it must not copy what it is given.
    """
    given = 0

    def spare(known: Any) -> Any:
        if not isinstance(known, FunctionType):
            return known

        def counted(*arguments: Any) -> Any:
            nonlocal given
            given += sum(len(argument) for argument in arguments if isinstance(argument, HELD))
            if given > size:
                raise ValueError(f"its pickle unfolds: its calls are given more than the {size:,} bytes of the file")
            return known(*arguments)

        return counted

    return spare


HELD = (str, bytes, bytearray, list, tuple, dict, set)


def refused(asked: str) -> ValueError:
    """What is said of a pickle that asks for more than data."""
    name = ascii(asked)[1:-1]  # a name may hold line ends, and of a damaged file be as long as that
    return ValueError(f"its pickle asks for {name[:NAME]}{' ...' if len(name) > NAME else ''}, which is refused")


def refuse_greedy(file: IO[bytes]) -> None:
    """ValueError where a pickle, without being run, asks for more places than its file has bytes.

    What it holds is in the file itself but for its memo, which is as long as it says, and for what its calls make (see
    `sparing`). The file is back at its start afterwards.
    """
    size = file.seek(0, 2)
    file.seek(0)
    try:
        for opcode, argument, at in _operations(file):
            if opcode.name in _NUMBERED and argument is not None and argument > size:
                raise ValueError(f"its pickle asks for {argument:,} places at byte {at}, the file has {size:,} bytes")
    finally:
        file.seek(0)


def _operations(file: IO[bytes]) -> Iterator[tuple[pickletools.OpcodeInfo, Any, int | None]]:
    """What the next pickle of a file does, one after the other; UnpicklingError where none lies there."""
    try:
        yield from pickletools.genops(file)
    except (ValueError, OverflowError) as error:
        raise pickle.UnpicklingError(str(error)) from None


_NUMBERED = {"PUT", "LONG_BINPUT", "FRAME"}
_INTEGERS = {"INT", "LONG", "BININT", "BININT1", "BININT2", "LONG1", "LONG4"}


def refuse_storages(file: IO[bytes], size: int) -> None:
    """ValueError where torch's old form, several pickles and then the numbers, says of some that they are more than the
    `size` in bytes of what it stands in.

    torch makes room for as many as it says before it reads them.
    """
    last, repeats = 0, Repeats(size)
    for _ in range(LEGACY_PICKLES):
        for opcode, argument, _at in _operations(file):
            repeats.add(opcode.name, argument)
            if opcode.name in _NUMBERED and argument is not None and argument > size:
                raise ValueError(f"its pickle asks for {argument:,} places, the file has {size:,} bytes")
            if opcode.name in _INTEGERS and isinstance(argument, int):
                last = argument
            elif opcode.name == "BINPERSID" and last > size:
                raise ValueError(f"a storage of {last:,} numbers is announced, the file has {size:,} bytes")


class Repeats:
    """ValueError once a pickle in a file of `size` bytes names its long texts and bytes so often that they are more than it has,
    and more than SMALL: what calls make of each would be.
    """

    def __init__(self, size: int) -> None:
        self.size, self.again, self.last, self.known = size, 0, 0, dict[int, int]()

    def add(self, name: str, argument: Any) -> None:
        """Counts one operation."""
        if isinstance(argument, (str, bytes)) and name not in ("GLOBAL", "INST"):
            self.last = len(argument)
        elif name == "MEMOIZE" or "PUT" in name:
            self.known[len(self.known) if argument is None else int(argument)] = self.last
        elif "GET" in name and (length := self.known.get(int(argument), 0)) > LONG:
            self.again += length
            if self.again > max(SMALL, self.size):
                raise ValueError(
                    f"its pickle unfolds: it names {self.again:,} characters again, the file has {self.size:,} bytes"
                )
        else:
            self.last = 0


LONG = 1024  # characters of a text that is no name
LEGACY_PICKLES = 4  # a mark, a version, the machine, and what was saved


def refuse_array(archive: zipfile.ZipFile, name: str) -> None:
    """ValueError where an array of an .npz would take more than ARRAY_BYTES, by its own header."""
    with archive.open(f"{name}.npy") as file:
        shape, _, dtype = header(file)
        if (size := math.prod(shape) * dtype.itemsize) > ARRAY_BYTES:
            raise ValueError(f"array {name!r} is {dtype} {shape}, {size:,} bytes; the limit is {ARRAY_BYTES:,}")


def refuse_unstored(archive: zipfile.ZipFile, name: str, size: int) -> None:
    """ValueError where an array of an .npz as `np.savez` writes it would take more than the file's `size` in bytes."""
    if (info := archive.getinfo(f"{name}.npy")).compress_type != zipfile.ZIP_STORED:
        raise ValueError(f"array {name!r} is compressed")
    with archive.open(info) as file:
        shape, _, dtype = header(file)
        needed, there = math.prod(shape) * dtype.itemsize, min(info.file_size - file.tell(), size)
    if needed > there:
        raise ValueError(f"array {name!r} is {dtype} {shape}, {needed:,} bytes, the file has {there:,}")


def header(file: IO[bytes]) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    """Shape, whether in Fortran order, and type of an .npy, whose data follow; ValueError for anything else."""
    readers = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
    version = np.lib.format.read_magic(file)
    if version not in readers:
        raise ValueError(f"an array in version {version[0]}.{version[1]} of its format, read are 1.0 and 2.0")
    announced = file.read(2 if version == (1, 0) else 4)
    if (length := int.from_bytes(announced, "little")) > HEADER_BYTES:  # numpy reads it all, then counts
        raise ValueError(f"a header of {length:,} bytes, the limit is {HEADER_BYTES:,}")
    shape, fortran, dtype = readers[version](io.BytesIO(announced + file.read(length)))
    if dtype.hasobject:
        raise ValueError("an array of Python objects, must be of numbers or text")
    if any(side < 0 for side in shape):
        raise ValueError(f"an array of shape {shape}")
    return shape, fortran, dtype


def refuse_packed(path: Path) -> None:
    """ValueError for a zip of which parts are compressed: torch writes none, and a small one may stand for anything. So for
    one whose pickle names the same long text again and again.
    """
    with zipfile.ZipFile(path) as archive:
        for info in archive.infolist():
            if info.compress_type != zipfile.ZIP_STORED:
                raise ValueError(f"its part {info.filename!r} is compressed, which torch's files never are")
            if info.filename.endswith("data.pkl"):
                repeats = Repeats(path.stat().st_size)
                with open(path, "rb") as file:  # as it lies there: torch may have written no check sum of it
                    file.seek(info.header_offset + 26)
                    file.seek(sum(struct.unpack("<HH", file.read(4))), os.SEEK_CUR)
                    for opcode, argument, _at in _operations(file):
                        repeats.add(opcode.name, argument)
