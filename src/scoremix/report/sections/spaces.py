"""Distances of the same classes as conditions and as class centers (paper Fig. 11 and 12, Algorithm 2)."""

from collections.abc import Iterator, Mapping
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from scoremix.outputs.geometry import DistancesSummary
from scoremix.report.charts import Axes, figure, heat, light, new_axes
from scoremix.report.geometry import AnalyzedRun, Geometry
from scoremix.report.numbers import Row
from scoremix.report.page import Section


class SpacesSection(Section):
    title = "Distances in both spaces"
    distances: DistancesSummary
    arrays: Mapping[str, NDArray[Any]]  # matrices, signals, histogram

    @classmethod
    def load(cls, source: AnalyzedRun) -> Self:
        artifact = source.measured["distances"]
        return cls(DistancesSummary.load(artifact), artifact.arrays("distances.npz"))

    def json(self) -> dict[str, Any]:
        keys = ("conditions", "centers", "pearson", "spearman", "pairs")
        return {"distances": {key: getattr(self.distances, key) for key in keys}}

    def rows(self, shared: Geometry) -> Iterator[Row]:
        base = {"section": "distances", "x": shared.condition, "y": shared.reference}
        for name in ("pearson", "spearman"):
            yield {**base, "name": name, "value": getattr(self.distances, name)}


@figure
def distance_matrices(conditions: Any, centers: Any) -> tuple[Axes, str, str]:
    """Fig. 11: cosine distances of the same classes in the same order, zeros moved to -1."""
    height, side, gap = 180, 152, 10  # points; two squares and their scale
    axes = new_axes(height, left=2, bottom=6, top=height - side - 6, right=358 - side)
    other = axes.figure.add_axes(((2 + side + gap) / 360, 6 / height, side / 360, side / height))
    bar = axes.figure.add_axes(((2 + 2 * side + 2 * gap - 4) / 360, 6 / height, 8 / 360, side / height))
    top = float(max(np.max(conditions), np.max(centers)))
    for panel, values, title in ((axes, conditions, "conditions"), (other, centers, "class centers")):
        image = heat(panel, values, vmin=-1.0, vmax=top)
        panel.set_xticks([])
        panel.set_yticks([])
        panel.set_title(title, fontsize=10, color=light("muted"), pad=4)
    colours = axes.figure.colorbar(image, cax=bar)
    colours.outline.set_visible(False)
    bar.tick_params(colors=light("muted"), labelcolor=light("muted"), length=2, labelsize=8)
    bar.locator_params(axis="y", nbins=5, steps=[1, 2, 5, 10])
    bar.yaxis.set_major_formatter(lambda v, _: f"{v:g}".replace("-", "−"))
    return axes, "distance-matrices", "Cosine distances of classes as conditions and as class centers."


@figure
def signals(row: Mapping[str, NDArray[Any]]) -> tuple[Axes, str, str]:
    """Fig. 12: distances of the same pairs in both spaces as signals, peaks and joint-close pairs marked."""
    centers, conditions, peaks = (row[name] for name in ("signal_centers", "signal_conditions", "peaks"))
    axes = new_axes(210, left=42, x="pair", y="cosine distance")
    for at in row["joint_close"]:
        axes.axvline(at, color=light("arm-2"), linewidth=0.9, alpha=0.7)
    axes.plot(conditions, color=light("control-2"), linewidth=0.9)
    axes.plot(centers, color=light("arm-1"), linewidth=0.9)
    axes.plot(peaks, centers[peaks], "o", color=light("arm-1"), markersize=2.8)
    axes.set_xlim(0, max(1, len(centers) - 1))
    return axes, "signals", "Distances of pairs in both spaces as signals over the pairs."


@figure
def joint_histogram(row: Mapping[str, NDArray[Any]]) -> tuple[Axes, str, str]:
    """How often a pair has one distance as conditions and another as class centers, logarithmic counts."""
    axes = new_axes(250, left=46, x="distance of conditions", y="distance of class centers")
    counts, x, y = (row[name] for name in ("counts", "condition_edges", "center_edges"))
    shown = np.where(counts > 0, np.log10(np.maximum(counts, 1)), np.nan).T
    heat(axes, shown, origin="lower", extent=(x[0], x[-1], y[0], y[-1]))
    axes.locator_params(axis="x", nbins=5, steps=[1, 2, 5, 10])
    return axes, "joint-histogram", "Joint histogram of the pairs' distances in both spaces."
