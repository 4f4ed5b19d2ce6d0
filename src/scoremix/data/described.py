"""Our own safetensors files: tensors, and one description of them in the metadata under the kind of the file."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
from torch import Tensor

from scoremix.data.finite import finite_tensors


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
