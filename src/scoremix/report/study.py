"""What a study measured: arms with intervals, differences to the controls with adjusted p-values, cost."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Self

import numpy as np
from numpy.typing import NDArray

from scoremix.evaluation.estimate import Estimate, helps, p_value
from scoremix.evaluation.metric_table import Metric, metric_of
from scoremix.report.charts import Style, styles
from scoremix.report.numbers import column


@dataclass(frozen=True)
class StudyEstimate:
    """A mean over runs (generator seeds x recognizer seeds), its bootstrap interval and every run's value."""

    value: float
    low: float
    high: float
    spread: float  # standard deviation over runs
    runs: tuple[float, ...]
    p: float  # two-sided, of the value being 0
    finest: float  # the smallest p that so many resamples can show

    @classmethod
    def of(cls, draws: NDArray[np.float64], level: float) -> Self | None:
        """From (runs, 1 + resamples), plain values first; the interval is the percentile one of the mean over runs.

        Resamples that are NaN are left out; None where none is left.
        """
        estimate = Estimate.of(draws, level)
        if estimate.low is None or estimate.high is None:
            return None
        spread = float(draws[:, 0].std(ddof=1)) if len(draws) > 1 else math.nan
        return cls(estimate.value, estimate.low, estimate.high, spread, estimate.seeds, *p_value(draws[:, 1:]))

    @property
    def estimate(self) -> Estimate:
        return Estimate(self.value, self.low, self.high, self.runs)


@dataclass(frozen=True)
class StudyRow:
    """An arm on one data set; `differences` are keyed by (control, metric), `adjusted` by control (the headline's)."""

    arm: str
    note: str
    generator_seeds: tuple[int, ...]
    metrics: dict[str, StudyEstimate]
    differences: dict[tuple[str, str], StudyEstimate]
    cost: dict[str, float]
    mix: dict[str, float] = field(
        default_factory=dict
    )  # of the examination: own_center is the coherence; gate: of a generator of its own
    adjusted: dict[str, float] = field(default_factory=dict)

    def helps(self, controls: Sequence[str], headline: str) -> bool:
        """Interval above zero and one sign in all runs, against every control."""
        keys = [(control, headline) for control in controls if (control, headline) in self.differences]
        return helps(self.differences[key].estimate for key in keys)


@dataclass(frozen=True)
class Table:
    """All arms of one data set."""

    data: str
    source: str
    classes: str  # test or validation
    size: int
    metrics: tuple[str, ...]
    headline: str
    controls: tuple[str, ...]
    level: float
    seeds: tuple[int, ...]
    gates: dict[int, dict[str, Any]]
    rows: tuple[StudyRow, ...]
    manifests: tuple[tuple[str, str], ...]
    pairs: tuple[tuple[str, str, dict[str, StudyEstimate]], ...] = ()  # arm, the other arm, difference by metric

    def metric(self, key: str) -> Metric:
        return metric_of(key)

    def places(self, key: str, table: Literal["arms", "differences", "pairs"] = "arms") -> int | None:
        """Digits after the point in a metric's column of one of the tables."""
        match table:
            case "arms":
                cells = [row.metrics.get(key) for row in self.rows]
            case "differences":
                cells = [row.differences.get((control, key)) for row in self.rows for control in self.controls]
            case "pairs":
                cells = [differences.get(key) for _, _, differences in self.pairs]
        return column((cell.estimate for cell in cells if cell), self.metric(key))

    @property
    def styles(self) -> dict[str, Style]:
        """How each arm is drawn in every chart."""
        return styles((row.arm, row.arm in self.controls) for row in self.rows)

    @property
    def passed(self) -> bool:
        return all(gate["top1"] >= gate["floor"] for gate in self.gates.values())

    @property
    def comparisons(self) -> int:
        return sum(len(row.adjusted) for row in self.rows)

    def sentence(self) -> str:
        """What the table says, plainly."""
        label = self.metric(self.headline).label
        if not self.passed:
            return f"The generator is too weak here, its images are not recognized as their classes: what mixing does to {label} is shown, not judged."
        winners = [row.arm for row in self.rows if row.adjusted and row.helps(self.controls, self.headline)]
        against = " and ".join(self.controls)
        if not winners:
            return f"No arm improves {label} beyond doubt against {against}."
        cells = [row.differences[control, self.headline] for row in self.rows for control in row.adjusted]
        if (finest := max(cell.finest for cell in cells)) * self.comparisons >= 1 - self.level:
            return (
                f"Above {against} in {label}, with the whole interval and in every run: {', '.join(winners)}; among "
                f"{self.comparisons} comparisons {round(2 / finest) - 1:,} resamples are too few for Holm's correction to tell more."
            )
        sure = [r.arm for r in self.rows if r.arm in winners and max(r.adjusted.values()) < 1 - self.level]
        rest = "all of them" if len(sure) == len(winners) else ", ".join(sure) or "none"
        return (
            f"Above {against} in {label}, with the whole interval and in every run: {', '.join(winners)}; "
            f"after Holm's correction for {self.comparisons} comparisons: {rest}."
        )


@dataclass(frozen=True)
class Study:
    """The tables of a study, and the arms that are not finished."""

    name: str
    tables: tuple[Table, ...]
    missing: tuple[str, ...] = ()

    def not_run(self) -> dict[str, list[str]]:
        """The arms that are not finished, by run."""
        missing: dict[str, list[str]] = {}
        for entry in self.missing:
            run, _, arm = entry.partition(": ")
            missing.setdefault(run, []).append(arm)
        return missing
