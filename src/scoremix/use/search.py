"""The classes of a gallery that are most alike to each probe: exact, by faiss where it is installed, else in blocks."""

import importlib.util

import numpy as np
from numpy.typing import NDArray

BLOCK_VALUES = 1 << 24  # similarities held at a time

Found = tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float32]]


def nearest(gallery: NDArray[np.float32], labels: NDArray[np.int64], probes: NDArray[np.float32], k: int) -> Found:
    """(classes, rows, similarities), each (p, k): the k classes whose best image is most alike to a probe, the best first.

    `labels` (n,) of the gallery (n, d) ascend; all rows are of unit length; k is at most the number of classes.
    """
    if importlib.util.find_spec("faiss") is not None:
        return by_faiss(gallery, labels, probes, k)
    return in_blocks(gallery, labels, probes, k)


def in_blocks(gallery: NDArray[np.float32], labels: NDArray[np.int64], probes: NDArray[np.float32], k: int) -> Found:
    """`nearest` by numpy; of equally similar ones the first."""
    classes, starts = np.unique(labels, return_index=True)
    ends = np.append(starts[1:], len(labels))
    step = max(1, BLOCK_VALUES // len(gallery))
    chosen = np.zeros((len(probes), k), np.int64)
    rows, values = np.zeros_like(chosen), np.zeros(chosen.shape, np.float32)
    for first in range(0, len(probes), step):
        similarity = probes[first : first + step] @ gallery.T
        best = np.maximum.reduceat(similarity, starts, axis=1)  # [probe, class]
        order = np.argsort(-best, axis=1, kind="stable")[:, :k]
        for i, places in enumerate(order):
            chosen[first + i] = classes[places]
            rows[first + i] = [starts[c] + similarity[i, starts[c] : ends[c]].argmax() for c in places]
            values[first + i] = best[i, places]
    return chosen, rows, values


def by_faiss(gallery: NDArray[np.float32], labels: NDArray[np.int64], probes: NDArray[np.float32], k: int) -> Found:
    """`nearest` by an exact index of inner products."""
    import faiss

    index = faiss.IndexFlatIP(gallery.shape[1])
    index.add(np.ascontiguousarray(gallery))
    most = int(np.unique(labels, return_counts=True)[1].max())
    deep = min(len(gallery), (k - 1) * most + 1)  # that many images are of at least k classes
    values, rows = index.search(np.ascontiguousarray(probes), deep)
    places = [np.sort(np.unique(labels[of], return_index=True)[1])[:k] for of in rows]  # the first image of each class
    at = np.stack(places)
    rows, values = np.take_along_axis(rows, at, 1), np.take_along_axis(values, at, 1)
    return labels[rows], rows, values
