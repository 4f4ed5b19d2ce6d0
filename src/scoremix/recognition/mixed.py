"""How mixed classes count in a recognizer's training: the weight of their images, their margin, what they pull."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional as F

from scoremix.recognition import blending
from scoremix.recognition.heads import Head


@dataclass(frozen=True)
class MixedClasses:
    """Classes from number `real` on are mixed; the defaults treat them as the others."""

    real: int
    weight: float = 1.0  # of the loss of their images, real ones having 1
    margin: bool = True  # false: the head's margin is on real classes alone
    negatives: bool = False  # their images move their centers but not the network
    source_margin: float = 0.0  # added to their images' logits of their sources
    sources: Int[Tensor, "k m"] | None = field(default=None, compare=False)  # of each mixed class, for that margin


def loss(
    embeddings: Float[Tensor, "b d"], labels: Int[Tensor, " b"], head: Head, recipe: MixedClasses
) -> Float[Tensor, " b"]:
    """Loss of each image by raw embeddings, in float32; labels are of the head's classes, one for each image.

    With `negatives`, mixed classes only push: an embedding of one of their images is a constant, so that centers
    follow the mixes and real images are driven away from these centers. With `source_margin`, the logits of a mixed
    image's sources are larger by that much, so that its own class must lead them by more than it must lead others.
    """
    mixed = labels >= recipe.real
    if recipe.negatives:
        embeddings = torch.where(mixed[:, None], embeddings.detach(), embeddings)
    with torch.autocast(embeddings.device.type, enabled=False):
        logits = head.classify(embeddings.float())(labels if recipe.margin else labels.masked_fill(mixed, -1))
        if recipe.sources is not None:
            logits = with_sources_raised(logits, labels, recipe, recipe.sources)
        each = F.cross_entropy(logits, labels, reduction="none")
    return torch.where(mixed, recipe.weight * each, each)


def with_sources_raised(
    logits: Float[Tensor, "b c"], labels: Int[Tensor, " b"], recipe: MixedClasses, sources: Int[Tensor, "k m"]
) -> Float[Tensor, "b c"]:
    """The logits with the recipe's margin added to those of a mixed image's sources; a real image's as they are."""
    own = sources[(labels - recipe.real).clamp(min=0)]
    added = torch.where(labels >= recipe.real, recipe.source_margin, 0.0).to(logits)
    return logits.scatter_add(1, own, added[:, None].expand(own.shape))


class BatchLoss(nn.Module):
    """The mean loss of a batch, of network and head as one module."""

    def __init__(self, net: nn.Module, head: nn.Module, blended: bool, recipe: MixedClasses | None = None) -> None:
        super().__init__()
        self.net, self.head, self.recipe = net, head, recipe
        self.blended = blending.feature_mixup(net, head) if blended else None

    def forward(self, images: Tensor, labels: Tensor, weights: Tensor | None) -> Tensor:
        if self.blended:
            return self.blended(images, labels, weights)
        if self.recipe:
            assert isinstance(self.head, Head)
            return loss(self.net(images), labels, self.head, self.recipe).mean()
        mean: Tensor = self.head(self.net(images), labels, weights).mean()
        return mean
