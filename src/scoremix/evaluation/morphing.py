"""Morphing attacks: one image that a recognizer takes for two people (Scherhag et al. 2017)."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, Int
from numpy import ndarray as Array

from scoremix.data.finite import finite_rows
from scoremix.data.image_order import stream_seed
from scoremix.evaluation.bootstrap import impostor_weight, weighted_thresholds
from scoremix.evaluation.metrics import PairSimilarities

BLOCK = 1024  # morphs compared at a time


def morph_sources(labels: Int[Array, " n"], each: int, seed: int = 0) -> Int[Array, "k 2"]:
    """Rows of the two images of every morph: each class with another one, `each` morphs a pair.

    Partners follow each other on a random circle, so every class is in two pairs; classes of one image are left out,
    as no other image is there to be taken for.
    """
    counts = np.bincount(labels)
    rng = np.random.default_rng(stream_seed(seed, "morphs"))
    circle = rng.permutation(np.flatnonzero(counts >= 2))
    pairs = np.stack([circle, np.roll(circle, -1)], axis=1)[: len(circle) if len(circle) > 2 else 1]
    classes = np.repeat(pairs, each, axis=0)
    first = np.argsort(labels, kind="stable")
    starts = np.cumsum(counts) - counts
    place = (rng.random(classes.shape) * counts[classes]).astype(np.int64)
    return np.asarray(first[starts[classes] + place])


def attack_scores(
    morphs: Float[Array, "k d"], sources: Int[Array, "k 2"], embeddings: Float[Array, "n d"], labels: Int[Array, " n"]
) -> Float[Array, " k"]:
    """Similarity with which a morph passes for both its sources: the smaller of the two classes' best matches.

    Unit rows; the two images a morph was made of are not compared with it. Memory is some 10 bytes for each of
    BLOCK x n pairs. ValueError for rows that are not finite.
    """
    finite_rows(morphs, "morphs")
    finite_rows(embeddings)
    scores = np.empty(len(morphs))
    for start in range(0, len(morphs), BLOCK):
        part = slice(start, start + BLOCK)
        similarity = morphs[part] @ embeddings.T
        np.put_along_axis(similarity, sources[part], -np.inf, axis=1)
        best = [np.where(labels == labels[side][:, None], similarity, -np.inf).max(1) for side in sources[part].T]
        scores[part] = np.minimum(*best)
    return scores


def weighted_mmpmr(
    scores: Float[Array, " k"], classes: Int[Array, "k 2"], pairs: PairSimilarities, far: float, n: Int[Array, "r c"]
) -> Float[Array, " r"]:
    """Mated morph presentation match rate at the threshold of `far`, in each draw of classes.

    The share of morphs that are accepted as both their sources (MinMax-MMPMR); in a draw a morph weighs the product of
    its classes' multiplicities. NaN for a draw without morphs or impostor pairs.
    """
    impostors = impostor_weight(pairs.sizes, n)
    threshold = weighted_thresholds(pairs, [far], n, impostors)[:, 0]
    weight = (n[:, classes[:, 0]] * n[:, classes[:, 1]]).astype(np.float64)
    weight[impostors == 0] = 0
    with np.errstate(invalid="ignore"):
        return np.asarray((weight * (scores > threshold[:, None])).sum(1) / weight.sum(1))
