"""What measuring recognizers on public face sets hands over, results.json: every measure of every checkpoint."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

from pydantic import ConfigDict

from scoremix.evaluation.benchmarks import Measure
from scoremix.outputs.record import Entry, Record
from scoremix.recognition.checkpoints import Colour, Scaling

Kind = Literal["pairs", "identification", "1:1", "1:N"]


class RecognizerFile(Entry):
    """A recognizer's file by its hash, and what it expects of images."""

    name: str  # the file's, or RUN/ARM/SEED
    sha256: str
    network: str
    size: int
    colour: Colour
    scaling: Scaling
    provenance: str

    @property
    def arm(self) -> str:
        """RUN/ARM of a run's recognizer, else the name itself."""
        return self.name.rpartition("/")[0] if self.name.count("/") == 2 else self.name


class FollowedProtocol(Entry):
    """A protocol by its name and, in words, its switches (`templates.Protocol`); "common" has a flip alone."""

    name: str
    flip: str
    norm: str | None = None
    detector: str | None = None
    aggregation: str | None = None

    def switches(self, between: str) -> list[str]:
        """Each switch with its word."""
        return [f"{name}{between}{word}" for name, word in self.as_json().items() if name != "name"]


class MeasuredSet(Entry):
    """A set's measures in one kind of comparison under one protocol."""

    __pydantic_config__ = ConfigDict(extra="forbid", arbitrary_types_allowed=True)  # a measure's draws are an array

    set: str
    label: str
    kind: Kind
    counts: Mapping[str, int]
    unlike_published: str  # in words, empty for the published set
    notes: Sequence[str]
    protocol: FollowedProtocol
    measures: Sequence[Measure]


class Result(Entry):
    """All that was measured of one checkpoint."""

    checkpoint: RecognizerFile
    sets: Sequence[MeasuredSet]


class Benchmarks(Record):
    """The results of some checkpoints, those of a run's arms seed by seed."""

    FILE = "results.json"
    results: Sequence[Result]
    versions: Mapping[str, str]
    finished: str
