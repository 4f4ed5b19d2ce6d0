"""AugGen's search of weights: its objective over both weights."""

from dataclasses import dataclass
from typing import Self

import numpy as np
from matplotlib.axes import Axes

from scoremix.report.charts import Floats, figure, new_axes
from scoremix.report.page import Section
from scoremix.report.results import Run


@dataclass(frozen=True)
class SearchMap:
    """Objective m_s + m_d of AugGen's search over both weights, (n, n) on `ticks`, and the best weights."""

    ticks: Floats
    objective: Floats
    best: tuple[float, float]


class Search(Section):
    title = "AugGen's search of weights"
    search: SearchMap | None = None

    @classmethod
    def load(cls, run: Run) -> Self:
        if "search" not in run.chain:
            return cls()
        file, (first, second) = (
            run.chain["search"].arrays("search.npz"),
            run.chain["search"].json("search.json")["weights"],
        )
        return cls(SearchMap(file["ticks"], file["alike"] + file["unlike"], (second, first)))


@figure
def search_map(search: SearchMap) -> tuple[Axes, str, str]:
    """Heat map of the search's objective over both weights, the best cell marked."""
    axes = new_axes(330, left=52, x="weight of the second class", y="weight of the first class")
    edges = np.append(search.ticks, 2 * search.ticks[-1] - search.ticks[-2])
    edges = edges - (search.ticks[1] - search.ticks[0]) / 2
    mesh = axes.pcolormesh(edges, edges, search.objective, cmap="viridis", rasterized=True)
    axes.plot(*search.best, marker="o", markersize=9, markerfacecolor="none", markeredgecolor="white")
    axes.set_aspect("equal")
    axes.figure.colorbar(mesh, ax=axes)
    return axes, "search", "Objective of the search over both weights."
