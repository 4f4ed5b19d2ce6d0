"""Public face benchmarks over seeds and arms: the columns of the paper's tables, and paired differences between arms.

An arm's number is the mean over its seeds. A column's own rule is that of published tables, the point of the ROC nearest to
the FAR; draws exist for the rule "not above" alone, so intervals and differences are of that rule where a column is a TAR.
"""

import dataclasses
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Self

import numpy as np
from numpy.typing import NDArray

from scoremix.evaluation.estimate import LEVEL, Estimate
from scoremix.evaluation.metric_table import Metric
from scoremix.outputs.benchmarks import Result
from scoremix.report.numbers import Row
from scoremix.report.page import Section
from scoremix.report.paper_table import COLUMNS, HIGH, protocols, values

Rule = Literal["nearest", "at_most"]
PUBLIC = (*HIGH, "ijbb", "ijbc", "tinyface")


@dataclass(frozen=True)
class FaceTable:
    """One protocol's numbers: of arms, and of arms minus others, by column."""

    protocol: str
    columns: tuple[str, ...]
    seeds: tuple[str, ...]
    arms: Mapping[str, Mapping[str, Estimate]]  # published rule; intervals of the rule "not above"
    differences: Mapping[str, Mapping[str, Mapping[str, Estimate]]]  # arm -> other -> column

    def metric(self, column: str) -> Metric:
        return Metric(column, column)


def tables(results: Sequence[Result], controls: Sequence[str]) -> list[FaceTable]:
    """A table for each protocol, of checkpoints named RUN/ARM/SEED; differences to the controls are paired by seed and draw."""
    arms: dict[str, dict[str, Result]] = {}
    for result in results:
        _, arm, seed = result.checkpoint.name.rsplit("/", 2)
        arms.setdefault(arm, {})[seed] = result
    against = [name for name in controls if name in arms] or list(arms)[:1]
    columns = [*COLUMNS, *dict.fromkeys(e.set for result in results for e in result.sets if e.set not in PUBLIC)]
    return [table for protocol in protocols(results) if (table := _table(protocol, columns, arms, against)).columns]


def _table(
    protocol: str, names: Sequence[str], arms: Mapping[str, Mapping[str, Result]], against: Sequence[str]
) -> FaceTable:
    def over_seeds(arm: str, name: str, rule: Rule) -> NDArray[np.float64] | None:
        of_seeds = [values(result, name, protocol, rule) for result in arms[arm].values()]
        known = [one for one in of_seeds if one is not None]
        return np.stack(known) if known and len(known) == len(of_seeds) else None

    def number(arm: str, name: str) -> Estimate | None:
        plain, drawn = over_seeds(arm, name, "nearest"), over_seeds(arm, name, "at_most")
        if plain is None:
            return None
        ends = _estimate(drawn) if drawn is not None else Estimate(math.nan)
        return Estimate(float(plain[:, 0].mean()), ends.low, ends.high, tuple(plain[:, 0].tolist()))

    def minus(arm: str, other: str, name: str) -> Estimate | None:
        a, b = over_seeds(arm, name, "at_most"), over_seeds(other, name, "at_most")
        return None if a is None or b is None or a.shape != b.shape else _estimate(a - b)

    numbers = {arm: {name: e for name in names if (e := number(arm, name))} for arm in arms}
    differences = {
        arm: {other: {name: e for name in names if (e := minus(arm, other, name))} for other in against if other != arm}
        for arm in arms
    }
    columns = tuple(name for name in names if any(name in of for of in numbers.values()))
    seeds = tuple(dict.fromkeys(seed for of in arms.values() for seed in of))
    return FaceTable(protocol, columns, seeds, numbers, differences)


def _estimate(drawn: NDArray[np.float64]) -> Estimate:
    return Estimate.of(drawn, LEVEL if drawn.shape[1] > 1 else None)


def as_rows(tables: Sequence[FaceTable]) -> list[dict[str, Any]]:
    """The tables as rows of a CSV file: per cent, of arms (`against` empty) and of differences."""
    rows = []
    for table in tables:
        groups = [(arm, "", of) for arm, of in table.arms.items()]
        groups += [(arm, other, of) for arm, others in table.differences.items() for other, of in others.items()]
        for arm, other, of in groups:
            for column, e in of.items():
                spread = float(np.std(e.seeds, ddof=1)) if len(e.seeds) > 1 else None
                numbers = {"value": e.value, "spread": spread, "low": e.low, "high": e.high}
                cells = {key: None if v is None else round(100 * v, 4) for key, v in numbers.items()}
                rows.append({"protocol": table.protocol, "arm": arm, "against": other, "column": column, **cells})
    return rows


def as_json(tables: Sequence[FaceTable]) -> list[dict[str, Any]]:
    """The tables as the entries of a JSON file."""
    return [dataclasses.asdict(table) for table in tables]


class FaceTablesSection(Section):
    title = "Public face benchmarks"
    tables: tuple[FaceTable, ...]

    @classmethod
    def load(cls, source: tuple[FaceTable, ...]) -> Self:
        return cls(source)

    def rows(self, shared: Any) -> Iterator[Row]:
        yield from as_rows(self.tables)
