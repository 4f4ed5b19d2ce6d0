"""The report's numbers as text: one rule of rounding; the same structures as CSV, JSON and terminal text."""

from __future__ import annotations

import csv
import dataclasses
import io
import json
import math
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import numpy as np

from scoremix.evaluation.estimate import Estimate
from scoremix.evaluation.metric_table import AUC, Metric
from scoremix.report.content import Evaluation, Report

DASH = "–"

# ---- one rule of rounding


def decimals(estimate: Estimate, metric: Metric) -> int:
    """Digits after the point: two significant digits of half the interval; at most one for percentages."""
    most, without = (1, 1) if metric.percent else (4, 3)
    if estimate.interval is None:
        return without
    half = (estimate.interval[1] - estimate.interval[0]) / 2 * (100 if metric.percent else 1)
    return most if half <= 0 else max(0, min(most, 1 - math.floor(math.log10(half))))


def written(value: float, places: int, metric: Metric, signed: bool = False) -> str:
    """The value at that many decimals, a fraction as percentage, with a true minus sign; a dash for NaN."""
    if not math.isfinite(value):
        return DASH
    text = f"{value * (100 if metric.percent else 1):{'+' if signed else ''}.{places}f}"
    if float(text) == 0:
        text = text.replace("-", "+") if signed else text.lstrip("-")
    return text.replace("-", "−")


def mean(estimate: Estimate, metric: Metric, signed: bool = False) -> str:
    """The estimate's value, never more precise than its interval."""
    return written(estimate.value, decimals(estimate, metric), metric, signed)


def interval(estimate: Estimate, metric: Metric, signed: bool = False) -> str:
    """`low to high`, or an empty text without an interval."""
    if estimate.missing or estimate.interval is None:
        return ""
    low, high = (written(v, decimals(estimate, metric), metric, signed) for v in estimate.interval)
    return f"{low} to {high}"


def seeds(estimate: Estimate, metric: Metric, signed: bool = False) -> list[str]:
    """Each seed's value at the precision of the mean."""
    return [written(v, decimals(estimate, metric), metric, signed) for v in estimate.seeds]


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


# ---- the verdict in words


def verdict_sentence(report: Report) -> str:
    """The given sentence, or one written from the kind and the numbers."""
    verdict, gate = report.verdict, report.gate
    if verdict.sentence:
        return verdict.sentence
    metric = report.evaluation.metric(report.evaluation.headline)
    if verdict.kind == "helps":
        return (
            f"Adding mixed classes ({verdict.arm}) made the recognizer better on "
            f"{'images it never saw of its own classes' if metric.closed else 'classes it never saw'}: "
            f"{metric.label} improved against {_quoted(verdict.controls)}, in every seed."
        )
    if verdict.kind == "generator too weak":
        if gate is None:
            return "The generator is too weak to judge mixing."
        return (
            "The generator is too weak to judge mixing: the baseline recognizer puts "
            f"{percent(gate.top1)} of the reproductions in their own class, the floor is {percent(gate.floor)}."
        )
    differences = {c: report.difference(verdict.arm, c, metric.key) for c in verdict.controls}
    worse = [c for c, e in differences.items() if direction(e, metric) == "worse"]
    outcome = (
        f"became worse against {_quoted(worse)}"
        if worse
        else f"did not improve beyond doubt against {_quoted(differences) or 'a control'}"
    )
    return f"Adding mixed classes ({verdict.arm}) does not help here: {metric.label} {outcome}."


def _quoted(names: Iterable[str]) -> str:
    return " and ".join(f"“{name}”" for name in names)


def level(report: Report) -> str:
    """What an interval is called: `95 % interval`."""
    return f"{100 * report.evaluation.confidence:g}\u202f% interval"


def caveats(report: Report) -> list[str]:
    """What the intervals do and do not cover, one sentence each."""
    evaluation = report.evaluation
    on_auc = evaluation.headline == AUC.key
    n, names = len(evaluation.recognizer_seeds), ", ".join(map(str, evaluation.recognizer_seeds))
    return [
        f"One recognizer seed ({names}): no interval here covers chance in the recognizer's training."
        if n == 1
        else f"{n} recognizer seeds ({names}), each shown.",
        f"The generator was trained once (seed {evaluation.generator_seed}, fixed): no interval here covers "
        "chance in its training.",
        _looks(evaluation.test_looks),
        *_drawn(evaluation),
        *(["The verdict is on AUC: the pairs are too few for TAR at the FAR asked for."] if on_auc else []),
    ]


def _drawn(evaluation: Evaluation) -> list[str]:
    if evaluation.images is None or evaluation.images == evaluation.images_of:
        return []
    return [
        f"{count(evaluation.images)} of {count(evaluation.images_of)} images were evaluated, drawn evenly by class."
    ]


def _looks(looks: int) -> str:
    """How often the test classes were evaluated, and what follows."""
    if looks == 0:
        return "These are validation classes, for choosing settings: the test classes were not evaluated."
    if looks == 1:
        return "Test classes evaluated once, as far as this store knows."
    return (
        f"Test classes evaluated {looks} times with these images: settings chosen by their results look better than they "
        "are; choose on validation classes (evaluation.classes)."
    )


# ---- CSV and JSON


def _rows(report: Report) -> Iterator[dict[str, Any]]:
    names = report.evaluation.recognizer_seeds

    def estimate(table: str, e: Estimate, **keys: str) -> Iterator[dict[str, Any]]:
        numbers = {"value": e.value, "low": e.low, "high": e.high, "reason": e.reason}
        yield {"table": table, **keys, "seed": "mean", **numbers}
        for i, value in enumerate(e.seeds):
            seed = names[i] if len(names) == len(e.seeds) else i
            yield {"table": table, **keys, "seed": seed, "value": value}

    for arm in report.arms:
        for key, e in arm.metrics.items():
            yield from estimate("arms", e, arm=arm.name, metric=key)
    for d in report.differences:
        yield from estimate("differences", d.estimate, arm=d.arm, control=d.control, metric=d.metric)
    for metric in report.evaluation.metrics:
        if metric.reason:
            yield {"table": "not supported", "metric": metric.key, "reason": metric.reason}
    if report.gate:
        for key, value in dataclasses.asdict(report.gate).items():
            yield {"table": "gate", "metric": key, "value": value}
    for group in report.groups:
        for key, value in dataclasses.asdict(group).items():
            if key != "group":
                yield {"table": "groups", "arm": group.group, "metric": key, "value": value}
    for screened in report.screened:
        for key in ("drawn", "kept", "coherence_before", "coherence_after"):
            yield {"table": "screened", "arm": screened.arm, "metric": key, "value": getattr(screened, key)}
    for found in report.agreements:
        low, middle, high = found.quantiles
        numbers = {"disagreement": middle, "images_per_mplet": found.each, "effective_sample_size": found.effective}
        for key, value in numbers.items():
            spread = {"low": low, "high": high} if key == "disagreement" else {}
            yield {"table": "agreement", "arm": found.arm, "metric": key, "value": value, **spread}
    for part in report.closed.groups if report.closed else ():
        for name, e in part.arms.items():
            yield from estimate("held-out images by group", e, arm=name, control=part.name, metric="accuracy")
    for of in report.by_group.groups if report.by_group else ():
        for kind, rates in (("fnmr", of.fnmr), ("fmr", of.fmr)):
            for name, e in rates.items():
                yield from estimate("unseen classes by group", e, arm=name, control=of.name, metric=kind)
    for name, e in report.by_group.garbe.items() if report.by_group else ():
        yield from estimate("unseen classes by group", e, arm=name, metric="garbe")
    for key, by_arm in report.by_group.others.items() if report.by_group else ():
        for name, e in by_arm.items():
            yield from estimate("unseen classes by group", e, arm=name, metric=key)
    for name, e in report.by_group.minus.items() if report.by_group else ():
        yield from estimate("unseen classes by group", e, arm=report.verdict.arm, control=name, metric="garbe")
    for cost in report.costs:
        for key in ("seconds", "evaluations", "peak_bytes", "images"):
            yield {"table": "cost", "arm": cost.stage, "metric": key, "value": getattr(cost, key)}


def to_csv(report: Report) -> str:
    """Every table of the report, one number a row; fractions, not percentages; empty where missing."""
    out = io.StringIO()
    columns = ["table", "arm", "control", "metric", "seed", "value", "low", "high", "reason"]
    writer = csv.DictWriter(out, columns, restval="", lineterminator="\n")
    writer.writeheader()
    for row in _rows(report):
        writer.writerow({k: "" if isinstance(v, float) and not math.isfinite(v) else v for k, v in row.items()})
    return out.getvalue()


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


def to_json(report: Report) -> str:
    """The whole report but its images, as strict JSON; fractions, not percentages; null where missing."""
    content = plain(report)
    content["verdict"]["sentence"] = verdict_sentence(report)
    return json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False) + "\n"


# ---- terminal


def text_summary(report: Report, where: str = "") -> str:
    """What the terminal prints at the end: verdict, differences, arms in columns, and where the page lies."""
    verdict, metric = report.verdict, report.evaluation.metric(report.evaluation.headline)
    lines = [f"Verdict: {verdict.kind}", f"  {verdict_sentence(report)}"]
    for control in verdict.controls:
        e = report.difference(verdict.arm, control, metric.key)
        spread = f"{level(report)} {interval(e, metric, True)}" if interval(e, metric) else f"no {level(report)}"
        each = f"; seeds {' '.join(seeds(e, metric, True))}" if e.seeds else ""
        told = e.reason or "not measured" if e.missing else f"{mean(e, metric, True)} {unit(metric)} ({spread}{each})"
        lines.append(f"  {metric.label} against {control}: {told}")
    lines += [f"  To try: {change}" for change in verdict.change]
    lines += ["", *_columns(report, metric), "", *(f"  {caveat}" for caveat in caveats(report))]
    lines += [f"  {m.label}: not reported, {m.reason}" for m in report.evaluation.metrics if m.reason]
    return "\n".join(lines + ([f"Report: {where}"] if where else [])) + "\n"


def _columns(report: Report, headline: Metric) -> list[str]:
    metrics = sorted(report.supported, key=lambda m: m.key != headline.key)
    rows = [["arm", *(m.label + (" %" if m.percent else "") for m in metrics)]]
    for arm in report.arms:
        cells = [arm.name]
        for m in metrics:
            e = arm.metrics.get(m.key, Estimate(math.nan))
            spread = interval(e, m).replace(" to ", "–") if m.key == headline.key else ""
            cells.append(mean(e, m) + (f" ({spread})" if spread else ""))
        rows.append(cells)
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return ["  " + "  ".join(c.ljust(w) for c, w in zip(r, widths, strict=True)).rstrip() for r in rows]
