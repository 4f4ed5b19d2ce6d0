"""Recognition of the training classes: held-out images named among those classes."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Self

from scoremix.evaluation.estimate import Estimate
from scoremix.report.numbers import Row, estimate_rows
from scoremix.report.page import Section
from scoremix.report.results import Results, Run


@dataclass(frozen=True)
class ClosedGroup:
    """A group of training classes and each arm's accuracy, every class counting the same."""

    name: str
    classes: int
    images: int
    arms: Mapping[str, Estimate]


@dataclass(frozen=True)
class ClosedSet:
    """Held-out images of the training classes, named among those classes; the metrics are with the others.

    A class has name, group, images, and accuracy: each arm's share of its images that were named rightly.
    """

    classes: int
    images: int
    looks: int = 1  # comparisons that used these images
    groups: tuple[ClosedGroup, ...] = ()
    worst: tuple[Row, ...] = ()  # of the verdict's arm
    best: tuple[Row, ...] = ()
    files: tuple[str, ...] = ()  # tables beside the page


class Closed(Section):
    title = "Recognition of the training classes"
    closed: ClosedSet | None = None

    @classmethod
    def load(cls, run: Run) -> Self:
        found = run.results["closed"]
        if found is None:
            return cls()
        groups = (
            ClosedGroup(
                g["name"], g["classes"], g["images"], {arm: Estimate.from_json(e) for arm, e in g["arms"].items()}
            )
            for g in found["groups"]
        )
        worst, best = (tuple(found.get(name, ())) for name in ("worst", "best"))
        files = ("closed_classes.csv", "closed_groups.csv") if found["groups"] else ("closed_classes.csv",)
        return cls(ClosedSet(found["classes"], found["images"], found["looks"], tuple(groups), worst, best, files))

    def rows(self, shared: Results) -> Iterator[Row]:
        names, table = shared.evaluation.recognizer_seeds, "held-out images by group"
        for group in self.closed.groups if self.closed else ():
            for arm, e in group.arms.items():
                yield from estimate_rows(e, names, table=table, arm=arm, control=group.name, metric="accuracy")
