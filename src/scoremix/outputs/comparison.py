"""What comparing arms hands over, results.json: metrics of every arm, differences to the controls, the verdict."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Self

from scoremix.evaluation.estimate import Estimate
from scoremix.evaluation.fairness import SUMMARIES
from scoremix.outputs.networks import GateResult
from scoremix.outputs.record import Entry, Record

Kind = Literal["helps", "does not help here", "generator too weak", "real images were chosen"]
Estimates = Mapping[str, Estimate]


@dataclass(frozen=True)
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


@dataclass(frozen=True)
class Verdict(Entry):
    """`arm` judged against `controls`; without a sentence one is written."""

    kind: Kind
    arm: str
    controls: Sequence[str]
    sentence: str = ""


@dataclass(frozen=True)
class GroupRates(Entry):
    """An arm's error rates within each group, and summaries of how unequal they are: garbe, fdr, inequity."""

    fmr: Sequence[Estimate]
    fnmr: Sequence[Estimate]
    summaries: Estimates

    @classmethod
    def from_json(cls, stored: Mapping[str, Any]) -> Self:
        fmr, fnmr = ([Estimate.from_json(e) for e in stored[kind]] for kind in ("fmr", "fnmr"))
        return cls(
            fmr, fnmr, _estimates({key: stored[key] for key in SUMMARIES if key in stored})
        )  # older: garbe alone

    def as_json(self) -> dict[str, Any]:
        rates = {"fmr": self.fmr, "fnmr": self.fnmr}
        each = {kind: [e.as_json() for e in of] for kind, of in rates.items()}
        return {**each, **{key: e.as_json() for key, e in self.summaries.items()}}


@dataclass(frozen=True)
class Groups(Entry):
    """Groups of unseen classes: their classes and pairs, every arm's rates at one threshold for all of FAR `far`, and the
    judged arm's GARBE less each control's.
    """

    far: float
    groups: Sequence[str]
    classes: Sequence[int]
    impostor: Sequence[int]
    genuine: Sequence[int]
    arms: Mapping[str, GroupRates]
    minus: Estimates

    @classmethod
    def from_json(cls, stored: Mapping[str, Any]) -> Self:
        arms = {arm: GroupRates.from_json(rates) for arm, rates in stored["arms"].items()}
        return cls(**{**stored, "arms": arms, "minus": _estimates(stored["minus"])})


@dataclass(frozen=True)
class ClosedGroup(Entry):
    """A group of training classes and each arm's accuracy, every class counting the same."""

    name: str
    classes: int
    images: int
    arms: Estimates

    @classmethod
    def from_json(cls, stored: Mapping[str, Any]) -> Self:
        return cls(**{**stored, "arms": _estimates(stored["arms"])})


@dataclass(frozen=True)
class ClosedClass(Entry):
    """A training class, its images that were held out, and each arm's share of them that was named rightly."""

    name: str
    group: str
    images: int
    accuracy: Mapping[str, float]


@dataclass(frozen=True)
class ClosedSet(Entry):
    """Held-out images of the training classes, named among those classes; the metrics are with the others."""

    classes: int
    images: int
    looks: int  # comparisons that used these images
    groups: Sequence[ClosedGroup]
    worst: Sequence[ClosedClass] = ()  # of the verdict's arm
    best: Sequence[ClosedClass] = ()

    @classmethod
    def from_json(cls, stored: Mapping[str, Any]) -> Self:
        groups = [ClosedGroup.from_json(group) for group in stored["groups"]]
        ends = {name: [ClosedClass(**of) for of in stored[name]] for name in ("worst", "best") if name in stored}
        return cls(**{**stored, "groups": groups, **ends})

    @property
    def files(self) -> list[str]:
        """The tables beside results.json."""
        return ["closed_classes.csv", *(["closed_groups.csv"] if self.groups else [])]


@dataclass(frozen=True)
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
    differences: Sequence[Difference]
    verdict: Verdict
    images: int
    images_of: int  # where more than `images`, those were drawn evenly from the classes
    gates: Mapping[str, GateResult]  # of arms with a generator of their own
    seen: Mapping[str, str]  # part -> hash of the names of its classes, where they were looked at
    looks: int  # comparisons in the store that used these test classes, this one included
    groups: Groups | None
    closed: ClosedSet | None

    @classmethod
    def from_json(cls, stored: Mapping[str, Any]) -> Self:
        read: dict[str, Any] = {
            "arms": {arm: _estimates(metrics) for arm, metrics in stored["arms"].items()},
            "differences": [Difference.from_json(of) for of in stored["differences"]],
            "verdict": Verdict.from_json(stored["verdict"]),
            "gates": {arm: GateResult.from_json(gate) for arm, gate in stored["gates"].items()},
        }
        read["groups"] = Groups.from_json(stored["groups"]) if stored["groups"] else None
        read["closed"] = ClosedSet.from_json(stored["closed"]) if stored["closed"] else None
        return cls(**{"seen": {}, **stored, **read})  # older ones did not say what was seen


def _estimates(stored: Mapping[str, Any]) -> dict[str, Estimate]:
    return {name: Estimate.from_json(of) for name, of in stored.items()}
