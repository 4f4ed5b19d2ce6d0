"""The quality table as terminal text, CSV and one HTML page with the nearest real images (Appendix D.6)."""

from __future__ import annotations

import csv as csv_module
import io
import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from scoremix.report import drawing, page
from scoremix.report.content import Image
from scoremix.report.tables import DASH

Rows = Mapping[str, Mapping[str, float]]


class Measure(NamedTuple):
    """A line of the table: its key, what it says, and which way is better ('' where neither is)."""

    key: str
    label: str
    better: str
    note: str


MEASURES = (
    Measure("images", "images", "", "in the set"),
    Measure("align", "distance to target center", "↓", "mean cosine distance of an image to its class's real center; a mix's target is the weighted mean of its sources' centers"),
    Measure("ics", "intra-class similarity", "", "mean cosine of images to their own class's centroid; above real: less diverse than real images"),
    Measure("shift", "centroid shift", "↓", "cosine distance of a class's centroid to its target center"),
    Measure("mode_coverage", "mode coverage", "↑", "share of classes whose centroid is nearest to their own target"),
    Measure("frechet", "Fréchet distance", "↓", "of Gaussians fitted to the features"),
    Measure("kernel", "kernel distance", "↓", "squared maximum mean discrepancy, cubic kernel; may fall below 0 by chance"),
    Measure("precision", "precision", "↑", "images within reach of a real one"),
    Measure("recall", "recall", "↑", "real images within reach of a generated one"),
    Measure("density", "density", "↑", "real neighbourhoods an image lies in, over their number of neighbours"),
    Measure("coverage", "coverage", "↑", "real neighbourhoods with a generated image"),
    Measure("authenticity", "authenticity", "↑", "images farther from their nearest training image than that one is from its own nearest"),
    Measure("nearest", "similarity to nearest training image", "", "median cosine"),
    Measure("copying_z", "C_T", "", "z-score of distances to training images against those of held-out ones; far below 0: copies"),
)  # fmt: skip
LEAK = "leak rate at FMR {}"
LEAK_NOTE = "images whose nearest training image a verifier at that false match rate would accept as the same class"
OTHERS = "leak rate at FMR {}, sources aside"
OTHERS_NOTE = "the same without the classes that were mixed into the image"


class Pair(NamedTuple):
    """A generated image and the training image nearest to it."""

    image: int
    name: str
    pixels: Image
    train: int
    train_name: str
    train_pixels: Image
    cosine: float


def measures(rows: Rows) -> list[Measure]:
    """The lines for which some set has a number."""
    keys = list(dict.fromkeys(key for values in rows.values() for key in values))
    leaks = [Measure(k, LEAK.format(k[5:]), "", LEAK_NOTE) for k in keys if k.startswith("leak@")]
    leaks += [Measure(k, OTHERS.format(k[12:]), "", OTHERS_NOTE) for k in keys if k.startswith("leak_others@")]
    found = [m for m in MEASURES if any(math.isfinite(v.get(m.key, math.nan)) for v in rows.values())]
    return [*found, *leaks]


def cell(values: Mapping[str, float], measure: Measure) -> str:
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
