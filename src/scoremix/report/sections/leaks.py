"""The leak gate: generated images that were nearer to a training image than unseen real images are."""

from collections.abc import Iterator, Mapping
from dataclasses import field
from typing import Any, Self

from scoremix.report.numbers import Row
from scoremix.report.page import Section
from scoremix.report.results import Run

NUMBERS = ("images", "dropped", "mplets_dropped", "threshold")
UNSEEN = {"validation": "of the validation classes", "held_out": "of the training classes that were set apart"}


class Leaks(Section):
    title = "Images too near to real ones"
    found: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)  # arm -> what leaks.json says

    @classmethod
    def load(cls, run: Run) -> Self:
        return cls({arm: a.json("leaks.json") for arm, a in run.added.items() if (a / "leaks.json").exists()})

    def shown(self, shared: Any) -> bool:
        return bool(self.found)

    def rows(self, shared: Any) -> Iterator[Row]:
        for arm, leaks in self.found.items():
            for key in NUMBERS:
                yield {"table": "leaks", "arm": arm, "metric": key, "value": leaks[key]}
