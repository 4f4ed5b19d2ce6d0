"""Benchmarks in the columns of the papers' tables: LFW to TinyFace, means of recognizers' seeds, differences (Tables 1 and 2)."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from typing import Any

HIGH = ("lfw", "cfp_fp", "cplfw", "calfw", "agedb_30")
LOW = ("B-1e-6", "B-1e-5", "C-1e-6", "C-1e-5", "TR1", "TR5")
MEANS = {"Avg-H": HIGH, "Avg": LOW}
COLUMNS = (*HIGH, "Avg-H", *LOW, "Avg")
Result = dict[str, Any]  # of one checkpoint, as results.json of `scoremix benchmark` has it


def column(result: Result, name: str, protocol: str) -> float | None:
    """One column of the papers' tables for one checkpoint, in per cent; None where it was not run on the published set."""
    if parts := MEANS.get(name):
        values = [column(result, part, protocol) for part in parts]
        known = [value for value in values if value is not None]
        return statistics.fmean(known) if len(known) == len(values) else None
    if name in HIGH:
        return _measure(result, name, "pairs", None, metric="accuracy")
    if name[:2] == "TR":
        return _measure(result, "tinyface", "identification", None, metric="rank", level=int(name[2:]))
    where = {"B": "ijbb", "C": "ijbc"}[name[0]]
    return _measure(result, where, "1:1", protocol, metric="tar", rule="nearest", level=float(name[2:]))


def _measure(result: Result, name: str, kind: str, protocol: str | None, **wanted: Any) -> float | None:
    for entry in result["sets"]:
        if (entry["set"], entry["kind"]) != (name, kind) or entry["unlike_published"]:
            continue
        if protocol is not None and entry["protocol"]["name"] != protocol:
            continue
        for measure in entry["measures"]:
            if all(measure.get(key) == value for key, value in wanted.items()):
                return 100 * float(measure["value"])
    return None


def protocols(results: Sequence[Result]) -> list[str]:
    """Those that IJB was measured under; one without a name where it was not."""
    return sorted({e["protocol"]["name"] for r in results for e in r["sets"] if e["kind"] == "1:1"}) or [""]


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
        name = result["checkpoint"]["name"]
        arms.setdefault(name.rpartition("/")[0] if name.count("/") == 2 else name, []).append(result)
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
