"""Denoisers f(x, sigma): one class, a mix of classes, a guided model (ScoreMix section 3).

A denoiser is any callable; `autoguide` and `within` take any. What the functions below return is one whose parts can be
asked for (`feynman_kac`).
"""

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
Denoiser = Callable[[Tensor, Tensor], Tensor]  # (x (b, ...), sigma () or (b,)) -> estimate of the clean x
Weights = Sequence[float] | Float[Tensor, "*b m"] | Callable[[Tensor], Tensor]  # the last: a schedule over sigma


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


@dataclass(frozen=True)
class Single:
    """One evaluation of a network under a condition, in the dtype of x."""

    network: Denoiser

    def __call__(self, x: Float[Tensor, "b ..."], sigma: Tensor) -> Float[Tensor, "b ..."]:
        return self.network(x, sigma).to(x.dtype)


@dataclass(frozen=True)
class Mixture:
    """The weighted sum of the estimates D_k of the m classes of each row, all m·b conditions in one forward."""

    net: Network
    labels: Int[Tensor, "b m"]
    weights: Callable[[Tensor], Float[Tensor, "b m"]]  # at a level
    total: Float[Tensor, " b"] | None  # sum of each row's weights; None where they change with sigma
    space: Literal["denoised", "score"]

    def __call__(self, x: Float[Tensor, "b ..."], sigma: Tensor) -> Float[Tensor, "b ..."]:
        return self.parts(x, sigma)[0]

    def parts(self, x: Tensor, sigma: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The estimate (b, ...), the classes' estimates (m, b, ...) and their weights (m, b)."""
        (b, m), spatial, sigma = self.labels.shape, [1] * (x.ndim - 1), torch.as_tensor(sigma)
        levels = sigma if sigma.ndim == 0 else sigma.expand(b).repeat(m)
        each = self.net(x.repeat(m, *spatial), levels, self.labels.t().reshape(-1)).to(x.dtype).reshape(m, *x.shape)
        w = self.weights(sigma).t()
        factors = w.reshape(m, b, *spatial).to(x.dtype)
        estimate = (factors * each).sum(0) if self.space == "denoised" else x + (factors * (each - x)).sum(0)
        return estimate, each, w


@dataclass(frozen=True)
class Guided:
    """guide + scale (main - guide)."""

    main: Denoiser
    guide: Denoiser
    scale: float

    def __call__(self, x: Float[Tensor, "b ..."], sigma: Tensor) -> Float[Tensor, "b ..."]:
        return torch.lerp(self.guide(x, sigma).to(x.dtype), self.main(x, sigma).to(x.dtype), self.scale)


@dataclass(frozen=True)
class Within:
    """`inside` at low <= sigma <= high, `outside` elsewhere."""

    low: float
    high: float
    inside: Denoiser
    outside: Denoiser

    def __call__(self, x: Float[Tensor, "b ..."], sigma: Tensor) -> Float[Tensor, "b ..."]:
        return self.at(sigma)(x, sigma)

    def at(self, sigma: Tensor) -> Denoiser:
        """The one of a level."""
        return self.inside if self.low <= float(sigma) <= self.high else self.outside


def condition(net: Network, labels: Int[Tensor, " b"] | Float[Tensor, "b l"] | None) -> Denoiser:
    """Denoiser of one condition per row: classes (b,), soft labels (b, L), or None for none.

    ValueError for classes outside the network's.
    """
    if labels is not None and not labels.is_floating_point():
        _check_classes(net, labels)
    return Single(lambda x, sigma: net(x, sigma, labels))


def mix(
    net: Network, labels: Int[Tensor, "b m"], weights: Weights, space: Literal["denoised", "score"] = "denoised"
) -> Denoiser:
    """Denoiser of the mix of the m classes of each row, all m·b conditions in one forward.

    `denoised`: D = sum_k w_k D_k. `score`: the score (D - x) / sigma^2 is sum_k w_k s_k, that is
    D = x + sum_k w_k (D_k - x). They agree where weights sum to 1; any finite weights are taken.
    ValueError for weights not finite or of the wrong shape, and for unknown or repeated classes.
    """
    if space not in ("denoised", "score"):
        raise ValueError(f"space={space!r}: must be 'denoised' or 'score'")
    return Mixture(net, labels, *_weights(net, labels, weights), space)


def mix_conditions(net: Network, labels: Int[Tensor, "b m"], weights: Weights) -> Denoiser:
    """Denoiser of each row's mixed condition sum_k w_k C[k] (AugGen), not renormalised: one evaluation.

    The network is called with labels (b, m) and label_weights (b, m). ValueError as for `mix`.
    """
    at, _ = _weights(net, labels, weights)
    return Single(lambda x, sigma: net(x, sigma, labels, label_weights=at(sigma)))


def autoguide(main: Denoiser, guide: Denoiser, scale: float) -> Denoiser:
    """guide + scale (main - guide) at every call (Karras et al. 2024); scale 1 leaves the guide out.

    ValueError for a scale that is not finite.
    """
    if not math.isfinite(scale):
        raise ValueError(f"scale={scale}: the guidance weight must be finite")
    return main if scale == 1 else Guided(main, guide, scale)


def within(interval: tuple[float, float], inside: Denoiser, outside: Denoiser) -> Denoiser:
    """`inside` at low <= sigma <= high, `outside` elsewhere; one level for all rows (guidance intervals:
    Kynkaanniemi et al. 2024).

    ValueError unless 0 <= low < high.
    """
    low, high = interval
    if not 0 <= low < high:
        raise ValueError(f"interval ({low:g}, {high:g}): must be (low, high) in sigma, 0 <= low < high")
    return Within(low, high, inside, outside)


def by_class(denoiser: Denoiser, x: Float[Tensor, "b ..."], sigma: Tensor) -> Float[Tensor, "m b ..."]:
    """The estimates of a mix's m classes, each guided as the mix is; of any other denoiser its one estimate."""
    match denoiser:
        case Mixture():
            return denoiser.parts(x, sigma)[1]
        case Guided(main, guide, scale):
            return torch.lerp(by_class(guide, x, sigma).to(x.dtype), by_class(main, x, sigma).to(x.dtype), scale)
        case Within():
            return by_class(denoiser.at(sigma), x, sigma)
        case _:
            return denoiser(x, sigma)[None]


def preserving(weights: Weights) -> Weights:
    """weights / |weights|: mixed conditions then keep the size of one, where those of classes are orthogonal.

    ValueError where all weights of an m-plet are 0.
    """
    if callable(weights) and not isinstance(weights, Tensor):
        schedule = weights
        return lambda sigma: _unit(schedule(sigma))
    return _unit(weights if isinstance(weights, Tensor) else torch.tensor(weights, dtype=torch.float64))


def _unit(w: Tensor) -> Tensor:
    length = torch.linalg.vector_norm(w, dim=-1, keepdim=True)
    if not bool(length.all()):
        raise ValueError(f"weights {[0.0] * w.shape[-1]}: a mixed condition of no class has no length to keep")
    unit: Tensor = w / length
    return unit


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
