"""Alignment of conditions and class centers against chance (paper Fig. 4, Appendix D)."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Self

from matplotlib.axes import Axes

from scoremix.report.charts import figure, light, row_axes, rows_on
from scoremix.report.geometry import Geometry, Measured
from scoremix.report.numbers import Row, signed
from scoremix.report.page import Section


class Alignment(Section):
    title = "Alignment against chance"
    alignment: Row  # labels, pairs, matrix, series

    @classmethod
    def load(cls, source: Measured) -> Self:
        return cls(source.measured["alignment"].json("alignment.json"))

    def between(self, x: str, y: str) -> dict[str, Row]:
        """Measure -> row of one pair of spaces."""
        return {row["measure"]: row for row in self.alignment["pairs"] if (row["x"], row["y"]) == (x, y)}

    def rows(self, shared: Geometry) -> Iterator[Row]:
        for row in self.alignment["pairs"]:
            null = row["chance"]["permutation"]
            numbers = {key: row[key] for key in ("x", "y", "value", "low", "high")}
            chance = {"chance": null["mean"], "p_value": null["p_value"]}
            yield {"section": "alignment", "name": row["measure"], **numbers, **chance}

    def findings(self, shared: Geometry) -> Iterator[str]:
        rows = self.between(shared.condition, shared.reference)
        biased, debiased = rows["cka"], rows["cka_debiased"]
        null = debiased["chance"]["permutation"]
        above = debiased["low"] > null["mean"]  # whichever classes were chosen
        beyond = null["p_value"] <= 0.05 and above
        verdict = "are aligned beyond chance" if beyond else "cannot be told from unrelated spaces"
        yield (
            f"Conditions and class centers {verdict}: debiased CKA {signed(debiased['value'])} "
            f"({signed(debiased['low'])} to {signed(debiased['high'])}), permuted classes {signed(null['mean'])}, "
            f"p = {null['p_value']:.2g}. The paper's biased CKA is {signed(biased['value'])}, of which permuted classes "
            f"alone give {signed(biased['chance']['permutation']['mean'])}."
        )


@figure
def against_chance(rows: Sequence[Row], labels: Mapping[str, str]) -> tuple[Axes, str, str]:
    """Each measure with its interval; grey: the span of permuted classes; crosses: random spaces."""
    names = [labels[row["measure"]] for row in rows]
    axes = row_axes(names, 25)
    rows_on(axes, names)
    for y, row in enumerate(rows):
        null = row["chance"]["permutation"]
        low = null["mean"] - 2 * null["std"]
        axes.barh(y, null["mean"] + 2 * null["std"] - low, left=low, height=0.62, color=light("control-2"), alpha=0.4)
        for kind, marker in (("normal", "x"), ("uniform", "+")):
            if kind in row["chance"]:
                axes.plot([row["chance"][kind]["mean"]], [y], marker, color=light("control-1"), markersize=5)
        axes.plot([row["low"], row["high"]], [y, y], color=light("arm-1"), linewidth=2.4, alpha=0.55)
        axes.plot([row["value"]], [y], "o", color=light("arm-1"), markersize=6)
    axes.axvline(0, color=light("rule"), linewidth=1)
    axes.set_xlabel("alignment of conditions with class centers")
    return axes, "against-chance", "Measures of alignment with intervals beside their chance levels."
