"""Is a mixed class a class at all? Similarities inside a class and to other classes, and the densest part of it."""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional as F

SCALE = 32.0  # of the softmax whose loss says how hard an image is


def own_similarity(embeddings: Float[Tensor, "p n d"]) -> Float[Tensor, "p n"]:
    """Cosine of each of n unit embeddings with the mean direction of the n - 1 others of its class; n >= 2."""
    if embeddings.shape[1] < 2:
        raise ValueError(f"a class has {embeddings.shape[1]} image, coherence needs at least 2")
    others = F.normalize(embeddings.sum(1, keepdim=True) - embeddings, dim=2)
    return (embeddings * others).sum(2)


def densest(embeddings: Float[Tensor, "p n d"], keep: int) -> Int[Tensor, "p k"]:
    """The `keep` images of each class that lie densest, ascending; unit rows.

    The image least similar to the rest goes, one at a time, until `keep` are left: the greedy peeling that
    comes within a factor 2 of the densest subset's density (Charikar 2000). Ties: the last goes.
    """
    p, n, _ = embeddings.shape
    if not 1 <= keep <= n:
        raise ValueError(f"keep is {keep}, must be 1 to {n}")
    gram = embeddings @ embeddings.mT
    total = gram.sum(2) - gram.diagonal(dim1=1, dim2=2)
    alive = torch.ones(p, n, dtype=torch.bool, device=embeddings.device)
    rows = torch.arange(p, device=embeddings.device)
    for _ in range(n - keep):
        weakest = n - 1 - total.masked_fill(~alive, torch.inf).flip(1).argmin(1)
        alive[rows, weakest] = False
        total = total - gram[rows, :, weakest]
    return alive.nonzero()[:, 1].view(p, keep)


def source_similarity(
    embeddings: Float[Tensor, "n d"], centers: Float[Tensor, "c d"], sources: Int[Tensor, "n m"]
) -> tuple[Float[Tensor, "n m"], Float[Tensor, " n"], Float[Tensor, " n"]]:
    """Cosines with the sources' centers, the largest with any other center, and the sources' mean percentile.

    The percentile of a source is the share of the other, non-source classes that are less similar: 0.5 on
    average where the sources do not matter.
    """
    similarity = embeddings @ centers.T
    own = similarity.gather(1, sources)
    rest = similarity.scatter(1, sources, -torch.inf)
    others = centers.shape[0] - sources.shape[1]
    if others < 1:
        return own, torch.full((len(own),), torch.nan), torch.full((len(own),), torch.nan)
    below = (rest[:, None, :] < own[:, :, None]).sum(2) - sources.shape[1]
    return own, rest.amax(1), below.double().mean(1).div(others).to(own)


def source_loss(
    cosine: Float[Tensor, "n c"], sources: Int[Tensor, "n m"], weights: Float[Tensor, "n m"], scale: float
) -> Float[Tensor, " n"]:
    """Loss of a head without margin under labels that follow the weights, less their own entropy: 0 is a perfect fit.

    The Kullback-Leibler divergence of softmax(scale x cosine) from the label distribution, in nats.
    """
    share = weights / weights.sum(1, keepdim=True)
    log_predicted = F.log_softmax(scale * cosine, dim=1).gather(1, sources)
    divergence: Tensor = torch.special.xlogy(share, share) - share * log_predicted
    return divergence.sum(1)
