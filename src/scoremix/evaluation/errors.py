"""Which pairs of images a recognizer gets wrong, and where its similarities lie (paper 4.2)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Int
from numpy import ndarray as Array

from scoremix.evaluation.metrics import refused_at

EDGES = np.linspace(-1, 1, 101)  # of histograms of cosines
BLOCK = 256  # rows compared with all others at a time


class JudgedPairs(NamedTuple):
    """All pairs of some images under one recognizer, accepted above the threshold of a false accept rate."""

    thresholds: Float[Array, " f"]  # one per FAR asked for
    genuine: Float[Array, " g"]  # similarities, in the order of `genuine_pairs`
    impostor: Float[Array, " t"]  # the largest ones, falling: all that the laxest threshold accepts
    impostor_pairs: Int[Array, "t 2"]  # rows of the two images
    counts: Int[Array, "2 bins"]  # genuine and impostor pairs between EDGES


def genuine_pairs(labels: Int[Array, " n"]) -> Int[Array, "g 2"]:
    """Rows (i, j), i < j, of every pair of images of one class, class by class."""
    pairs = []
    for label in np.unique(labels):
        rows = np.flatnonzero(labels == label)
        first, second = np.triu_indices(len(rows), 1)
        pairs.append(np.stack([rows[first], rows[second]], 1))
    return np.concatenate(pairs)


def judge_pairs(unit: Float[Array, "n d"], labels: Int[Array, " n"], fars: Sequence[float]) -> JudgedPairs:
    """All pairs of unit embeddings, BLOCK rows at a time; a pair is accepted when its cosine exceeds the threshold.

    ValueError for a FAR that the impostor pairs do not support, as of `metrics.refused_at`.
    """
    x, n = torch.from_numpy(np.asarray(unit, np.float32)), len(labels)
    pairs = genuine_pairs(labels)
    impostors = n * (n - 1) // 2 - len(pairs)
    refused = [refused_at(impostors, far) for far in fars]
    keep = max(refused) + 1
    genuine = np.concatenate([(x[p[:, 0]] * x[p[:, 1]]).sum(1).numpy() for p in _parts(pairs)])
    counts = np.zeros((2, len(EDGES) - 1), np.int64)
    counts[0] = np.histogram(genuine.clip(-1, 1), EDGES)[0]
    values, rows = np.zeros(0, np.float32), np.zeros((0, 2), np.int64)
    for start in range(0, n, BLOCK):
        similarity = (x[start : start + BLOCK] @ x[start:].T).numpy()
        other = labels[start : start + BLOCK, None] != labels[None, start:]
        other &= np.arange(len(similarity))[:, None] < np.arange(similarity.shape[1])
        counts[1] += np.histogram(similarity[other].clip(-1, 1), EDGES)[0]
        floor = values.min() if len(values) >= keep else -np.inf
        i, j = np.nonzero(other & (similarity > floor))
        values = np.concatenate([values, similarity[i, j]])
        rows = np.concatenate([rows, np.stack([i, j], 1) + start])
        order = np.argsort(-values, kind="stable")[:keep]
        values, rows = values[order], rows[order]
    return JudgedPairs(values[refused].astype(np.float64), genuine, values, rows, counts)


def _parts(pairs: Int[Array, "g 2"], size: int = 1 << 16) -> list[Int[Array, "p 2"]]:
    return np.array_split(pairs, max(1, -(-len(pairs) // size)))


def first_of_each(pairs: Int[Array, "p 2"], labels: Int[Array, " n"], most: int) -> list[int]:
    """Places of the first `most` pairs, none of two classes that an earlier one shows: one bad image fills no table."""
    seen: set[tuple[int, ...]] = set()
    chosen = []
    for place, pair in enumerate(pairs):
        classes = tuple(sorted(int(k) for k in labels[pair]))
        if classes not in seen:
            seen.add(classes)
            chosen.append(place)
        if len(chosen) == most:
            break
    return chosen
