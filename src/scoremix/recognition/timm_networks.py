"""Networks of timm (PyTorch Image Models) as recognizers, by name; weights come from a file or from nowhere."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from scoremix.data.finite import refuse_misfits

PREFIX = "timm/"


class TimmNetwork(nn.Module):
    """A network of timm whose last layer gives the embedding; images in [-1, 1] are scaled as its weights expect.

    Nothing is downloaded. ValueError for an unknown name, a side that it does not take, or without timm.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, name: str, size: int, channels: int, embedding: int) -> None:
        super().__init__()
        self.net = _created(name, size, channels, embedding)
        config = self.net.default_cfg
        for field in ("mean", "std"):
            value = torch.tensor([float(part) for part in config[field]])
            value = value if channels == len(value) else value.mean().expand(channels)
            self.register_buffer(field, value[:, None, None].clone(), persistent=False)

    def forward(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b d"]:
        y: Tensor = self.net(((x + 1) / 2 - self.mean) / self.std)
        return y

    def take_over(self, tensors: Mapping[str, Tensor]) -> None:
        """The weights of timm's file for the network, but for the last layer, whose classes are others; ValueError as for
        `weights_of`.
        """
        self.net.load_state_dict({**self.net.state_dict(), **self.weights_of(tensors)})

    def weights_of(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Those of timm's file without the last layer; colour filters are summed for grey images. ValueError, one line, naming
        tensors that are missing, too many, or of another shape.
        """
        config, state = self.net.default_cfg, self.net.state_dict()
        classifier, first = _names(config["classifier"]), {f"{name}.weight" for name in _names(config["first_conv"])}
        last = {name for name in state if name.rpartition(".")[0] in classifier}
        weights = {n: t for n, t in tensors.items() if n.rpartition(".")[0] not in classifier}
        for name in first & weights.keys() & state.keys():
            if state[name].shape[1] == 1:
                weights[name] = weights[name].sum(1, keepdim=True)
        refuse_misfits({name: tensor for name, tensor in state.items() if name not in last}, weights)
        return weights


def _names(names: str | tuple[str, ...] | None) -> set[str]:
    return {names} if isinstance(names, str) else set(names or ())


def _created(name: str, size: int, channels: int, embedding: int) -> Any:
    plain = name.removeprefix(PREFIX)
    try:
        import timm
    except ImportError as error:
        raise ValueError(f"network {name!r} needs timm ({error}): pip install 'scoremix[timm]'") from None
    if not re.fullmatch(r"[A-Za-z0-9_]+", plain) or not timm.is_model(plain):
        close = timm.list_models(f"*{re.sub('[^A-Za-z0-9_]', '', plain)[:6]}*")[:5]
        raise ValueError(f"network {name!r}: timm has none of that name (such as {', '.join(close) or 'resnet18'})")
    options = {"pretrained": False, "num_classes": embedding, "in_chans": channels}
    try:
        return timm.create_model(plain, img_size=size, **options)  # what looks at patches needs to know the side
    except TypeError:
        return timm.create_model(plain, **options)
    except (AssertionError, ValueError, RuntimeError) as error:
        raise ValueError(f"network {name!r} does not take {size} px ({error})") from None
