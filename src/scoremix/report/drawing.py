"""How the report draws: palette, one style per arm, and matplotlib's figures as SVG with CSS colours."""

from __future__ import annotations

import io
import re
from collections.abc import Iterable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from html import escape
from typing import Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from scoremix.report.content import Arm

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
        drawn[arm.name] = Style(names[i], _DASHES[turn % len(_DASHES)], MARKERS[turn % len(MARKERS)])
    return drawn


def hues(names: Iterable[str]) -> dict[str, Style]:
    """Name -> style for groups that are not arms."""
    return {n: Style(_HUES[i % len(_HUES)], _DASHES[i // len(_HUES) % len(_DASHES)]) for i, n in enumerate(names)}


# ---- from matplotlib to an element of the page


def settings() -> AbstractContextManager[None]:
    """A context with our settings over matplotlib's own defaults, whatever the user's matplotlibrc says."""
    given = matplotlib.rcParamsDefault.items()
    merged: Any = {k: v for k, v in given if k.split(".")[0] not in ("backend", "toolbar")} | _RC
    return matplotlib.rc_context(merged)


def new_axes(height: float, left: float = 44, bottom: float = 38, top: float = 10, right: float = 12) -> Axes:
    """Axes of a new figure with margins in points."""
    figure = Figure(figsize=(WIDTH / 72, height / 72))
    box = (left / WIDTH, bottom / height, 1 - (left + right) / WIDTH, 1 - (bottom + top) / height)
    axes = figure.add_axes(box)
    figure.patch.set_visible(False)
    axes.patch.set_visible(False)
    axes.tick_params(colors=light("muted"), labelcolor=light("muted"), width=0.8, length=3)
    axes.xaxis.label.set_color(light("muted"))
    axes.yaxis.label.set_color(light("muted"))
    for spine in axes.spines.values():
        spine.set_color(light("rule"))
    axes.set_axisbelow(True)
    axes.grid(True, color=light("rule"), linewidth=0.6)
    return axes


def finish(axes: Axes, name: str, alt: str) -> str:
    """The figure as one <svg> element with ids of its own and colours as variables, light as fallback."""
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
    found = re.search(r"([\d.]+)px", declaration)
    return f"font-size: {found[1]}px" if found else "font-size: 10px"
