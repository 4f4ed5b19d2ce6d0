"""Do generated images give training images away: nearest real neighbours, thresholds, data copying.

Features are those of an independent recognizer, normalised here to unit length; similarity is cosine.
Every rate is to be read beside the same rate of held-out real images, which cannot have been copied.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from scoremix.analysis import spaces
from scoremix.analysis.spaces import Matrix, Numbers
from scoremix.evaluation.metrics import refused_at
from scoremix.evaluation.quality import distance_blocks


def _labels(values: Int[Numbers, "*_"], rows: Tensor, name: str, ndim: int = 1) -> Int[Tensor, " n *m"]:
    labels = torch.as_tensor(values).to(rows.device)
    if labels.ndim != ndim or len(labels) != len(rows):
        raise ValueError(f"{name}: shape {tuple(labels.shape)} for {len(rows)} rows")
    return labels


def nearest_similarity(
    images: Matrix,
    train: Matrix,
    parents: Int[Numbers, "_ _"] | None = None,
    train_labels: Int[Numbers, " _"] | None = None,
    among: Literal["all", "parents", "others"] = "all",
) -> tuple[Float[Tensor, " n"], Int[Tensor, " n"]]:
    """Largest cosine s_max of each image to the training images, and the row of that training image.

    For mixes, `parents` (n, m) are the classes mixed into each image and `train_labels` those of the
    training rows: among="parents" looks only at them (what a mix resembles by design), "others" only at
    the rest. ValueError where an image has no training row to compare with.
    """
    rows, others = spaces.of_equal_width(
        images=spaces.as_unit_rows(images, "images"), train=spaces.as_unit_rows(train, "train")
    )
    spaces.check_choice("among", among, "all", "parents", "others")
    if among != "all" and (parents is None or train_labels is None):
        raise ValueError(f"among: {among!r} needs parents and train_labels")
    sources = None if parents is None else _labels(parents, rows, "parents", 2)
    classes = None if train_labels is None else _labels(train_labels, others, "train_labels")
    values, indices = [], []
    for part in spaces.row_blocks(len(rows), len(others)):
        similarity = rows[part] @ others.T
        if among != "all":
            assert sources is not None and classes is not None
            of_sources = (sources[part][:, :, None] == classes).any(1)
            similarity[of_sources if among == "others" else ~of_sources] = -math.inf
        best = similarity.max(1)
        values.append(best.values)
        indices.append(best.indices)
    top = torch.cat(values)
    if bool(top.isinf().any()):
        raise ValueError(f"among: image {int(top.isinf().nonzero()[0])} has no training row among {among!r}")
    return top.clamp(-1, 1), torch.cat(indices)


def impostor_thresholds(features: Matrix, labels: Int[Numbers, " _"], fmrs: Sequence[float]) -> Float[np.ndarray, " t"]:
    """Smallest cosine thresholds that at most a share fmr of held-out impostor pairs exceeds.

    Impostor pairs are all pairs of images of different classes. ValueError for a rate outside (0, 1], or
    one that the number of pairs cannot resolve (fewer than one pair allowed above the threshold).
    """
    rows = spaces.as_unit_rows(features, "features")
    classes = _labels(labels, rows, "labels")
    counts = torch.unique(classes, return_counts=True)[1]
    pairs = (len(rows) ** 2 - int(counts.square().sum())) // 2
    allowed = [refused_at(pairs, fmr, "fmr") for fmr in fmrs]
    top = rows.new_empty(0)  # the largest impostor similarities so far
    for part in spaces.row_blocks(len(rows), len(rows)):
        similarity = rows[part] @ rows[part.start :].T
        later = torch.ones_like(similarity, dtype=torch.bool).triu_(1)
        top = torch.cat([top, similarity[later & (classes[part, None] != classes[part.start :])]])
        if len(top) > max(allowed) + 1:
            top = top.topk(max(allowed) + 1).values
    ordered = top.sort(descending=True).values.cpu().numpy()
    return np.array([ordered[rank] for rank in allowed])


def data_copying(images: Matrix, train: Matrix, held_out: Matrix, dims: int | None = 64) -> float:
    """C_T (Meehan et al. 2020), a z-score; far below 0: images lie closer to the training rows than held-out.

    Mann-Whitney test, normal approximation with tie correction, of the Euclidean distances to the nearest
    training row, generated against held-out; far above 0 means underfitting. Features are taken as they
    are and reduced to the `dims` principal axes of the training rows first (None: not). One cell, that is
    without the original's partition of the space.
    """
    from scipy.stats import rankdata

    sets = [spaces.as_rows(x, name) for x, name in ((train, "train"), (images, "images"), (held_out, "held_out"))]
    if len({x.shape[1] for x in sets}) > 1:
        raise ValueError(f"features: {[x.shape[1] for x in sets]} in train, images, held_out")
    mean = sets[0].mean(0)
    if dims is not None and dims < sets[0].shape[1]:
        axes = torch.linalg.eigh(spaces.centred(sets[0]).T @ spaces.centred(sets[0])).eigenvectors[:, -dims:]
        sets = [(x - mean) @ axes for x in sets]
    else:
        sets = [x - mean for x in sets]
    near = [torch.cat([d.amin(1) for _, d in distance_blocks(x, sets[0])]).cpu().numpy() for x in sets[1:]]
    m, n = len(near[0]), len(near[1])
    joined = np.concatenate(near)
    u = rankdata(joined)[:m].sum() - m * (m + 1) / 2  # pairs with the generated image farther
    ties = np.unique(joined, return_counts=True)[1].astype(np.float64)
    variance = m * n / 12 * (m + n + 1 - (ties**3 - ties).sum() / ((m + n) * (m + n - 1)))
    if not variance > 0:
        raise ValueError("images and held_out: all are equally far from the training rows")
    return float((u - m * n / 2) / math.sqrt(variance))
