"""Is a mixed class a class at all, and are two classes one? Similarities inside a class and between classes."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional as F
from torch.nn.functional import normalize

from scoremix.analysis.spaces import row_blocks

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
    to_sources = similarity.gather(1, sources)
    rest = similarity.scatter(1, sources, -torch.inf)
    others = centers.shape[0] - sources.shape[1]
    if others < 1:
        return to_sources, torch.full((len(to_sources),), torch.nan), torch.full((len(to_sources),), torch.nan)
    below = (rest[:, None, :] < to_sources[:, :, None]).sum(2) - sources.shape[1]
    return to_sources, rest.amax(1), below.double().mean(1).div(others).to(to_sources)


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


MISSED = 0.1  # share of true pairs that the threshold is to miss
MOST = 1000  # pairs kept


class Alike(NamedTuple):
    """Pairs of classes (k, 2) by falling cosine (k,) of their mean directions, all of at least the threshold."""

    pairs: Int[np.ndarray, "k 2"]
    cosines: Float[np.ndarray, " k"]
    threshold: float
    halves: int  # classes that the threshold rests on


def alike_classes(unit: Float[Tensor, "n d"], labels: Int[Tensor, " n"]) -> Alike:
    """Classes that may be one, from unit embeddings of their images by a recognizer that was not trained on them.

    The threshold is the cosine that all but a tenth of the classes of at least two images have between the means of every
    other of their images and of the rest. ValueError where fewer than ten classes have two images.
    """
    counts = torch.bincount(labels)
    order = torch.argsort(labels, stable=True)
    place = torch.arange(len(labels)) - (counts.cumsum(0) - counts)[labels[order]]
    side = torch.empty_like(place)
    side[order] = place % 2
    halves = [mean_directions(unit[side == s], labels[side == s], len(counts)) for s in (0, 1)]
    several = counts > 1
    if int(several.sum()) < 10:
        raise ValueError(
            f"{int(several.sum())} classes have two images or more; at least 10 are needed to tell how alike one class is"
        )
    genuine = (halves[0] * halves[1]).sum(1)[several]
    threshold = float(np.quantile(genuine.numpy(), MISSED))
    present = counts.nonzero()[:, 0]
    centers = mean_directions(unit, labels, len(counts))[present]
    pairs, cosines = torch.empty(0, 2, dtype=torch.int64), torch.empty(0)
    for part in row_blocks(len(centers), len(centers)):
        cosine = centers[part] @ centers.T
        later = torch.arange(len(centers)) > torch.arange(len(centers))[part, None]
        rows, others = ((cosine >= threshold) & later).nonzero(as_tuple=True)
        pairs = torch.cat([pairs, torch.stack([rows + part.start, others], 1)])
        cosines = torch.cat([cosines, cosine[rows, others]])
        best = cosines.argsort(descending=True, stable=True)[:MOST]
        pairs, cosines = pairs[best], cosines[best]
    return Alike(present[pairs].numpy(), cosines.numpy(), threshold, int(several.sum()))


def mean_directions(unit: Float[Tensor, "n d"], labels: Int[Tensor, " n"], classes: int) -> Float[Tensor, "c d"]:
    """Unit mean directions of the classes of unit rows; zero for a class without any."""
    return normalize(torch.zeros(classes, unit.shape[1]).index_add_(0, labels, unit))
