"""Magnitude-preserving layers: inputs of unit RMS give outputs of unit RMS (EDM2 section 2)."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, Literal

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

_EPS = 1e-4
SILU_RMS = 0.596  # RMS of silu(z) for z ~ N(0, 1)


def _rms_scale(x: Tensor, dims: tuple[int, ...]) -> Tensor:
    """1 / (1e-4 + RMS of x over `dims`), in at least float32, dimensions kept."""
    accumulate = torch.float32 if x.dtype in (torch.bfloat16, torch.float16) else x.dtype
    count = math.prod([x.shape[d] for d in dims])
    norm = torch.linalg.vector_norm(x, dim=dims, keepdim=True, dtype=accumulate)
    scale: Tensor = (norm * count**-0.5 + _EPS).reciprocal()
    return scale


def normalize(x: Tensor, dims: tuple[int, ...] | None = None) -> Tensor:
    """`x` with unit RMS over `dims` (default: all but the first), same shape and dtype."""
    dims = tuple(range(1, x.ndim)) if dims is None else dims
    return x * _rms_scale(x, dims).to(x.dtype)


def sum_factors(t: float) -> tuple[float, float]:
    """Factors of a and b in mp_sum(a, b, t) = lerp(a, b, t) / sqrt((1-t)^2 + t^2)."""
    size = math.hypot(1 - t, t)
    return (1 - t) / size, t / size


def mp_cat(a: Tensor, b: Tensor, t: float) -> Tensor:
    """Channels of a then b; b contributes the share t of the magnitude whatever the channel counts."""
    na, nb = a.shape[1], b.shape[1]
    total = math.sqrt((na + nb) / ((1 - t) ** 2 + t**2))
    return torch.cat([a * (total * (1 - t) / math.sqrt(na)), b * (total * t / math.sqrt(nb))], dim=1)


class MPConv(nn.Module):
    """Linear map or same-padded convolution without bias, its weight rows kept at unit RMS.

    In train mode each forward first overwrites the weight with its normalised value (forced weight
    normalisation); in both modes the map uses normalize(weight) * gain / sqrt(fan_in). `factor` is a constant
    part of the gain: scalings of inputs and outputs moved here cost no pass over the activations.
    """

    def __init__(self, inputs: int, outputs: int, *kernel: int, factor: float = 1.0) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(outputs, inputs, *kernel))
        self.factor = factor
        self.register_buffer("folded", None, persistent=False)

    folded: Tensor | None

    def effective_weight(self, gain: Tensor | float = 1.0, dtype: torch.dtype | None = None) -> Tensor:
        """normalize(weight) * factor * gain / sqrt(fan_in), in `dtype` (default: the parameter's)."""
        if self.folded is not None:
            return self.folded
        if self.training and not torch.compiler.is_compiling():  # a compiled graph loses such writes
            self.rewrite()
        dims = tuple(range(1, self.weight.ndim))
        scale = _rms_scale(self.weight, dims) * (gain * (self.factor * self.weight[0].numel() ** -0.5))
        weight: Tensor = (self.weight * scale).to(dtype)
        return weight

    @torch.no_grad()
    def rewrite(self) -> None:
        """Overwrites the weight with its normalised value."""
        self.weight.copy_(normalize(self.weight))

    def forward(self, x: Tensor, gain: Tensor | float = 1.0) -> Tensor:
        weight = self.effective_weight(gain, x.dtype)
        if weight.ndim == 2:
            return x @ weight.t()
        return F.conv2d(x, weight, padding=weight.shape[-1] // 2)

    def fold(self, gain: Tensor | float, dtype: torch.dtype | None) -> None:
        """Replaces the parameter by the effective weight, for good; under no state_dict name."""
        folded = self.effective_weight(gain, dtype)
        del self.weight
        self.folded = folded


def compiled(net: nn.Module) -> Callable[..., Any]:
    """A network that trains through torch.compile: weights are normalised before the graph, as the network does within."""
    graph, layers = torch.compile(net), [layer for layer in net.modules() if isinstance(layer, MPConv)]

    def forward(*args: Any, **options: Any) -> Any:
        for layer in layers:
            if layer.training:
                layer.rewrite()
        return graph(*args, **options)

    return forward


class FixedConditions(nn.Module):
    """Conditions given from outside, column k that of class k: a constant that no weight normalisation rewrites."""

    weight: Tensor
    folded = None

    def __init__(self, classes: int, outputs: int) -> None:
        super().__init__()
        self.register_buffer("weight", torch.zeros(outputs, classes))

    def effective_weight(self, gain: float = 1.0) -> Tensor:
        """The columns as they are; gains belong to learned conditions."""
        return self.weight


class MPFourier(nn.Module):
    """Random Fourier features sqrt(2) cos(f x + phase) of a scalar."""

    freqs: Tensor
    phases: Tensor

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.register_buffer("freqs", 2 * math.pi * torch.randn(channels))
        self.register_buffer("phases", 2 * math.pi * torch.rand(channels))

    def forward(self, x: Float[Tensor, " b"]) -> Float[Tensor, "b c"]:
        return torch.cos(torch.outer(x, self.freqs) + self.phases) * math.sqrt(2)


class Resample(nn.Module):
    """Factor-two resampling by a separable kernel; [1, 1] is 2x2 mean and pixel duplication."""

    def __init__(self, mode: Literal["keep", "down", "up"], kernel: Sequence[float]) -> None:
        super().__init__()
        if len(kernel) % 2 or sum(kernel) == 0:
            raise ValueError(f"resample_filter={list(kernel)}: an even number of taps with a non-zero sum is needed")
        self.mode, self.taps = mode, [tap / sum(kernel) for tap in kernel]

    def forward(self, x: Tensor) -> Tensor:
        if self.mode == "keep":
            return x
        if self.taps == [0.5, 0.5]:
            return F.avg_pool2d(x, 2) if self.mode == "down" else F.interpolate(x, scale_factor=2.0, mode="nearest")
        channels, pad = x.shape[1], len(self.taps) // 2 - 1
        taps = x.new_tensor(self.taps, dtype=torch.promote_types(x.dtype, torch.float32))
        kernel = torch.outer(taps, taps).to(x.dtype).expand(channels, 1, -1, -1)
        if self.mode == "down":
            return F.conv2d(x, kernel, stride=2, padding=pad, groups=channels)
        return F.conv_transpose2d(x, kernel * 4, stride=2, padding=pad, groups=channels)
