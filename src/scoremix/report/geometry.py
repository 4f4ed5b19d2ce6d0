"""What the page of the geometry shows, as plain data: rows as the stages wrote them, arrays to be drawn."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from scoremix.report.content import Floats, Image, Manifest

Row = Mapping[str, Any]


@dataclass(frozen=True)
class Snapshots:
    """Reproductions of one run's generator over training: rows of images_seen, ema, cka, top1, align, ics ..."""

    run: str
    rows: tuple[Row, ...]
    correlation: Mapping[str, Row]  # EMA length -> snapshots and, if enough, the correlation of CKA with recognition
    fewest: int


@dataclass(frozen=True)
class Strip:
    """One pair of classes from λ = 0 to 1 at fixed noise."""

    classes: tuple[str, str]
    images: tuple[Image, ...]
    to_a: Floats
    to_b: Floats


@dataclass(frozen=True)
class Geometry:
    """Everything on the page."""

    title: str
    run: str
    classes: int
    spaces: tuple[Row, ...]  # name, kind, dims
    alignment: Row  # labels, pairs, matrix, series
    order: Row  # spaces, rates, simulated, simulated_rates
    transfer: Row
    distances: Row  # correlations and, as arrays, matrices, signals, histogram
    snapshots: tuple[Snapshots, ...]
    paths: Row  # summaries, weights and the map's arrays
    strips: tuple[Strip, ...] = ()
    left_out: tuple[str, ...] = ()  # recognizers that know none of the real classes
    manifests: tuple[Manifest, ...] = ()
    settings: Mapping[str, Any] = field(default_factory=dict)
    versions: Mapping[str, str] = field(default_factory=dict)
    evaluations: int = 0

    @property
    def reference(self) -> str:
        """Name of the space that all others are compared with: the selecting recognizer's centers."""
        return str(next(s["name"] for s in self.spaces if s["kind"] != "condition"))

    @property
    def condition(self) -> str:
        return str(next(s["name"] for s in self.spaces if s["kind"] == "condition"))

    def measured(self, x: str, y: str) -> dict[str, Row]:
        """Measure -> row of one pair of spaces."""
        return {row["measure"]: row for row in self.alignment["pairs"] if (row["x"], row["y"]) == (x, y)}
