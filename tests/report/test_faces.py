"""Public benchmarks over seeds and arms: the paper's columns, and differences paired by seed and draw."""

from __future__ import annotations

import csv
import io
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from scoremix.evaluation.benchmarks import Measure
from scoremix.execution.artifacts import Artifact, StoreError
from scoremix.execution.benchmarks import keep
from scoremix.outputs.benchmarks import Benchmarks, Result
from scoremix.report.pages import faces as pages
from scoremix.report.paper_table import COLUMNS, HIGH, LOW, values
from scoremix.report.sections.face_tables import tables
from support.faces import measured, result

DRAWS = 200


def better(name: str, gain: float, noise: np.ndarray) -> Result:
    """A checkpoint that is better than another by `gain` in every column and draw."""

    def drawn(metric: str, value: float, level: float | None = None, rule: str | None = None) -> Measure:
        return Measure(metric, value + gain, level, rule, draws=value + gain + noise)

    def tar(far: float, value: float) -> list[Measure]:
        return [Measure("tar", value + gain, far, "nearest"), drawn("tar", value - 0.01, far, "at_most")]

    ijb = [measured(of, "1:1", *tar(1e-6, 0.3), *tar(1e-5, 0.6)) for of in ("ijbb", "ijbc")]
    pairs = [measured(of, "pairs", drawn("accuracy", 0.9)) for of in HIGH]
    ranks = [drawn("rank", 0.5 + k / 100, k) for k in (1, 5, 20)]
    return result(name, *ijb, *pairs, measured("tinyface", "identification", *ranks))


@pytest.fixture
def results() -> list[Result]:
    noise = np.random.default_rng(0).normal(0, 0.1, DRAWS)
    return [
        *(better(f"run/real/{seed}", 0.001 * seed, noise) for seed in (0, 1)),
        *(better(f"run/mixed/{seed}", 0.02 + 0.001 * seed, noise) for seed in (0, 1)),
    ]


def test_a_difference_is_paired_by_draw_and_seed(results: list[Result]):
    (table,) = tables(results, ["real"])
    assert table.columns == COLUMNS and table.seeds == ("0", "1")
    for name in table.columns:
        gain = table.differences["mixed"]["real"][name]
        assert gain.value == pytest.approx(0.02) and gain.beyond_doubt
        assert gain.interval is not None and gain.interval.high - gain.interval.low < 1e-9  # what both share is gone
        alone = table.arms["mixed"][name].interval
        assert alone is not None and alone.high - alone.low > 0.2
    assert table.differences["real"] == {}


def test_columns_are_of_the_published_rule_and_averages_of_their_parts(results: list[Result]):
    (table,) = tables(results, ["real"])
    of = table.arms["real"]
    assert of["B-1e-6"].value == pytest.approx(0.3005) and of["B-1e-6"].seeds == pytest.approx((0.3, 0.301))
    assert of["Avg"].value == pytest.approx(np.mean([of[name].value for name in LOW]))
    assert of["Avg-H"].value == pytest.approx(0.9005)


def test_what_is_not_the_published_set_or_was_not_run_is_no_number(results: list[Result]):
    mine = measured("mine", "pairs", Measure("accuracy", 0.7))
    for k, one in enumerate(results):
        sets = [replace(of, unlike_published="few pairs" if of.set == "ijbb" else "") for of in one.sets]
        results[k] = replace(one, sets=[*sets, mine])
    assert values(results[0], "B-1e-6", "adaface") is None and values(results[0], "Avg", "adaface") is None
    (table,) = tables(results, ["real"])
    assert "B-1e-6" not in table.columns and "Avg" not in table.columns and "mine" in table.columns
    assert table.arms["real"]["mine"].interval is None


def test_page_csv_json_and_text_say_the_same(results: list[Result]):
    found = tables(results, ["real"])
    page = pages.render(found)
    assert "mixed" in page and "minus real" in page and "left out" not in page
    rows = list(csv.DictReader(io.StringIO(pages.to_csv(found))))
    (row,) = [r for r in rows if (r["arm"], r["against"], r["column"]) == ("mixed", "real", "Avg")]
    stored = json.loads(pages.to_json(found))["tables"][0]["differences"]["mixed"]["real"]["Avg"]
    assert float(row["value"]) == pytest.approx(100 * stored["value"], abs=1e-3)
    assert "mixed minus real" in pages.text(found)


def test_what_is_stored_is_read_again_without_the_draws(results: list[Result], tmp_path: Path):
    keep(results, None, tmp_path)
    stored = Benchmarks.load(Artifact("", "", tmp_path))
    text = (tmp_path / "results.json").read_text()
    assert json.dumps(stored.as_json(), indent=1) + "\n" == text and '"level": 1\n' in text
    for one, again in zip(results, stored.results, strict=True):
        assert again.checkpoint == one.checkpoint
        for of, read in zip(one.sets, again.sets, strict=True):
            assert list(read.measures) == [replace(measure, draws=None) for measure in of.measures]
    (tmp_path / "results.json").write_text(text.replace('"finished"', '"ended"'))
    with pytest.raises(StoreError, match=r"results\.json: (finished|ended)"):
        Benchmarks.load(Artifact("", "", tmp_path))
