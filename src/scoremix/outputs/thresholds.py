"""What a delivered recognizer's thresholds are, thresholds.json: at each FAR the similarity that separates classes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from scoremix.outputs.record import Entry, Number, Record


class ThresholdPoint(Entry):
    """At a FAR the threshold and the share of genuine pairs above it, means over seeds with intervals over classes."""

    far: float
    threshold: Number
    tar: Number


class Thresholds(Record):
    """A point for every FAR that the pairs support; `unsupported`: FAR -> why not."""

    FILE = "thresholds.json"
    headline: float
    level: float
    classes: int
    images: int
    genuine_pairs: int
    impostor_pairs: int
    points: Sequence[ThresholdPoint]
    unsupported: Mapping[str, str]
