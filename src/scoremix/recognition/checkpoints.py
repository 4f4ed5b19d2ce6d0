"""Recognizer checkpoints: one safetensors file that says what it needs to be used rightly."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, get_args

import torch
from jaxtyping import Float, UInt8
from torch import Tensor, nn

from scoremix.data.finite import described_bytes, read_described, refuse_misfits
from scoremix.data.limits import parsed_json
from scoremix.data.pickles import readable
from scoremix.recognition.iresnet import FACE_SIZE, AdaFaceIR, IRNet, build
from scoremix.recognition.timm_networks import PREFIX, TimmNetwork

KIND = "scoremix recognizer"
Colour = Literal["rgb", "bgr", "grey"]
Scaling = Literal["-1..1", "0..1"]
Network = IRNet | AdaFaceIR | TimmNetwork


@dataclass(frozen=True)
class Description:
    """How to rebuild a recognizer and what its input must be.

    `network` is "small" (built from size, channels, widths, units, embedding), a name of `iresnet.build`, or timm/NAME
    (built from size, channels, embedding). 8-bit pixels go in as `colour` and `scaling` say: x / 127.5 - 1 or x / 255.
    """

    size: int
    channels: int
    widths: tuple[int, ...]
    units: tuple[int, ...]
    embedding: int
    network: str = "small"
    colour: Colour = "rgb"
    scaling: Scaling = "-1..1"
    provenance: str = "trained from scratch by scoremix"

    def __post_init__(self) -> None:
        for name, allowed in (("colour", Colour), ("scaling", Scaling)):
            if getattr(self, name) not in get_args(allowed):
                raise ValueError(f"{name} {getattr(self, name)!r}: allowed are {', '.join(get_args(allowed))}")
        if (self.colour == "grey") != (self.channels == 1):
            raise ValueError(f"colour {self.colour!r} does not fit {self.channels} channels")


def small(size: int, channels: int, widths: tuple[int, ...], units: tuple[int, ...], embedding: int) -> Description:
    """The description of our own small network."""
    return Description(size, channels, widths, units, embedding, colour="grey" if channels == 1 else "rgb")


def of_timm(name: str, size: int, channels: int, embedding: int) -> Description:
    """The description of a network of timm."""
    return Description(size, channels, (), (), embedding, name, "grey" if channels == 1 else "rgb")


def published(name: str, colour: Colour = "rgb", provenance: str = Description.provenance) -> Description:
    """The description of a network of `iresnet.build`: 112 px colour images, embeddings of 512."""
    return Description(FACE_SIZE, 3, (), (), 512, name, colour, "-1..1", provenance)


def make(description: Description) -> Network:
    """An untrained network as described."""
    d = description
    if d.network.startswith(PREFIX):
        return TimmNetwork(d.network, d.size, d.channels, d.embedding)
    return IRNet(d.size, d.channels, d.widths, d.units, d.embedding) if d.network == "small" else build(d.network)


def network_input(pixels: UInt8[Tensor, "b h w c"], description: Description) -> Float[Tensor, "b c h w"]:
    """What the network takes of 8-bit images in RGB order or grey; ValueError where size or channels differ."""
    d = description
    if tuple(pixels.shape[1:]) != (d.size, d.size, d.channels):
        raise ValueError(
            f"images are {tuple(pixels.shape[1:])}, the recognizer takes {(d.size, d.size, d.channels)} ({d.colour})"
        )
    x = pixels.flip(3) if d.colour == "bgr" else pixels
    x = x.permute(0, 3, 1, 2).float()
    return x / 127.5 - 1 if d.scaling == "-1..1" else x / 255


def unit_input(x: Float[Tensor, "b c h w"], description: Description) -> Float[Tensor, "b c h w"]:
    """What the network takes of images in [-1, 1] in RGB order or grey; gradients pass."""
    x = x.flip(1) if description.colour == "bgr" else x
    return x if description.scaling == "-1..1" else (x + 1) / 2


def to_bytes(net: nn.Module, head: nn.Module, description: Description) -> bytes:
    """The content of a checkpoint: network under `net.`, head under `head.`, description in the metadata."""
    tensors = {f"net.{name}": t for name, t in net.state_dict().items()}
    tensors |= {f"head.{name}": t for name, t in head.state_dict().items()}
    return described_bytes(tensors, KIND, asdict(description))


def load(path: Path) -> tuple[Network, Description]:
    """The network of a checkpoint in eval mode; ValueError if the file is something else."""
    with readable(path, "checkpoint"):
        described, tensors = _open(path)
        fields: dict[str, Any] = parsed_json(described)
        description = Description(**{**fields, "widths": tuple(fields["widths"]), "units": tuple(fields["units"])})
        of_network = {n.removeprefix("net."): t for n, t in tensors.items() if n.startswith("net.")}
        if sum(description.units) > len(of_network):
            raise ValueError(f"{sum(description.units)} blocks are described, {len(of_network)} tensors are there")
        with torch.device("meta"):  # takes no memory, whatever is described
            refuse_misfits(make(description).state_dict(), of_network)
        net = make(description)
        net.load_state_dict(of_network)
        return net.eval(), description


def head_centers(path: Path) -> Tensor:
    """Unit weights (classes, d) of the head of a checkpoint; ValueError if the file is something else."""
    with readable(path, "checkpoint"):
        return nn.functional.normalize(_open(path)[1]["head.weight"])


def head_tensors(path: Path) -> dict[str, Tensor]:
    """The head's tensors: `weight` with a row per class, and what else the head has."""
    return {n.removeprefix("head."): t for n, t in _open(path)[1].items() if n.startswith("head.")}


def _open(path: Path) -> tuple[str, dict[str, Tensor]]:
    return read_described(path, KIND, "checkpoint")
