"""Public benchmarks over seeds and arms: the paper's columns, and differences paired by seed and draw."""

from __future__ import annotations

import csv
import io
import json
from typing import Any

import numpy as np
import pytest

from scoremix.report.pages import faces as pages
from scoremix.report.paper_table import COLUMNS, HIGH, LOW, values
from scoremix.report.sections.face_tables import tables

DRAWS = 200


def entry(name: str, kind: str, *measures: dict[str, Any], unlike: str = "") -> dict[str, Any]:
    protocol = {"name": "adaface" if kind == "1:1" else "common"}
    return {"set": name, "kind": kind, "protocol": protocol, "unlike_published": unlike, "measures": list(measures)}


def result(name: str, gain: float, noise: np.ndarray) -> dict[str, Any]:
    """A checkpoint that is better than another by `gain` in every column and draw."""

    def tar(level: float, value: float) -> list[dict[str, Any]]:
        common = {"metric": "tar", "level": level}
        drawn = value + gain - 0.01 + noise
        return [
            {**common, "rule": "nearest", "value": value + gain},
            {**common, "rule": "at_most", "value": value + gain - 0.01, "draws": drawn},
        ]

    def ranks() -> list[dict[str, Any]]:
        return [
            {"metric": "rank", "level": k, "value": 0.5 + gain + k / 100, "draws": 0.5 + gain + k / 100 + noise}
            for k in (1, 5, 20)
        ]

    ijb = [entry(of, "1:1", *tar(1e-6, 0.3), *tar(1e-5, 0.6)) for of in ("ijbb", "ijbc")]
    pairs = [
        entry(of, "pairs", {"metric": "accuracy", "value": 0.9 + gain, "draws": 0.9 + gain + noise}) for of in HIGH
    ]
    sets = [*ijb, *pairs, entry("tinyface", "identification", *ranks())]
    return {"checkpoint": {"name": name}, "sets": sets}


@pytest.fixture
def results() -> list[dict[str, Any]]:
    noise = np.random.default_rng(0).normal(0, 0.1, DRAWS)
    return [
        *(result(f"run/real/{seed}", 0.001 * seed, noise) for seed in (0, 1)),
        *(result(f"run/mixed/{seed}", 0.02 + 0.001 * seed, noise) for seed in (0, 1)),
    ]


def test_a_difference_is_paired_by_draw_and_seed(results: list[dict[str, Any]]):
    (table,) = tables(results, ["real"])
    assert table.columns == COLUMNS and table.seeds == ("0", "1")
    for name in table.columns:
        gain = table.differences["mixed"]["real"][name]
        assert gain.value == pytest.approx(0.02) and gain.beyond_doubt
        assert gain.interval is not None and gain.interval.high - gain.interval.low < 1e-9  # what both share is gone
        alone = table.arms["mixed"][name].interval
        assert alone is not None and alone.high - alone.low > 0.2
    assert table.differences["real"] == {}


def test_columns_are_of_the_published_rule_and_averages_of_their_parts(results: list[dict[str, Any]]):
    (table,) = tables(results, ["real"])
    of = table.arms["real"]
    assert of["B-1e-6"].value == pytest.approx(0.3005) and of["B-1e-6"].seeds == pytest.approx((0.3, 0.301))
    assert of["Avg"].value == pytest.approx(np.mean([of[name].value for name in LOW]))
    assert of["Avg-H"].value == pytest.approx(0.9005)


def test_what_is_not_the_published_set_or_was_not_run_is_no_number(results: list[dict[str, Any]]):
    for one in results:
        one["sets"] = [e if e["set"] != "ijbb" else {**e, "unlike_published": "few pairs"} for e in one["sets"]]
        one["sets"].append(entry("mine", "pairs", {"metric": "accuracy", "value": 0.7}))
    assert values(results[0], "B-1e-6", "adaface") is None and values(results[0], "Avg", "adaface") is None
    (table,) = tables(results, ["real"])
    assert "B-1e-6" not in table.columns and "Avg" not in table.columns and "mine" in table.columns
    assert table.arms["real"]["mine"].interval is None


def test_page_csv_json_and_text_say_the_same(results: list[dict[str, Any]]):
    found = tables(results, ["real"])
    page = pages.render(found)
    assert "mixed" in page and "minus real" in page and "left out" not in page
    rows = list(csv.DictReader(io.StringIO(pages.to_csv(found))))
    (row,) = [r for r in rows if (r["arm"], r["against"], r["column"]) == ("mixed", "real", "Avg")]
    stored = json.loads(pages.to_json(found))["tables"][0]["differences"]["mixed"]["real"]["Avg"]
    assert float(row["value"]) == pytest.approx(100 * stored["value"], abs=1e-3)
    assert "mixed minus real" in pages.text(found)
