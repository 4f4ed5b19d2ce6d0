"""The report's figures as inline SVG: same input, same bytes; colours are CSS variables, so that they follow the scheme."""

from __future__ import annotations

import io
import re
import textwrap
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullLocator
from PIL import Image as PillowImage

from scoremix.report.content import Arm, Curve, Distances, Estimate, Floats, Gate, Generator, Image, Metric, Roc
from scoremix.report.tables import power

# name of the CSS variable: (light, dark); arms' hues after Okabe and Ito, told apart by colour-blind readers
PALETTE = {
    "ink": ("#1d2127", "#e8eaed"),
    "muted": ("#5f6772", "#a3abb6"),
    "rule": ("#dde1e6", "#363d46"),
    "page": ("#fefefe", "#15181c"),
    "band": ("#f1f3f5", "#20252b"),
    "control-1": ("#4a515b", "#c9ced6"),
    "control-2": ("#8f97a3", "#858d99"),
    "arm-1": ("#0072b2", "#4fb0f0"),
    "arm-2": ("#d55e00", "#ff8d4a"),
    "arm-3": ("#009e73", "#35cba0"),
    "arm-4": ("#b3478c", "#eb9acb"),
    "arm-5": ("#c98a00", "#f2be4a"),
    "arm-6": ("#4aa3d8", "#9ad4f7"),
}
_CONTROLS = ("control-1", "control-2")
_HUES = tuple(name for name in PALETTE if name.startswith("arm-"))
_DASHES = ("", "5 2", "1.5 1.5", "6 2 1.5 2", "9 3")
_MARKERS = ("o", "s", "D", "^", "v")
_WIDTH = 360.0  # points: about a phone's width, so that text stays readable there
_RC = {
    "svg.fonttype": "none",
    "text.parse_math": False,
    "font.family": "DejaVu Sans",
    "font.size": 9.5,
    "axes.linewidth": 0.8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.unicode_minus": True,
}


def _light(name: str) -> str:
    return PALETTE[name][0]


@dataclass(frozen=True)
class Style:
    """How an arm is drawn in every figure: a palette name, a dash pattern ('' is solid) and a marker."""

    colour: str
    dash: str = ""
    marker: str = "o"

    @property
    def line(self) -> Any:
        """The dash pattern as matplotlib takes it."""
        return (0, tuple(map(float, self.dash.split()))) if self.dash else "-"


def styles(arms: Iterable[Arm]) -> dict[str, Style]:
    """Name -> style: controls in greys, others in hues; past the last hue the dash and marker change."""
    drawn, used = {}, {True: 0, False: 0}
    for arm in arms:
        names = _CONTROLS if arm.control else _HUES
        turn, i = divmod(used[arm.control], len(names))
        used[arm.control] += 1
        drawn[arm.name] = Style(names[i], _DASHES[turn % len(_DASHES)], _MARKERS[turn % len(_MARKERS)])
    return drawn


def hues(names: Iterable[str]) -> dict[str, Style]:
    """Name -> style for groups that are not arms."""
    return {n: Style(_HUES[i % len(_HUES)], _DASHES[i // len(_HUES) % len(_DASHES)]) for i, n in enumerate(names)}


# ---- from matplotlib to an element of the page


def _context() -> dict[str, Any]:
    """Our settings over matplotlib's own defaults, whatever the user's matplotlibrc says."""
    defaults = {k: v for k, v in matplotlib.rcParamsDefault.items() if k.split(".")[0] not in ("backend", "toolbar")}
    return {**defaults, **_RC}


def _axes(height: float, left: float = 44, bottom: float = 38, top: float = 10, right: float = 12) -> Axes:
    """Axes of a new figure with margins in points."""
    figure = Figure(figsize=(_WIDTH / 72, height / 72))
    box = (left / _WIDTH, bottom / height, 1 - (left + right) / _WIDTH, 1 - (bottom + top) / height)
    axes = figure.add_axes(box)
    figure.patch.set_visible(False)
    axes.patch.set_visible(False)
    axes.tick_params(colors=_light("muted"), labelcolor=_light("muted"), width=0.8, length=3)
    axes.xaxis.label.set_color(_light("muted"))
    axes.yaxis.label.set_color(_light("muted"))
    for spine in axes.spines.values():
        spine.set_color(_light("rule"))
    axes.set_axisbelow(True)
    axes.grid(True, color=_light("rule"), linewidth=0.6)
    return axes


def _svg(axes: Axes, name: str, alt: str) -> str:
    """The figure as one <svg> element: no prologue, ids of its own, colours as variables with the light ones as fallback."""
    out = io.StringIO()
    with matplotlib.rc_context({"svg.hashsalt": name}):
        metadata = dict.fromkeys(("Date", "Creator", "Format", "Type"))
        axes.figure.savefig(out, format="svg", metadata=metadata)
    text = out.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>|<style.*?</style>|<!--.*?-->", "", text, flags=re.S)
    box = re.search(r'viewBox="([^"]+)"', text)
    assert box is not None
    head = (
        f'<svg viewBox="{box[1]}" role="img" aria-label="{escape(alt)}" '
        'xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink">'
        f"<title>{escape(alt)}</title>"
    )
    text = head + text[text.index(">") + 1 :]
    used = set(re.findall(r"(?:href=\"|url\()#([^\")]+)", text))
    text = re.sub(r' id="([^"]+)"', lambda m: f' id="{name}-{m[1]}"' if m[1] in used else "", text)
    text = re.sub(r"(href=\"|url\()#", rf"\1#{name}-", text)
    text = re.sub(r"font(?:-family)?: [^;\"]*'DejaVu Sans'[^;\"]*", lambda m: _font_size(m[0]), text)
    variables = {light: f"var(--{key}, {light})" for key, (light, _) in PALETTE.items()}
    text = re.sub(r"(?<=: )#[0-9a-f]{6}", lambda m: variables.get(m[0], m[0]), text)
    return re.sub(r"\n\s*", "\n", text).strip()


def _font_size(declaration: str) -> str:
    found = re.search(r"([\d.]+)px", declaration)
    return f"font-size: {found[1]}px" if found else "font-size: 9.5px"


# ---- arms on rows


def _rows(axes: Axes, names: Sequence[str], drawn: Mapping[str, Style]) -> None:
    axes.set_ylim(len(names) - 0.4, -0.6)
    axes.set_yticks(range(len(names)), [_wrapped(n) for n in names])
    axes.tick_params(axis="y", length=0)
    axes.grid(False, axis="y")
    axes.spines["left"].set_visible(False)
    for label in axes.get_yticklabels():
        label.set_color(_light("ink"))


def _wrapped(name: str, width: int = 20) -> str:
    return "\n".join(textwrap.wrap(name, width)[:2]) or name


def _row_axes(names: Sequence[str], per_row: float) -> Axes:
    lines = [_wrapped(n).split("\n") for n in names]
    left = 12 + 5.9 * max(len(line) for pair in lines for line in pair)
    tall = max(per_row, 26) if any(len(pair) > 1 for pair in lines) else per_row
    return _axes(46 + tall * len(names), left=min(left, 140), bottom=36)


def _scale(metric: Metric) -> float:
    return 100.0 if metric.percent else 1.0


def _limits(axes: Axes, values: Sequence[float]) -> None:
    finite = [v for v in values if np.isfinite(v)]
    low, high = (min(finite), max(finite)) if finite else (0.0, 1.0)
    pad = 0.06 * (high - low) or max(abs(high), 1.0) * 0.05
    axes.set_xlim(low - pad, high + pad)
    axes.xaxis.set_major_locator(MaxNLocator(5))


def _estimate(axes: Axes, y: float, e: Estimate, style: Style, scale: float, hollow: bool, small: float) -> list[float]:
    """Draws the mean, its interval as a bar and the seeds as points under it; returns the values used."""
    colour, values = _light(style.colour), [scale * v for v in e.seeds]
    axes.plot(values, [y + small] * len(values), ".", color=colour, markersize=4, alpha=0.55, markeredgewidth=0)
    if e.interval is not None:
        ends = [scale * v for v in e.interval]
        axes.plot(ends, [y, y], color=colour, linewidth=2.4, alpha=0.5, solid_capstyle="butt")
        values += ends
    if not e.missing:
        face = _light("page") if hollow else colour
        axes.plot([scale * e.value], [y], style.marker, color=colour, markersize=6, markerfacecolor=face)
        values.append(scale * e.value)
    return values


def metric_rows(metric: Metric, arms: Sequence[Arm], drawn: Mapping[str, Style]) -> str:
    """One metric: arms on rows, mean as marker, interval as bar, seeds as small points, the first control as a line."""
    with matplotlib.rc_context(_context()):
        axes = _row_axes([a.name for a in arms], 24)
        _rows(axes, [a.name for a in arms], drawn)
        used: list[float] = []
        for y, arm in enumerate(arms):
            e = arm.metrics.get(metric.key)
            if e is not None:
                used += _estimate(axes, y, e, drawn[arm.name], _scale(metric), False, 0.27)
        control = next((a for a in arms if a.control and metric.key in a.metrics), None)
        if control is not None and len(arms) > 1:
            at = _scale(metric) * control.metrics[metric.key].value
            axes.axvline(at, color=_light("muted"), linewidth=0.8, linestyle=(0, (2, 2)))
        _limits(axes, used)
        axes.set_xlabel(_axis_name(metric) + ("" if metric.higher_is_better else ", lower is better"))
        alt = f"{metric.label} of {len(arms)} arms with intervals and seeds; the numbers are in the table of arms."
        return _svg(axes, f"metric-{_slug(metric.key)}", alt)


def difference_rows(
    metric: Metric,
    rows: Sequence[tuple[str, Sequence[Estimate]]],
    drawn: Mapping[str, Style],
    name: str = "difference",
) -> str:
    """One metric: (arm, its difference to each control) on rows with a zero line; first control filled, others hollow."""
    with matplotlib.rc_context(_context()):
        controls = max(len(estimates) for _, estimates in rows)
        axes = _row_axes([arm for arm, _ in rows], 14 + 15 * controls)
        _rows(axes, [arm for arm, _ in rows], drawn)
        used = [0.0]
        step = 0.8 / controls
        for y, (arm, estimates) in enumerate(rows):
            for j, e in enumerate(estimates):
                at = y + (j - (controls - 1) / 2) * step
                style = Style(drawn[arm].colour, marker=_MARKERS[max(0, j - 1) % len(_MARKERS)])
                used += _estimate(axes, at, e, style, _scale(metric), j > 0, 0.3 * step)
        axes.axvline(0, color=_light("ink"), linewidth=1.0)
        _limits(axes, used)
        better = "right is better" if metric.higher_is_better else "left is better"
        points = "difference in points" if metric.percent else "difference"
        axes.set_xlabel(f"{metric.label}, {points} ({better})")
        alt = f"Differences in {metric.label} to the controls with intervals and a zero line; the table has the numbers."
        return _svg(axes, f"{name}-{_slug(metric.key)}", alt)


def _axis_name(metric: Metric) -> str:
    return metric.label + (" (%)" if metric.percent else "")


def _slug(key: str) -> str:
    return re.sub(r"[^a-zA-Z0-9]+", "-", key)


# ---- curves


def roc(arms: Sequence[Arm], drawn: Mapping[str, Style], supported_far: float) -> str:
    """Verification curves: log FAR against TAR, seeds thin, mean thick; FAR that too few pairs support is shaded."""
    with_curve = [(arm, arm.roc) for arm in arms if arm.roc is not None]
    thin = sum(len(np.atleast_2d(curve.tar)) for _, curve in with_curve) <= 60
    with matplotlib.rc_context(_context()):
        axes = _axes(290, left=42)
        axes.set_xscale("log")
        for arm, curve in with_curve:
            style = drawn[arm.name]
            line: dict[str, Any] = {"color": _light(style.colour), "linestyle": style.line}
            far, tar = _sampled(curve)
            for seed in tar if thin and len(tar) > 1 else ():
                axes.plot(far, 100 * seed, **line, linewidth=0.7, alpha=0.4)
            axes.plot(far, 100 * tar.mean(0), **line, linewidth=1.9)
        low = min((float(c.far[c.far > 0].min()) for _, c in with_curve), default=supported_far)
        low = max(low, supported_far / 10)
        if low < supported_far * 0.999:
            axes.axvspan(low, supported_far, color=_light("band"), linewidth=0)
        axes.set_xlim(low, 1)
        axes.set_ylim(0, 101)
        axes.xaxis.set_major_locator(LogLocator(numticks=12))
        axes.xaxis.set_minor_locator(NullLocator())
        axes.xaxis.set_major_formatter(FuncFormatter(lambda v, _: power(v)))
        axes.set_xlabel("false accept rate (FAR)")
        axes.set_ylabel("true accept rate (TAR, %)")
        return _svg(axes, "roc", f"Verification ROC of {', '.join(a.name for a, _ in with_curve)}, logarithmic FAR axis.")


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
    with matplotlib.rc_context(_context()):
        axes = _axes(210, left=42, top=16)
        means = []
        for curve, style in lines:
            seen, values = _thinned(curve)
            line: dict[str, Any] = {"color": _light(style.colour), "linestyle": style.line}
            for seed in values if 1 < len(values) and len(lines) <= 12 else ():
                axes.plot(seen / 1000, seed, **line, linewidth=0.6, alpha=0.35)
            axes.plot(seen / 1000, values.mean(0), **line, linewidth=1.6)
            means.append(values.mean(0))
        lowest = min((float(m.min()) for m in means if len(m)), default=0.0)
        highest = max((float(m.max()) for m in means if len(m)), default=1.0)
        if lowest > 0 and highest / lowest > 20:
            axes.set_yscale("log")
        if mark is not None:
            axes.axvline(mark / 1000, color=_light("ink"), linewidth=0.9, linestyle=(0, (3, 2)))
            axes.annotate(
                "guide", (mark / 1000, 1), xycoords=("data", "axes fraction"), xytext=(3, 3),
                textcoords="offset points", color=_light("ink"),
            )  # fmt: skip
        axes.set_xlim(left=0)
        axes.xaxis.set_major_locator(MaxNLocator(6))
        axes.set_xlabel("images seen (thousands)")
        axes.set_ylabel("loss")
        return _svg(axes, name, alt)


def _thinned(curve: Curve, points: int = 120) -> tuple[Floats, Floats]:
    """The curve as means over at most that many runs of neighbouring points: seen (k,), values (seeds, k)."""
    seen, values = np.asarray(curve.images_seen, float), np.atleast_2d(np.asarray(curve.values, float))
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
    with matplotlib.rc_context(_context()):
        axes = _row_axes([label for label, _, _ in shown], 22)
        _rows(axes, [label for label, _, _ in shown], {})
        axes.set_yticks(range(len(shown)), [label for label, _, _ in shown])
        for y, (label, share, colour) in enumerate(shown):
            faint = 1.0 if label.endswith("top-1") else 0.45
            axes.barh(y, 100 * share, height=0.55, color=_light(colour), alpha=faint)
        axes.axvline(100 * gate.floor, color=_light("arm-2"), linewidth=1.4, linestyle=(0, (3, 2)))
        axes.set_xlim(0, 100)
        axes.set_xlabel("share put in their own class (%)")
        alt = f"{100 * gate.top1:.1f} % of reproductions are put in their class; floor {100 * gate.floor:.1f} %."
        return _svg(axes, "gate", alt)


def distance_histogram(distances: Distances, drawn: Mapping[str, Style]) -> str:
    """All pairs as a histogram, the chosen ones as ticks under it, one row per selection."""
    chosen = {name: np.asarray(values, float) for name, values in distances.chosen.items()}
    with matplotlib.rc_context(_context()):
        under = 9.0 * len(chosen)
        axes = _axes(190 + under, left=46, bottom=40)
        edges, counts = np.asarray(distances.edges, float), np.asarray(distances.counts, float)
        axes.stairs(counts, edges, fill=True, color=_light("control-2"), alpha=0.45)
        top = float(counts.max(initial=1.0)) * 1.05
        row = top * 9.0 / 140
        for i, (name, values) in enumerate(chosen.items()):
            style = drawn.get(name, Style(_HUES[i % len(_HUES)]))
            span = (edges[-1] - edges[0]) / 400
            ticks = edges[0] + span * np.unique(np.round((values[np.isfinite(values)] - edges[0]) / span))
            axes.vlines(ticks, -row * (i + 0.9), -row * (i + 0.15), color=_light(style.colour), linewidth=1.0)
        axes.set_ylim(-row * (len(chosen) + 0.2), top)
        axes.axhline(0, color=_light("rule"), linewidth=0.8)
        axes.yaxis.set_major_locator(MaxNLocator(4, integer=True))
        axes.yaxis.set_major_formatter(FuncFormatter(lambda v, _: "" if v < 0 else _short(v)))
        axes.set_xlabel(distances.label)
        axes.set_ylabel("pairs")
        alt = f"Histogram of the {distances.label} of all pairs; chosen ones marked under it."
        return _svg(axes, "distances", alt)


def _short(value: float) -> str:
    for limit, letter in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if value >= limit:
            return f"{value / limit:g}{letter}"
    return f"{value:g}"


def similarity_histogram(groups: Mapping[str, Floats]) -> str:
    """Densities of similarity, one outline per group."""
    values = {name: np.asarray(v, float)[np.isfinite(v)] for name, v in groups.items()}
    everything = np.concatenate(list(values.values()))
    low, high = (float(everything.min()), float(everything.max())) if everything.size else (-1.0, 1.0)
    with matplotlib.rc_context(_context()):
        axes = _axes(200, left=42)
        edges = np.linspace(low, high if high > low else low + 1, 41)
        for name, style in hues(values).items():
            density = np.histogram(values[name], edges)[0] / max(1, values[name].size) * 100
            axes.stairs(density, edges, color=_light(style.colour), linestyle=style.line, linewidth=1.6)
            axes.stairs(density, edges, fill=True, color=_light(style.colour), alpha=0.10)
        axes.set_xlabel("cosine similarity in the recognizer's space")
        axes.set_ylabel("share of images (%)")
        return _svg(axes, "similarities", f"Similarity histograms of {', '.join(values)}.")


# ---- pictures


def png(image: Image) -> bytes:
    """A grey (h, w) or (h, w, 1) or an RGB (h, w, 3) uint8 image as PNG bytes. Raises ValueError for other arrays."""
    array = np.asarray(image)
    if array.ndim == 3 and array.shape[2] == 1:
        array = array[:, :, 0]
    if array.dtype != np.uint8 or not (array.ndim == 2 or (array.ndim == 3 and array.shape[2] == 3)):
        raise ValueError(f"image: must be uint8 (h, w), (h, w, 1) or (h, w, 3), got {array.dtype} {array.shape}")
    out = io.BytesIO()
    PillowImage.fromarray(np.ascontiguousarray(array)).save(out, "PNG", optimize=True)
    return out.getvalue()
