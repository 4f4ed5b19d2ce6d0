"""Generator snapshots: one safetensors file per EMA length and training time, with the network's configuration."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch
from torch import Tensor

from scoremix.diffusion.unet import EDM2

KIND = "scoremix generator"


@dataclass(frozen=True)
class Pixels:
    """E_pre and D_pre of the paper (eq. 2): unit pixels u in [-1, 1] become (u - mean) * scale and back.

    Magnitude normalisation sets `scale` so that the images' standard deviation is sigma_data; (0, 1) is the identity.
    """

    mean: float = 0.0
    scale: float = 1.0

    def encode(self, unit: Tensor) -> Tensor:
        return (unit - self.mean) * self.scale

    def decode(self, encoded: Tensor) -> Tensor:
        return encoded / self.scale + self.mean


def snapshot_name(images_seen: int, std: float) -> str:
    return f"ema-{std:.3f}-{images_seen:012d}.safetensors"


def stored(folder: Path) -> list[tuple[float, int, Path]]:
    """(EMA length, images seen, file) of every snapshot in a folder, ascending."""
    parts = [(file.stem.split("-"), file) for file in folder.glob("ema-*.safetensors")]
    return sorted((float(std), int(nimg), file) for (_, std, nimg), file in parts)


def to_bytes(tensors: Mapping[str, Tensor], network: Mapping[str, Any], pixels: Pixels) -> bytes:
    """The content of a snapshot: parameters under the published names, configuration in the metadata."""
    description = json.dumps({"network": dict(network), "pixels": asdict(pixels)})
    metadata = {KIND: description}  # one entry: the order of several is not kept
    return safetensors.torch.save({n: t.detach().cpu().contiguous() for n, t in tensors.items()}, metadata)


def load(path: Path, precision: str | None = None) -> tuple[EDM2, Pixels]:
    """The network of a snapshot in eval mode, its body in `precision`; ValueError if the file is something else."""
    try:
        with safetensors.safe_open(path, "pt") as file:
            metadata = file.metadata() or {}
            tensors: dict[str, torch.Tensor] = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (OSError, safetensors.SafetensorError) as error:
        raise ValueError(f"{path}: not a readable snapshot ({error})") from None
    if KIND not in metadata:
        raise ValueError(f"{path}: expected a {KIND}, found {', '.join(metadata) or 'tensors without a description'}")
    description = json.loads(metadata[KIND])
    network = description["network"]
    net = EDM2(**{**network, "dtype": precision or network.get("dtype")})
    net.load_state_dict(tensors)
    return net.eval(), Pixels(**description["pixels"])
