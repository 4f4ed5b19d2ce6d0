"""A JSON file that a stage writes and others read: the fields of a class are its entries."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import MISSING, dataclass, fields
from typing import Annotated, Any, ClassVar, Self, dataclass_transform

from pydantic import ConfigDict, PlainValidator, TypeAdapter, ValidationError

from scoremix.evaluation.estimate import Estimate
from scoremix.execution.artifacts import Artifact, StoreError
from scoremix.execution.work import Work

Number = Annotated[Estimate, PlainValidator(Estimate.from_json)]  # an estimate as an entry


@dataclass_transform(frozen_default=True)
class Entry:
    """A JSON object. A child is a frozen dataclass by that alone; its types say how it is read.

    Fields at their default are left out of it.
    """

    __pydantic_config__ = ConfigDict(extra="forbid")

    def __init_subclass__(cls) -> None:
        dataclass(frozen=True)(cls)

    @classmethod
    def from_json(cls, stored: Mapping[str, Any]) -> Self:
        """What `as_json` wrote; pydantic's ValidationError for anything else."""
        read: Self = _reader(cls).validate_python(stored)  # type: ignore[arg-type]
        return read

    def as_json(self) -> dict[str, Any]:
        """The entries by name."""
        given = {f.name: (getattr(self, f.name), f.default) for f in fields(self)}  # type: ignore[arg-type]
        return {n: _plain(value) for n, (value, default) in given.items() if default is MISSING or value != default}


class Record(Entry):
    """An entry that is a file of its own."""

    FILE: ClassVar[str]

    @classmethod
    def load(cls, artifact: Artifact) -> Self:
        """What the artifact's file holds; StoreError, one line, where that is something else."""
        try:
            return cls.from_json(artifact.json(cls.FILE))
        except ValidationError as error:
            first = error.errors()[0]
            entry = ".".join(map(str, first["loc"])) or "its content"
            raise StoreError(f"{artifact / cls.FILE}: {entry}: {first['msg'].lower()}") from None

    def write(self, work: Work) -> None:
        work.write_json(self.FILE, self.as_json())


@functools.cache
def _reader(of: Any) -> TypeAdapter[Any]:
    return TypeAdapter(of)


def _plain(value: Any) -> Any:
    """A value as JSON has it: what knows how to become it does."""
    if hasattr(value, "as_json"):
        return value.as_json()
    if isinstance(value, Mapping):
        return {name: _plain(of) for name, of in value.items()}
    return [_plain(of) for of in value] if isinstance(value, (list, tuple)) else value
