"""What choosing an arm hands over, choice.json: what the rule took of the candidates, and what it looked at."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Self

from scoremix.evaluation.estimate import FEW, ChosenCandidate
from scoremix.evaluation.metric_table import Metric, metric_of
from scoremix.outputs.record import Record


class Choosing(Record):
    """A choice among candidates: by which metric, on how many classes and images, in how many folds (1: validation classes)."""

    FILE = "choice.json"
    choice: ChosenCandidate
    metric: Metric
    level: float
    classes: int
    images: int
    folds: int = 1

    @property
    def too_few(self) -> bool:
        """Whether the classes are too few to choose anything but a control."""
        return self.classes < FEW

    @classmethod
    def from_json(cls, stored: Mapping[str, Any]) -> Self:
        counts = {name: stored[name] for name in ("level", "classes", "images", "folds") if name in stored}
        return cls(ChosenCandidate.from_json(stored), metric_of(stored["metric"]), **counts)

    def as_json(self) -> dict[str, Any]:
        about = {name: getattr(self, name) for name in ("level", "classes", "images", "folds")}
        return {**self.choice.as_json(), "metric": self.metric.key, **about}
