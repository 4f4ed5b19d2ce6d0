"""Denoisers f(x, sigma) of a network: one class, a mix of classes, a guided model (ScoreMix section 3)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor

# A network estimates clean images: (x (b, c, h, w), sigma () or (b,), labels) -> (b, c, h, w), and takes
# label_weights for `mix_conditions`. Labels are checked once against its attribute label_dim, if it has one.
Network = Callable[..., Tensor]
Weights = Sequence[float] | Float[Tensor, "*b m"]


@dataclass(frozen=True)
class Denoiser:
    """A callable (x (b, c, h, w), sigma) -> estimate of the clean images, in the dtype of x."""

    estimate: Callable[[Tensor, Tensor], Tensor]
    evaluations: int  # network evaluations per image and call

    def __call__(self, x: Float[Tensor, "b ..."], sigma: Float[Tensor, ...]) -> Float[Tensor, "b ..."]:
        return self.estimate(x, sigma)


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
    return Denoiser(lambda x, sigma: net(x, sigma, labels).to(x.dtype), evaluations=1)


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
    w = _check_mplets(net, labels, weights)
    b, m = labels.shape
    rows = labels.t().reshape(-1)

    def estimate(x: Tensor, sigma: Tensor) -> Tensor:
        sigma = sigma if sigma.ndim == 0 else sigma.expand(b).repeat(m)
        repeated = x.repeat(m, *[1] * (x.ndim - 1))
        each = net(repeated, sigma, rows).to(x.dtype).reshape(m, *x.shape)
        factors = w.t().reshape(m, b, *[1] * (x.ndim - 1)).to(x.dtype)
        if space == "denoised":
            return (factors * each).sum(0)
        return x + (factors * (each - x)).sum(0)

    return Denoiser(estimate, evaluations=m)


def mix_conditions(net: Network, labels: Int[Tensor, "b m"], weights: Weights) -> Denoiser:
    """Denoiser of each row's mixed condition sum_k w_k C[k] (AugGen), not renormalised: one evaluation.

    The network is called with labels (b, m) and label_weights (b, m). ValueError as for `mix`.
    """
    w = _check_mplets(net, labels, weights)
    return Denoiser(lambda x, sigma: net(x, sigma, labels, label_weights=w).to(x.dtype), evaluations=1)


def autoguide(main: Denoiser, guide: Denoiser, scale: float) -> Denoiser:
    """guide + scale (main - guide) at every call (Karras et al. 2024); scale 1 leaves the guide out.

    ValueError for a scale that is not finite.
    """
    if not torch.isfinite(torch.tensor(scale)):
        raise ValueError(f"scale={scale}: the guidance weight must be finite")
    if scale == 1:
        return main

    def estimate(x: Tensor, sigma: Tensor) -> Tensor:
        return torch.lerp(guide(x, sigma), main(x, sigma), scale)

    return Denoiser(estimate, main.evaluations + guide.evaluations)


def _check_mplets(net: Network, labels: Tensor, weights: Weights) -> Float[Tensor, "b m"]:
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
