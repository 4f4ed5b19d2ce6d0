"""Figures of the geometry page as inline SVG (paper Fig. 4 to 6, 10 to 13)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, MaxNLocator

from scoremix.report.drawing import Style, finish, hues, light, new_axes, settings
from scoremix.report.figures import row_axes, rows_on, slug
from scoremix.report.geometry import Row, Snapshots

MAP = "viridis"


def against_chance(rows: Sequence[Row], labels: Mapping[str, str]) -> str:
    """Each measure with its interval; grey: the span of permuted classes; crosses: random spaces."""
    names = [labels[row["measure"]] for row in rows]
    with settings():
        axes = row_axes(names, 25)
        rows_on(axes, names)
        for y, row in enumerate(rows):
            null = row["chance"]["permutation"]
            low = null["mean"] - 2 * null["std"]
            axes.barh(
                y, null["mean"] + 2 * null["std"] - low, left=low, height=0.62, color=light("control-2"), alpha=0.4
            )
            for kind, marker in (("normal", "x"), ("uniform", "+")):
                if kind in row["chance"]:
                    axes.plot([row["chance"][kind]["mean"]], [y], marker, color=light("control-1"), markersize=5)
            axes.plot([row["low"], row["high"]], [y, y], color=light("arm-1"), linewidth=2.4, alpha=0.55)
            axes.plot([row["value"]], [y], "o", color=light("arm-1"), markersize=6)
        axes.axvline(0, color=light("rule"), linewidth=1)
        axes.set_xlabel("alignment of conditions with class centers")
        return finish(axes, "against-chance", "Measures of alignment with intervals beside their chance levels.")


def over_training(series: Sequence[Row], measure: str, label: str, ema: float, level: Mapping[str, float]) -> str:
    """One measure of the conditions against every space over training; dashed: recognizers among themselves."""
    names = list(dict.fromkeys(row["space"] for row in series))
    drawn = anchor_styles(names)
    with settings():
        axes = new_axes(210, left=46)
        for name in names:
            own = [row for row in series if row["space"] == name and row["ema"] == ema]
            style = drawn[name]
            axes.plot(
                [row["images_seen"] / 1000 for row in own], [row[measure] for row in own],
                color=light(style.colour), linestyle=style.line, linewidth=1.6, marker="o", markersize=2.6,
            )  # fmt: skip
        if level:
            axes.axhline(level[measure], color=light("ink"), linewidth=1, linestyle=(0, (4, 3)))
        axes.set_xlabel("images seen (thousands)")
        axes.set_ylabel(label)
        return finish(axes, f"series-{slug(measure)}-{slug(f'{ema:g}')}", f"{label} over training at EMA {ema:g}.")


def anchor_styles(names: Sequence[str]) -> dict[str, Style]:
    """Recognizers in hues, random spaces in greys."""
    random = [name for name in names if name.startswith("random ")]
    drawn = hues(name for name in names if name not in random)
    return drawn | {name: Style("control-2", "" if i == 0 else "5 2") for i, name in enumerate(random)}


def matrix(names: Sequence[str], values: Any, name: str, label: str, percent: bool = False) -> str:
    """A square of numbers as a heat map, each written in its cell where there is room."""
    table, n = np.asarray(values, float), len(names)
    with settings():
        left = min(16 + 5.4 * max(map(len, names)), 150)
        side = 360 - left - 14
        axes = new_axes(side + 20 + left * 0.75, left=left, bottom=left * 0.75, top=12, right=14)
        _heat(axes, table, vmin=min(0.0, float(table.min())), vmax=1.0)
        size = 10 if n <= 12 else max(4, 120 / n)
        axes.set_xticks(
            range(n), names, rotation=38 if n <= 12 else 90, ha="right", rotation_mode="anchor", fontsize=size
        )
        axes.set_yticks(range(n), names, fontsize=size)
        if n <= 12:
            for i, j in np.ndindex(table.shape):
                text = f"{100 * table[i, j]:.0f}" if percent else f"{table[i, j]:.2f}".replace("-", "−")
                dark = table[i, j] < 0.55
                colour = "#ffffff" if dark else "#1d2128"
                axes.text(j, i, text, ha="center", va="center", fontsize=9 if n <= 8 else 7, color=colour)
        return finish(axes, name, label)


def _heat(axes: Axes, table: Any, **options: Any) -> Any:
    axes.grid(False)
    for spine in axes.spines.values():
        spine.set_visible(False)
    return axes.imshow(table, cmap=MAP, interpolation="none", aspect="auto", **options)


def snapshots(runs: Sequence[Snapshots], key: str, label: str) -> str:
    """One quantity of reproductions over training, one line per run and EMA length."""
    drawn = snapshot_styles(runs)
    with settings():
        axes = new_axes(200, left=56)
        for run in runs:
            for ema in run.correlation:
                own = [row for row in run.rows if f"{row['ema']:g}" == ema]
                style = drawn[f"{run.run}, EMA {ema}"]
                axes.plot(
                    [row["images_seen"] / 1000 for row in own], [row[key] for row in own],
                    color=light(style.colour), linestyle=style.line, linewidth=1.6, marker="o", markersize=4,
                )  # fmt: skip
        axes.set_xlim(left=0)
        axes.set_xlabel("images seen (thousands)")
        axes.set_ylabel(label)
        return finish(axes, f"snapshots-{slug(key)}", f"{label} of reproductions over training.")


def snapshot_styles(runs: Sequence[Snapshots]) -> dict[str, Style]:
    return hues(f"{run.run}, EMA {ema}" for run in runs for ema in run.correlation)


def simulated_overlap(rows: Sequence[Row], k: int, bounds: Sequence[float]) -> str:
    """Shared pairs on draws of the theorem's model, what is expected of them, and K·p."""
    rho = [row["rho"] for row in rows]
    with settings():
        axes = new_axes(220, left=46)
        axes.plot(rho, [100 * b for b in bounds], color=light("arm-2"), linestyle=(0, (5, 2)), linewidth=1.5)
        axes.plot(rho, [100 * row["expected"] / k for row in rows], color=light("arm-1"), linewidth=1.6)
        axes.errorbar(
            rho, [100 * row["shared"] / k for row in rows], [200 * row["error"] / k for row in rows],
            fmt="o", color=light("ink"), markersize=4.5, linewidth=1.2,
        )  # fmt: skip
        axes.axhline(100 * rows[0]["chance"] / k, color=light("control-2"), linewidth=1.2)
        axes.set_ylim(0, 102)
        axes.set_xlabel("CKA of the two spaces, ρ")
        axes.set_ylabel("shared among the K farthest (%)")
        return finish(axes, "simulated-overlap", "Shared pairs against CKA: simulated, expected, and K times p.")


def simulated_rates(rows: Sequence[Row]) -> str:
    """Share of comparisons that hold on draws of the model, the identity, the bound."""
    with settings():
        axes = new_axes(220, left=46)
        for mask, style in mask_styles(rows).items():
            own = [row for row in rows if row["mask"] == mask]
            rho, colour = [row["rho"] for row in own], light(style.colour)
            axes.plot(rho, [100 * row["predicted"] for row in own], color=colour, linewidth=1.6)
            axes.plot(rho, [100 * row["bound"] for row in own], color=colour, linewidth=1.0, linestyle=(0, (3, 2)))
            errors = [200 * row["error"] for row in own]
            axes.errorbar(rho, [100 * row["rate"] for row in own], errors, fmt="o", color=colour, markersize=4)
        axes.set_ylim(48, 101)
        axes.set_xlabel("CKA of the two spaces, ρ")
        axes.set_ylabel("comparisons that hold (%)")
        return finish(axes, "simulated-rates", "Comparisons preserved against CKA: simulated, identity, bound.")


def mask_styles(rows: Sequence[Row]) -> dict[str, Style]:
    return hues(dict.fromkeys(row["mask"] for row in rows))


def distance_matrices(conditions: Any, centers: Any) -> str:
    """Fig. 11: cosine distances of the same classes in the same order, zeros moved to -1."""
    with settings():
        height, side, gap = 180, 152, 10  # points; two squares and their scale
        axes = new_axes(height, left=2, bottom=6, top=height - side - 6, right=358 - side)
        other = axes.figure.add_axes(((2 + side + gap) / 360, 6 / height, side / 360, side / height))
        bar = axes.figure.add_axes(((2 + 2 * side + 2 * gap - 4) / 360, 6 / height, 8 / 360, side / height))
        top = float(max(np.max(conditions), np.max(centers)))
        for panel, values, title in ((axes, conditions, "conditions"), (other, centers, "class centers")):
            image = _heat(panel, values, vmin=-1.0, vmax=top)
            panel.set_xticks([])
            panel.set_yticks([])
            panel.set_title(title, fontsize=10, color=light("muted"), pad=4)
        colours = axes.figure.colorbar(image, cax=bar)
        colours.outline.set_visible(False)
        bar.tick_params(colors=light("muted"), labelcolor=light("muted"), length=2, labelsize=8)
        bar.yaxis.set_major_locator(MaxNLocator(5, steps=[1, 2, 5, 10]))
        bar.yaxis.set_major_formatter(FuncFormatter(lambda v, _: f"{v:g}".replace("-", "−")))
        return finish(axes, "distance-matrices", "Cosine distances of classes as conditions and as class centers.")


def signals(row: Row) -> str:
    """Fig. 12: distances of the same pairs in both spaces as signals, peaks and joint-close pairs marked."""
    centers, conditions = np.asarray(row["signal_centers"]), np.asarray(row["signal_conditions"])
    with settings():
        axes = new_axes(210, left=42)
        for at in row["joint_close"]:
            axes.axvline(at, color=light("arm-2"), linewidth=0.9, alpha=0.7)
        axes.plot(conditions, color=light("control-2"), linewidth=0.9)
        axes.plot(centers, color=light("arm-1"), linewidth=0.9)
        peaks = np.asarray(row["peaks"], int)
        axes.plot(peaks, centers[peaks], "o", color=light("arm-1"), markersize=2.8)
        axes.set_xlim(0, max(1, len(centers) - 1))
        axes.set_xlabel("pair")
        axes.set_ylabel("cosine distance")
        return finish(axes, "signals", "Distances of pairs in both spaces as signals over the pairs.")


def joint_histogram(row: Row) -> str:
    """How often a pair has one distance as conditions and another as class centers, logarithmic counts."""
    counts = np.asarray(row["counts"], float)
    with settings():
        axes = new_axes(250, left=46)
        shown = np.where(counts > 0, np.log10(np.maximum(counts, 1)), np.nan).T
        x, y = row["condition_edges"], row["center_edges"]
        _heat(axes, shown, origin="lower", extent=(x[0], x[-1], y[0], y[-1]))
        axes.xaxis.set_major_locator(MaxNLocator(5, steps=[1, 2, 5, 10]))
        axes.set_xlabel("distance of conditions")
        axes.set_ylabel("distance of class centers")
        return finish(axes, "joint-histogram", "Joint histogram of the pairs' distances in both spaces.")


def similarity_over_lambda(weights: Sequence[float], paths: Row) -> str:
    """Mean similarity of mixes to both sources over λ; thin: what a straight path between the ends would give."""
    with settings():
        axes = new_axes(210, left=46)
        for key, colour in (("to_a", "arm-1"), ("to_b", "arm-2")):
            axes.plot(weights, paths["straight"][key], color=light(colour), linewidth=1, linestyle=(0, (3, 2)))
            axes.plot(weights, paths["means"][key], color=light(colour), linewidth=1.8, marker="o", markersize=3.5)
        axes.set_xlabel("λ, weight of the second class")
        axes.set_ylabel("cosine similarity")
        return finish(axes, "lambda", "Similarity of mixes to both source classes over the mixing weight.")


def embedding_map(row: Row) -> str:
    """Real images, reproductions (large, open) and mixes (dots, line of means) on axes fitted to the real ones."""
    real, made = np.asarray(row["real"]), np.asarray(row["made"])
    classes, pairs = np.asarray(row["real_class"]), np.asarray(row["pairs"])
    drawn = list(hues(str(i) for i in range(len(pairs))).values())
    share = [f"principal axis {at + 1} ({100 * v:.0f} % of the variance)" for at, v in enumerate(row["variance"])]
    with settings():
        axes = new_axes(320, left=46)
        for (a, b), walk, style in zip(pairs, made, drawn, strict=True):
            colour = light(style.colour)
            for k, marker in ((a, "o"), (b, "^")):
                own = real[classes == k]
                axes.plot(own[:, 0], own[:, 1], marker, color=colour, markersize=3.5, alpha=0.35, markeredgewidth=0)
            inner = walk[1:-1].reshape(-1, 2)
            axes.plot(inner[:, 0], inner[:, 1], ".", color=colour, markersize=2.5, alpha=0.6)
            means = walk.mean(1)
            axes.plot(means[:, 0], means[:, 1], color=colour, linewidth=1.4)
            for end, marker in ((0, "o"), (-1, "^")):
                axes.plot(
                    [means[end, 0]], [means[end, 1]], marker, color=colour, markersize=7, markerfacecolor=light("page")
                )
        for axis, at in ((axes.xaxis, 0), (axes.yaxis, 1)):
            axis.set_major_locator(MaxNLocator(5, steps=[1, 2, 5, 10]))
            axis.set_major_formatter(FuncFormatter(lambda v, _: f"{v:g}".replace("-", "−")))
            axis.set_label_text(share[at] if share else f"UMAP {at + 1}")
        return finish(axes, "embedding-map", "Real, reproduced and mixed images in the recognizer's space.")
