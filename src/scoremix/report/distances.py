"""Distances of all pairs of classes with the chosen ones marked: a histogram for the report and beside the m-plets."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from scoremix.execution.artifacts import Artifact
from scoremix.report.charts import STEPS, Axes, Floats, Style, light, new_axes, styled

METRICS = {"cosine": "cosine distance", "l2": "L2 distance", "sqeuclidean": "squared L2 distance"}
ROWS = {"embedding": "class centers", "condition": "conditions"}


@dataclass(frozen=True)
class Distances:
    """All pairs of training classes, counts (n,) in edges (n + 1,), and the chosen ones per selection."""

    counts: NDArray[np.integer[Any]]
    edges: Floats
    chosen: Mapping[str, Floats]
    label: str = "cosine distance of class centers"

    @classmethod
    def of(cls, mplets: Artifact, space: str, metric: str, name: str) -> Distances:
        """The distances of all pairs of classes in a space, and those of the chosen m-plets' pairs."""
        file = mplets.arrays(f"distances-{space}.npz")
        chosen = {name: file["chosen"].ravel()}
        return cls(file["counts"], file["edges"], chosen, f"{METRICS[metric]} of {ROWS[space]}")


def histogram(distances: Distances, arms: Mapping[str, Style] | None = None) -> tuple[Axes, str, str]:
    """All pairs as a histogram, the chosen ones as ticks under it, one row per selection."""
    chosen = {name: np.asarray(values, float) for name, values in distances.chosen.items()}
    under, styles = 9.0 * len(chosen), styled(chosen, arms)
    axes = new_axes(190 + under, left=46, bottom=40)
    edges, counts = np.asarray(distances.edges, float), np.asarray(distances.counts, float)
    axes.stairs(counts, edges, fill=True, color=light("control-2"), alpha=0.45)
    top = float(counts.max(initial=1.0)) * 1.05
    row = top * 9.0 / 140
    for i, (name, values) in enumerate(chosen.items()):
        span = (edges[-1] - edges[0]) / 400
        ticks = edges[0] + span * np.unique(np.round((values[np.isfinite(values)] - edges[0]) / span))
        axes.vlines(ticks, -row * (i + 0.9), -row * (i + 0.15), color=light(styles[name].colour), linewidth=1.0)
    axes.set_ylim(-row * (len(chosen) + 0.2), top)
    axes.axhline(0, color=light("rule"), linewidth=0.8)
    axes.locator_params(axis="y", nbins=4, integer=True, steps=STEPS)
    axes.yaxis.set_major_formatter(lambda v, _: "" if v < 0 else _short(v))
    axes.set_xlabel(distances.label)
    axes.set_ylabel("pairs")
    return axes, "distances", f"Histogram of the {distances.label} of all pairs; chosen ones marked under it."


def _short(value: float) -> str:
    for limit, letter in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if value >= limit:
            return f"{value / limit:g}{letter}"
    return f"{value:g}"
