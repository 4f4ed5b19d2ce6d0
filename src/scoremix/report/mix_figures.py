"""Figures of what a mix is: lengths of noise predictions, and the map of AugGen's search."""

from __future__ import annotations

import numpy as np
from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

from scoremix.report.content import Magnitudes, SearchMap
from scoremix.report.drawing import finish, hues, light, new_axes, settings


def magnitude_lines(magnitudes: Magnitudes) -> str:
    """Length of the mixed noise prediction against the noise level, one line per weights."""
    with settings():
        axes = new_axes(230, left=46)
        for name, style in hues(magnitudes.ratios).items():
            values = magnitudes.ratios[name]
            axes.plot(
                magnitudes.sigmas, values, color=light(style.colour), linestyle=style.line, linewidth=1.8, label=name
            )
        axes.axhline(1, color=light("rule"), linewidth=0.8)
        axes.set_xscale("log")
        axes.xaxis.set_major_locator(LogLocator(numticks=8))
        axes.xaxis.set_major_formatter(FuncFormatter(lambda v, _: f"{v:g}"))
        axes.xaxis.set_minor_locator(NullLocator())
        axes.set_ylim(bottom=0)
        axes.set_xlabel("noise level σ")
        axes.set_ylabel("‖mixed ε‖ / ‖ε of one class‖")
        return finish(axes, "magnitudes", "Length of the mixed noise prediction over noise levels, by weights.")


def search_map(search: SearchMap) -> str:
    """Heat map of the search's objective over both weights, the best cell marked."""
    with settings():
        axes = new_axes(330, left=52)
        edges = np.append(search.ticks, 2 * search.ticks[-1] - search.ticks[-2])
        edges = edges - (search.ticks[1] - search.ticks[0]) / 2
        mesh = axes.pcolormesh(edges, edges, search.objective, cmap="viridis", rasterized=True)
        axes.plot(*search.best, marker="o", markersize=9, markerfacecolor="none", markeredgecolor="white")
        axes.set_aspect("equal")
        axes.figure.colorbar(mesh, ax=axes)
        axes.set_xlabel("weight of the second class")
        axes.set_ylabel("weight of the first class")
        return finish(axes, "search", "Objective of the search over both weights.")
