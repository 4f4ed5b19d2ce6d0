"""What measuring quality hands over, quality.json: numbers by set of images, and images like training images."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from scoremix.outputs.record import Record


class QualitySummary(Record):
    """Of every set its numbers (null: not measured), and its images most similar to a training image."""

    FILE = "quality.json"
    notes: Sequence[str]
    sets: Mapping[str, Mapping[str, float | None]]
    closest: Mapping[str, Sequence[Mapping[str, int | str | float]]]  # image, class, train_image, train_class, cosine
