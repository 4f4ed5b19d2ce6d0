"""The measures of generated images as plain numbers by name: fidelity, distributions, copying (Appendix D.6)."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from scoremix.analysis.spaces import Matrix, Numbers
from scoremix.evaluation import privacy, quality

Values = dict[str, float]
C_T = (
    "C_T (Meehan et al. 2020) asks whether images lie nearer to the training images than held-out real ones do: a z-score, "
    "about 0 where they lie as far, below -3 nearer than chance explains, a sign of copies"
)


def of_classes(
    features: Matrix,
    labels: Int[Numbers, " _"],
    targets: Matrix | None = None,
    of_images: Matrix | None = None,
    everything: Matrix | None = None,
) -> Values:
    """Appendix D.6: align, ics, shift with their std over classes (n - 1), mode_coverage; NaN where undefined.

    With `everything`, the centers of all real classes (K_all), also mode_coverage_all: the share of classes whose centroid
    lies no farther from its own target than from any of them.

    `labels` are rows of `targets`, the centers the classes should have; without targets only ics is defined,
    and it needs 2 images of every class. `of_images` (n, d): where each image should lie, for align; by default at its
    class's target. ics grows as classes get smaller: compare equal sizes only.
    """
    index = torch.as_tensor(labels)
    if targets is None:
        _, index = torch.unique(index, return_inverse=True)
        fidelities = quality.fidelity(features, index, _means(features, index))
    else:
        fidelities = quality.fidelity(features, index, targets, targets=of_images)
    values: Values = {"classes": float(len(fidelities.classes))}
    least = int(torch.unique(index, return_counts=True)[1].min())
    for name, per_class, known in (
        ("align", fidelities.align, targets is not None),
        ("ics", fidelities.ics, least > 1),
        ("shift", fidelities.shift, targets is not None),
    ):
        values[name] = float(per_class.mean()) if known else math.nan
        values[f"{name}_std"] = float(per_class.std()) if known and len(per_class) > 1 else math.nan
    values["mode_coverage"] = fidelities.coverage if targets is not None else math.nan
    if everything is not None:
        centroids = torch.nn.functional.normalize(_means(features, torch.unique(index, return_inverse=True)[1]))
        rivals = torch.nn.functional.normalize(torch.as_tensor(everything).to(centroids))
        best = (centroids @ rivals.T).amax(1)
        inside = 1 - fidelities.shift.to(best) >= best - 1e-6
        values["mode_coverage_all"] = float(inside.double().mean()) if targets is not None else math.nan
    return values


def _means(features: Numbers, index: Tensor) -> Float[Tensor, "c d"]:
    rows = torch.nn.functional.normalize(torch.as_tensor(features).double())
    return rows.new_zeros(int(index.max()) + 1, rows.shape[1]).index_add_(0, index.to(rows.device), rows)


def of_distributions(real: Matrix, fake: Matrix, k: int = 5) -> Values:
    """Fréchet and kernel distance, precision, recall, density, coverage; ValueError unless k < rows of either."""
    return {
        "frechet": quality.frechet_distance(real, fake),
        "kernel": quality.kernel_distance(real, fake),
        **{name: float(value) for name, value in quality.prdc(real, fake, k).items()},  # type: ignore[arg-type]
    }


def of_features(real: Matrix, fake: Matrix, held_out: Matrix | None, k: int) -> Values:
    """What features alone tell of generated images: `of_distributions` and authenticity, with `held_out` rows also C_T."""
    copying = {} if held_out is None else {"copying_z": privacy.data_copying(fake, real, held_out)}
    authentic = {"authenticity": quality.authenticity(real, fake)}
    return {"images": float(len(fake)), **of_distributions(real, fake, k), **authentic, **copying}


def of_copying(
    features: Matrix,
    train: Matrix,
    held_out: Matrix | None,
    thresholds: Sequence[tuple[float, float]],
    parents: Int[Numbers, "_ _"] | None = None,
    train_labels: Int[Numbers, " _"] | None = None,
) -> Values:
    """authenticity, nearest (median cosine to the nearest training image), leak@fmr, copying_z (C_T).

    `thresholds` are (fmr, cosine) from held-out images. With `parents` also leak_others@fmr: the same share
    with the classes mixed into an image left out, since a mix resembles those by design. C_T is NaN without
    `held_out`.
    """
    nearest = privacy.nearest_similarity(features, train)[0].cpu().numpy()
    values: Values = {
        "authenticity": quality.authenticity(train, features),
        "nearest": float(np.median(nearest)),
        "copying_z": math.nan if held_out is None else privacy.data_copying(features, train, held_out),
    }
    for fmr, threshold in thresholds:
        values[f"leak@{fmr:g}"] = float((nearest > threshold).mean())
    if parents is not None:
        others = privacy.nearest_similarity(features, train, parents, train_labels, "others")[0].cpu().numpy()
        for fmr, threshold in thresholds:
            values[f"leak_others@{fmr:g}"] = float((others > threshold).mean())
    return values


def spread(n: int, count: int) -> Int[np.ndarray, " c"]:
    """At most `count` of the rows 0 .. n - 1, evenly spaced: every class of a sorted set keeps its share."""
    return np.arange(n) if n <= count else (np.arange(count) * n // count).astype(np.int64)


def first_of_classes(labels: Int[np.ndarray, " n"], each: int) -> Int[np.ndarray, " m"]:
    """Rows of the first `each` images of every class that has as many; labels ascend."""
    classes, starts, counts = np.unique(labels, return_index=True, return_counts=True)
    kept = starts[counts >= each]
    return (kept[:, None] + np.arange(each)).reshape(-1) if len(classes) else np.zeros(0, np.int64)
