"""MixUp, CutMix and MixUp of embeddings in their usual soft-label form: controls that need no generator.

Partners are the batch read backwards: its order is random already. Each image has its own share, Beta(a, a).
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

Images = Float[Tensor, "b c h w"]


def partnered(
    labels: Int[Tensor, "b k"], weights: Float[Tensor, "b k"], share: Float[Tensor, " b"]
) -> tuple[Int[Tensor, "b kk"], Float[Tensor, "b kk"]]:
    """Labels and weights of `share` of each image and 1 - share of its partner."""
    first = share.to(weights)[:, None]
    return torch.cat([labels, labels.flip(0)], 1), torch.cat([first * weights, (1 - first) * weights.flip(0)], 1)


def shares(count: int, alpha: float, generator: torch.Generator) -> Float[Tensor, " b"]:
    """`count` draws from Beta(alpha, alpha), in [0, 1]; alpha 1 is uniform. ValueError unless alpha > 0."""
    if not alpha > 0:
        raise ValueError(f"alpha is {alpha}, must be above 0")
    pairs = torch._standard_gamma(torch.full((count, 2), float(alpha), dtype=torch.float64), generator=generator)
    return (pairs[:, 0] / pairs.sum(1).clamp(min=torch.finfo(torch.float64).tiny)).float()


def mixup(images: Images, share: Float[Tensor, " b"]) -> Images:
    """share x image + (1 - share) x partner (Zhang et al. 2018)."""
    first = share.to(images)[:, None, None, None]
    return first * images + (1 - first) * images.flip(0)


def cutmix(
    images: Images, share: Float[Tensor, " b"], generator: torch.Generator
) -> tuple[Images, Float[Tensor, " b"]]:
    """Images with a box of the partner of area 1 - share, cut off at the border, and the shares that are left.

    The box has the image's proportions and a uniform centre (Yun et al. 2019).
    """
    b, _, h, w = images.shape
    side = (1 - share).clamp(min=0).sqrt()
    centre = torch.rand(b, 2, generator=generator)
    spans = []
    for length, at in ((h, centre[:, 0]), (w, centre[:, 1])):
        half = (side * length).round() / 2
        middle = at * length
        place = torch.arange(length) + 0.5
        spans.append((place >= (middle - half)[:, None]) & (place < (middle + half)[:, None]))
    inside = spans[0][:, :, None] & spans[1][:, None, :]
    left = 1 - inside.float().mean((1, 2))
    return torch.where(inside[:, None].to(images.device), images.flip(0), images), left


def feature_mixup(net: nn.Module, head: nn.Module) -> Callable[[Tensor, Tensor, Tensor | None], Tensor]:
    """Mean loss of embeddings blended with their partners' (manifold mixup at the last layer).

    Labels (B, 2k) and weights (B, 2k) come from `partnered`: the first half belongs to the image itself.
    """

    def objective(images: Tensor, labels: Tensor, weights: Tensor | None) -> Tensor:
        assert weights is not None
        first = weights[:, : weights.shape[1] // 2].sum(1, keepdim=True)
        embeddings = net(images)
        blended = first.to(embeddings) * embeddings + (1 - first).to(embeddings) * embeddings.flip(0)
        loss: Tensor = head(blended, labels, weights).mean()
        return loss

    return objective
