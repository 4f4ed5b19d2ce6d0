"""Are all groups of unseen classes served alike: error rates within groups at one threshold for all."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Self

import numpy as np

from scoremix.data.images import LabeledImages
from scoremix.evaluation.estimate import Estimate
from scoremix.evaluation.fairness import SUMMARIES, pairs_across
from scoremix.report.numbers import Row, estimate_rows
from scoremix.report.page import Section
from scoremix.report.results import ReportedRun, Results


@dataclass(frozen=True)
class GroupErrors:
    """A group of unseen classes: pairs within it, and every arm's error rates there, by seed."""

    name: str
    classes: int
    genuine: int
    impostor: int
    fnmr: Mapping[str, Estimate]
    fmr: Mapping[str, Estimate]


@dataclass(frozen=True)
class ByGroup:
    """Error rates within groups at one threshold for all, where FAR over all impostor pairs is `far`."""

    far: float
    groups: tuple[GroupErrors, ...]  # the worst served by the verdict's arm first
    garbe: Mapping[str, Estimate]  # 0: all groups alike, 1: all errors in one
    minus: Mapping[str, Estimate]  # the judged arm's less each control's
    across: float | None = None  # share of the mixed pairs of classes whose groups differ
    across_all: float | None = None  # the same of all pairs of training classes
    others: Mapping[str, Mapping[str, Estimate]] = field(default_factory=dict)  # further summaries by metric and arm


class GroupsSection(Section):
    title = "Are all groups served alike?"
    by_group: ByGroup | None = None

    @classmethod
    def load(cls, run: ReportedRun) -> Self:
        of_groups = run.results.groups
        if of_groups is None:
            return cls()

        groups = [
            GroupErrors(
                name,
                of_groups.classes[k],
                of_groups.genuine[k],
                of_groups.impostor[k],
                {arm: rates.fnmr[k] for arm, rates in of_groups.arms.items()},
                {arm: rates.fmr[k] for arm, rates in of_groups.arms.items()},
            )
            for k, name in enumerate(of_groups.groups)
        ]
        groups.sort(key=lambda group: -group.fnmr[run.results.verdict.arm].value)
        summaries = {
            key: {arm: getattr(rates, key) for arm, rates in of_groups.arms.items()}
            for key in SUMMARIES
            if all(
                getattr(rates, key) for rates in of_groups.arms.values()
            )  # fdr and inequity are not in older results
        }
        garbe = summaries.pop("garbe")
        return cls(ByGroup(of_groups.far, tuple(groups), garbe, of_groups.minus, *_across(run), summaries))

    def rows(self, shared: Results) -> Iterator[Row]:
        of = self.by_group
        if of is None:
            return
        names, table = shared.evaluation.recognizer_seeds, "unseen classes by group"
        for group in of.groups:
            for kind, rates in (("fnmr", group.fnmr), ("fmr", group.fmr)):
                for arm, e in rates.items():
                    yield from estimate_rows(e, names, table=table, arm=arm, control=group.name, metric=kind)
        for arm, e in of.garbe.items():
            yield from estimate_rows(e, names, table=table, arm=arm, metric="garbe")
        for key, by_arm in of.others.items():
            for arm, e in by_arm.items():
                yield from estimate_rows(e, names, table=table, arm=arm, metric=key)
        for control, e in of.minus.items():
            yield from estimate_rows(e, names, table=table, arm=shared.verdict.arm, control=control, metric="garbe")


def _across(run: ReportedRun) -> tuple[float | None, float | None]:
    """Shares of the mixed pairs and of all pairs of training classes that join two groups; None without groups."""
    names = LabeledImages.load(run.chain["real"].folder).of_classes("train").groups
    if names is None or "mplets" not in run.chain:
        return None, None
    classes = np.load(run.chain["mplets"] / "classes.npy")
    if classes.shape[1] == 1:
        return None, None
    sizes = np.unique(names, return_counts=True)[1]
    alike = (sizes * (sizes - 1)).sum() / (len(names) * (len(names) - 1))
    return pairs_across(classes, names), 1 - float(alike)
