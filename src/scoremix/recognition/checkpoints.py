"""Recognizer checkpoints: one safetensors file that says what it needs to be used rightly."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch
from torch import Tensor, nn

from scoremix.recognition.iresnet import IRNet

KIND = "scoremix recognizer"


@dataclass(frozen=True)
class Description:
    """How to rebuild a recognizer and what its input must be: pixels scaled to [-1, 1], RGB order or grey."""

    size: int
    channels: int
    widths: tuple[int, ...]
    units: tuple[int, ...]
    embedding: int
    provenance: str = "trained from scratch by scoremix"


def make(description: Description) -> IRNet:
    """An untrained network as described."""
    d = description
    return IRNet(d.size, d.channels, d.widths, d.units, d.embedding)


def to_bytes(net: nn.Module, head: nn.Module, description: Description) -> bytes:
    """The content of a checkpoint: network under `net.`, head under `head.`, description in the metadata."""
    tensors = {f"net.{name}": t for name, t in net.state_dict().items()}
    tensors |= {f"head.{name}": t for name, t in head.state_dict().items()}
    metadata = {KIND: json.dumps(asdict(description))}  # one entry: the order of several is not kept
    return safetensors.torch.save({n: t.detach().cpu().contiguous() for n, t in tensors.items()}, metadata)


def load(path: Path) -> tuple[IRNet, Description]:
    """The network of a checkpoint in eval mode; ValueError if the file is something else."""
    metadata, tensors = _open(path)
    fields: dict[str, Any] = json.loads(metadata[KIND])
    description = Description(**{**fields, "widths": tuple(fields["widths"]), "units": tuple(fields["units"])})
    net = make(description)
    net.load_state_dict({n.removeprefix("net."): t for n, t in tensors.items() if n.startswith("net.")})
    return net.eval(), description


def _open(path: Path) -> tuple[dict[str, str], dict[str, Tensor]]:
    try:
        with safetensors.safe_open(path, "pt") as file:
            metadata = file.metadata() or {}
            tensors: dict[str, torch.Tensor] = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (OSError, safetensors.SafetensorError) as error:
        raise ValueError(f"{path}: not a readable checkpoint ({error})") from None
    if KIND not in metadata:
        raise ValueError(f"{path}: expected a {KIND}, found {', '.join(metadata) or 'tensors without a description'}")
    return metadata, tensors
