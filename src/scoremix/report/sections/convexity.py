"""The weights of a mix: why convex ones (paper 3.2), and AugGen's search of them."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self

import numpy as np

from scoremix.outputs.mplets import SearchSummary
from scoremix.report.charts import Axes, Floats, figure, light, line, new_axes, styled
from scoremix.report.page import Section
from scoremix.report.results import ReportedRun


@dataclass(frozen=True)
class Magnitudes:
    """Length of the mixed noise prediction over that of one class, (n,) per label, at noise levels `sigmas` (n,)."""

    sigmas: Floats
    ratios: Mapping[str, Floats]


class ConvexitySection(Section):
    title = "Why convex weights"
    magnitudes: Magnitudes | None = None

    @classmethod
    def load(cls, run: ReportedRun) -> Self:
        if "magnitudes" not in run.chain:
            return cls()
        file = run.chain["magnitudes"].arrays("magnitudes.npz")
        if not len(file["sigmas"]):
            return cls()  # single classes
        names = [f"{of} ({', '.join(f'{w:.3g}' for w in row)})" for of in ("scores", "conditions") for row in file[of]]
        return cls(Magnitudes(file["sigmas"], dict(zip(names, file["ratios"].mean(2), strict=True))))


@figure
def magnitude_lines(magnitudes: Magnitudes) -> tuple[Axes, str, str]:
    """Length of the mixed noise prediction against the noise level, one line per weights."""
    axes = new_axes(230, left=46, x="noise level σ", y="‖mixed ε‖ / ‖ε of one class‖")
    for name, style in styled(magnitudes.ratios).items():
        line(axes, magnitudes.sigmas, magnitudes.ratios[name], style, linewidth=1.8, label=name)
    axes.axhline(1, color=light("rule"), linewidth=0.8)
    axes.set_xscale("log")
    axes.locator_params(axis="x", numticks=8)
    axes.xaxis.set_major_formatter(lambda v, _: f"{v:g}")
    axes.minorticks_off()
    axes.set_ylim(bottom=0)
    return axes, "magnitudes", "Length of the mixed noise prediction over noise levels, by weights."


@dataclass(frozen=True)
class SearchMap:
    """Objective m_s + m_d of AugGen's search over both weights, (n, n) on `ticks`, and the best weights."""

    ticks: Floats
    objective: Floats
    best: tuple[float, float]


class SearchSection(Section):
    title = "AugGen's search of weights"
    name = "search"
    search: SearchMap | None = None

    @classmethod
    def load(cls, run: ReportedRun) -> Self:
        if "search" not in run.chain:
            return cls()
        file, (first, second) = (
            run.chain["search"].arrays("search.npz"),
            SearchSummary.load(run.chain["search"]).weights,
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
