"""A plan turns noise into images of mixed classes: solver, noise levels, guidance, and its price in evaluations."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor

from scoremix.diffusion.denoisers import Denoiser, Weights, autoguide, mix, mix_conditions
from scoremix.diffusion.solvers import UnitNoise, heun, karras_sigmas
from scoremix.diffusion.unet import EDM2


@dataclass(frozen=True)
class Plan:
    """Heun on Karras levels (paper 3.2) with autoguidance of the mix by an earlier snapshot."""

    steps: int = 32
    sigma_min: float = 0.002
    sigma_max: float = 80.0
    rho: float = 7.0
    churn: float = 0.0
    guidance: float = 1.3
    mixture: Literal["scores", "conditions"] = "scores"
    space: Literal["denoised", "score"] = "denoised"

    @property
    def denoiser_calls(self) -> int:
        """Heun evaluates twice per step but for the last one."""
        return 2 * self.steps - 1

    def evaluations(self, m: int) -> int:
        """Network evaluations per image of an m-class mix, main and guide together."""
        each = m if self.mixture == "scores" else 1
        return self.denoiser_calls * each * (1 if self.guidance == 1 else 2)

    def mixed(self, net: EDM2, labels: Int[Tensor, "b m"], weights: Weights) -> Denoiser:
        """The mix by one network, without guidance."""
        if self.mixture == "conditions":
            return mix_conditions(net, labels, weights)
        return mix(net, labels, weights, self.space)


@torch.no_grad()
def sample(
    main: EDM2,
    guide: EDM2,
    labels: Int[Tensor, "b m"],
    weights: Weights,
    seeds: Sequence[int],
    plan: Plan,
) -> Float[Tensor, "b c h w"]:
    """Images of m-class mixes in the generator's own scale; image i starts from the noise of seeds[i].

    Guide and main are mixed with the same weights, then guided: guide + g (main - guide) (method of the paper, 3.2).
    """
    shape = (main.img_channels, main.img_resolution, main.img_resolution)
    denoiser = plan.mixed(main, labels, weights)
    if plan.guidance != 1:
        denoiser = autoguide(denoiser, plan.mixed(guide, labels, weights), plan.guidance)
    sigmas = karras_sigmas(plan.steps, plan.sigma_min, plan.sigma_max, plan.rho).to(labels.device, torch.float32)
    noise = UnitNoise(seeds, shape, labels.device)
    return heun(denoiser, noise() * sigmas[0], sigmas, churn=plan.churn, noise=noise)
