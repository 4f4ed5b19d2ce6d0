"""Alignment of conditions and class centers against chance (Fig. 4, 5; Appendix D), of recognizers, over training."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Self

import numpy as np

from scoremix.outputs.geometry import AlignmentSummary, MeasuredPair, MeasuredTime, SnapshotsSummary
from scoremix.report.charts import Axes, Style, figure, light, line, new_axes, row_axes, rows_on, slug, styled
from scoremix.report.geometry import MEASURES, AnalyzedRun, Geometry, among_recognizers
from scoremix.report.numbers import Row, below_diagonal, signed
from scoremix.report.page import Section


class AlignmentSection(Section):
    title = "Alignment against chance"
    alignment: AlignmentSummary
    conditions: str = "learned"

    @classmethod
    def load(cls, source: AnalyzedRun) -> Self:
        return cls(source.alignment, source.config.generator.conditions)

    def between(self, x: str, y: str) -> dict[str, MeasuredPair]:
        """Measure -> row of one pair of spaces."""
        return {row.measure: row for row in self.alignment.pairs if (row.x, row.y) == (x, y)}

    def rows(self, shared: Geometry) -> Iterator[Row]:
        for row in self.alignment.pairs:
            null = row.chance["permutation"]
            chance = {"chance": null.mean, "p_value": null.p_value}
            yield {"section": "alignment", "name": row.measure, **vars(row), **chance}

    def findings(self, shared: Geometry) -> Iterator[str]:
        if self.conditions != "learned":
            yield (
                f"Conditions are the class centers of {shared.reference}, kept fixed (generator.conditions: "
                f"{self.conditions}): that both are aligned is by construction, no finding."
            )
            return
        rows = self.between(shared.condition, shared.reference)
        biased, debiased = rows["cka"], rows["cka_debiased"]
        null = debiased.chance["permutation"]
        above = debiased.low is not None and debiased.low > null.mean  # whichever classes were chosen
        beyond = null.p_value <= 0.05 and above
        verdict = "are aligned beyond chance" if beyond else "cannot be told from unrelated spaces"
        yield (
            f"Conditions and class centers {verdict}: debiased CKA {signed(debiased.value)} "
            f"({signed(debiased.low)} to {signed(debiased.high)}), permuted classes {signed(null.mean)}, "
            f"p = {null.p_value:.2g}. The paper's biased CKA is {signed(biased.value)}, of which permuted classes "
            f"alone give {signed(biased.chance['permutation'].mean)}."
        )


@figure
def against_chance(rows: Sequence[MeasuredPair], labels: Mapping[str, str]) -> tuple[Axes, str, str]:
    """Each measure with its interval; grey: the span of permuted classes; crosses: random spaces."""
    names = [labels[row.measure] for row in rows]
    axes = row_axes(names, 25)
    rows_on(axes, names)
    for y, row in enumerate(rows):
        null = row.chance["permutation"]
        low = null.mean - 2 * null.std
        axes.barh(y, null.mean + 2 * null.std - low, left=low, height=0.62, color=light("control-2"), alpha=0.4)
        for kind, marker in (("normal", "x"), ("uniform", "+")):
            if kind in row.chance:
                axes.plot([row.chance[kind].mean], [y], marker, color=light("control-1"), markersize=5)
        axes.plot(np.array([row.low, row.high], float), [y, y], color=light("arm-1"), linewidth=2.4, alpha=0.55)
        axes.plot([row.value], [y], "o", color=light("arm-1"), markersize=6)
    axes.axvline(0, color=light("rule"), linewidth=1)
    axes.set_xlabel("alignment of conditions with class centers")
    return axes, "against-chance", "Measures of alignment with intervals beside their chance levels."


class RecognizersSection(Section):
    title = "Between recognizers"
    name = "recognizers"
    alignment: AlignmentSummary

    def json(self) -> dict[str, Any]:
        return {}  # those of the alignment

    def rows(self, shared: Geometry) -> Iterator[Row]:
        matrix = self.alignment.matrix
        for measure in MEASURES:
            yield from below_diagonal(matrix.names, getattr(matrix, measure), section="matrix", name=measure)

    def findings(self, shared: Geometry) -> Iterator[str]:
        if among := among_recognizers(self.alignment.matrix, shared):
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


class OverTrainingSection(Section):
    title = "Over training"
    name = "over_training"
    snapshots: Mapping[str, SnapshotsSummary]  # reproductions of each run's generator
    alignment: AlignmentSummary

    @classmethod
    def load(cls, source: AnalyzedRun) -> Self:
        snapshots = {run: SnapshotsSummary.load(artifact) for run, artifact in source.followed.items()}
        return cls(snapshots, source.alignment)

    def level(self, shared: Geometry) -> dict[str, float]:
        """What recognizers among themselves reach."""
        return among_recognizers(self.alignment.matrix, shared)

    def json(self) -> dict[str, Any]:
        summaries = ((run, of.as_json()) for run, of in self.snapshots.items())
        return {
            "snapshots": [{"run": r, "rows": of["snapshots"], "correlation": of["correlation"]} for r, of in summaries]
        }

    def rows(self, shared: Geometry) -> Iterator[Row]:
        for row in self.alignment.series:
            base = {"section": "training", "x": f"conditions EMA {row.ema:g}", "y": row.space, "note": row.images_seen}
            yield from ({**base, "name": measure, "value": getattr(row, measure)} for measure in MEASURES)
        for run, of in self.snapshots.items():
            for at in of.snapshots:
                base = {"section": "snapshots", "x": run, "y": f"EMA {at.ema:g}", "note": at.images_seen}
                for key in ("cka", "top1", "align", "ics", "fd", "shift", "coverage"):
                    yield {**base, "name": key, "value": getattr(at, key)}

    def findings(self, shared: Geometry) -> Iterator[str]:
        for run, of in self.snapshots.items():
            for ema, correlation in of.correlation.items():
                if correlation.pearson is not None:
                    yield (
                        f"Over {correlation.snapshots} snapshots of {run} (EMA {ema}) CKA and recognition of reproductions "
                        f"correlate at {signed(correlation.pearson)} ({signed(correlation.low)} to {signed(correlation.high)}); their "
                        f"steps, without the common trend, at {signed(correlation.steps)}."
                    )
            if few := {
                ema: correlation.snapshots for ema, correlation in of.correlation.items() if correlation.pearson is None
            }:
                counts = ", ".join(f"{count} at EMA {ema}" for ema, count in few.items())
                yield (
                    f"Whether phases of higher CKA go with better recognition cannot be told for {run}: it needs "
                    f"{of.fewest} stored networks whose CKA and recognition differ (stored: {counts})."
                )


@figure
def over_training(
    series: Sequence[MeasuredTime], measure: str, label: str, ema: float, level: Mapping[str, float]
) -> tuple[Axes, str, str]:
    """One measure of the conditions against every space over training; dashed: recognizers among themselves."""
    names = list(dict.fromkeys(row.space for row in series))
    drawn = anchor_styles(names)
    axes = new_axes(210, left=46, x="images seen (thousands)", y=label)
    for name in names:
        of_space = [row for row in series if row.space == name and row.ema == ema]
        seen = [row.images_seen / 1000 for row in of_space]
        line(axes, seen, [getattr(row, measure) for row in of_space], drawn[name], marker="o", markersize=2.6)
    if level:
        axes.axhline(level[measure], color=light("ink"), linewidth=1, linestyle=(0, (4, 3)))
    return axes, f"series-{slug(measure)}-{slug(f'{ema:g}')}", f"{label} over training at EMA {ema:g}."


def anchor_styles(names: Sequence[str]) -> dict[str, Style]:
    """Recognizers in hues, random spaces in greys."""
    random = [name for name in names if name.startswith("random ")]
    drawn = styled(name for name in names if name not in random)
    return drawn | {name: Style("control-2", "" if i == 0 else "5 2") for i, name in enumerate(random)}


@figure
def snapshots(runs: Mapping[str, SnapshotsSummary], key: str, label: str) -> tuple[Axes, str, str]:
    """One quantity of reproductions over training, one line per run and EMA length."""
    drawn = snapshot_styles(runs)
    axes = new_axes(200, left=56, x="images seen (thousands)", y=label)
    for run, of in runs.items():
        for ema in of.correlation:
            of_ema = [at for at in of.snapshots if f"{at.ema:g}" == ema]
            seen, style = [at.images_seen / 1000 for at in of_ema], drawn[f"{run}, EMA {ema}"]
            line(axes, seen, [getattr(at, key) for at in of_ema], style, marker="o", markersize=4)
    axes.set_xlim(left=0)
    return axes, f"snapshots-{slug(key)}", f"{label} of reproductions over training."


def snapshot_styles(runs: Mapping[str, SnapshotsSummary]) -> dict[str, Style]:
    """How each run and EMA length is drawn."""
    return styled(f"{run}, EMA {ema}" for run, of in runs.items() for ema in of.correlation)
