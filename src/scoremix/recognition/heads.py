"""Classification heads of a recognizer: margins between classes on the unit sphere (paper 4.1).

Every head holds one row of `weight` (C, D) per class and takes raw embeddings. Orientation is that of
`nn.Linear` and of arcface_torch; AdaFace's published `kernel` is the transpose. A margin changes only the
logit of a sample's own class.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional as F

Gradient = Literal["exact", "straight_through"]


def weighted_labels(targets: Float[Tensor, "b c"]) -> tuple[Int[Tensor, "b m"], Float[Tensor, "b m"]]:
    """Labels and weights of the non-zero entries of float targets.

    m is the largest count in a row; rows with fewer are filled up with weight 0. Raises ValueError for
    negative or non-finite entries.
    """
    if not bool((torch.isfinite(targets) & (targets >= 0)).all()):
        raise ValueError("targets: float targets must be finite and not negative")
    count = max(int((targets > 0).sum(1).max()), 1)
    weights, labels = targets.topk(count, dim=1)
    return labels, weights


def own_cosine(cosine: Float[Tensor, "b c"], labels: Int[Tensor, " b"]) -> Float[Tensor, " b"]:
    """Cosine of each row with its own class; 0 where the label is -1 (class held elsewhere)."""
    own = cosine.gather(1, labels.clamp(min=0)[:, None])[:, 0]
    return torch.where(labels >= 0, own, torch.zeros_like(own))


def with_own(cosine: Float[Tensor, "b c"], labels: Int[Tensor, " b"], own: Float[Tensor, " b"]) -> Float[Tensor, "b c"]:
    """`cosine` with each row's own class set to `own`; rows with label -1 are kept."""
    column = labels.clamp(min=0)[:, None]
    new = torch.where(labels[:, None] >= 0, own[:, None], cosine.gather(1, column))
    return cosine.scatter(1, column, new)


def shift_angle(cosine: Float[Tensor, " b"], margin: float) -> Float[Tensor, " b"]:
    """cos(theta + margin), continued by cos(theta) - margin sin(margin) where theta + margin > pi.

    The continuation (Deng et al., the authors' code) keeps the logit falling with theta: the hardest
    samples keep a gradient.
    """
    # the gradient's 1 / sin cancels against that of the normalisation; the floor keeps 0 / 0 out
    sine = (1 - cosine.square()).clamp(min=1e-7).sqrt()
    shifted = cosine * math.cos(margin) - sine * math.sin(margin)
    return torch.where(cosine > -math.cos(margin), shifted, cosine - margin * math.sin(margin))


class Head(nn.Module):
    """What all heads share; `classify` is what they differ in."""

    def __init__(self, dim: int, classes: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(classes, dim).normal_(0, 0.01))

    def classify(self, x: Float[Tensor, "b d"]) -> Callable[[Tensor], Tensor]:
        """Function from labels (B,) to logits (B, C) with the margin on those labels (-1: none)."""
        raise NotImplementedError

    def cosine(self, x: Float[Tensor, "b d"]) -> Float[Tensor, "b c"]:
        """Cosines of embeddings and classes in [-1, 1]."""
        return F.linear(F.normalize(x), F.normalize(self.weight.to(x.dtype))).clamp(-1, 1)

    def centers(self) -> Float[Tensor, "c d"]:
        """Unit vectors of the classes."""
        return F.normalize(self.weight.detach())

    @torch.no_grad()
    def turn_to(self, centers: Float[Tensor, "c d"]) -> None:
        """Rows in the directions of unit `centers`, with the lengths they have on average."""
        self.weight.copy_(centers.to(self.weight) * self.weight.norm(dim=1).mean())

    def forward(
        self,
        embeddings: Float[Tensor, "b d"],
        labels: Int[Tensor, " b"] | Int[Tensor, "b m"] | Float[Tensor, "b c"],
        weights: Float[Tensor, "b m"] | None = None,
    ) -> Float[Tensor, " b"]:
        """Loss of each sample, computed in float32 (float64 for float64 input) also under autocast.

        A sample of several classes has labels (B, m) and weights (B, m), or float targets (B, C), which
        mean the same; its loss is sum_k w_k CE_k, where CE_k is the cross entropy with the margin on
        class k alone.
        """
        if labels.is_floating_point():
            labels, weights = weighted_labels(labels)
        with torch.autocast(embeddings.device.type, enabled=False):
            logits = self.classify(embeddings if embeddings.dtype == torch.float64 else embeddings.float())
            if weights is None:
                return F.cross_entropy(logits(labels), labels, reduction="none")
            each = [F.cross_entropy(logits(k), k, reduction="none") for k in labels.unbind(1)]
            return (weights * torch.stack(each, 1)).sum(1)


class CombinedMargin(Head):
    """Own logit scale * (cos(theta + angular) - additive): ArcFace's combined margin with m1 = 1.

    `gradient="exact"` differentiates the margin. `"straight_through"` is the variant of arcface_torch
    since December 2022: the angle moves without a gradient of its own, so d loss / d cosine = scale *
    (softmax - onehot), and theta + margin > pi is not treated. Other classes' cosines above
    `filter_above` become 0 without gradient (interclass filtering).
    """

    def __init__(
        self,
        dim: int,
        classes: int,
        scale: float = 64.0,
        angular: float = 0.5,
        additive: float = 0.0,
        gradient: Gradient = "exact",
        filter_above: float | None = None,
    ) -> None:
        super().__init__(dim, classes)
        if gradient not in ("exact", "straight_through"):
            raise ValueError(f"gradient: {gradient!r} is not one of 'exact', 'straight_through'")
        self.scale, self.angular, self.additive = scale, angular, additive
        self.gradient, self.filter_above = gradient, filter_above

    def logits(self, cosine: Float[Tensor, "b c"], labels: Int[Tensor, " b"]) -> Float[Tensor, "b c"]:
        """Scaled cosines with the margin on each row's label (-1: none)."""
        own = own_cosine(cosine, labels)
        if self.gradient == "straight_through":
            shifted = own + (torch.cos(torch.arccos(own) + self.angular) - own).detach()
        else:
            shifted = shift_angle(own, self.angular) if self.angular else own
        if self.filter_above is not None:
            cosine = cosine.masked_fill(cosine > self.filter_above, 0)
        return self.scale * with_own(cosine, labels, shifted - self.additive)

    def classify(self, x: Float[Tensor, "b d"]) -> Callable[[Tensor], Tensor]:
        cosine = self.cosine(x)
        return lambda labels: self.logits(cosine, labels)


class ArcFace(CombinedMargin):
    """Additive angular margin: own logit scale * cos(theta + margin) (Deng et al. 2019)."""

    def __init__(
        self, dim: int, classes: int, scale: float = 64.0, margin: float = 0.5, gradient: Gradient = "exact"
    ) -> None:
        super().__init__(dim, classes, scale, margin, 0.0, gradient)


class CosFace(CombinedMargin):
    """Additive cosine margin: own logit scale * (cos(theta) - margin) (Wang et al. 2018)."""

    def __init__(self, dim: int, classes: int, scale: float = 64.0, margin: float = 0.4) -> None:
        super().__init__(dim, classes, scale, 0.0, margin)


class AdaFace(Head):
    """Margin that follows image quality, read off the embedding's norm (Kim et al. 2022).

    With |x| clipped to [.001, 100] and z = clip(h (|x| - mean) / (std + 1e-3), -1, 1), the own logit is
    scale * (cos(clip(theta - margin z, eps, pi - eps)) - margin (1 + z)), eps = 1e-3. `batch_mean` and
    `batch_std` (unbiased) are running averages with rate `t_alpha`, moved once per call in training mode
    by the norms of the whole batch: `gathered` brings those of all processes that share it.
    """

    batch_mean: Tensor
    batch_std: Tensor

    def __init__(
        self, dim: int, classes: int, scale: float = 64.0, margin: float = 0.4, h: float = 0.333, t_alpha: float = 0.01
    ) -> None:
        super().__init__(dim, classes)
        self.scale, self.margin, self.h, self.t_alpha = scale, margin, h, t_alpha
        self.gathered: Callable[[Tensor], Tensor] = lambda norms: norms
        self.register_buffer("batch_mean", torch.full((1,), 20.0))
        self.register_buffer("batch_std", torch.full((1,), 100.0))

    @torch.no_grad()
    def quality(self, norms: Float[Tensor, " b"]) -> Float[Tensor, " b"]:
        """z in [-1, 1] from the norms of raw embeddings; in training mode the averages move first."""
        norms = norms.clamp(1e-3, 100.0)
        every = self.gathered(norms) if self.training else norms
        if self.training and len(every) > 1:
            self.batch_mean.lerp_(every.mean().to(self.batch_mean), self.t_alpha)
            self.batch_std.lerp_(every.std().to(self.batch_std), self.t_alpha)
        return (self.h * (norms - self.batch_mean) / (self.batch_std + 1e-3)).clamp(-1, 1)

    def logits(
        self, cosine: Float[Tensor, "b c"], labels: Int[Tensor, " b"], z: Float[Tensor, " b"]
    ) -> Float[Tensor, "b c"]:
        """Scaled cosines with the margin of quality z on each row's label (-1: none)."""
        eps = 1e-3
        theta = torch.arccos(own_cosine(cosine, labels).clamp(-1 + eps, 1 - eps))
        own = torch.cos((theta - self.margin * z).clamp(eps, math.pi - eps)) - self.margin * (1 + z)
        return self.scale * with_own(cosine, labels, own)

    def classify(self, x: Float[Tensor, "b d"]) -> Callable[[Tensor], Tensor]:
        cosine, z = self.cosine(x), self.quality(x.detach().norm(dim=1))
        return lambda labels: self.logits(cosine, labels, z)


class Softmax(Head):
    """Linear classifier with bias: no margin, no normalisation. `centers` leaves the bias out."""

    def __init__(self, dim: int, classes: int) -> None:
        super().__init__(dim, classes)
        self.bias = nn.Parameter(torch.zeros(classes))

    def classify(self, x: Float[Tensor, "b d"]) -> Callable[[Tensor], Tensor]:
        logits = F.linear(x, self.weight.to(x.dtype), self.bias.to(x.dtype))
        return lambda _: logits
