"""Generator snapshots: one safetensors file per EMA length and training time, with the network's configuration."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from scoremix.data.finite import described_bytes, read_described, refuse_misfits
from scoremix.data.limits import parsed_json
from scoremix.data.pickles import readable
from scoremix.diffusion.ema import posthoc_fit
from scoremix.diffusion.unet import EDM2

KIND = "scoremix generator"
WORST_FIT = 0.25  # share of an averaging profile that a reconstruction may miss


@dataclass(frozen=True)
class Pixels:
    """E_pre and D_pre of the paper (eq. 2): unit pixels u in [-1, 1] become (u - mean) * scale and back.

    Magnitude normalisation sets `scale` so that the images' standard deviation is sigma_data; (0, 1) is the identity.
    """

    mean: float = 0.0
    scale: float = 1.0

    def encode(self, unit: Tensor) -> Tensor:
        """E_pre: what the network sees of pixels in [-1, 1]."""
        return (unit - self.mean) * self.scale

    def decode(self, encoded: Tensor) -> Tensor:
        """D_pre: its inverse."""
        return encoded / self.scale + self.mean


def snapshot_name(images_seen: int, std: float) -> str:
    """The file of the average of length `std` after so many images."""
    return f"ema-{std:.3f}-{images_seen:012d}.safetensors"


def stored(folder: Path) -> list[tuple[float, int, Path]]:
    """(EMA length, images seen, file) of every snapshot in a folder, ascending."""
    parts = [(file.stem.split("-"), file) for file in folder.glob("ema-*.safetensors")]
    return sorted((float(std), int(nimg), file) for (_, std, nimg), file in parts)


def to_bytes(tensors: Mapping[str, Tensor], network: Mapping[str, Any], pixels: Pixels) -> bytes:
    """The content of a snapshot: parameters under the published names, configuration in the metadata."""
    return described_bytes(tensors, KIND, {"network": dict(network), "pixels": asdict(pixels)})


def load(path: Path, precision: str | None = None) -> tuple[EDM2, Pixels]:
    """The network of a snapshot in eval mode, its body in `precision`; ValueError if the file is something else."""
    description, tensors = read(path)
    try:
        return build(description, tensors, precision)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None


def average(folder: Path, std: float, images_seen: int, precision: str | None = None) -> tuple[EDM2, Pixels]:
    """The average of length `std` after `images_seen` images: its snapshot, or a reconstruction from all until then."""
    path = folder / snapshot_name(images_seen, std)
    if path.exists():
        return load(path, precision)
    description, tensors, _ = reconstructed(folder, std, images_seen)
    return build(description, tensors, precision)


def reconstructed(folder: Path, std: float, images_seen: int) -> tuple[dict[str, Any], dict[str, Tensor], float]:
    """Post-hoc average of a folder's snapshots (EDM2 section 3.2): description, float32 tensors, and the share of the
    averaging profile that these snapshots cannot express (0: none).

    One snapshot is in memory at a time. ValueError for fewer than two snapshots up to `images_seen`, or ones that miss
    more than a quarter.
    """
    snapshots = [(s, n, file) for s, n, file in stored(folder) if n <= images_seen]
    if len(snapshots) < 2:
        raise ValueError(
            f"{folder}: {len(snapshots)} snapshots up to {images_seen} images; two or more are needed for EMA length {std:g}"
        )
    stds, times = [s for s, _, _ in snapshots], [float(n) for _, n, _ in snapshots]
    coefficients, missing = posthoc_fit(times, stds, float(images_seen), std)
    if missing > WORST_FIT:
        raise ValueError(
            f"EMA length {std:g} after {images_seen} images: {len(snapshots)} snapshots of lengths "
            f"{', '.join(f'{s:g}' for s in sorted(set(stds)))} cannot express it ({missing:.0%} of its profile is missing); "
            "keep more (generator.snapshots) or another length (generator.ema)"
        )
    description: dict[str, Any] = {}
    total: dict[str, Tensor] = {}
    for coefficient, (_, _, file) in zip(coefficients, snapshots, strict=True):
        description, tensors = read(file)
        for name, tensor in tensors.items():
            term = tensor.float() * float(coefficient)
            total[name] = total[name].add_(term) if name in total else term
    total |= {name: tensors[name].float() for name in tensors if name.endswith((".freqs", ".phases"))}
    return description, total, missing


def read(path: Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Description (network, pixels) and tensors of a snapshot; ValueError if the file is something else."""
    description, tensors = read_described(path, KIND, "snapshot")
    with readable(path, "snapshot"):
        return dict(parsed_json(description)), tensors


def build(description: Mapping[str, Any], tensors: Mapping[str, Tensor], precision: str | None) -> tuple[EDM2, Pixels]:
    """The described network with these tensors, in eval mode; ValueError where they do not fit."""
    try:
        network = {**description["network"], "dtype": precision or description["network"].get("dtype")}
        pixels = Pixels(**description["pixels"])
        if (blocks := int(network.get("num_blocks", 0)) * len(network.get("channel_mult", ()))) > len(tensors):
            raise ValueError(f"{blocks} blocks are described, {len(tensors)} tensors are there")
        with torch.device("meta"):  # takes no memory, whatever is described
            refuse_misfits(EDM2(**network).state_dict(), tensors)
        net = EDM2(**network)
        net.load_state_dict(tensors)
    except Exception as error:  # a description may hold anything
        said = " ".join(str(error).split())[:200]
        raise ValueError(f"the snapshot's tensors are not those of its configuration ({said})") from None
    return net.eval(), pixels
