"""What every chart shares: palette, one style per arm, axes, and figures as SVG with CSS colours; pictures as PNG."""

import functools
import io
import re
import textwrap
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING, Any, ParamSpec

import numpy as np
from markupsafe import Markup
from numpy.typing import NDArray

from scoremix.data.decode import png_address
from scoremix.evaluation.estimate import Estimate
from scoremix.evaluation.metric_table import Metric

if TYPE_CHECKING:  # matplotlib takes most of a second to import, and what only plans a report draws nothing
    from matplotlib.axes import Axes as Axes
else:
    Axes = Any

Image = NDArray[np.uint8]  # (h, w), (h, w, 1) grey or (h, w, 3) RGB
Floats = NDArray[np.floating[Any]]
P = ParamSpec("P")

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
MARKERS = ("o", "s", "D", "^", "v")
MAP = "viridis"
STEPS = (1, 1.5, 2, 2.5, 3, 4, 5, 6, 8, 10)  # between ticks, where few are wanted
WIDTH = 360.0  # points: about a phone's width, so that text stays readable there
_RC = {
    "svg.fonttype": "none",
    "text.parse_math": False,
    "font.family": "DejaVu Sans",
    "font.size": 10,
    "axes.linewidth": 0.8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.unicode_minus": True,
}


def light(name: str) -> str:
    """The colour of a palette name on a light page."""
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


def styles(arms: Iterable[tuple[str, bool]]) -> dict[str, Style]:
    """Style of every arm of a page, (name, is it a control): controls in greys, others in hues, then other dashes."""
    drawn, used = {}, {True: 0, False: 0}
    for name, control in arms:
        names = _CONTROLS if control else _HUES
        turn, i = divmod(used[control], len(names))
        used[control] += 1
        drawn[name] = Style(names[i], _DASHES[turn % len(_DASHES)], MARKERS[turn % len(MARKERS)])
    return drawn


def styled(names: Iterable[str], arms: Mapping[str, Style] | None = None) -> dict[str, Style]:
    """Style of every name in a chart: that of the arm where it is one (or starts a list of arms), else a hue left over."""
    names, arms = list(names), arms or {}
    of_arms = {n: arms[arm] for n in names if (arm := n if n in arms else n.split(", ")[0]) in arms}
    hues = [hue for hue in _HUES if hue not in {style.colour for style in of_arms.values()}] or _HUES
    others = [n for n in names if n not in of_arms]
    free = {n: Style(hues[i % len(hues)], _DASHES[i // len(hues) % len(_DASHES)]) for i, n in enumerate(others)}
    return {n: of_arms.get(n) or free[n] for n in names}


# ---- from matplotlib to an element of the page


def settings() -> AbstractContextManager[None]:
    """A context with our settings over matplotlib's own defaults, whatever the user's matplotlibrc says."""
    import matplotlib

    given = matplotlib.rcParamsDefault.items()
    merged: Any = {k: v for k, v in given if k.split(".")[0] not in ("backend", "toolbar")} | _RC
    return matplotlib.rc_context(merged)


def new_axes(
    height: float, left: float = 44, bottom: float = 38, top: float = 10, right: float = 12, x: str = "", y: str = ""
) -> Axes:
    """Axes of a new figure with margins in points, and labels."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(WIDTH / 72, height / 72))
    box = (left / WIDTH, bottom / height, 1 - (left + right) / WIDTH, 1 - (bottom + top) / height)
    axes = figure.add_axes(box)
    figure.patch.set_visible(False)
    axes.patch.set_visible(False)
    axes.tick_params(colors=light("muted"), labelcolor=light("muted"), width=0.8, length=3)
    axes.set_xlabel(x, color=light("muted"))
    axes.set_ylabel(y, color=light("muted"))
    for spine in axes.spines.values():
        spine.set_color(light("rule"))
    axes.set_axisbelow(True)
    axes.grid(True, color=light("rule"), linewidth=0.6)
    return axes


def element(draw: Callable[P, tuple[Axes, str, str]], *args: P.args, **kwargs: P.kwargs) -> Markup:
    """What a function draws, as one <svg> element; it returns axes, the element's name and what they show in words."""
    with settings():
        return Markup(finish(*draw(*args, **kwargs)))


def figure(draw: Callable[P, tuple[Axes, str, str]]) -> Callable[P, Markup]:
    """The same function as one that returns an element of the page; a figure that cannot be drawn is left out, with why."""

    @functools.wraps(draw)
    def drawn(*args: P.args, **kwargs: P.kwargs) -> Markup:
        try:
            return element(draw, *args, **kwargs)
        except Exception as error:
            return left_out(error)

    return drawn


def left_out(error: Exception) -> Markup:
    """What stands where a part of a page could not be made."""
    why = f"{type(error).__name__}: {error}"
    return Markup('<p class="small muted">left out: {}</p>').format(why)


def finish(axes: Axes, name: str, alt: str) -> str:
    """The figure as one <svg> element with ids of its own and colours as variables, light as fallback."""
    import matplotlib

    out = io.StringIO()
    figure = axes.get_figure(root=True)
    assert figure is not None
    with matplotlib.rc_context({"svg.hashsalt": name}):
        metadata = dict.fromkeys(("Date", "Creator", "Format", "Type"))
        figure.savefig(out, format="svg", metadata=metadata)
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
    size = re.search(r"([\d.]+)px", declaration)
    return f"font-size: {size[1]}px" if size else "font-size: 10px"


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
    swapped = str.maketrans("_-", "-_")  # lines break after hyphens: so after the underscores of an arm's name
    return "\n".join(textwrap.wrap(name.translate(swapped), width)[:2]).translate(swapped) or name


def row_axes(names: Sequence[str], per_row: float) -> Axes:
    """Axes with room for the names at the left."""
    lines = [_wrapped(n).split("\n") for n in names]
    left = 10 + 5.7 * max(len(line) for pair in lines for line in pair)
    tall = max(per_row, 26) if any(len(pair) > 1 for pair in lines) else per_row
    return new_axes(46 + tall * len(names), left=min(left, 140), bottom=36)


def limits(axes: Axes, values: Sequence[float]) -> None:
    """Sets the axis of x to the finite values, with a margin."""
    finite = [v for v in values if np.isfinite(v)]
    low, high = (min(finite), max(finite)) if finite else (0.0, 1.0)
    pad = 0.06 * (high - low) or max(abs(high), 1.0) * 0.05
    axes.set_xlim(low - pad, high + pad)
    axes.locator_params(axis="x", nbins=5, steps=[1, 2, 5, 10])


def draw_estimate(
    axes: Axes, y: float, e: Estimate, style: Style, scale: float, hollow: bool, small: float
) -> list[float]:
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


@figure
def difference_rows(
    metric: Metric, rows: Sequence[tuple[str, Sequence[Estimate]]], drawn: Mapping[str, Style], name: str = "difference"
) -> tuple[Axes, str, str]:
    """One metric, (arm, difference to each control) on rows: first control filled, others hollow."""
    controls = max(len(estimates) for _, estimates in rows)
    axes = row_axes([arm for arm, _ in rows], 14 + 15 * controls)
    rows_on(axes, [arm for arm, _ in rows])
    used = [0.0]
    step, scale = 0.8 / controls, 100.0 if metric.percent else 1.0
    for y, (arm, estimates) in enumerate(rows):
        for j, e in enumerate(estimates):
            at = y + (j - (controls - 1) / 2) * step
            marker = drawn[arm].marker if j < 2 else MARKERS[(j - 1) % len(MARKERS)]
            style = Style(drawn[arm].colour, marker=marker)
            used += draw_estimate(axes, at, e, style, scale, j > 0, 0.3 * step)
    axes.axvline(0, color=light("ink"), linewidth=1.0)
    limits(axes, used)
    better = "right is better" if metric.higher_is_better else "left is better"
    points = "points" if metric.percent else "difference"
    axes.set_xlabel(f"{metric.label}, {points} ({better})")
    alt = f"Differences in {metric.label} to the controls with intervals and a zero line."
    return axes, f"{name}-{slug(metric.key)}", alt


def slug(key: str) -> str:
    """A name that can stand in an element's id."""
    return re.sub(r"[^a-zA-Z0-9]+", "-", key)


# ---- lines and outlines


def line(axes: Axes, x: Any, y: Any, style: Style, **more: Any) -> None:
    """A line in the style's colour and dashes."""
    axes.plot(x, y, color=light(style.colour), linestyle=style.line, **{"linewidth": 1.6, **more})


def seed_lines(axes: Axes, x: Floats, values: Floats, style: Style, thin: bool) -> None:
    """The mean of values (seeds, n) as a thick line, each seed as a thin one if wanted."""
    for seed in values if thin and len(values) > 1 else ():
        line(axes, x, seed, style, linewidth=0.7, alpha=0.4)
    line(axes, x, values.mean(0), style, linewidth=1.8)


@figure
def outlines(
    groups: Mapping[str, Floats], name: str, label: str, title: str, drawn: Mapping[str, Style] | None = None
) -> tuple[Axes, str, str]:
    """Histograms as outlines, one over the other, on the same bins."""
    values = {name: np.asarray(v, float)[np.isfinite(v)] for name, v in groups.items()}
    everything = np.concatenate(list(values.values()))
    low, high = (float(everything.min()), float(everything.max())) if everything.size else (-1.0, 1.0)
    axes = new_axes(200, left=48)
    edges = np.linspace(low, high if high > low else low + 1, 41)
    for group, style in (drawn or styled(values)).items():
        density = np.histogram(values[group], edges)[0] / max(1, values[group].size) * 100
        axes.stairs(density, edges, color=light(style.colour), linestyle=style.line, linewidth=1.6)
        axes.stairs(density, edges, fill=True, color=light(style.colour), alpha=0.10)
    axes.set_xlabel(label)
    axes.set_ylabel("share of images (%)")
    return axes, name, f"{title} {', '.join(values)}."


# ---- squares of numbers


@figure
def matrix(names: Sequence[str], values: Any, name: str, label: str, percent: bool = False) -> tuple[Axes, str, str]:
    """A square of numbers as a heat map, each written in its cell where there is room."""
    table, n = np.asarray(values, float), len(names)
    left = min(16 + 5.4 * max(map(len, names)), 150)
    side = 360 - left - 14
    axes = new_axes(side + 20 + left * 0.75, left=left, bottom=left * 0.75, top=12, right=14)
    heat(axes, table, vmin=min(0.0, float(table.min())), vmax=1.0)
    size = 10 if n <= 12 else max(4, 120 / n)
    axes.set_xticks(range(n), names, rotation=38 if n <= 12 else 90, ha="right", rotation_mode="anchor", fontsize=size)
    axes.set_yticks(range(n), names, fontsize=size)
    if n <= 12:
        for i, j in np.ndindex(table.shape):
            text = f"{100 * table[i, j]:.0f}" if percent else f"{table[i, j]:.2f}".replace("-", "−")
            dark = table[i, j] < 0.55
            colour = "#ffffff" if dark else "#1d2128"
            axes.text(j, i, text, ha="center", va="center", fontsize=9 if n <= 6 else 7, color=colour)
    return axes, name, label


def heat(axes: Axes, table: Any, **options: Any) -> Any:
    """A table as colours on bare axes."""
    axes.grid(False)
    for spine in axes.spines.values():
        spine.set_visible(False)
    return axes.imshow(table, cmap=MAP, interpolation="none", aspect="auto", **options)


# ---- pictures


def picture(image: Image, alt: str) -> Markup:
    """An <img> with the pixels inside, scaled without smoothing by the page's style; left out, with why, if it is none."""
    try:
        address = png_address(image)
    except Exception as error:
        return left_out(error)
    height, width = image.shape[:2]
    return Markup('<img src="{}" width="{}" height="{}" alt="{}">').format(address, width, height, alt)
