"""Every measure on every pair of spaces: how alike two good recognizers are."""

from collections.abc import Iterator
from typing import Any, Self

from scoremix.report.geometry import MEASURES, Geometry, Measured, among_recognizers
from scoremix.report.numbers import Row, signed
from scoremix.report.page import Section


class Recognizers(Section):
    title = "Between recognizers"
    alignment: Row

    @classmethod
    def load(cls, source: Measured) -> Self:
        return cls(source.measured["alignment"].json("alignment.json"))

    def json(self) -> dict[str, Any]:
        return {}  # those of the alignment

    def rows(self, shared: Geometry) -> Iterator[Row]:
        table = self.alignment["matrix"]
        for measure in MEASURES:
            for i, x in enumerate(table["names"]):
                for j, y in enumerate(table["names"][:i]):
                    yield {"section": "matrix", "x": x, "y": y, "name": measure, "value": table[measure][i][j]}

    def findings(self, shared: Geometry) -> Iterator[str]:
        if among := among_recognizers(self.alignment["matrix"], shared):
            yield (
                f"Recognizers agree with each other at a debiased CKA of {signed(among['cka_debiased'])} "
                f"(biased {signed(among['cka'])}) in the mean over pairs."
            )
