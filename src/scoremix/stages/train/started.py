"""A recognizer that training starts from, ours or a published one: its file, and the settings that it decides."""

import functools
from pathlib import Path
from typing import Literal

import torch

from scoremix.config import Recognizer
from scoremix.data.files import known_hash
from scoremix.data.lists import noun
from scoremix.execution.artifacts import External
from scoremix.recognition import checkpoints, published
from scoremix.recognition.timm_networks import PREFIX, TimmNetwork


def file_of(config: Recognizer) -> External:
    """The file that `config.start` names, its content's hash as key; ValueError where there is none."""
    path = Path(str(config.start))
    if not path.is_file():
        raise ValueError(f"recognizer.start {str(path)!r}: no such file")
    return External(str(path), known_hash(path))


def decided_by_file(config: Recognizer) -> Recognizer:
    """The settings with the network of the file; ValueError where they ask for another, or the file is no recognizer."""
    file = file_of(config)
    if config.depth > 1:
        raise ValueError(f"recognizer.depth {config.depth}: recognizer.start decides the network; leave the depth out")
    if undescribed(file, config):
        return config.model_copy(update={"start": "file"})
    description = opened(file, config)[1]
    if config.network not in ("small", description.network):
        raise ValueError(
            f"recognizer.network {config.network!r}: recognizer.start is {description.network!r}; leave the network out"
        )
    decided = ["network", *(["widths", "units"] if description.network == "small" else [])]
    if description.network == "small" or description.network.startswith(PREFIX):
        decided.append("embedding")
    network = {name: getattr(description, name) for name in decided}
    return config.model_copy(update={**network, "start": "file"})


def undescribed(file: External, config: Recognizer) -> bool:
    """Whether the file holds weights of timm without a description of their network."""
    return config.network.startswith(PREFIX) and not published.is_ours(Path(file.place))


def refuse_other_images(file: External, config: Recognizer, size: int, channels: int | Literal["auto"]) -> None:
    """ValueError, one line, where the recognizer of a file takes images of another side than `size`, or of other channels, or
    where weights of timm are not those of `config.network`; with channels "auto", not read yet, as far as the side tells.
    """
    if undescribed(file, config):
        if channels != "auto":
            _refuse_misfits(Path(file.place), file.key, config.network, size, channels, config.embedding)
        return
    of = opened(file, config)[1]
    if of.size != size or channels not in ("auto", of.channels):
        these = f"{size} px" + (f" and {channels}" if channels != "auto" else "")
        raise ValueError(
            f"recognizer.start: takes images of {of.size} px with {noun(of.channels, 'channel')}, these have {these}: set "
            f"data.size={of.size} and data.channels={of.channels}"
        )


@functools.lru_cache(maxsize=4)
def _refuse_misfits(path: Path, key: str, network: str, size: int, channels: int, embedding: int) -> None:
    with torch.device("meta"):  # takes no memory
        net = TimmNetwork(network, size, channels, embedding)
    try:
        net.weights_of(published.tensors_of(path))
    except ValueError as error:
        raise ValueError(f"recognizer.start {str(path)!r}: not the weights of {network} ({error})") from None


def opened(file: External, config: Recognizer) -> tuple[checkpoints.Network, checkpoints.Description]:
    """The network of a file, turned to take RGB (or grey) in [-1, 1], and what it is; ValueError as for `file_of`."""
    path = Path(file.place)
    return _opened(path, file.key, config.start_colour)


@functools.lru_cache(maxsize=1)
def _opened(
    path: Path, key: str, colour: checkpoints.Colour | None
) -> tuple[checkpoints.Network, checkpoints.Description]:
    net, description = published.load(path, colour)
    if description.scaling != "-1..1":
        raise ValueError(f"{path}: takes pixels in {description.scaling}; training starts from those in -1..1")
    if description.colour == "bgr":
        first = next(module for module in net.modules() if isinstance(module, torch.nn.Conv2d))
        with torch.no_grad():
            first.weight.copy_(first.weight.flip(1))
    return net, description
