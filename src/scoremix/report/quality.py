"""The quality table as terminal text, CSV and one HTML page with the nearest real images (Appendix D.6)."""

from __future__ import annotations

import csv as csv_module
import io
import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from scoremix.evaluation.metric_table import QUALITY, Metric, leak_metric
from scoremix.report import drawing, page
from scoremix.report.content import Image
from scoremix.report.tables import DASH

Rows = Mapping[str, Mapping[str, float]]


class Pair(NamedTuple):
    """A generated image and the training image nearest to it."""

    image: int
    name: str
    pixels: Image
    train: int
    train_name: str
    train_pixels: Image
    cosine: float


def measures(rows: Rows) -> list[Metric]:
    """The lines for which some set has a number."""
    keys = list(dict.fromkeys(key for values in rows.values() for key in values))
    leaks = sorted((leak for key in keys if (leak := leak_metric(key))), key=lambda m: m.key.startswith("leak_others"))
    found = [m for m in QUALITY if any(math.isfinite(v.get(m.key, math.nan)) for v in rows.values())]
    return [*found, *leaks]


def cell(values: Mapping[str, float], measure: Metric) -> str:
    """A number at three significant digits, with its deviation over classes where there is one."""
    value, spread = values.get(measure.key, math.nan), values.get(f"{measure.key}_std", math.nan)
    if not math.isfinite(value):
        return DASH
    if measure.key == "images":
        return f"{value:,.0f}"
    text = f"{value:.3g}" if measure.key in ("frechet", "kernel") else f"{value:.3f}"
    return (text + (f" ±{spread:.3f}" if math.isfinite(spread) else "")).replace("-", "−")


def sizes(rows: Rows) -> str:
    """How many images each number rests on."""
    values = next(iter(rows.values()))
    n, each = values["compared"], values["images_per_class"]
    return f"distances and neighbourhoods: {n:,.0f} images against {n:,.0f} real ones in every column; class measures: {each:.0f} images a class"


def text(rows: Rows, notes: Sequence[str]) -> str:
    """The table for a terminal, a line per measure and a column per set."""
    names = list(rows)
    lines = [
        ["", *names],
        *([f"{m.label} {m.better}".strip(), *(cell(rows[n], m) for n in names)] for m in measures(rows)),
    ]
    widths = [max(len(line[i]) for line in lines) for i in range(len(names) + 1)]
    table = [
        "  ".join([line[0].ljust(widths[0]), *(c.rjust(w) for c, w in zip(line[1:], widths[1:], strict=True))])
        for line in lines
    ]
    return "\n".join([*(line.rstrip() for line in table), "", *(f"{note}" for note in (sizes(rows), *notes))]) + "\n"


def csv(rows: Rows) -> str:
    """A line per set, a column per number; empty where not measured."""
    keys = list(dict.fromkeys(key for values in rows.values() for key in values))
    out = io.StringIO()
    writer = csv_module.writer(out, lineterminator="\n")
    writer.writerow(["set", *keys])
    for name, values in rows.items():
        writer.writerow([name, *(repr(v) if math.isfinite(v := values.get(k, math.nan)) else "" for k in keys)])
    return out.getvalue()


def render(rows: Rows, notes: Sequence[str], pairs: Mapping[str, Sequence[Pair]]) -> str:
    """The page: the table, and for each set the images most similar to a training image beside it."""
    return (
        page.environment()
        .get_template("quality.html")
        .render(
            rows=rows,
            notes=[sizes(rows), *notes],
            pairs=pairs,
            measures=measures(rows),
            cell=cell,
            palette=drawing.PALETTE,
        )
    )
