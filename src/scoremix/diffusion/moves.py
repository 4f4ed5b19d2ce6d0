"""Augmentation that does not leak: training images are moved about, the network is told how, and none is when sampling.

For small image sets (Karras et al. 2022, section 5 and appendix F: geometric operations, each with a small probability,
their parameters given to the network as a condition).
"""

import math
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from scoremix.data.augment import Part

LABELS = 7  # scaling; rotation as cosine - 1 and sine; stretching along a direction; translation
SCALED, TRANSLATED = 0.2, 0.125  # standard deviations: of log2 of the factor, and of the share of the side


def moved(
    images: Float[Tensor, "b c s s"], generator: torch.Generator, share: float, part: Part, fill: float | None
) -> tuple[Float[Tensor, "b c s s"], Float[Tensor, "b 7"]]:
    """That part of a batch scaled, rotated, stretched and translated, each with probability `share`; how, as conditions.

    Images that nothing happens to are as they were, and their conditions zero. Uncovered pixels are `fill`, or mirror
    the image. Numbers are drawn for the whole batch on the generator's device.
    """
    rows = slice(part.first, part.first + part.size)
    draw: dict[str, Any] = {"generator": generator, "device": generator.device}
    happens = (torch.rand(part.batch, 4, **draw) < share)[rows].float()
    sizes = torch.randn(part.batch, 4, **draw)[rows] * happens[:, [0, 2, 3, 3]]
    angles = math.pi * (2 * torch.rand(part.batch, 2, **draw)[rows] - 1)
    angle, along = angles[:, 0] * happens[:, 1], angles[:, 1]
    cosine, sine = angle.cos(), angle.sin()
    conditions = [
        sizes[:, 0],
        cosine - 1,
        sine,
        sizes[:, 1] * along.cos(),
        sizes[:, 1] * along.sin(),
        sizes[:, 2],
        sizes[:, 3],
    ]
    labels = torch.stack(conditions, dim=1).to(images.device)
    changed = happens.any(1).nonzero()[:, 0].to(images.device)
    if not len(changed):
        return images, labels
    factor = 2 ** (SCALED * sizes[:, 0])
    stretch = torch.diag_embed(2 ** (SCALED * sizes[:, 1:2] * torch.tensor([1.0, -1.0])))
    linear = factor[:, None, None] * _turn(cosine, sine) @ _turn(along.cos(), along.sin()) @ stretch
    back = torch.linalg.inv(linear @ _turn(along.cos(), -along.sin()))
    move = 2 * TRANSLATED * sizes[:, 2:, None]  # a grid spans 2
    theta = torch.cat([back, -(back @ move)], dim=2).to(images)[changed]
    padding = "reflection" if fill is None else "zeros"
    level = fill or 0.0
    chosen = images[changed] - level
    grid = F.affine_grid(theta, list(chosen.shape), align_corners=False)
    resampled = F.grid_sample(chosen, grid, mode="bicubic", padding_mode=padding, align_corners=False) + level
    return images.index_copy(0, changed, resampled.clamp(-1, 1)), labels


def _turn(cosine: Float[Tensor, " b"], sine: Float[Tensor, " b"]) -> Float[Tensor, "b 2 2"]:
    return torch.stack([torch.stack([cosine, -sine], 1), torch.stack([sine, cosine], 1)], 1)
