"""Pair distances of conditions and of class centers side by side (Appendix E, Fig. 11 and 12, Algorithm 2)."""

import math

import numpy as np
from numpy.typing import NDArray

from scoremix.analysis import geometry
from scoremix.analysis.spaces import distance_correlation
from scoremix.config import Order
from scoremix.data.image_order import stream_seed
from scoremix.execution.artifacts import Artifact
from scoremix.execution.work import Work
from scoremix.outputs.geometry import DistancesSummary
from scoremix.outputs.spaces import load_spaces

SHOWN = 200  # classes of the drawn matrices
SIGNAL = 400  # pairs of the drawn signals
CLOSE = 0.4  # the paper's threshold for a close pair
MOST_BINS = 80  # of the joint histogram, per axis


def compare_distances(config: Order, spaces: Artifact, *, work: Work) -> None:
    """Writes distances.npz (matrices, signals, joint histogram) and distances.json (correlations of all pairs)."""
    condition, conditions = next(iter(load_spaces(spaces, ["condition"]).items()))
    reference, centers = next(iter(load_spaces(spaces, ["head", "mean"]).items()))
    correlation = distance_correlation(conditions, centers)
    seed = stream_seed(config.seed, "distances")
    rows = np.sort(np.random.default_rng(seed).permutation(len(centers))[:SHOWN])
    matrices = [geometry.shifted_distances(space[rows]) for space in (conditions, centers)]
    order = cluster_order(matrices[1])
    signal = geometry.distance_signal(centers, conditions, count=SIGNAL, close=CLOSE, seed=seed)
    bins = min(MOST_BINS, max(10, math.isqrt(correlation.pairs)))
    histogram = geometry.joint_histogram(conditions, centers, bins=bins)
    work.write_arrays(
        "distances.npz",
        classes=rows[order],
        condition_matrix=matrices[0][np.ix_(order, order)].astype(np.float32),
        center_matrix=matrices[1][np.ix_(order, order)].astype(np.float32),
        signal_pairs=signal.pairs,
        signal_centers=signal.x,
        signal_conditions=signal.y,
        peaks=signal.peaks,
        joint_close=signal.joint_close,
        counts=histogram.counts,
        condition_edges=histogram.x_edges,
        center_edges=histogram.y_edges,
    )
    DistancesSummary(condition, reference, CLOSE, *correlation).write(work)


def cluster_order(shifted: NDArray[np.float64]) -> NDArray[np.int64]:
    """An order of the classes with close ones beside each other (average linkage), to show blocks where there are any."""
    distances = shifted.clip(0)
    np.fill_diagonal(distances, 0)
    from scipy.cluster.hierarchy import leaves_list, linkage
    from scipy.spatial.distance import squareform

    order: NDArray[np.int64] = leaves_list(
        linkage(squareform((distances + distances.T) / 2), "average", optimal_ordering=True)
    )
    return order
