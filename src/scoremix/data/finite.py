"""Tensors in our own safetensors files; numbers that are none, refused wherever embeddings are made or weights are loaded."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import safetensors
import safetensors.torch
import torch
from torch import Tensor

from scoremix.data.lists import some

Numbers = TypeVar("Numbers", Tensor, np.ndarray)


def finite_rows(x: Numbers, name: str = "embeddings") -> Numbers:
    """x (n, ...) as it is; ValueError with the number of its rows that hold NaN or infinite values."""
    flags = torch.isfinite(x).cpu().numpy() if isinstance(x, Tensor) else np.isfinite(x)
    if not flags.all():
        wrong = int((~flags.reshape(len(flags), -1).all(1)).sum())
        raise ValueError(f"{name}: {wrong} of {len(flags)} are not finite")
    return x


def finite_tensors(tensors: Mapping[str, Tensor], path: Path) -> None:
    """ValueError where weights of the checkpoint `path` are NaN or infinite: how many, and the first tensor's name."""
    counts = {n: int((~torch.isfinite(t)).sum()) for n, t in tensors.items() if t.is_floating_point()}
    if wrong := {name: count for name, count in counts.items() if count}:
        raise ValueError(f"{path}: {sum(wrong.values())} weights are not finite, the first in {next(iter(wrong))}")


def refuse_misfits(wanted: Mapping[str, Tensor], stored: Mapping[str, Tensor]) -> None:
    """ValueError unless the tensors of a network as described (on device meta) are those of a file, by name and shape."""
    for tensors, others, what in ((wanted, stored, "lacks"), (stored, wanted, "also holds")):
        if names := [name for name in tensors if name not in others]:
            raise ValueError(f"{what} {some(names)}")
    for name, tensor in wanted.items():
        if tensor.shape != stored[name].shape:
            raise ValueError(f"{name} is {tuple(stored[name].shape)}, must be {tuple(tensor.shape)}")


def described_bytes(tensors: Mapping[str, Tensor], kind: str, description: Mapping[str, Any]) -> bytes:
    """The content of a file of that kind; `description` is JSON-able."""
    metadata = {kind: json.dumps(dict(description))}  # one entry: the order of several is not kept
    return safetensors.torch.save({n: t.detach().cpu().contiguous() for n, t in tensors.items()}, metadata)


def read_described(path: Path, kind: str, called: str) -> tuple[str, dict[str, Tensor]]:
    """The description as its JSON text, and the tensors, all finite.

    ValueError of one line where the file is no readable safetensors (no "readable snapshot", as it is `called`), of
    another kind, or holds weights that are not finite.
    """
    try:
        with safetensors.safe_open(path, "pt") as file:
            metadata = file.metadata() or {}
            tensors: dict[str, Tensor] = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except Exception as error:  # damaged headers make its reader raise almost anything
        raise ValueError(f"{path}: not a readable {called} ({error})") from None
    if kind not in metadata:
        raise ValueError(f"{path}: expected a {kind}, found {', '.join(metadata) or 'tensors without a description'}")
    finite_tensors(tensors, path)
    return metadata[kind], tensors
