"""Benchmarks in the columns of the papers' tables: LFW to TinyFace, means of recognizers' seeds, differences (Tables 1 and 2)."""

import statistics
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from scoremix.outputs.benchmarks import Kind, Result

HIGH = ("lfw", "cfp_fp", "cplfw", "calfw", "agedb_30")
LOW = ("B-1e-6", "B-1e-5", "C-1e-6", "C-1e-5", "TR1", "TR5")
MEANS = {"Avg-H": HIGH, "Avg": LOW}
COLUMNS = (*HIGH, "Avg-H", *LOW, "Avg")


def values(result: Result, name: str, protocol: str, rule: str = "nearest") -> NDArray[np.float64] | None:
    """(1 + draws,) of one column of one checkpoint, as shares: the value, then its bootstrap draws where they are known.

    None where it was not run on the published set. A column may also be a set of one's own: accuracy of pairs, or rank-1.
    """
    if parts := MEANS.get(name):
        each = [values(result, part, protocol, rule) for part in parts]
        known = [value for value in each if value is not None]
        shortest = min((len(value) for value in known), default=0)
        return np.mean([value[:shortest] for value in known], axis=0) if len(known) == len(each) else None
    if name[:2] in ("B-", "C-"):
        where = {"B": "ijbb", "C": "ijbc"}[name[0]]
        return _measure(result, where, "1:1", protocol, "tar", float(name[2:]), rule)
    if name in ("TR1", "TR5"):
        return _measure(result, "tinyface", "identification", None, "rank", int(name[2:]))
    accuracy = _measure(result, name, "pairs", None, "accuracy")
    return _measure(result, name, "identification", None, "rank", 1) if accuracy is None else accuracy


def column(result: Result, name: str, protocol: str) -> float | None:
    """One column of the papers' tables for one checkpoint, in per cent; None where it was not run on the published set."""
    percents = values(result, name, protocol)
    return None if percents is None else 100 * float(percents[0])


def _measure(of: Result, name: str, kind: Kind, protocol: str | None, *wanted: object) -> NDArray[np.float64] | None:
    """The value and the draws of the first measure of a metric, or of a metric and level, or of those and a rule."""
    for one in of.sets:
        if (one.set, one.kind) != (name, kind) or one.unlike_published or protocol not in (None, one.protocol.name):
            continue
        for m in one.measures:
            if (m.metric, m.level, m.rule)[: len(wanted)] == wanted:
                return np.concatenate([[m.value], np.asarray(() if m.draws is None else m.draws, np.float64)])
    return None


def protocols(results: Sequence[Result]) -> list[str]:
    """Those that IJB was measured under; one without a name where it was not."""
    return sorted({e.protocol.name for r in results for e in r.sets if e.kind == "1:1"}) or [""]


def over_seeds(results: Sequence[Result], name: str, protocol: str) -> list[float]:
    """A column for every seed that has it."""
    return [value for result in results if (value := column(result, name, protocol)) is not None]


def table(results: Sequence[Result]) -> list[list[str]]:
    """Lines of the table: the head, then one for each arm (or checkpoint) and protocol, means of seeds with their deviation.

    Diff is the difference of Avg, or else of Avg-H, to the first arm under the same protocol. Columns that nothing has are left
    out; no lines where there is none.
    """
    arms: dict[str, list[Result]] = {}
    for result in results:
        arms.setdefault(result.checkpoint.arm, []).append(result)
    names = [n for n in COLUMNS if any(over_seeds(results, n, protocol) for protocol in protocols(results))]
    if not names:
        return []
    lines = [["arm", "protocol", "seeds", *names, "Diff"]]
    for protocol in protocols(results):
        means = {arm: _mean(of, protocol) for arm, of in arms.items()}
        first = next(iter(means.values()))
        for arm, of in arms.items():
            cells = [_cell(over_seeds(of, name, protocol)) for name in names]
            mean = means[arm]
            difference = "" if mean is None or first is None or arm == next(iter(arms)) else f"{mean - first:+.2f}"
            lines.append([arm, protocol or "-", str(len(of)), *cells, difference])
    return lines


def _mean(of: Sequence[Result], protocol: str) -> float | None:
    values = over_seeds(of, "Avg", protocol) or over_seeds(of, "Avg-H", protocol)
    return statistics.fmean(values) if values else None


def _cell(values: Sequence[float]) -> str:
    spread = f" ± {statistics.stdev(values):.2f}" if len(values) > 1 else ""
    return f"{statistics.fmean(values):.2f}{spread}" if values else "-"
