"""Other people's pickles, without running what they contain: published networks come as such files.

A plain pickle is read by an unpickler that knows a dozen names, each of them a stand-in that only keeps data; some carry
source code that their own loader executes, which stays text here. A file of `torch.save` goes through torch's
weights-only reader, where training leftovers of known libraries (Lightning's callbacks, argparse's settings) become inert
objects. Any other name ends the reading.
"""

import contextlib
import io
import math
import re
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import torch
from torch import Tensor

from scoremix.data import limits

LIBRARIES = {"argparse", "collections", "lightning", "lightning_fabric", "numpy", "omegaconf", "pathlib"}
LIBRARIES |= {"pytorch_lightning", "torch"}


ZIP = b"PK\3\4"  # torch takes for an archive what begins so, whatever its end


@dataclass
class KeptObject:
    """What is left of any object: its attributes, of a class whose source code the file contains also its name."""

    content: dict[str, Any] = field(default_factory=dict)
    class_name: str = ""

    def __setstate__(self, state: Any) -> None:
        self.content = state if isinstance(state, dict) else {}


class KeptDict(dict[str, Any]):
    """A dictionary with attributes, as data: what a pickle puts into it, no copy of another."""

    def __init__(self, *_: Any) -> None:
        super().__init__()

    def __setstate__(self, state: Any) -> None:
        pass


def read_plain(path: Path) -> Any:
    """What a plain pickle holds, modules as `KeptObject`. ValueError naming what it asks for beyond that."""
    with open(path, "rb") as file:
        return limits.unpickled(file, _stand_in)


def read_torch(path: Path, stand_ins: Mapping[tuple[str, str], Any] | None = None) -> Any:
    """What a file of `torch.save` holds, objects of other libraries inert. ValueError naming what it asks for beyond.

    `stand_ins`, by (module, name), answer for what is not torch's instead, and nothing else does.
    """
    with open(path, "rb") as file:
        packed = file.read(len(ZIP)) == ZIP
        file.seek(0)
        if not packed:
            limits.refuse_storages(file, path.stat().st_size)
    if packed:
        limits.refuse_packed(path)
    known = [(of, ".".join(name)) for name, of in stand_ins.items()] if stand_ins is not None else _inert(path)
    with torch.serialization.safe_globals(known):
        return torch.load(path, map_location="cpu", weights_only=True)


@contextlib.contextmanager
def readable(path: Path, what: str) -> Iterator[None]:
    """Whatever goes wrong inside is a ValueError of one line that names the file: a damaged one may fail in any way."""
    if not path.is_file():
        raise ValueError(f"{path}: no such {what}")
    try:
        yield
    except ValueError as error:
        raise ValueError(str(error) if str(error).startswith(str(path)) else f"{path}: {error}") from None
    except Exception as error:
        if name := re.search(r"GLOBAL:? (\S+)", str(error)):
            raise ValueError(f"{path}: {limits.refused(name[1])}") from None
        text = " ".join(str(error).split()).split(". ")[0][:200]
        raise ValueError(f"{path}: not a readable {what} ({text or type(error).__name__})") from None


class _Inert:
    """Stands for an object of a training library: takes anything, does nothing."""

    def __new__(cls, *args: Any) -> Self:
        return super().__new__(cls)

    def __init__(self, *args: Any) -> None:
        pass

    def __setstate__(self, state: Any) -> None:
        pass


def _inert(path: Path) -> list[Any]:
    """(inert class, name) of each class of a known library in a file; ValueError names any other."""
    try:
        names = torch.serialization.get_unsafe_globals_in_checkpoint(path)
    except (ValueError, RuntimeError):
        return []  # the old format: weights_only alone decides
    if foreign := sorted(name for name in names if name.partition(".")[0] not in LIBRARIES):
        raise limits.refused(foreign[0])
    return [
        (OrderedDict if name.lower().endswith("dict") else type("Inert", (_Inert,), {}), name) for name in sorted(names)
    ]


def _stand_in(module: str, name: str) -> Any:
    """What answers for a name of a published snapshot; None for any other."""
    if module.startswith("torch.nn.modules.") and name.isidentifier():
        return KeptObject
    if module == "torch" and isinstance(dtype := getattr(torch, name, None), torch.dtype):
        return dtype
    return _NAMES.get((module, name))


def _rebuilt(meta: Any) -> KeptObject:
    """An object whose source code the file contains: its attributes, never the code."""
    if not isinstance(meta, dict) or not isinstance(meta.get("state"), dict):
        raise ValueError("an object of the snapshot has no attributes")
    name = meta.get("class_name")
    return KeptObject(meta["state"], name if isinstance(name, str) else "")


def _storage(content: Any) -> Tensor:
    """Numbers of a storage, one dimension."""
    if not isinstance(content, bytes):
        raise ValueError("a storage is not bytes")
    if content.startswith(ZIP):
        raise ValueError("a storage is an archive, which torch writes none as")
    limits.refuse_storages(io.BytesIO(content), len(content))
    storage = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    if not isinstance(storage, torch.storage.TypedStorage):
        raise ValueError(f"a storage holds {type(storage).__name__}")
    return torch.empty(0, dtype=storage.dtype).set_(storage._untyped_storage)


def _tensor(storage: Any, offset: Any, size: Any, stride: Any, *_: Any) -> Tensor:
    """A view of a storage; ValueError where it would reach beyond."""
    if (
        not isinstance(storage, Tensor)
        or len(size) != len(stride)
        or not all(isinstance(n, int) and n >= 0 for n in (offset, *size, *stride))
    ):
        raise ValueError("a tensor is not described by a storage, an offset, sizes and strides")
    last = offset + sum((n - 1) * s for n, s in zip(size, stride, strict=True)) if all(size) else -1
    if last >= storage.numel() or math.prod(size) > storage.numel():
        raise ValueError(f"a tensor of size {tuple(size)} reaches beyond its storage of {storage.numel()}")
    return storage.as_strided(tuple(size), tuple(stride), offset)


def _parameter(data: Any, *_: Any) -> Tensor:
    if not isinstance(data, Tensor):
        raise ValueError("a parameter is not a tensor")
    return data


def _ordered(*pairs: Any) -> OrderedDict[Any, Any]:
    return OrderedDict(*pairs)


def _set(*members: Any) -> set[Any]:
    return set(*members)


_NAMES: dict[tuple[str, str], Any] = {
    ("collections", "OrderedDict"): _ordered,
    ("builtins", "set"): _set,
    ("dnnlib.util", "EasyDict"): KeptDict,
    ("torch_utils.persistence", "_reconstruct_persistent_obj"): _rebuilt,
    ("torch.storage", "_load_from_bytes"): _storage,
    ("torch._utils", "_rebuild_tensor_v2"): _tensor,
    ("torch._utils", "_rebuild_parameter"): _parameter,
}
