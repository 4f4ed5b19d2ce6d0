"""How good generated images are, from features of real and generated ones (Appendix D.6; Stein et al. 2023).

Features (n, d) are torch or numpy; everything is computed in float64. Take them from a recognizer other
than the one used for selection or alignment: a generator tuned on a recognizer looks good to that one.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Literal, NamedTuple, TypedDict

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from scoremix.analysis import spaces
from scoremix.analysis.spaces import Matrix, Numbers


def frechet_distance(a: Matrix, b: Matrix) -> float:
    """Fréchet distance of the Gaussians fitted to two feature sets, covariances with n - 1; at least 0.

    ‖μa - μb‖² + tr(Sa + Sb - 2 (Sa Sb)^½). With centred sets A = QR the last trace is the nuclear norm of
    Ra Rbᵀ, which needs no matrix square root and no epsilon where a covariance is singular. Biased upwards
    for few samples: compare sets of the same sizes only. ValueError below 2 rows.
    """
    one, two = spaces.of_equal_width(a=a, b=b)
    if min(len(one), len(two)) < 2:
        raise ValueError(f"rows: {len(one)} and {len(two)}, at least 2 are needed")
    roots = [torch.linalg.qr(spaces.centred(x), mode="r").R / math.sqrt(len(x) - 1) for x in (one, two)]
    shift = (one.mean(0) - two.mean(0)).square().sum()
    spread = roots[0].square().sum() + roots[1].square().sum()
    return max(float(shift + spread - 2 * torch.linalg.svdvals(roots[0] @ roots[1].T).sum()), 0.0)


def kernel_distance(a: Matrix, b: Matrix, degree: int = 3, gamma: float | None = None, coef: float = 1.0) -> float:
    """Squared maximum mean discrepancy with the kernel (gamma x·y + coef)^degree, gamma 1/d by default.

    Unbiased over all rows (no subsets to draw), so it may be slightly negative. ValueError below 2 rows.
    """
    one, two = spaces.of_equal_width(a=a, b=b)
    if min(len(one), len(two)) < 2:
        raise ValueError(f"rows: {len(one)} and {len(two)}, at least 2 are needed")
    scale = 1 / one.shape[1] if gamma is None else gamma

    def total(x: Tensor, y: Tensor) -> float:
        return sum(float((scale * (x[s] @ y.T) + coef).pow(degree).sum()) for s in spaces.row_blocks(len(x), len(y)))

    def within(x: Tensor) -> float:
        diagonal = (scale * x.square().sum(1) + coef).pow(degree).sum()
        return (total(x, x) - float(diagonal)) / (len(x) * (len(x) - 1))

    return within(one) + within(two) - 2 * total(one, two) / (len(one) * len(two))


class Prdc(TypedDict):
    """Precision, recall and coverage in [0, 1]; density at least 0, about 1 for a perfect generator."""

    precision: float
    recall: float
    density: float
    coverage: float


def distance_blocks(a: Float[Tensor, "m d"], b: Float[Tensor, "n d"]) -> Iterator[tuple[slice, Float[Tensor, "r n"]]]:
    """Euclidean distances of a's rows to b's, a block of rows at a time."""
    return ((rows, spaces.block_distances(a[rows], b, "l2")) for rows in spaces.row_blocks(len(a), len(b)))


def radii(rows: Float[Tensor, "n d"], k: int) -> Float[Tensor, " n"]:
    """Distance of each row to its k-th nearest other row."""
    out = rows.new_empty(len(rows))
    for part, distances in distance_blocks(rows, rows):
        distances[:, part].fill_diagonal_(math.inf)  # a row is no neighbour of itself
        out[part] = distances.kthvalue(k, dim=1).values
    return out


def prdc(real: Matrix, fake: Matrix, k: int = 5) -> Prdc:
    """Precision, recall (Kynkäänniemi et al. 2019), density and coverage (Naeem et al. 2020).

    Each row's ball reaches to its k-th nearest neighbour within its own set, its border outside. Precision:
    fakes inside any real ball; recall: reals inside any fake ball; density: real balls that a fake lies
    in, over k; coverage: reals whose ball holds a fake. ValueError unless 1 <= k < rows of either set.
    """
    one, two = together(real, fake)
    for rows in (one, two):
        spaces.check_neighbours(k, len(rows))
    reach, reach_fake = radii(one, k), radii(two, k)
    balls = one.new_zeros(len(two))  # of real rows, per fake
    recalled = covered = 0
    for part, distances in distance_blocks(one, two):
        inside = distances < reach[part, None]
        balls += inside.sum(0)
        covered += int(inside.any(1).sum())
        recalled += int((distances < reach_fake).any(1).sum())
    return {
        "precision": float((balls > 0).double().mean()),
        "recall": recalled / len(one),
        "density": float(balls.mean()) / k,
        "coverage": covered / len(one),
    }


def together(real: Numbers, fake: Numbers) -> tuple[Tensor, Tensor]:
    """Both sets moved by the same vector, the real mean, so that products of rows lose no digits."""
    one, two = spaces.of_equal_width(real=real, fake=fake)
    return one - one.mean(0), two - one.mean(0)


def authenticity(real: Matrix, fake: Matrix) -> float:
    """Share of fakes farther from their nearest training row than that row is from its nearest (Alaa 2022).

    Low values are a sign of copying; 1/2 or more is usual for fresh samples of the same distribution.
    """
    one, two = together(real, fake)
    spaces.check_neighbours(1, len(one))
    nearest = [distances.min(1) for _, distances in distance_blocks(two, one)]
    distance, row = torch.cat([f.values for f in nearest]), torch.cat([f.indices for f in nearest])
    hit, place = torch.unique(row, return_inverse=True)
    return float((distance > _nearest_other(one, hit)[place]).double().mean())


def _nearest_other(rows: Float[Tensor, "n d"], wanted: Int[Tensor, " w"]) -> Float[Tensor, " w"]:
    """Distance of the wanted rows to their nearest other row."""
    out = []
    for part, distances in distance_blocks(rows[wanted], rows):
        chosen = wanted[part]
        distances[torch.arange(len(chosen), device=chosen.device), chosen] = math.inf
        out.append(distances.amin(1))
    return torch.cat(out)


class Fidelity(NamedTuple):
    """Appendix D.6 per evaluated class (ascending labels), from unit features and unit centers."""

    classes: Int[Tensor, " c"]
    align: Float[Tensor, " c"]  # mean cosine distance of a class's images to its target center; low: faithful
    ics: Float[Tensor, " c"]  # mean cosine similarity of its images to their own centroid; low: diverse
    shift: Float[Tensor, " c"]  # cosine distance of that centroid to the target center
    covered: Bool[Tensor, " c"]  # the centroid is nearest to its own target center

    @property
    def coverage(self) -> float:
        """Mode coverage: share of evaluated classes that are covered."""
        return float(self.covered.double().mean())


def fidelity(
    features: Matrix,
    labels: Int[Numbers, " _"],
    centers: Matrix,
    among: Literal["evaluated", "all"] = "evaluated",
    targets: Matrix | None = None,
) -> Fidelity:
    """How faithful and how diverse the generated images of each class are (Appendix D.6).

    `labels` (n,) are rows of `centers` (classes, d), the real data's class centers. Classes without images
    are not evaluated; they compete for the nearest center only with among="all", the stricter coverage. `targets`
    (n, d): where each image should lie, by default at its class's center; align alone looks at it.
    """
    spaces.check_choice("among", among, "evaluated", "all")
    rows, of_classes = spaces.of_equal_width(features=features, centers=centers)
    rows, of_classes = spaces.unit_rows(rows, "features"), spaces.unit_rows(of_classes, "centers")
    index = torch.as_tensor(labels).to(rows.device)
    if index.shape != rows.shape[:1]:
        raise ValueError(f"labels: shape {tuple(index.shape)} for {len(rows)} features")
    if not 0 <= int(index.min()) <= int(index.max()) < len(of_classes):
        raise ValueError(f"labels: {int(index.min())} to {int(index.max())}, allowed 0 to {len(of_classes) - 1}")
    wanted = of_classes[index] if targets is None else spaces.as_unit_rows(targets, "targets")
    if wanted.shape != rows.shape:
        raise ValueError(f"targets: shape {tuple(wanted.shape)}, features have {tuple(rows.shape)}")
    classes, place, counts = torch.unique(index, return_inverse=True, return_counts=True)

    def class_mean(values: Float[Tensor, " n *d"]) -> Float[Tensor, " c *d"]:
        sums = values.new_zeros(len(classes), *values.shape[1:]).index_add_(0, place, values)
        mean: Tensor = sums / counts.reshape(-1, *[1] * (values.ndim - 1))
        return mean

    centroids = spaces.unit_rows(class_mean(rows), "centroids")
    own_centers = of_classes[classes]
    nearest = (centroids @ (own_centers if among == "evaluated" else of_classes).T).argmax(1)
    truth = torch.arange(len(classes), device=rows.device) if among == "evaluated" else classes
    return Fidelity(
        classes,
        1 - class_mean((rows * wanted).sum(1)),
        class_mean((rows * centroids[place]).sum(1)),
        1 - (centroids * own_centers).sum(1),
        nearest == truth,
    )
