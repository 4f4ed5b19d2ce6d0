"""A recognizer that training starts from, ours or a published one: its file, and the settings that it decides."""

import functools
from pathlib import Path

import torch

from scoremix.config import Recognizer
from scoremix.data.files import known_hash
from scoremix.execution.artifacts import External
from scoremix.recognition import checkpoints, published
from scoremix.recognition.timm_networks import PREFIX


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
    if config.network.startswith(PREFIX) and not published.is_ours(Path(file.place)):
        return config.model_copy(update={"start": "file"})  # weights without a description of their network
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
