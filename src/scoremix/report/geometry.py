"""What the sections of an analysis of the geometry share: the run, and the spaces that are compared."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Self

from scoremix.config import Experiment
from scoremix.execution.artifacts import Artifact
from scoremix.outputs.geometry import AlignmentSummary, MeasureMatrix
from scoremix.outputs.spaces import SpacesSummary, StoredSpace

MEASURES = ("cka", "cka_debiased", "cknna", "soft_cknna")


@dataclass(frozen=True)
class AnalyzedRun:
    """What the page is about: settings, what was measured by kind, and the generators followed by run."""

    config: Experiment
    measured: Mapping[str, Artifact]
    followed: Mapping[str, Artifact]

    @property
    def artifacts(self) -> list[Artifact]:
        return [*self.measured.values(), *self.followed.values()]

    @cached_property
    def alignment(self) -> AlignmentSummary:
        return AlignmentSummary.load(self.measured["alignment"])

    @cached_property
    def names(self) -> tuple[str, ...]:
        """The real classes."""
        return tuple(SpacesSummary.load(self.measured["spaces"]).classes)


@dataclass(frozen=True)
class Geometry:
    """The run and its spaces."""

    title: str
    run: str
    classes: int
    spaces: tuple[StoredSpace, ...]
    left_out: tuple[str, ...] = ()  # recognizers that know none of the real classes
    evaluations: int = 0

    @classmethod
    def of(cls, source: AnalyzedRun) -> Self:
        info = SpacesSummary.load(source.measured["spaces"])
        evaluations = int(sum(a.manifest["cost"].get("evaluations", 0) for a in source.artifacts))
        spaces, left_out = tuple(info.spaces), tuple(info.left_out)
        run, classes = source.config.name, len(source.names)
        return cls("Conditions against embeddings", run, classes, spaces, left_out, evaluations)

    @property
    def recognizers(self) -> list[str]:
        """Names of the spaces of class centers."""
        return [space.name for space in self.spaces if space.kind != "condition"]

    @property
    def reference(self) -> str:
        """Name of the space that all others are compared with: the selecting recognizer's centers."""
        return self.recognizers[0]

    @property
    def condition(self) -> str:
        return next(space.name for space in self.spaces if space.kind == "condition")


def among_recognizers(matrix: MeasureMatrix, shared: Geometry) -> dict[str, float]:
    """Measure -> mean over pairs of recognizers, {} where there is one only."""
    recognizers = [i for i, name in enumerate(matrix.names) if name in shared.recognizers]
    pairs = [(i, j) for i in recognizers for j in recognizers if i < j]
    return {m: sum(getattr(matrix, m)[i][j] for i, j in pairs) / len(pairs) for m in MEASURES} if pairs else {}
