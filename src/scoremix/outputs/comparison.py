"""What comparing arms hands over, results.json: metrics of every arm, differences to the controls, the verdict."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal, Self

from pydantic import Field, PlainValidator

from scoremix.evaluation.estimate import Estimate
from scoremix.outputs.evaluated import GroupPairs
from scoremix.outputs.networks import GateResult
from scoremix.outputs.record import Entry, Number, Record

Kind = Literal["helps", "does not help here", "generator too weak", "real images were chosen"]
Estimates = Mapping[str, Number]


class Difference(Entry):
    """Arm minus control in one metric, paired by recognizer seed."""

    arm: str
    control: str
    metric: str
    estimate: Estimate

    @classmethod
    def from_json(cls, stored: Mapping[str, Any]) -> Self:
        return cls(stored["arm"], stored["control"], stored["metric"], Estimate.from_json(stored))

    def as_json(self) -> dict[str, Any]:
        return {"arm": self.arm, "control": self.control, "metric": self.metric, **self.estimate.as_json()}


class Verdict(Entry):
    """`arm` judged against `controls`; without a sentence one is written."""

    kind: Kind
    arm: str
    controls: Sequence[str]
    sentence: str = ""


class GroupRates(Entry):
    """An arm's error rates within each group, and the summaries of how unequal they are (`fairness.SUMMARIES`)."""

    fmr: Sequence[Number]
    fnmr: Sequence[Number]
    garbe: Number
    fdr: Number | None = None  # not in older ones
    inequity: Number | None = None


class ComparedGroups(GroupPairs):
    """The groups with every arm's rates, and the judged arm's GARBE less each control's."""

    arms: Mapping[str, GroupRates]
    minus: Estimates


class ClosedGroup(Entry):
    """A group of training classes and each arm's accuracy, every class counting the same."""

    name: str
    classes: int
    images: int
    arms: Estimates


class ClosedClass(Entry):
    """A training class, its images that were held out, and each arm's share of them that was named rightly."""

    name: str
    group: str
    images: int
    accuracy: Mapping[str, float]


class ClosedSet(Entry):
    """Held-out images of the training classes, named among those classes; the metrics are with the others."""

    classes: int
    images: int
    looks: int  # comparisons that used these images
    groups: Sequence[ClosedGroup]
    worst: Sequence[ClosedClass] = ()  # of the verdict's arm
    best: Sequence[ClosedClass] = ()

    @property
    def files(self) -> list[str]:
        """The tables beside results.json."""
        return ["closed_classes.csv", *(["closed_groups.csv"] if self.groups else [])]


class Comparison(Record):
    """Arms against controls on classes that no recognizer has seen."""

    FILE = "results.json"
    classes: str  # the part that was looked at
    metrics: Sequence[str]
    headline: str  # the metric of the verdict
    unsupported: Mapping[str, str]  # metric -> why the pairs are too few for it
    supported_far: float  # the smallest that the impostor pairs support
    genuine_pairs: int
    impostor_pairs: int
    arms: Mapping[str, Estimates]
    differences: Sequence[Annotated[Difference, PlainValidator(Difference.from_json)]]
    verdict: Verdict
    images: int
    images_of: int  # where more than `images`, those were drawn evenly from the classes
    gates: Mapping[str, GateResult]  # of arms with a generator of their own
    # part -> hash of the names of its classes, where they were looked at; older ones do not say
    seen: Annotated[Mapping[str, str], Field(default_factory=dict)]
    looks: int  # comparisons in the store that used these test classes, this one included
    groups: ComparedGroups | None
    closed: ClosedSet | None
