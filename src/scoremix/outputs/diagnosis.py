"""What the diagnosis of mixes hands over, examination.json: what the images of each group are to the baseline recognizer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from scoremix.outputs.record import Entry, Record


class Group(Entry):
    """What the images of a group are, in the baseline recognizer's space; None: does not apply.

    Means over images: similarity to the mean direction of the others of the class, shares nearer to it than to any
    real training center or to any other class of the group, similarity to the source centers and to the nearest
    other training class, share of the other classes that are less similar than the sources (chance: one half),
    and the loss under labels that follow the sources, less their entropy (nats).
    """

    group: str
    images: int
    own_center: float | None
    nearer_than_real: float | None = None
    nearer_than_mixed: float | None = None
    sources: float | None = None
    nearest_other: float | None = None
    percentile: float | None = None
    loss: float | None = None

    def as_json(self) -> dict[str, Any]:
        return asdict(self)

    @property
    def numbers(self) -> dict[str, float]:
        """The values that apply, by name."""
        values = {name: value for name, value in asdict(self).items() if name not in ("group", "images")}
        return {name: value for name, value in values.items() if value is not None}


class Diagnosis(Record):
    """Every group; `scale` is that of the loss."""

    FILE = "examination.json"
    groups: Sequence[Group]
    scale: float
