"""The report's figures as inline SVG and its pictures as PNG: same input, same bytes."""

from __future__ import annotations

import io
import re
import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullLocator
from PIL import Image as PillowImage

from scoremix.evaluation.estimate import Estimate
from scoremix.evaluation.metric_table import Metric, power
from scoremix.report.content import (
    Arm,
    Curve,
    Distances,
    Floats,
    Gate,
    Generator,
    Image,
    Roc,
)
from scoremix.report.drawing import MARKERS, Style, finish, hues, light, new_axes, settings

# ---- arms on rows


def rows_on(axes: Axes, names: Sequence[str]) -> None:
    """Names one row each, from the top."""
    axes.set_ylim(len(names) - 0.4, -0.6)
    axes.set_yticks(range(len(names)), [_wrapped(n) for n in names])
    axes.tick_params(axis="y", length=0)
    axes.grid(False, axis="y")
    axes.spines["left"].set_visible(False)
    for label in axes.get_yticklabels():
        label.set_color(light("ink"))


def _wrapped(name: str, width: int = 20) -> str:
    return "\n".join(textwrap.wrap(name, width)[:2]) or name


def row_axes(names: Sequence[str], per_row: float) -> Axes:
    """Axes with room for the names at the left."""
    lines = [_wrapped(n).split("\n") for n in names]
    left = 10 + 5.7 * max(len(line) for pair in lines for line in pair)
    tall = max(per_row, 26) if any(len(pair) > 1 for pair in lines) else per_row
    return new_axes(46 + tall * len(names), left=min(left, 140), bottom=36)


def _scale(metric: Metric) -> float:
    return 100.0 if metric.percent else 1.0


def _limits(axes: Axes, values: Sequence[float]) -> None:
    finite = [v for v in values if np.isfinite(v)]
    low, high = (min(finite), max(finite)) if finite else (0.0, 1.0)
    pad = 0.06 * (high - low) or max(abs(high), 1.0) * 0.05
    axes.set_xlim(low - pad, high + pad)
    axes.xaxis.set_major_locator(MaxNLocator(5, steps=[1, 2, 5, 10]))


def _estimate(axes: Axes, y: float, e: Estimate, style: Style, scale: float, hollow: bool, small: float) -> list[float]:
    """Draws the mean, its interval as a bar and the seeds as points under it; returns the values used."""
    colour, values = light(style.colour), [scale * v for v in e.seeds]
    axes.plot(values, [y + small] * len(values), "o", color=colour, markersize=3, alpha=0.6, markeredgewidth=0)
    if e.interval is not None:
        ends = [scale * v for v in e.interval]
        axes.plot(ends, [y, y], color=colour, linewidth=2.4, alpha=0.5, solid_capstyle="butt")
        values += ends
    if not e.missing:
        face = light("page") if hollow else colour
        axes.plot([scale * e.value], [y], style.marker, color=colour, markersize=6, markerfacecolor=face)
        values.append(scale * e.value)
    return values


def metric_rows(metric: Metric, arms: Sequence[Arm], drawn: Mapping[str, Style]) -> str:
    """One metric, arms on rows: mean as marker, interval as bar, seeds as points, first control as line."""
    with settings():
        axes = row_axes([a.name for a in arms], 24)
        rows_on(axes, [a.name for a in arms])
        used: list[float] = []
        for y, arm in enumerate(arms):
            e = arm.metrics.get(metric.key)
            if e is not None:
                used += _estimate(axes, y, e, drawn[arm.name], _scale(metric), False, 0.27)
        control = next((a for a in arms if a.control), None)
        if control is not None and len(arms) > 1 and metric.key in control.metrics:
            at = _scale(metric) * control.metrics[metric.key].value
            axes.axvline(at, color=light("muted"), linewidth=0.8, linestyle=(0, (2, 2)))
        _limits(axes, used)
        axes.set_xlabel(_axis_name(metric) + ("" if metric.higher_is_better else ", lower is better"))
        alt = f"{metric.label} of {len(arms)} arms with intervals and seeds; the table of arms has the numbers."
        return finish(axes, f"metric-{slug(metric.key)}", alt)


def difference_rows(
    metric: Metric,
    rows: Sequence[tuple[str, Sequence[Estimate]]],
    drawn: Mapping[str, Style],
    name: str = "difference",
) -> str:
    """One metric, (arm, difference to each control) on rows: first control filled, others hollow."""
    with settings():
        controls = max(len(estimates) for _, estimates in rows)
        axes = row_axes([arm for arm, _ in rows], 14 + 15 * controls)
        rows_on(axes, [arm for arm, _ in rows])
        used = [0.0]
        step = 0.8 / controls
        for y, (arm, estimates) in enumerate(rows):
            for j, e in enumerate(estimates):
                at = y + (j - (controls - 1) / 2) * step
                style = Style(drawn[arm].colour, marker=MARKERS[max(0, j - 1) % len(MARKERS)])
                used += _estimate(axes, at, e, style, _scale(metric), j > 0, 0.3 * step)
        axes.axvline(0, color=light("ink"), linewidth=1.0)
        _limits(axes, used)
        better = "right is better" if metric.higher_is_better else "left is better"
        points = "difference in points" if metric.percent else "difference"
        axes.set_xlabel(f"{metric.label}, {points} ({better})")
        alt = f"Differences in {metric.label} to the controls with intervals and a zero line."
        return finish(axes, f"{name}-{slug(metric.key)}", alt)


def _axis_name(metric: Metric) -> str:
    return metric.label + (" (%)" if metric.percent else "")


def slug(key: str) -> str:
    """A name that can stand in an element's id."""
    return re.sub(r"[^a-zA-Z0-9]+", "-", key)


# ---- curves


def roc(arms: Sequence[Arm], drawn: Mapping[str, Style], supported_far: float) -> str:
    """Verification curves, log FAR against TAR: seeds thin, mean thick, unsupported FAR shaded."""
    with_curve = [(arm, arm.roc) for arm in arms if arm.roc is not None]
    thin = sum(len(np.atleast_2d(curve.tar)) for _, curve in with_curve) <= 60
    with settings():
        axes = new_axes(270)
        for arm, curve in with_curve:
            far, tar = _sampled(curve)
            _seed_lines(axes, far, 100 * tar, drawn[arm.name], thin)
        _far_axis(axes, [curve for _, curve in with_curve], supported_far)
        axes.set_ylim(0, 101)
        axes.set_ylabel("true accept rate (TAR, %)")
        return finish(
            axes,
            "roc",
            f"Verification ROC of {', '.join(a.name for a, _ in with_curve)}, logarithmic FAR axis.",
        )


def roc_gain(arms: Sequence[Arm], control: Arm, drawn: Mapping[str, Style], supported_far: float) -> str:
    """The same curves minus the control's at equal FAR and seed: shows differences too small for the ROC."""
    assert control.roc is not None
    base_far, base = _sampled(control.roc)
    others = [(arm, arm.roc) for arm in arms if arm.roc is not None and arm.name != control.name]
    thin = sum(len(np.atleast_2d(curve.tar)) for _, curve in others) <= 30
    with settings():
        axes = new_axes(270, left=50)
        axes.axhline(0, color=light(drawn[control.name].colour), linewidth=1.2)
        for arm, curve in others:
            far, tar = _sampled(curve)
            at = np.log(base_far)
            there = np.stack([np.interp(at, np.log(far), seed) for seed in tar])
            gain = there - base if len(there) == len(base) else (there.mean(0) - base.mean(0))[None]
            _seed_lines(axes, base_far, 100 * gain, drawn[arm.name], thin)
        _far_axis(axes, [control.roc], supported_far)
        axes.yaxis.set_major_locator(MaxNLocator(6, steps=[1, 2, 5, 10]))
        axes.set_ylabel("TAR minus the control's (points)")
        return finish(axes, "roc-gain", f"Verification curves minus that of {control.name}, logarithmic FAR axis.")


def _seed_lines(axes: Axes, x: Floats, values: Floats, style: Style, thin: bool) -> None:
    """The mean of values (seeds, n) as a thick line, each seed as a thin one if wanted."""
    line: dict[str, Any] = {"color": light(style.colour), "linestyle": style.line}
    for seed in values if thin and len(values) > 1 else ():
        axes.plot(x, seed, **line, linewidth=0.7, alpha=0.4)
    axes.plot(x, values.mean(0), **line, linewidth=1.8)


def _far_axis(axes: Axes, curves: Sequence[Roc], supported_far: float) -> None:
    """A logarithmic FAR axis, shaded below the smallest FAR that the impostor pairs support."""
    low = min((float(c.far[c.far > 0].min()) for c in curves), default=supported_far)
    low = max(low, supported_far / 10)
    if low < supported_far * 0.999:
        axes.axvspan(low, supported_far, color=light("band"), linewidth=0)
    axes.set_xscale("log")
    axes.set_xlim(low, 1)
    axes.xaxis.set_major_locator(LogLocator(numticks=12))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda v, _: power(v)))
    axes.set_xlabel("false accept rate (FAR)")


def _sampled(curve: Roc, points: int = 160) -> tuple[Floats, Floats]:
    """The curve at no more than that many FAR, evenly spaced in the logarithm, always with its ends."""
    far, tar = np.asarray(curve.far, float), np.atleast_2d(np.asarray(curve.tar, float))
    keep = far > 0
    far, tar = far[keep], tar[:, keep]
    if len(far) > points:
        wanted = np.geomspace(far[0], far[-1], points)
        at = np.unique(np.clip(np.searchsorted(far, wanted), 0, len(far) - 1))
        far, tar = far[at], tar[:, at]
    return far, tar


def generator_loss(generator: Generator) -> str:
    """The generator's loss against images seen, the guide's snapshot marked."""
    names = hues(c.label for c in generator.curves)
    lines = [(curve, names[curve.label]) for curve in generator.curves]
    return _losses(lines, "generator-loss", "Generator loss against images seen", generator.guide_at)


def recognizer_loss(arms: Sequence[Arm], drawn: Mapping[str, Style]) -> str:
    """The recognizers' losses against images seen, seeds thin, mean thick."""
    lines = [(curve, drawn[arm.name]) for arm in arms for curve in arm.training]
    return _losses(lines, "recognizer-loss", "Recognizer loss against images seen, one line per arm")


def _losses(lines: Sequence[tuple[Curve, Style]], name: str, alt: str, mark: float | None = None) -> str:
    with settings():
        axes = new_axes(210, left=46, top=16)
        means = []
        for curve, style in lines:
            seen, values = _thinned(curve)
            _seed_lines(axes, seen / 1000, values, style, len(lines) <= 12)
            means.append(values.mean(0))
        lowest = min((float(m.min()) for m in means if len(m)), default=0.0)
        highest = max((float(m.max()) for m in means if len(m)), default=1.0)
        if lowest > 0 and highest / lowest > 20:
            axes.set_yscale("log")
            axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
            axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
            axes.yaxis.set_minor_locator(NullLocator())
        if mark is not None:
            axes.axvline(mark / 1000, color=light("ink"), linewidth=0.9, linestyle=(0, (3, 2)))
            axes.annotate(
                "guide", (mark / 1000, 1), xycoords=("data", "axes fraction"), xytext=(3, 3),
                textcoords="offset points", color=light("ink"),
            )  # fmt: skip
        axes.set_xlim(left=0)
        axes.xaxis.set_major_locator(MaxNLocator(6))
        axes.set_xlabel("images seen (thousands)")
        axes.set_ylabel("loss")
        return finish(axes, name, alt)


def _thinned(curve: Curve, points: int = 120) -> tuple[Floats, Floats]:
    """The curve as means over at most that many runs of neighbouring points: seen (k,), values (seeds, k)."""
    seen = np.atleast_1d(np.asarray(curve.images_seen, float))
    values = np.atleast_2d(np.asarray(curve.values, float))
    keep = np.isfinite(values).all(0)
    seen, values = seen[keep], values[:, keep]
    if len(seen) <= points:
        return seen, values
    starts = np.linspace(0, len(seen), points, endpoint=False).astype(int)
    counts = np.diff(np.append(starts, len(seen)))
    return np.add.reduceat(seen, starts) / counts, np.add.reduceat(values, starts, axis=1) / counts


# ---- the generator and the pairs


def gate_bars(gate: Gate) -> str:
    """Shares recognised as their class, reproductions beside real images, with the floor."""
    bars = [
        ("reproductions, top-1", gate.top1, "arm-1"),
        ("real images, top-1", gate.real_top1, "control-1"),
        ("reproductions, top-5", gate.top5, "arm-1"),
        ("real images, top-5", gate.real_top5, "control-1"),
    ]
    shown = [(label, share, colour) for label, share, colour in bars if share is not None]
    with settings():
        axes = row_axes([label for label, _, _ in shown], 22)
        rows_on(axes, [label for label, _, _ in shown])
        axes.set_yticks(range(len(shown)), [label for label, _, _ in shown])
        for y, (label, share, colour) in enumerate(shown):
            faint = 1.0 if label.endswith("top-1") else 0.45
            axes.barh(y, 100 * share, height=0.55, color=light(colour), alpha=faint)
        judged = sum(label.endswith("top-1") for label, _, _ in shown)
        line: dict[str, Any] = {"color": light("arm-2"), "linewidth": 1.6, "linestyle": (0, (3, 1.5))}
        axes.plot([100 * gate.floor] * 2, [-0.55, judged - 0.45], **line)
        axes.set_xlim(0, 100)
        axes.set_xlabel("share put in their own class (%)")
        alt = f"{100 * gate.top1:.1f} % of reproductions put in their class; floor {100 * gate.floor:.1f} %."
        return finish(axes, "gate", alt)


def selection_styles(distances: Distances, drawn: Mapping[str, Style]) -> dict[str, Style]:
    """Name -> style of the selections: their arm's where one has that name."""
    return {name: drawn.get(name, style) for name, style in hues(distances.chosen).items()}


def distance_histogram(distances: Distances, drawn: Mapping[str, Style]) -> str:
    """All pairs as a histogram, the chosen ones as ticks under it, one row per selection."""
    chosen = {name: np.asarray(values, float) for name, values in distances.chosen.items()}
    with settings():
        under = 9.0 * len(chosen)
        axes = new_axes(190 + under, left=46, bottom=40)
        edges, counts = np.asarray(distances.edges, float), np.asarray(distances.counts, float)
        axes.stairs(counts, edges, fill=True, color=light("control-2"), alpha=0.45)
        top = float(counts.max(initial=1.0)) * 1.05
        row = top * 9.0 / 140
        for i, (name, values) in enumerate(chosen.items()):
            style = selection_styles(distances, drawn)[name]
            span = (edges[-1] - edges[0]) / 400
            ticks = edges[0] + span * np.unique(np.round((values[np.isfinite(values)] - edges[0]) / span))
            axes.vlines(ticks, -row * (i + 0.9), -row * (i + 0.15), color=light(style.colour), linewidth=1.0)
        axes.set_ylim(-row * (len(chosen) + 0.2), top)
        axes.axhline(0, color=light("rule"), linewidth=0.8)
        axes.yaxis.set_major_locator(MaxNLocator(4, integer=True))
        axes.yaxis.set_major_formatter(FuncFormatter(lambda v, _: "" if v < 0 else _short(v)))
        axes.set_xlabel(distances.label)
        axes.set_ylabel("pairs")
        alt = f"Histogram of the {distances.label} of all pairs; chosen ones marked under it."
        return finish(axes, "distances", alt)


def _short(value: float) -> str:
    for limit, letter in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if value >= limit:
            return f"{value / limit:g}{letter}"
    return f"{value:g}"


def similarity_histogram(groups: Mapping[str, Floats]) -> str:
    """Densities of similarity, one outline per group."""
    return _outlines(groups, "similarities", "cosine similarity in the recognizer's space", "Similarity histograms of")


def disagreement_histogram(arms: Mapping[str, Floats]) -> str:
    """Densities of the classes' disagreement about an image, one outline per arm."""
    return _outlines(arms, "disagreements", "disagreement of the classes about an image", "Disagreement histograms of")


def _outlines(groups: Mapping[str, Floats], name: str, label: str, title: str) -> str:
    values = {name: np.asarray(v, float)[np.isfinite(v)] for name, v in groups.items()}
    everything = np.concatenate(list(values.values()))
    low, high = (float(everything.min()), float(everything.max())) if everything.size else (-1.0, 1.0)
    with settings():
        axes = new_axes(200, left=48)
        edges = np.linspace(low, high if high > low else low + 1, 41)
        for group, style in hues(values).items():
            density = np.histogram(values[group], edges)[0] / max(1, values[group].size) * 100
            axes.stairs(density, edges, color=light(style.colour), linestyle=style.line, linewidth=1.6)
            axes.stairs(density, edges, fill=True, color=light(style.colour), alpha=0.10)
        axes.set_xlabel(label)
        axes.set_ylabel("share of images (%)")
        return finish(axes, name, f"{title} {', '.join(values)}.")


# ---- pictures


def png(image: Image) -> bytes:
    """PNG bytes of a uint8 image, grey (h, w) or (h, w, 1) or RGB (h, w, 3). Raises ValueError for others."""
    array = np.asarray(image)
    if array.ndim == 3 and array.shape[2] == 1:
        array = array[:, :, 0]
    if array.dtype != np.uint8 or not (array.ndim == 2 or (array.ndim == 3 and array.shape[2] == 3)):
        raise ValueError(f"image: must be uint8 (h, w), (h, w, 1) or (h, w, 3), got {array.dtype} {array.shape}")
    out = io.BytesIO()
    PillowImage.fromarray(np.ascontiguousarray(array)).save(out, "PNG", optimize=True)
    return out.getvalue()
