"""Denoisers f(x, sigma) of a network: one class, a mix of classes, a guided model (ScoreMix section 3)."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor

# A network estimates clean images: (x (b, c, h, w), sigma () or (b,), labels) -> (b, c, h, w), and takes
# label_weights for `mix_conditions`. Labels are checked once against its attribute label_dim, if it has one.
Network = Callable[..., Tensor]
Weights = Sequence[float] | Float[Tensor, "*b m"] | Callable[[Tensor], Tensor]  # the last: a schedule over sigma


@dataclass(frozen=True)
class Denoiser:
    """A callable (x (b, c, h, w), sigma) -> estimate of the clean images, in the dtype of x.

    The estimate is sum_k w_k D_k over network evaluations D_k. Their spreads, (b, 2) float64, are what a Feynman-Kac
    weight grows by (`feynman_kac`): sum_k w_k |D_k - estimate|^2 with the guide, and of the classes alone without it.
    `total` is sum_k w_k, one number or one per row, None where weights change with sigma.
    """

    parts: Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]  # estimate, spreads
    total: float | Tensor | None = 1.0

    def __call__(self, x: Float[Tensor, "b ..."], sigma: Float[Tensor, ...]) -> Float[Tensor, "b ..."]:
        return self.parts(x, sigma)[0]


@dataclass
class Counted:
    """A network that counts the images that went through it."""

    network: Network
    images: int = 0

    def __call__(self, x: Tensor, *args: object, **kwargs: object) -> Tensor:
        self.images += len(x)
        return self.network(x, *args, **kwargs)

    def __getattr__(self, name: str) -> object:  # label_dim, img_resolution ...
        return getattr(self.network, name)


def condition(net: Network, labels: Int[Tensor, " b"] | Float[Tensor, "b l"] | None) -> Denoiser:
    """Denoiser of one condition per row: classes (b,), soft labels (b, L), or None for none.

    ValueError for classes outside the network's.
    """
    if labels is not None and not labels.is_floating_point():
        _check_classes(net, labels)
    return _single(lambda x, sigma: net(x, sigma, labels))


def mix(
    net: Network,
    labels: Int[Tensor, "b m"],
    weights: Weights,
    space: Literal["denoised", "score"] = "denoised",
) -> Denoiser:
    """Denoiser of the mix of the m classes of each row, all m·b conditions in one forward.

    `denoised`: D = sum_k w_k D_k. `score`: the score (D - x) / sigma^2 is sum_k w_k s_k, that is
    D = x + sum_k w_k (D_k - x). They agree where weights sum to 1; any finite weights are taken.
    ValueError for weights not finite or of the wrong shape, and for unknown or repeated classes.
    """
    if space not in ("denoised", "score"):
        raise ValueError(f"space={space!r}: must be 'denoised' or 'score'")
    at, total = _weights(net, labels, weights)
    b, m = labels.shape
    rows = labels.t().reshape(-1)

    def parts(x: Tensor, sigma: Tensor) -> tuple[Tensor, Tensor]:
        spatial = [1] * (x.ndim - 1)
        levels = sigma if sigma.ndim == 0 else sigma.expand(b).repeat(m)
        each = net(x.repeat(m, *spatial), levels, rows).to(x.dtype).reshape(m, *x.shape)
        w = at(sigma).t()
        factors = w.reshape(m, b, *spatial).to(x.dtype)
        estimate = (factors * each).sum(0) if space == "denoised" else x + (factors * (each - x)).sum(0)
        spread = (w.double() * _size(each - estimate, 2)).sum(0)
        return estimate, torch.stack([spread, spread], dim=1)

    return Denoiser(parts, total)


def mix_conditions(net: Network, labels: Int[Tensor, "b m"], weights: Weights) -> Denoiser:
    """Denoiser of each row's mixed condition sum_k w_k C[k] (AugGen), not renormalised: one evaluation.

    The network is called with labels (b, m) and label_weights (b, m). ValueError as for `mix`.
    """
    at, _ = _weights(net, labels, weights)
    return _single(lambda x, sigma: net(x, sigma, labels, label_weights=at(sigma)))


def autoguide(main: Denoiser, guide: Denoiser, scale: float) -> Denoiser:
    """guide + scale (main - guide) at every call (Karras et al. 2024); scale 1 leaves the guide out.

    ValueError for a scale that is not finite.
    """
    if not math.isfinite(scale):
        raise ValueError(f"scale={scale}: the guidance weight must be finite")
    if scale == 1:
        return main

    def parts(x: Tensor, sigma: Tensor) -> tuple[Tensor, Tensor]:
        (d0, spread0), (d1, spread1) = guide.parts(x, sigma), main.parts(x, sigma)
        between = scale * (1 - scale) * _size(d1 - d0, 1)
        whole = scale * spread1[:, 0] + (1 - scale) * spread0[:, 0] + between
        return torch.lerp(d0, d1, scale), torch.stack([whole, spread1[:, 1]], dim=1)

    known = main.total is not None and guide.total is not None
    return Denoiser(parts, scale * main.total + (1 - scale) * guide.total if known else None)  # type: ignore[operator]


def within(interval: tuple[float, float], inside: Denoiser, outside: Denoiser) -> Denoiser:
    """`inside` at low <= sigma <= high, `outside` elsewhere; one level for all rows (guidance intervals:
    Kynkaanniemi et al. 2024).

    ValueError unless 0 <= low < high.
    """
    low, high = interval
    if not 0 <= low < high:
        raise ValueError(f"interval ({low:g}, {high:g}): must be (low, high) in sigma, 0 <= low < high")
    return Denoiser(lambda x, sigma: (inside if low <= float(sigma) <= high else outside).parts(x, sigma), None)


def preserving(weights: Weights) -> Weights:
    """weights / |weights|: mixed conditions then keep the size of one, where those of classes are orthogonal."""
    if callable(weights) and not isinstance(weights, Tensor):
        schedule = weights
        return lambda sigma: _unit(schedule(sigma))
    return _unit(weights if isinstance(weights, Tensor) else torch.tensor(weights, dtype=torch.float64))


def _single(network: Callable[[Tensor, Tensor], Tensor]) -> Denoiser:
    """The denoiser of one evaluation."""

    def parts(x: Tensor, sigma: Tensor) -> tuple[Tensor, Tensor]:
        return network(x, sigma).to(x.dtype), torch.zeros(len(x), 2, dtype=torch.float64, device=x.device)

    return Denoiser(parts)


def _unit(w: Tensor) -> Tensor:
    unit: Tensor = w / torch.linalg.vector_norm(w, dim=-1, keepdim=True)
    return unit


def _size(x: Tensor, batch_dims: int) -> Tensor:
    """Squared Euclidean norms over all but the first dimensions, float64."""
    return x.flatten(batch_dims).square().sum(-1, dtype=torch.float64)


def _weights(
    net: Network, labels: Tensor, weights: Weights
) -> tuple[Callable[[Tensor], Float[Tensor, "b m"]], Tensor | None]:
    """The weights as a function of sigma, and their sums unless they change with it; all checks made."""
    if callable(weights) and not isinstance(weights, Tensor):
        schedule = weights
        _check_mplets(net, labels, [1.0] * labels.shape[-1])
        return lambda sigma: schedule(sigma).expand(labels.shape), None
    w = _check_mplets(net, labels, weights)
    return lambda sigma: w, w.sum(1)


def _check_mplets(net: Network, labels: Tensor, weights: Sequence[float] | Tensor) -> Float[Tensor, "b m"]:
    """The weights of each row, after every check of the public functions."""
    if labels.ndim != 2 or labels.is_floating_point() or labels.shape[1] < 1:
        raise ValueError(f"labels of shape {tuple(labels.shape)} and type {labels.dtype}: must be integer (rows, m)")
    w = weights if isinstance(weights, Tensor) else torch.tensor(weights, dtype=torch.float64)
    w = w.to(labels.device)
    if w.shape not in (labels.shape, labels.shape[1:]):
        raise ValueError(
            f"weights of shape {tuple(w.shape)}: must be ({labels.shape[1]},) or {tuple(labels.shape)}, "
            "one per class of the m-plets"
        )
    if not w.isfinite().all():
        raise ValueError(f"weights={w.flatten()[~w.flatten().isfinite()].tolist()}: every weight must be finite")
    _check_classes(net, labels)
    ordered = labels.sort(dim=1).values
    if (repeated := (ordered[:, 1:] == ordered[:, :-1]).any(1)).any():
        row = labels[repeated][0].tolist()
        raise ValueError(f"labels {row}: a class is repeated in one m-plet, the classes must differ")
    return w.expand(labels.shape)


def _check_classes(net: Network, labels: Tensor) -> None:
    classes = getattr(net, "label_dim", None)
    if classes is None or labels.numel() == 0:
        return
    low, high = labels.aminmax()
    if low < 0 or high >= classes:
        wrong = int(low) if low < 0 else int(high)
        raise ValueError(f"label {wrong}: the network knows the classes 0 to {classes - 1}")
