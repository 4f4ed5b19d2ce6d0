"""Pairs of classes that may be one: classes as near to each other as the two halves of one class are."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.functional import normalize

from scoremix.analysis.spaces import row_blocks

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
    halves = [_means(unit[side == s], labels[side == s], len(counts)) for s in (0, 1)]
    several = counts > 1
    if int(several.sum()) < 10:
        raise ValueError(
            f"{int(several.sum())} classes have two images or more; at least 10 are needed to tell how alike one class is"
        )
    genuine = (halves[0] * halves[1]).sum(1)[several]
    threshold = float(np.quantile(genuine.numpy(), MISSED))
    present = counts.nonzero()[:, 0]
    centers = _means(unit, labels, len(counts))[present]
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


def _means(unit: Tensor, labels: Tensor, classes: int) -> Tensor:
    return normalize(torch.zeros(classes, unit.shape[1]).index_add_(0, labels, unit))
