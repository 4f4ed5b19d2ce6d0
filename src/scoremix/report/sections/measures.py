"""The quality of images: every measure of every set beside real images, and the nearest training images (D.6)."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Self

from scoremix.evaluation.metric_table import QUALITY, Metric, leak_metric
from scoremix.report.charts import Image
from scoremix.report.numbers import DASH
from scoremix.report.page import Section

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


@dataclass(frozen=True)
class QualityResults:
    """What the page is about: numbers by set of images, notes, and each set's images most similar to real ones."""

    sets: Rows
    notes: Sequence[str]
    pairs: Mapping[str, Sequence[Pair]]


class MeasuresSection(Section):
    title = "Quality of generated images"
    bare = True
    sets: Rows
    notes: Sequence[str]

    @classmethod
    def load(cls, source: QualityResults) -> Self:
        return cls(source.sets, [sizes(source.sets), *source.notes])


def measures(rows: Rows) -> list[Metric]:
    """The lines for which some set has a number."""
    keys = list(dict.fromkeys(key for values in rows.values() for key in values))
    leaks = sorted((leak for key in keys if (leak := leak_metric(key))), key=lambda m: m.key.startswith("leak_others"))
    measured = [m for m in QUALITY if any(math.isfinite(v.get(m.key, math.nan)) for v in rows.values())]
    return [*measured, *leaks]


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


class NearestSection(Section):
    title = "Nearest training images"
    name = "nearest"
    bare = True
    pairs: Mapping[str, Sequence[Pair]]
