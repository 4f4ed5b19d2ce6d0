"""What the networks see on the way from noise to an image: two classes and their mix from one noise (Fig. 1)."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch

from scoremix.data.augment import to_uint8
from scoremix.diffusion.solvers import UnitNoise
from scoremix.stages.mix.plan import denoiser_of, solve, weighing_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray
    from torch import Tensor

    from scoremix.stages.mix.sample import Networks


class Trajectories(NamedTuple):
    """Estimates of the clean image at noise levels `sigmas` (L,), falling, and the image itself at the last, 0."""

    sigmas: NDArray[np.float64]
    estimates: NDArray[np.uint8]  # (B, L, H, W, C)
    disagreement: NDArray[np.float64]  # (B,), NaN where the plan defines none

    @property
    def images(self) -> NDArray[np.uint8]:
        """The images (B, H, W, C) that the paths end in."""
        return self.estimates[:, -1]


def follow(
    networks: Networks,
    labels: NDArray[np.int64],
    weights: NDArray[np.float64],
    seeds: Sequence[int],
    levels: int = 8,
) -> Trajectories:
    """The paths of labels (B, m) under weights (B, m), one noise seed each, at `levels` of the plan's noise levels.

    All B rows are one forward: the images are those of `Networks.weighed` for a chunk of B, bit by bit, where each is
    by itself (`SamplingPlan.alone`).
    """
    plan, device = networks.plan.alone, next(networks.main.buffers()).device
    shares = torch.from_numpy(weights).to(device, torch.float32)
    denoiser = denoiser_of(plan, networks.main, networks.guide, torch.from_numpy(labels).to(device), shares)
    weighing = weighing_of(plan, denoiser)
    seen: dict[float, Tensor] = {}  # a corrector's call comes first at a level, the call at the state after it counts

    def watched(x: Tensor, sigma: Tensor) -> Tensor:
        seen[float(sigma)] = estimate = (weighing or denoiser)(x, sigma)
        return estimate

    net = networks.main
    noise = UnitNoise(seeds, (net.img_channels, net.img_resolution, net.img_resolution), device)
    end = solve(plan, watched, noise, device)
    if not bool(end.isfinite().all()):
        raise FloatingPointError("the mix overflows: weights or guidance too large")
    sigmas = np.array(sorted(seen, reverse=True))
    sigmas = sigmas[np.unique(np.linspace(0, len(sigmas) - 1, levels - 1).round().astype(int))]
    frames = [*(seen[float(sigma)] for sigma in sigmas), end]
    pixels = np.stack([to_uint8(networks.pixels.decode(frame)).cpu().numpy() for frame in frames], axis=1)
    disagreement = np.full(len(labels), np.nan) if weighing is None else weighing.disagreement().numpy()
    return Trajectories(np.append(sigmas, 0.0), pixels, disagreement)
