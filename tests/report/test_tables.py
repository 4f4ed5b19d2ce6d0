"""Rounding, CSV, JSON and terminal text agree with the numbers they were given."""

from __future__ import annotations

import csv
import io
import json
import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scoremix.evaluation import metric_table
from scoremix.evaluation.estimate import Estimate
from scoremix.evaluation.metric_table import Metric
from scoremix.outputs.comparison import Difference
from scoremix.report import numbers
from scoremix.report.sections.cost import CostSection
from scoremix.report.sections.images import ImagesSection
from support import fake_report

SHARE, PLAIN = Metric("a", "A"), Metric("b", "B", percent=False)


@given(
    value=st.floats(0.001, 0.999),
    half=st.floats(1e-5, 0.3),
    percent=st.booleans(),
)
def test_the_last_digit_is_neither_finer_than_the_interval_nor_far_off(
    value: float, half: float, percent: bool
) -> None:
    metric, scale = (SHARE, 100) if percent else (PLAIN, 1)
    e = Estimate(value, value - half, value + half)
    step = 10.0 ** -numbers.decimals(e, metric)
    assert step >= scale * half / 100 * (1 - 1e-9)  # at most two digits of half the interval
    shown = float(numbers.mean(e, metric).replace("−", "-"))
    assert abs(shown - scale * value) <= step / 2 * (1 + 1e-6)
    assert not percent or step >= 0.1 - 1e-12


@pytest.mark.parametrize(
    ("e", "metric", "signed", "mean", "interval"),
    [
        (Estimate(0.4512, 0.4368, 0.4679), SHARE, False, "45.1", "43.7 to 46.8"),
        (Estimate(0.45, 0.25, 0.65), SHARE, False, "45", "25 to 65"),
        (Estimate(-0.0123, -0.03, 0.004), SHARE, True, "−1.2", "−3.0 to +0.4"),
        (Estimate(-0.0001, -0.01, 0.01), SHARE, True, "+0.0", "−1.0 to +1.0"),
        (Estimate(-0.0001, -0.01, 0.01), SHARE, False, "0.0", "−1.0 to 1.0"),
        (Estimate(0.51234, 0.49, 0.53), PLAIN, False, "0.512", "0.490 to 0.530"),
        (Estimate(0.51234), PLAIN, False, "0.512", ""),
        (Estimate(0.5), SHARE, False, "50.0", ""),
        (Estimate(0.5, 0.5, 0.5), SHARE, False, "50.0", "50.0 to 50.0"),
        (Estimate(math.nan, reason="too few pairs"), SHARE, False, "–", ""),
    ],
)  # fmt: skip
def test_numbers_as_written(e: Estimate, metric: Metric, signed: bool, mean: str, interval: str) -> None:
    assert numbers.mean(e, metric, signed) == mean
    assert numbers.interval(e, metric, signed) == interval


@pytest.mark.parametrize(
    ("low", "high", "higher_is_better", "way"),
    [(0.1, 0.2, True, "better"), (0.1, 0.2, False, "worse"), (-0.2, -0.1, True, "worse"),
     (-0.2, -0.1, False, "better"), (-0.1, 0.1, True, ""), (0.0, 0.1, True, "")],
)  # fmt: skip
def test_direction(low: float, high: float, higher_is_better: bool, way: str) -> None:
    metric = Metric("m", "M", higher_is_better)
    assert numbers.direction(Estimate((low + high) / 2, low, high), metric) == way


def test_units() -> None:
    assert [metric_table.power(v) for v in (0.001, 1e-6, 0.1, 1.0, 3e-4)] == ["10⁻³", "10⁻⁶", "10⁻¹", "1", "3·10⁻⁴"]
    assert [numbers.duration(s) for s in (0.31, 9.96, 59.7, 185, 7799)] == [
        "0.3 s", "10 s", "1 min 00 s", "3 min 05 s", "2 h 10 min",
    ]  # fmt: skip
    assert [numbers.count(n) for n in (None, 999, 12345, 3_100_000)] == ["–", "999", "12\u202f345", "3.10 M"]
    assert [numbers.size(b) for b in (None, 5 * 2**19, 212 * 2**20, 3 * 2**29)] == [
        "–",
        "2.5 MiB",
        "212 MiB",
        "1.5 GiB",
    ]


def test_csv_and_json_hold_the_same_numbers_unrounded() -> None:
    report = fake_report.build(arms=12, seeds=4)
    rows = list(csv.DictReader(io.StringIO(report.csv)))
    told = json.loads(report.json)
    for arm, in_json in zip(report.results.arms, told["arms"], strict=True):
        for key, e in arm.metrics.items():
            mine = [r for r in rows if (r["table"], r["arm"], r["metric"]) == ("arms", arm.name, key)]
            assert [r["seed"] for r in mine] == ["mean", "0", "1", "2", "3"]
            assert [float(r["value"]) for r in mine] == [e.value, *e.seeds]
            assert (float(mine[0]["low"]), float(mine[0]["high"])) == e.interval
            assert in_json["metrics"][key]["seeds"] == list(e.seeds)
        assert np.array_equal(in_json["roc"]["tar"], arm.roc.tar)  # type: ignore[union-attr]
    assert sum(r["table"] == "differences" for r in rows) == len(report.results.differences) * (1 + 4)
    seconds = [float(r["value"]) for r in rows if r["table"] == "cost" and r["metric"] == "seconds"]
    assert seconds == [c.seconds for c in report.part(CostSection).costs]
    assert "images" not in told["grid"] and told["sheet"][0]["classes"] == list(
        report.part(ImagesSection).sheet[0].classes
    )
    assert told["verdict"]["sentence"] == report.sentence


def test_missing_values_are_null_and_empty_with_their_reason() -> None:
    report = fake_report.build()
    gone = Estimate(math.nan, seeds=(math.nan, 0.5), reason="too few pairs")
    first, *others = report.results.arms
    report = report.having(arms=(replace(first, metrics={"eer": gone}), *others))
    rows = [r for r in csv.DictReader(io.StringIO(report.csv)) if (r["arm"], r["table"]) == ("real", "arms")]
    assert [(r["value"], r["reason"]) for r in rows] == [("", "too few pairs"), ("", ""), ("0.5", "")]
    told = json.loads(report.json, parse_constant=lambda name: pytest.fail(f"{name} is not JSON"))
    assert told["arms"][0]["metrics"]["eer"]["value"] is None


def test_verdict_sentences() -> None:
    helps = fake_report.build("helps").sentence
    assert (
        helps.startswith("On classes it never saw in training, it recognizes better") and "real, equal steps" in helps
    )
    weak = fake_report.build("generator too weak").sentence
    assert "31.0\u202f%" in weak and "50.0\u202f%" in weak
    report = fake_report.build()
    assert "no gain over" in report.sentence and "can be told from chance" in report.sentence
    harm = Difference("ScoreMix far", "real", "tar@0.01", Estimate(-0.05, -0.07, -0.03))
    harmed = report.having(differences=(harm,))
    assert "recognizes worse than real images alone (real): do not use it." in harmed.sentence
    own = report.having(verdict=replace(report.results.verdict, sentence="Said otherwise."))
    assert own.sentence == "Said otherwise."


def test_terminal_text() -> None:
    report = fake_report.build("generator too weak", arms=12)
    text = report.text("runs/demo/report.html")
    assert text.startswith("Verdict: generator too weak\n")
    assert text.endswith("Report: runs/demo/report.html\n")
    for arm in report.results.arms:
        line = next(x for x in text.splitlines() if x.startswith(f"  {arm.name}  "))
        assert numbers.mean(arm.metrics["eer"], metric_table.EER) in line.split()
    headline = report.results.difference("ScoreMix far", "real", "tar@0.01")
    interval = numbers.interval(headline, metric_table.tar(0.01), True)  # on both sides of zero: no number beside it
    assert f"against real: not told from zero (95\u202f% interval {interval} points" in text
    assert "To try: Train the generator longer" in text
    assert "seed 0, fixed" in text and "evaluated once" in text and "10 million" in text
    assert "Report" not in report.text()


def test_one_seed_is_said() -> None:
    assert "One recognizer seed (0)" in fake_report.bare(fake_report.build()).text()
