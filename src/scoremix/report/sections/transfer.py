"""Does the selection carry over from one space to another."""

from collections.abc import Iterator
from typing import Self

from scoremix.report.geometry import Geometry, Measured
from scoremix.report.numbers import Row
from scoremix.report.page import Section


class Transfer(Section):
    title = "Does the selection carry over"
    transfer: Row

    @classmethod
    def load(cls, source: Measured) -> Self:
        return cls(source.measured["transfer"].json("transfer.json"))

    def rows(self, shared: Geometry) -> Iterator[Row]:
        for strategy, found in self.transfer["strategies"].items():
            for key in ("shared", "jaccard", "classes"):
                for i, x in enumerate(found["names"]):
                    for j, y in enumerate(found["names"][:i]):
                        value = found[key][i][j]
                        yield {"section": f"transfer {strategy}", "x": x, "y": y, "name": key, "value": value}
