"""Which classes are mixed: m-plets by distance of the recognizer's class centers (paper 4.2 to 4.4)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from scoremix.selection import strategies
from scoremix.selection.mplets import MPlets

if TYPE_CHECKING:
    from scoremix.artifacts import Artifact, Work
    from scoremix.config import Selection

BINS = 60


def select_mplets(config: Selection, recognizer: Artifact, *, work: Work) -> None:
    """Writes classes.npy (K, m), mplets.csv, mplets.json and the histogram of all pair distances."""
    centers = np.load(recognizer / "centers.npy")
    names = recognizer.json("recognizer.json")["class_names"]
    count = config.count or len(centers)
    if config.strategy == "each":
        chosen = each_class(len(centers), count, config.seed)
    else:
        chosen = strategies.select(centers, config.strategy, count, seed=config.seed)
    edges = np.linspace(0, 2, BINS + 1)
    work.write_array("classes.npy", chosen.classes)
    work.write_arrays(
        "distances.npz",
        counts=pair_histogram(centers, edges),
        edges=edges,
        chosen=chosen.values.astype(np.float64),
    )
    rows = [
        ",".join([*(str(c) for c in classes), *(_quoted(names[c]) for c in classes), f"{value!r}"])
        for classes, value in zip(chosen.classes.tolist(), chosen.values.tolist(), strict=True)
    ]
    m = chosen.classes.shape[1]
    header = [*(f"class_{k}" for k in range(m)), *(f"name_{k}" for k in range(m)), "value"]
    work.write("mplets.csv", "\n".join([",".join(header), *rows]) + "\n")
    used = np.bincount(chosen.classes.ravel(), minlength=len(centers))
    work.write_json(
        "mplets.json",
        {
            "strategy": config.strategy,
            "m": m,
            "count": len(chosen.classes),
            "values": chosen.values.tolist(),
            "classes_used": int((used > 0).sum()),
            "classes": len(centers),
            "most_uses_of_a_class": int(used.max()),
        },
    )


def each_class(classes: int, count: int, seed: int) -> MPlets:
    """Every class alone, or `count` of them drawn at random; the objective of one class is 0."""
    drawn = np.random.default_rng(seed).permutation(classes)[:count]
    return MPlets(np.sort(drawn)[:, None].astype(np.int64), np.zeros(len(drawn)))


def pair_histogram(centers: np.ndarray, edges: np.ndarray, block: int = 1024) -> np.ndarray:
    """Counts of the cosine distances of all pairs of unit rows, in blocks."""
    counts = np.zeros(len(edges) - 1, np.int64)
    for start in range(0, len(centers), block):
        distance = 1 - centers[start : start + block] @ centers[start:].T
        upper = np.triu_indices(len(distance), k=1, m=distance.shape[1])
        counts += np.histogram(np.clip(distance[upper], edges[0], edges[-1]), edges)[0]
    return counts


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'
