"""A JSON file that a stage writes and others read, as a frozen dataclass: its fields are the entries of the file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import MISSING, fields
from typing import Any, ClassVar, Self

from scoremix.execution.artifacts import Artifact, Work


class Record:
    """A dataclass with the name of its file; fields at their default are left out of it."""

    FILE: ClassVar[str]

    @classmethod
    def load(cls, artifact: Artifact) -> Self:
        return cls.from_json(artifact.json(cls.FILE))

    def write(self, work: Work) -> None:
        work.write_json(self.FILE, self.as_json())

    @classmethod
    def from_json(cls, stored: Mapping[str, Any]) -> Self:
        """What `as_json` wrote."""
        return cls(**stored)

    def as_json(self) -> dict[str, Any]:
        """The entries of the file."""
        given = {f.name: (getattr(self, f.name), f.default) for f in fields(self)}  # type: ignore[arg-type]
        return {name: value for name, (value, default) in given.items() if default is MISSING or value != default}
