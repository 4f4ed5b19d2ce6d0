"""Alignment of conditions and class centers against chance (Fig. 4, 5; Appendix D), of recognizers, over training."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

from matplotlib.axes import Axes

from scoremix.report.charts import Style, figure, light, line, new_axes, row_axes, rows_on, slug, styled
from scoremix.report.geometry import MEASURES, Geometry, Measured, among_recognizers
from scoremix.report.numbers import Row, signed
from scoremix.report.page import Section


class Alignment(Section):
    title = "Alignment against chance"
    alignment: Row  # labels, pairs, matrix, series
    conditions: str = "learned"

    @classmethod
    def load(cls, source: Measured) -> Self:
        return cls(source.measured["alignment"].json("alignment.json"), source.config.generator.conditions)

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
        if self.conditions != "learned":
            yield (
                f"Conditions are the class centers of {shared.reference}, kept fixed (generator.conditions: "
                f"{self.conditions}): that both are aligned is by construction, no finding."
            )
            return
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


class Recognizers(Section):
    title = "Between recognizers"
    name = "recognizers"
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


QUANTITIES = {
    "top1": "share recognized",
    "align": "alignment loss",
    "ics": "intra-class similarity",
    "fd": "Fréchet distance to real images",
    "cka": "CKA with the recognizer",
}


@dataclass(frozen=True)
class Snapshots:
    """Reproductions of one run's generator over training: rows of images_seen, ema, cka, top1, align, ics ..."""

    run: str
    rows: tuple[Row, ...]
    correlation: Mapping[str, Row]  # EMA length -> snapshots and, if enough, the correlation of CKA with recognition
    fewest: int


class OverTraining(Section):
    title = "Over training"
    name = "over_training"
    snapshots: tuple[Snapshots, ...]
    alignment: Row

    @classmethod
    def load(cls, source: Measured) -> Self:
        runs = {run: artifact.json("snapshots.json") for run, artifact in source.followed.items()}
        snapshots = (
            Snapshots(run, tuple(of["snapshots"]), of["correlation"], of["fewest"]) for run, of in runs.items()
        )
        return cls(tuple(snapshots), source.measured["alignment"].json("alignment.json"))

    def level(self, shared: Geometry) -> dict[str, float]:
        """What recognizers among themselves reach."""
        return among_recognizers(self.alignment["matrix"], shared)

    def json(self) -> dict[str, Any]:
        return {"snapshots": [{"run": s.run, "rows": s.rows, "correlation": s.correlation} for s in self.snapshots]}

    def rows(self, shared: Geometry) -> Iterator[Row]:
        for row in self.alignment["series"]:
            base = {"section": "training", "x": f"conditions EMA {row['ema']:g}", "y": row["space"]}
            for measure in MEASURES:
                yield {**base, "name": measure, "value": row[measure], "note": row["images_seen"]}
        for run in self.snapshots:
            for row in run.rows:
                base = {"section": "snapshots", "x": run.run, "y": f"EMA {row['ema']:g}", "note": row["images_seen"]}
                for key in ("cka", "top1", "align", "ics", "fd", "shift", "coverage"):
                    yield {**base, "name": key, "value": row[key]}

    def findings(self, shared: Geometry) -> Iterator[str]:
        for run in self.snapshots:
            few = {ema: found for ema, found in run.correlation.items() if "pearson" not in found}
            for ema, found in run.correlation.items():
                if ema not in few:
                    yield (
                        f"Over {found['snapshots']} snapshots of {run.run} (EMA {ema}) CKA and recognition of reproductions "
                        f"correlate at {signed(found['pearson'])} ({signed(found['low'])} to {signed(found['high'])}); their "
                        f"steps, without the common trend, at {signed(found['steps'])}."
                    )
            if few:
                counts = ", ".join(f"{found['snapshots']} at EMA {ema}" for ema, found in few.items())
                yield (
                    f"Whether phases of higher CKA go with better recognition cannot be told for {run.run}: networks stored "
                    f"at {counts}, at least {run.fewest} that differ are needed."
                )


@figure
def over_training(
    series: Sequence[Row], measure: str, label: str, ema: float, level: Mapping[str, float]
) -> tuple[Axes, str, str]:
    """One measure of the conditions against every space over training; dashed: recognizers among themselves."""
    names = list(dict.fromkeys(row["space"] for row in series))
    drawn = anchor_styles(names)
    axes = new_axes(210, left=46, x="images seen (thousands)", y=label)
    for name in names:
        own = [row for row in series if row["space"] == name and row["ema"] == ema]
        seen = [row["images_seen"] / 1000 for row in own]
        line(axes, seen, [row[measure] for row in own], drawn[name], marker="o", markersize=2.6)
    if level:
        axes.axhline(level[measure], color=light("ink"), linewidth=1, linestyle=(0, (4, 3)))
    return axes, f"series-{slug(measure)}-{slug(f'{ema:g}')}", f"{label} over training at EMA {ema:g}."


def anchor_styles(names: Sequence[str]) -> dict[str, Style]:
    """Recognizers in hues, random spaces in greys."""
    random = [name for name in names if name.startswith("random ")]
    drawn = styled(name for name in names if name not in random)
    return drawn | {name: Style("control-2", "" if i == 0 else "5 2") for i, name in enumerate(random)}


@figure
def snapshots(runs: Sequence[Snapshots], key: str, label: str) -> tuple[Axes, str, str]:
    """One quantity of reproductions over training, one line per run and EMA length."""
    drawn = snapshot_styles(runs)
    axes = new_axes(200, left=56, x="images seen (thousands)", y=label)
    for run in runs:
        for ema in run.correlation:
            own = [row for row in run.rows if f"{row['ema']:g}" == ema]
            seen, style = [row["images_seen"] / 1000 for row in own], drawn[f"{run.run}, EMA {ema}"]
            line(axes, seen, [row[key] for row in own], style, marker="o", markersize=4)
    axes.set_xlim(left=0)
    return axes, f"snapshots-{slug(key)}", f"{label} of reproductions over training."


def snapshot_styles(runs: Sequence[Snapshots]) -> dict[str, Style]:
    """How each run and EMA length is drawn."""
    return styled(f"{run.run}, EMA {ema}" for run in runs for ema in run.correlation)
