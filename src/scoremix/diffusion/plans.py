"""A plan turns noise into images of mixed classes: solver, noise levels, guidance, and its price in evaluations."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any, Literal, NamedTuple, assert_never

import torch
from jaxtyping import Float, Int
from torch import Tensor

from scoremix.diffusion import solvers
from scoremix.diffusion.denoisers import (
    Counted,
    Denoiser,
    Network,
    Weights,
    autoguide,
    condition,
    mix,
    mix_conditions,
    preserving,
    within,
)
from scoremix.diffusion.feynman_kac import Weighing
from scoremix.diffusion.solvers import UnitNoise, karras_sigmas
from scoremix.diffusion.unet import EDM2

Interval = tuple[float, float]  # of sigma, low and high


@dataclass(frozen=True)
class Plan:
    """How the mix is made; the defaults are the paper's (3.2): Heun, every class of main and guide at every call.

    guide: `each` mixes the guide's classes as the main network's; `condition` asks it once, for the mixed condition
    (an approximation: the guide of the mix is not the mix of the guides); `unconditional` asks a network without
    classes once. Outside `guide_interval` there is no guidance, outside `mixing_interval` the mixed condition stands
    for the mix. `weights_end` makes the weights move to these, linearly in log sigma, on the way to sigma_min.
    """

    solver: Literal["heun", "euler", "ddim", "dpm2m"] = "heun"
    steps: int = 32
    sigma_min: float = 0.002
    sigma_max: float = 80.0
    rho: float = 7.0
    churn: float = 0.0
    guidance: float = 1.3
    guide: Literal["each", "condition", "unconditional"] = "each"
    guide_interval: Interval | None = None
    mixture: Literal["scores", "conditions"] = "scores"
    mixing_interval: Interval | None = None
    weights_end: tuple[float, ...] | None = None
    space: Literal["denoised", "score"] = "denoised"

    def sigmas(self) -> Float[Tensor, " steps+1"]:
        return karras_sigmas(self.steps, self.sigma_min, self.sigma_max, self.rho)

    def denoiser(self, main: Network, guide: Network | None, labels: Int[Tensor, "b m"], weights: Weights) -> Denoiser:
        """The guided mix at every level. ValueError for a guide that does not fit the plan, and as for `mix`."""
        weights = weights if labels.shape[1] == 1 else self.scheduled(weights)
        mixed = self.mixed(main, labels, weights)
        if self.guidance == 1:
            return mixed
        if guide is None:
            raise ValueError(f"guidance {self.guidance:g} needs a guide; without one it must be 1")
        guided = autoguide(mixed, self.guiding(guide, main, labels, weights), self.guidance)
        return guided if self.guide_interval is None else within(self.guide_interval, guided, mixed)

    def mixed(self, net: Network, labels: Int[Tensor, "b m"], weights: Weights) -> Denoiser:
        """The mix by one network, without guidance."""
        if self.mixture == "conditions":
            return mix_conditions(net, labels, weights)
        mixed = mix(net, labels, weights, self.space)
        if self.mixing_interval is None or labels.shape[1] == 1:
            return mixed
        return within(self.mixing_interval, mixed, mix_conditions(net, labels, preserving(weights)))

    def guiding(self, guide: Network, main: Network, labels: Int[Tensor, "b m"], weights: Weights) -> Denoiser:
        """What the mix is guided by."""
        classes, wanted = getattr(guide, "label_dim", None), getattr(main, "label_dim", None)
        if (self.guide == "unconditional") != (classes == 0):
            raise ValueError(
                f"guide {self.guide!r}: the guide network has {classes} classes; 'unconditional' is for one trained "
                "without classes, 'each' and 'condition' for one with the classes of the main network"
            )
        if self.guide != "unconditional" and classes != wanted:
            raise ValueError(f"the guide knows {classes} classes, the main network {wanted}: they must be the same")
        match self.guide:
            case "each":
                return self.mixed(guide, labels, weights)
            case "condition":
                return mix_conditions(guide, labels, weights if self.mixture == "conditions" else preserving(weights))
            case "unconditional":
                return condition(guide, None)
            case _:
                assert_never(self.guide)

    def scheduled(self, weights: Weights) -> Weights:
        """`weights` at sigma_max, `weights_end` at sigma_min, linear in log sigma; the weights alone without an end."""
        if self.weights_end is None or (callable(weights) and not isinstance(weights, Tensor)):
            return weights
        begin, end = (torch.as_tensor(w, dtype=torch.float64) for w in (weights, self.weights_end))
        if begin.shape[-1:] != end.shape:
            raise ValueError(f"weights_end {list(self.weights_end)}: {begin.shape[-1]} classes are mixed, one for each")
        span = math.log(self.sigma_max / self.sigma_min)

        def at(sigma: Tensor) -> Tensor:
            share = math.log(self.sigma_max / max(float(sigma), self.sigma_min)) / span
            return torch.lerp(begin, end.to(begin.device), min(max(share, 0.0), 1.0))

        return at

    def solve(
        self, denoiser: Callable[[Tensor, Tensor], Tensor], noise: Callable[..., Tensor], device: torch.device | str
    ) -> Tensor:
        """End of the plan's path from noise() * sigma_max; churn draws more of it."""
        sigmas = self.sigmas().to(device, torch.float32)
        x = noise() * sigmas[0]
        match self.solver:
            case "heun":
                return solvers.heun(denoiser, x, sigmas, churn=self.churn, noise=noise)
            case "euler" | "ddim":
                return solvers.euler(denoiser, x, sigmas)
            case "dpm2m":
                return solvers.dpm2m(denoiser, x, sigmas)
            case _:
                assert_never(self.solver)

    def evaluations(self, m: int) -> int:
        """Network evaluations per image of an m-class mix, main and guide: the plan is walked with networks that
        only count.
        """
        return sum(self.evaluations_of(m))

    def evaluations_of(self, m: int) -> tuple[int, int]:
        """Evaluations per image by the main network and by the guide."""
        plan = replace(self, weights_end=None if self.weights_end is None else (1 / m,) * m)
        main, guide = Counted(_Still(m)), Counted(_Still(0 if self.guide == "unconditional" else m))
        denoiser = plan.denoiser(main, guide, torch.arange(m)[None], [1 / m] * m)
        plan.solve(denoiser, lambda like=None: torch.zeros(1, 1), "cpu")
        return main.images, guide.images


@dataclass(frozen=True)
class _Still:
    """A network that returns its input."""

    label_dim: int

    def __call__(self, x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        return x


class Sample(NamedTuple):
    images: Float[Tensor, "b c h w"]  # in the generator's own scale
    log_weight: Float[Tensor, " b"] | None  # Feynman-Kac, float64; None where the plan defines none
    disagreement: Float[Tensor, " b"] | None  # the classes' part of it, positive
    evaluations: int  # of networks for each image, as counted


def sample(
    main: EDM2,
    guide: EDM2 | None,
    labels: Int[Tensor, "b m"],
    weights: Weights,
    seeds: Sequence[int],
    plan: Plan,
) -> Float[Tensor, "b c h w"]:
    """The images of `weighed_sample` alone."""
    return weighed_sample(main, guide, labels, weights, seeds, plan).images


@torch.no_grad()
def weighed_sample(
    main: EDM2,
    guide: EDM2 | None,
    labels: Int[Tensor, "b m"],
    weights: Weights,
    seeds: Sequence[int],
    plan: Plan,
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
    denoiser = plan.denoiser(first, second, labels, weights)
    weighing = None
    if not plan.churn:
        with suppress(ValueError):  # no log-weight is defined
            weighing = Weighing(denoiser)
    images = plan.solve(weighing or denoiser, UnitNoise(seeds, shape, labels.device), labels.device)
    if not bool(images.isfinite().all()):
        checked = plan.denoiser(
            _checked(main, names), None if guide is None else _checked(guide, names), labels, weights
        )
        plan.solve(checked, UnitNoise(seeds, shape, labels.device), labels.device)
        raise FloatingPointError("the mix overflows at the last level: weights or guidance too large")
    evaluations = (first.images + (0 if second is None else second.images)) // len(labels)
    if weighing is None:
        return Sample(images, None, None, evaluations)
    return Sample(images, weighing.log_weight(), weighing.disagreement(), evaluations)


def _images(net: EDM2) -> str:
    return f"{net.img_resolution} px in {net.img_channels} channel{'s' * (net.img_channels > 1)}"


def _checked(net: EDM2, names: Sequence[str] | None) -> Network:
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
        return out  # type: ignore[no-any-return]

    checked.label_dim = net.label_dim  # type: ignore[attr-defined]
    return checked
