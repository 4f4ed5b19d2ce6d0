"""Public face benchmarks in the columns of the paper's tables, over seeds, with differences between arms."""

from collections.abc import Iterator
from typing import Any, Self

from scoremix.report.faces import FaceTable, as_rows
from scoremix.report.numbers import Row
from scoremix.report.page import Section


class FaceTables(Section):
    title = "Public face benchmarks"
    tables: tuple[FaceTable, ...]

    @classmethod
    def load(cls, source: tuple[FaceTable, ...]) -> Self:
        return cls(source)

    def rows(self, shared: Any) -> Iterator[Row]:
        yield from as_rows(self.tables)
