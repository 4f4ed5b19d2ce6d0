"""The report's numbers as text: one rule of rounding; tables as CSV, JSON and terminal text."""

import dataclasses
import io
import json
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from scoremix.data.csv_text import csv_text
from scoremix.evaluation.estimate import Estimate
from scoremix.evaluation.metric_table import Metric

Row = Mapping[str, Any]
DASH = "–"


MISSING = Estimate(math.nan, reason="not measured")


# ---- one rule of rounding


def decimals(estimate: Estimate, metric: Metric) -> int:
    """Digits after the point: two significant digits of half the interval; at most one for percentages."""
    most, without = (1, 1) if metric.percent else (4, 3)
    if estimate.interval is None:
        return without
    half = (estimate.interval[1] - estimate.interval[0]) / 2 * (100 if metric.percent else 1)
    return most if half <= 0 else max(0, min(most, 1 - math.floor(math.log10(half))))


def column(estimates: Iterable[Estimate], metric: Metric) -> int | None:
    """Digits after the point for a whole column: those of its least precise estimate; None where there is none."""
    return min((decimals(e, metric) for e in estimates if not e.missing), default=None)


def written(value: float, places: int, metric: Metric, signed: bool = False) -> str:
    """The value at that many decimals, a fraction as percentage, with a true minus sign; a dash for NaN."""
    if not math.isfinite(value):
        return DASH
    text = f"{value * (100 if metric.percent else 1):{'+' if signed else ''}.{places}f}"
    if float(text) == 0:
        text = text.replace("-", "+") if signed else text.lstrip("-")
    return text.replace("-", "−")


def mean(estimate: Estimate, metric: Metric, signed: bool = False, places: int | None = None) -> str:
    """The estimate's value, never more precise than its interval; with the decimals of its column where they are given."""
    return written(estimate.value, decimals(estimate, metric) if places is None else places, metric, signed)


def interval(estimate: Estimate, metric: Metric, signed: bool = False, places: int | None = None) -> str:
    """`low to high`, or an empty text without an interval."""
    if estimate.missing or estimate.interval is None:
        return ""
    digits = decimals(estimate, metric) if places is None else places
    low, high = (written(v, digits, metric, signed) for v in estimate.interval)
    return f"{low} to {high}"


def seeds(estimate: Estimate, metric: Metric, signed: bool = False, places: int | None = None) -> list[str]:
    """Each seed's value at the precision of the mean."""
    digits = decimals(estimate, metric) if places is None else places
    return [written(v, digits, metric, signed) for v in estimate.seeds]


def unit(metric: Metric) -> str:
    """The unit of a difference."""
    return "points" if metric.percent else ""


def direction(estimate: Estimate, metric: Metric) -> str:
    """`better` or `worse` where a difference's whole interval lies on one side of zero, else empty."""
    if estimate.missing or estimate.interval is None:
        return ""
    low, high = estimate.interval
    if low <= 0 <= high:
        return ""
    return "better" if (low > 0) == metric.higher_is_better else "worse"


def signed(value: float | None, places: int = 2) -> str:
    """A plain number with a true minus sign; a dash where it is none."""
    return DASH if value is None or value != value else f"{value:.{places}f}".replace("-", "−")


def difference(estimate: Estimate, metric: Metric) -> str:
    """A mean difference and its interval in points."""
    return f"{mean(estimate, metric, True)} ({interval(estimate, metric, True)})"


def decimal(value: float | None) -> str:
    """Two decimals, a dash for nothing."""
    return DASH if value is None else f"{value:.2f}"


def percent(share: float | None) -> str:
    """A share in [0, 1] as a percentage with one decimal, or a dash."""
    return DASH if share is None or not math.isfinite(share) else f"{100 * share:.1f}\u202f%"


def count(value: float | None) -> str:
    """A number of things with thin spaces between thousands, millions as 3.1 M, or a dash."""
    if value is None:
        return DASH
    if value >= 1e9:
        return f"{value / 1e9:.2f} G"
    if value >= 1e6:
        return f"{value / 1e6:.2f} M"
    return f"{value:,.0f}".replace(",", "\u202f")


def duration(seconds: float) -> str:
    """Seconds as `0.4 s`, `12 s`, `3 min 05 s` or `2 h 10 min`."""
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    minutes = round(seconds / 60)
    return f"{minutes // 60} h {minutes % 60:02d} min"


def size(byte_count: int | None) -> str:
    """Bytes as MiB or GiB, or a dash."""
    if byte_count is None:
        return DASH
    mebi = byte_count / 2**20
    return f"{mebi / 1024:.1f} GiB" if mebi >= 1000 else f"{mebi:.0f} MiB" if mebi >= 10 else f"{mebi:.1f} MiB"


def noun(number: int, singular: str, plural: str = "") -> str:
    """`1 class`, `3 classes`."""
    return f"{count(number)} {singular if number == 1 else plural or singular + 's'}"


# ---- CSV, JSON, terminal


def table_csv(columns: Sequence[str], rows: Iterable[Row]) -> str:
    """A table as CSV, numbers unrounded; empty where a number is missing."""

    def shown(value: object) -> object:
        return "" if value is None or (isinstance(value, float) and not math.isfinite(value)) else value

    return csv_text([columns, *([shown(row.get(name)) for name in columns] for row in rows)])


def estimate_rows(e: Estimate, names: Sequence[int], **keys: str) -> list[Row]:
    """Rows of a CSV table: the mean, then each seed's value under its name."""
    mean = {"seed": "mean", "value": e.value, "low": e.low, "high": e.high, "reason": e.reason}
    known = names if len(names) == len(e.seeds) else range(len(e.seeds))
    return [{**keys, **mean}, *({**keys, "seed": s, "value": v} for s, v in zip(known, e.seeds, strict=True))]


def below_diagonal(names: Sequence[str], table: Sequence[Sequence[float]], **keys: Any) -> Iterator[Row]:
    """Rows of a CSV table: every pair of a symmetric table once."""
    for i, x in enumerate(names):
        yield from ({**keys, "x": x, "y": y, "value": table[i][j]} for j, y in enumerate(names[:i]))


def json_text(tree: Row) -> str:
    """Strict JSON of any parts of a page; fractions, not percentages; null where missing."""
    return json.dumps(plain(tree), indent=1, ensure_ascii=False, allow_nan=False) + "\n"


def plain(value: Any) -> Any:
    """Any part of a report as JSON knows it: NaN is null, arrays are lists, images are left out (None)."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = ((f.name, getattr(value, f.name)) for f in dataclasses.fields(value))
        return {name: plain(v) for name, v in fields if not _pictures(v)}
    if isinstance(value, np.ndarray):
        return plain(value.tolist())
    if isinstance(value, np.generic):
        return plain(value.item())
    if isinstance(value, Mapping):
        return {str(k): plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [plain(v) for v in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value if isinstance(value, str | int | float | bool | None) else str(value)


def _pictures(value: Any) -> bool:
    while isinstance(value, tuple) and value:
        value = value[0]
    return isinstance(value, np.ndarray) and value.dtype == np.uint8


def terminal(rows: Iterable[Sequence[str]], indent: int = 0, right: bool = False) -> str:
    """Rows of cells in columns, for a terminal; with `right` all columns but the first end together."""
    from rich.console import Console
    from rich.padding import Padding
    from rich.table import Table
    from rich.text import Text

    table = Table.grid(padding=(0, 2))
    rows = [list(row) for row in rows]
    for i in range(len(rows[0])):
        table.add_column(justify="right" if right and i else "left", no_wrap=True)
    for row in rows:
        table.add_row(*map(Text, row))
    out = io.StringIO()
    Console(file=out, width=100_000, color_system=None).print(Padding(table, (0, 0, 0, indent)))
    return "\n".join(line.rstrip() for line in out.getvalue().splitlines())
