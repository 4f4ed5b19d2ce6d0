"""docs/tables.md is what its JSON gives; a stored result lands in its row."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest

from scoremix.config.arms import named
from scoremix.config.presets import PRESETS

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
                *(entry(s, "pairs", "common", accuracy) for s in tables.HIGH),
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
