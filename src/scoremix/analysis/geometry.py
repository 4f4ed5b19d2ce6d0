"""What the pictures of two spaces show: joint histogram, signals, maps, paths, selections (Appendix E).

Every function returns arrays to be drawn or tabled elsewhere.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from scoremix.analysis import spaces
from scoremix.analysis.spaces import Array, Matrix, Metric, Numbers


class JointHistogram(NamedTuple):
    """counts[a, b] pairs with x-distance in bin a and y-distance in bin b; edges have one entry more."""

    counts: Int[Array, "a b"]
    x_edges: Float[Array, " a1"]
    y_edges: Float[Array, " b1"]


def joint_histogram(
    x: Matrix, y: Matrix, x_metric: Metric = "cosine", y_metric: Metric = "cosine", bins: int = 100
) -> JointHistogram:
    """Counts of all pairs over equal bins from the smallest to the largest distance in each space."""
    rows, others = spaces.paired(x, y)
    both = spaces.pair_distances(rows, x_metric, "x"), spaces.pair_distances(others, y_metric, "y")
    edges = [np.linspace(d.min(), d.max() if np.ptp(d) else d.min() + 1, bins + 1) for d in both]
    return JointHistogram(np.histogram2d(*both, edges)[0].astype(np.int64), *edges)


def shifted_distances(
    x: Matrix, metric: Metric = "cosine", zero: float = -1.0, tolerance: float = 1e-9
) -> Float[Array, "n n"]:
    """Distance matrix with its zeros (the diagonal, equal rows) moved to `zero` for contrast (Fig. 11)."""
    rows = spaces.prepared(x, metric)
    distances = spaces.block_distances(rows, rows, metric)
    distances.fill_diagonal_(0)
    return torch.where(distances <= tolerance, zero, distances).cpu().numpy()


class DistanceSignal(NamedTuple):
    """Distances of some pairs as two signals over a common axis (Fig. 12)."""

    pairs: Int[Array, "p 2"]
    x: Float[Array, " p"]
    y: Float[Array, " p"]
    peaks: Int[Array, " k"]  # positions of the peaks of x
    joint_close: Int[Array, " c"]  # positions where both distances are below the threshold


def distance_signal(
    x: Matrix,
    y: Matrix,
    x_metric: Metric = "cosine",
    y_metric: Metric = "cosine",
    count: int = 500,
    close: float = 0.4,
    prominence: float | None = None,
    seed: int = 0,
) -> DistanceSignal:
    """`count` random pairs (all if there are fewer) in ascending order with their distances (Fig. 12).

    Peaks of x stand out by at least `prominence` (default: one standard deviation of x over these pairs).
    """
    from scipy.signal import find_peaks

    rows, others = spaces.paired(x, y)
    n, total = len(rows), math.comb(len(rows), 2)
    numbers = np.sort(np.random.default_rng(seed).choice(total, min(count, total), replace=False))
    i, j = spaces.pair_index(numbers, n)
    a = _distances_of(spaces.prepared(rows, x_metric, "x"), i, j, x_metric)
    b = _distances_of(spaces.prepared(others, y_metric, "y"), i, j, y_metric)
    peaks, _ = find_peaks(a, prominence=a.std() if prominence is None else prominence)
    return DistanceSignal(np.stack([i, j], 1), a, b, peaks, np.flatnonzero((a < close) & (b < close)))


def _distances_of(rows: Tensor, i: Array, j: Array, metric: Metric) -> Float[Array, " p"]:
    if metric == "cosine":
        return (1 - (rows[i] * rows[j]).sum(1)).cpu().numpy()
    squared = (rows[i] - rows[j]).square().sum(1)
    return (squared.sqrt() if metric == "l2" else squared).cpu().numpy()


class PcaMap(NamedTuple):
    """Coordinates of each given set, and the share of the reference's variance each axis holds."""

    coordinates: list[Float[Array, "n dims"]]
    variance: Float[Array, " dims"]


def pca_map(reference: Matrix, *others: Matrix, dims: int = 2) -> PcaMap:
    """Principal axes of `reference`; the reference and all others are projected on them, in that order.

    The largest entry of each axis is positive, so that maps do not flip between runs.
    """
    sets = [spaces.as_rows(x, f"set {number}") for number, x in enumerate((reference, *others))]
    mean = sets[0].mean(0)
    _, scales, axes = torch.linalg.svd(sets[0] - mean, full_matrices=False)
    if not 1 <= dims <= len(scales):
        raise ValueError(f"dims: {dims}, allowed 1 to {len(scales)}")
    axes = axes[:dims]
    axes = axes * axes.gather(1, axes.abs().argmax(1, keepdim=True)).sign()
    share = scales.square() / scales.square().sum()
    return PcaMap([((x - mean) @ axes.T).cpu().numpy() for x in sets], share[:dims].cpu().numpy())


def umap_map(reference: Matrix, *others: Matrix, seed: int = 0) -> list[Float[Array, "n 2"]]:
    """Coordinates of a UMAP of `reference` by cosine, in which the others are placed; ValueError without the extra.

    It keeps neighbourhoods, not distances or directions: read straightness off `pca_map` or `mix_path`.
    """
    try:
        from umap import UMAP
    except ImportError as error:
        raise ValueError(f"a UMAP needs {error.name}: pip install 'scoremix[umap]'") from None
    sets = [spaces.as_rows(x, f"set {number}").cpu().numpy() for number, x in enumerate((reference, *others))]
    reducer = UMAP(n_neighbors=min(15, len(sets[0]) - 1), metric="cosine", random_state=seed, n_jobs=1)
    return [np.asarray(reducer.fit_transform(sets[0])), *(np.asarray(reducer.transform(x)) for x in sets[1:])]


class MixPath(NamedTuple):
    """Where mixes of the pairs a, b lie at each weight λ of b; rows are pairs, columns ascending λ.

    `straightness` (one per pair, in (0, 1]) is the distance between the ends over the length walked.
    """

    to_a: Float[Array, "p l"]  # cosine similarity to a
    to_b: Float[Array, "p l"]
    position: Float[Array, "p l"]  # foot on the line through a (0) and b (1)
    off_path: Float[Array, "p l"]  # distance from that line, in units of |b - a|
    straightness: Float[Array, " p"]
    forward: float  # share of steps in λ that move position towards b


def mix_path(mixes: Float[Numbers, "_ _ _"], a: Matrix, b: Matrix, weights: Float[Numbers, " _"]) -> MixPath:
    """Whether λ moves the image from class a to class b, and how straight.

    mixes (p, l, d) are embeddings of the mix of pair p at weight l; a and b (p, d) are their sources'
    centers. All are normalised to unit length first.
    """
    weights = torch.as_tensor(weights, dtype=torch.float64)
    shape = tuple(mixes.shape)
    if len(shape) != 3 or shape[1] != len(weights) or len(weights) < 2:
        raise ValueError(f"mixes: shape {shape} for {len(weights)} weights, needs (pairs, weights >= 2, d)")
    start, end = spaces.as_unit_rows(a, "a"), spaces.as_unit_rows(b, "b")
    points = spaces.as_unit_rows(torch.as_tensor(mixes).reshape(-1, shape[2]), "mixes").reshape(shape)
    points = points[:, weights.argsort()]
    axis = end - start
    length = axis.norm(dim=1)
    if bool((length == 0).any()):
        raise ValueError(f"a and b: pair {int((length == 0).nonzero()[0])} has equal sources")
    offset = points - start[:, None]
    position = torch.einsum("pld,pd->pl", offset, axis) / length[:, None].square()
    off = (offset - position[..., None] * axis[:, None]).norm(dim=2) / length[:, None]
    walked = points.diff(dim=1).norm(dim=2).sum(1)
    ends = (points[:, -1] - points[:, 0]).norm(dim=1)
    return MixPath(
        torch.einsum("pld,pd->pl", points, start).cpu().numpy(),
        torch.einsum("pld,pd->pl", points, end).cpu().numpy(),
        position.cpu().numpy(),
        off.cpu().numpy(),
        torch.where(walked > 0, ends / walked, 1.0).cpu().numpy(),
        float((position.diff(dim=1) > 0).double().mean()),
    )


class SelectionOverlap(NamedTuple):
    """Entry [s, t] compares the selections s and t (symmetric, 1 on the diagonal)."""

    names: list[str]
    shared: Float[Array, "s s"]  # common m-plets over the smaller selection
    jaccard: Float[Array, "s s"]  # common m-plets over all m-plets of both
    classes: Float[Array, "s s"]  # the same Jaccard of the classes used


def selection_overlap(selections: Mapping[str, Int[Numbers, "_ _"]]) -> SelectionOverlap:
    """How far selections of m-plets agree: (K, m) class labels each, the order within a row being free.

    ValueError where a selection is empty, repeats an m-plet, or m differs. Chance level of `shared` for
    two random selections of K: K / C(classes, m).
    """
    sets: dict[str, set[tuple[int, ...]]] = {}
    for name, mplets in selections.items():
        rows = np.sort(np.asarray(mplets), axis=1)
        sets[name] = set(map(tuple, rows.tolist()))
        if not len(rows) or len(sets[name]) != len(rows):
            raise ValueError(f"selections[{name!r}]: {len(rows)} m-plets, {len(sets[name])} different")
    sizes = {name: len(next(iter(chosen))) for name, chosen in sets.items()}
    if len(set(sizes.values())) > 1:
        raise ValueError(f"selections: m differs, {sizes}")
    names = list(sets)
    shared, jaccard, classes = (np.eye(len(names)) for _ in range(3))
    used = {name: set(itertools.chain.from_iterable(chosen)) for name, chosen in sets.items()}
    for (s, one), (t, two) in itertools.combinations(enumerate(names), 2):
        common = len(sets[one] & sets[two])
        shared[s, t] = shared[t, s] = common / min(len(sets[one]), len(sets[two]))
        jaccard[s, t] = jaccard[t, s] = common / len(sets[one] | sets[two])
        classes[s, t] = classes[t, s] = len(used[one] & used[two]) / len(used[one] | used[two])
    return SelectionOverlap(names, shared, jaccard, classes)
