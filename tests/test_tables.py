"""docs/tables.md is what its JSON gives; a stored result lands in its row."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest

from scoremix.config.arms import named
from scoremix.config.presets import PRESETS
from scoremix.report import paper_table

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def tables(script: Callable[[str], ModuleType]) -> ModuleType:
    return script("scripts/tables.py")


def test_the_page_is_up_to_date(tables: ModuleType) -> None:
    assert tables.page() == (ROOT / "docs" / "tables.md").read_text()


def test_every_row_names_a_preset_and_an_arm(tables: ModuleType) -> None:
    paper = json.loads(tables.PAPER.read_text())
    for content in paper["tables"]:
        for row in content["rows"]:
            assert row["preset"] in PRESETS
            named([row["arm"]])
            assert len(row["paper"]) == len(content["columns"])
    averages = [(row["paper"][:6], row["paper"][6]) for row in paper["tables"][1]["rows"]]
    for values, average in averages:  # typed rightly: the paper's own averages are those of the six columns
        assert sum(values) / 6 == pytest.approx(average, abs=0.011)


def entry(name: str, kind: str, protocol: str, measures: list[dict], unlike: str = "") -> dict:  # type: ignore[type-arg]
    return {
        "set": name,
        "kind": kind,
        "protocol": {"name": protocol},
        "measures": measures,
        "unlike_published": unlike,
        "notes": [],
    }


def test_stored_results_stand_beside_the_papers(tables: ModuleType) -> None:
    tar = [{"metric": "tar", "rule": "nearest", "level": 1e-6, "value": 0.5}]
    rank = [{"metric": "rank", "level": 1, "value": 0.25}]
    accuracy = [{"metric": "accuracy", "value": 0.9}]
    results = [
        {
            "checkpoint": {"name": f"webface160k/scoremix/{seed}"},
            "sets": [
                entry("ijbb", "1:1", "adaface", tar),
                entry("ijbc", "1:1", "adaface", tar, "not the published set: ..."),
                entry("tinyface", "identification", "common", [{**rank[0], "value": 0.25 + 0.1 * seed}]),
                *(entry(s, "pairs", "common", accuracy) for s in paper_table.HIGH),
            ],
        }
        for seed in (0, 1)
    ]
    row = {"run": "webface160k", "arm": "scoremix"}
    columns = ["B-1e-6", "C-1e-6", "TR1", "TR5", "Avg-H", "Avg"]
    (line,) = tables.ours(row, columns, results)
    cells = [cell.strip() for cell in line.strip("|").split("|")]
    assert cells[1] == "ours, adaface, 2 seeds"
    assert cells[2:] == ["50.00 ± 0.00", "not run", "30.00 ± 7.07", "not run", "90.00 ± 0.00", "not run"]
    assert "not run" in tables.ours({**row, "arm": "auggen"}, columns, results)[0]


def test_arms_stand_in_one_table_with_their_differences() -> None:
    def result(name: str, accuracy: float) -> dict:  # type: ignore[type-arg]
        sets = [entry(s, "pairs", "common", [{"metric": "accuracy", "value": accuracy}]) for s in paper_table.HIGH]
        return {"checkpoint": {"name": name}, "sets": sets}

    results = [result("run/real/0", 0.9), result("run/real/1", 0.92), result("run/scoremix/0", 0.95)]
    head, real, mixed = paper_table.table(results)
    assert head == ["arm", "protocol", "seeds", *paper_table.HIGH, "Avg-H", "Diff"]
    assert real[:3] == ["run/real", "-", "2"] and real[-2:] == ["91.00 ± 1.41", ""]
    assert mixed[:3] == ["run/scoremix", "-", "1"] and mixed[-2:] == ["95.00", "+4.00"]
    assert paper_table.table([{"checkpoint": {"name": "x"}, "sets": []}]) == []
