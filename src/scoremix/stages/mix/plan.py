"""A plan turns noise into images of mixed classes: solver, noise levels, guidance, and its price in evaluations."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple, assert_never

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from scoremix.config import SamplingPlan
from scoremix.diffusion import solvers
from scoremix.diffusion.adapters import Adapted
from scoremix.diffusion.denoisers import (
    Counted,
    Denoiser,
    Network,
    Weights,
    autoguide,
    by_class,
    condition,
    mix,
    mix_conditions,
    preserving,
    within,
)
from scoremix.diffusion.feynman_kac import Weighing, resampled
from scoremix.diffusion.solvers import UnitNoise, karras_sigmas
from scoremix.diffusion.unet import EDM2


def denoiser_of(
    plan: SamplingPlan, main: Network, guide: Network | None, labels: Int[Tensor, "b m"], weights: Weights
) -> Denoiser:
    """The guided mix at every level. ValueError for a guide that does not fit the plan, and as for `mix`."""
    weights = weights if labels.shape[1] == 1 else scheduled(plan, weights)
    mixed = mixed_by(plan, main, labels, weights)
    if plan.guidance == 1:
        return mixed
    if guide is None:
        raise ValueError(f"guidance {plan.guidance:g} needs a guide; without one it must be 1")
    guided = autoguide(mixed, guided_by(plan, guide, main, labels, weights), plan.guidance)
    return guided if plan.guide_interval is None else within(plan.guide_interval, guided, mixed)


def mixed_by(plan: SamplingPlan, net: Network, labels: Int[Tensor, "b m"], weights: Weights) -> Denoiser:
    """The mix by one network, without guidance."""
    if plan.mixture == "conditions":
        return mix_conditions(net, labels, weights)
    mixed = mix(net, labels, weights, plan.space)
    if plan.mixing_interval is None or labels.shape[1] == 1:
        return mixed
    return within(plan.mixing_interval, mixed, mix_conditions(net, labels, preserving(weights)))


def guided_by(
    plan: SamplingPlan, guide: Network, main: Network, labels: Int[Tensor, "b m"], weights: Weights
) -> Denoiser:
    """What the mix is guided by."""
    classes, wanted = getattr(guide, "label_dim", None), getattr(main, "label_dim", None)
    if (plan.guide == "unconditional") != (classes == 0):
        raise ValueError(
            f"guide {plan.guide!r}: the guide network has {classes} classes; 'unconditional' is for one trained "
            "without classes, 'each' and 'condition' for one with the classes of the main network"
        )
    if plan.guide != "unconditional" and classes != wanted:
        raise ValueError(f"the guide knows {classes} classes, the main network {wanted}: they must be the same")
    match plan.guide:
        case "each":
            return mixed_by(plan, guide, labels, weights)
        case "condition":
            return mix_conditions(guide, labels, weights if plan.mixture == "conditions" else preserving(weights))
        case "unconditional":
            return condition(guide, None)
        case _:
            assert_never(plan.guide)


def guide_for(plan: SamplingPlan, net: EDM2) -> EDM2:
    """The network as the plan's guide: one that was trained without classes, too, is asked for none."""
    return net.without_classes() if plan.guide == "unconditional" and net.classless else net


def scheduled(plan: SamplingPlan, weights: Weights) -> Weights:
    """`weights` at sigma_max, `weights_end` at sigma_min, linear in log sigma; the weights alone without an end."""
    if plan.weights_end is None or (callable(weights) and not isinstance(weights, Tensor)):
        return weights
    begin, end = (torch.as_tensor(w, dtype=torch.float64) for w in (weights, plan.weights_end))
    if begin.shape[-1:] != end.shape:
        raise ValueError(f"weights_end {list(plan.weights_end)}: {begin.shape[-1]} classes are mixed, one for each")
    span = math.log(plan.sigma_max / plan.sigma_min)

    def at(sigma: Tensor) -> Tensor:
        share = math.log(plan.sigma_max / max(float(sigma), plan.sigma_min)) / span
        return torch.lerp(begin, end.to(begin.device), min(max(share, 0.0), 1.0))

    return at


def solve(
    plan: SamplingPlan,
    denoiser: Callable[[Tensor, Tensor], Tensor],
    noise: Callable[..., Tensor],
    device: torch.device | str,
    path: Callable[[Denoiser, Tensor, Tensor], tuple[Tensor, ...]] | None = None,
) -> Tensor:
    """End of the plan's path from noise() * sigma_max; churn and eta draw more of it. `path` goes another way along the
    levels, on which images are drawn again; its first result is the end.
    """
    sigmas = levels(plan, device)
    x = noise() * sigmas[0]
    if path is not None:
        return path(denoiser, x, sigmas)[0]
    if plan.mixture == "balanced":
        return solvers.balanced(partial(by_class, denoiser), x, sigmas, noise)
    return solvers.by_name(plan.churn, plan.eta, noise)[plan.solver](denoiser, x, sigmas)


def weighing_of(plan: SamplingPlan, denoiser: Denoiser) -> Weighing | None:
    """The denoiser as one that keeps what log-weights need; None where the plan defines none."""
    if not plan.churn and not plan.eta:
        with suppress(ValueError):
            return Weighing(denoiser)
    return None


def levels(plan: SamplingPlan, device: torch.device | str) -> Float[Tensor, " n+1"]:
    """The plan's noise levels, falling to 0."""
    return karras_sigmas(plan.steps, plan.sigma_min, plan.sigma_max, plan.rho).to(device, torch.float32)


def evaluations(plan: SamplingPlan, m: int) -> int:
    """Network evaluations per image of an m-class mix, main and guide: the plan is walked with networks that
    only count.
    """
    return sum(evaluations_of(plan, m))


def evaluations_of(plan: SamplingPlan, m: int) -> tuple[int, int]:
    """Evaluations per image by the main network and by the guide."""
    plan = plan.model_copy(update={"weights_end": None if plan.weights_end is None else (1 / m,) * m})
    main, guide = Counted(_Still(m)), Counted(_Still(0 if plan.guide == "unconditional" else m))
    denoiser = denoiser_of(plan, main, guide, torch.arange(m)[None], [1 / m] * m)
    solve(plan, denoiser, lambda like=None: torch.zeros(1, 1), "cpu")
    return main.images, guide.images


@dataclass(frozen=True)
class _Still:
    """A network that returns its input."""

    label_dim: int

    def __call__(self, x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        return x


class Sample(NamedTuple):
    """Images of a batch of mixes, and what was measured on their way."""

    images: Float[Tensor, "b c h w"]  # in the generator's own scale
    log_weight: Float[Tensor, " b"] | None  # Feynman-Kac, float64; None where the plan defines none
    disagreement: Float[Tensor, " b"] | None  # the classes' part of it, positive
    evaluations: int  # of networks for each image, as counted


@torch.no_grad()
def sample(
    main: EDM2 | Adapted,
    guide: EDM2 | Adapted | None,
    labels: Int[Tensor, "b m"],
    weights: Weights,
    seeds: Sequence[int],
    plan: SamplingPlan,
    names: Sequence[str] | None = None,
) -> Sample:
    """Images of m-class mixes; image i starts from the noise of seeds[i].

    FloatingPointError naming the level and the class (by `names`, or its number) where a network's output is not
    finite. ValueError for a guide of other images or classes.
    """
    if guide is not None and plan.guidance != 1 and _images(guide) != _images(main):
        raise ValueError(f"the guide makes images of {_images(guide)}, the main network of {_images(main)}")
    shape = (main.img_channels, main.img_resolution, main.img_resolution)
    first, second = Counted(main), None if guide is None else Counted(guide)
    denoiser = denoiser_of(plan, first, second, labels, weights)
    weighing, noise = weighing_of(plan, denoiser), UnitNoise(seeds, shape, labels.device)
    path = None
    if plan.resample is not None and labels.shape[1] > 1:  # a reproduction is no mix: what its guide did is not undone
        uniform, groups = np.random.default_rng([int(seed) for seed in seeds]).random, alike(labels, weights, seeds)
        path = partial(
            resampled, groups=groups, noise=noise, uniform=uniform, churn=plan.churn, threshold=plan.resample
        )
    images = solve(plan, weighing or denoiser, noise, labels.device, path)
    if not bool(images.isfinite().all()):
        checked = denoiser_of(
            plan, _checked(main, names), None if guide is None else _checked(guide, names), labels, weights
        )
        solve(plan, checked, UnitNoise(seeds, shape, labels.device), labels.device)
        raise FloatingPointError("the mix overflows at the last level: weights or guidance too large")
    spent = (first.images + (0 if second is None else second.images)) // len(labels)
    if weighing is None:
        return Sample(images, None, None, spent)
    return Sample(images, weighing.log_weight(), weighing.disagreement(), spent)


def alike(labels: Int[Tensor, "b m"], weights: Weights, seeds: Sequence[int]) -> Int[Tensor, " b"]:
    """A number for the rows of the same classes and weights; -1 for a seed that is there already (rows that fill a chunk)."""
    shares = torch.as_tensor(weights, dtype=torch.float64, device=labels.device).expand(labels.shape)
    groups: Tensor = torch.cat([labels.double(), shares], dim=1).unique(dim=0, return_inverse=True)[1]
    groups[np.setdiff1d(np.arange(len(seeds)), np.unique(seeds, return_index=True)[1])] = -1
    return groups


def _images(net: EDM2 | Adapted) -> str:
    return f"{net.img_resolution} px in {net.img_channels} channel{'s' * (net.img_channels > 1)}"


def _checked(net: EDM2 | Adapted, names: Sequence[str] | None) -> Network:
    """The network, stopping at the first output that is not finite."""

    def checked(x: Tensor, sigma: Tensor, labels: Tensor | None, **options: Any) -> Tensor:
        if not bool(x.isfinite().all()):
            raise FloatingPointError(
                f"the mix overflows before sigma {float(sigma):.4g}: weights or guidance too large"
            )
        out = net(x, sigma, labels, **options)
        broken = ~out.isfinite().flatten(1).all(1)
        if broken.any():
            row = int(broken.nonzero()[0])
            which = "without a class"
            if labels is not None:
                of = labels[row].flatten().tolist()
                which = "for class " + " with ".join(str(k) if names is None else repr(names[k]) for k in of)
            raise FloatingPointError(f"the network's output is not finite at sigma {float(sigma):.4g} {which}")
        return out

    checked.label_dim = net.label_dim  # type: ignore[attr-defined]
    return checked
