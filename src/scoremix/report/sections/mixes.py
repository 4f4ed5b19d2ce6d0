"""What a mix is: every image set measured in the baseline recognizer's space."""

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Self

import numpy as np

from scoremix.report.charts import Floats
from scoremix.report.numbers import Row
from scoremix.report.page import Section
from scoremix.report.results import Run


@dataclass(frozen=True)
class Group:
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


def groups_of(run: Run) -> tuple[Group, ...]:
    """The groups of mixes that a run examined."""
    return tuple(Group(**row) for row in run.chain["diagnostics"].json("examination.json")["groups"])


class Mixes(Section):
    title = "What a mix is"
    groups: tuple[Group, ...] = ()
    similarities: Mapping[str, Floats] = field(default_factory=dict)  # group name -> similarities (n,)

    @classmethod
    def load(cls, run: Run) -> Self:
        every = run.chain["diagnostics"].arrays("similarities.npz")
        wanted = ("training classes", "unseen classes", "reproductions", run.config.evaluation.treatment)
        shown = {name: every[name] for name in wanted if name in every and np.isfinite(every[name]).any()}
        return cls(groups_of(run), shown)

    def rows(self, shared: Any) -> Iterator[Row]:
        for group in self.groups:
            for key, value in asdict(group).items():
                if key != "group":
                    yield {"table": "groups", "arm": group.group, "metric": key, "value": value}
