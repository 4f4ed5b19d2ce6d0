"""docs/tables.md is what its JSON gives; a stored result lands in its row."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest

from scoremix.config.arms import named
from scoremix.config.presets import PRESETS
from scoremix.evaluation.benchmarks import Measure
from scoremix.report import paper_table
from support.faces import measured, result

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


def test_stored_results_stand_beside_the_papers(tables: ModuleType) -> None:
    tar = Measure("tar", 0.5, 1e-6, "nearest")
    results = [
        result(
            f"webface160k/scoremix/{seed}",
            measured("ijbb", "1:1", tar),
            measured("ijbc", "1:1", tar, unlike="not the published set: ..."),
            measured("tinyface", "identification", Measure("rank", 0.25 + 0.1 * seed, 1)),
            *(measured(s, "pairs", Measure("accuracy", 0.9)) for s in paper_table.HIGH),
        )
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
    of_seeds = (("run/real/0", 0.9), ("run/real/1", 0.92), ("run/scoremix/0", 0.95))
    results = [
        result(name, *(measured(s, "pairs", Measure("accuracy", right)) for s in paper_table.HIGH))
        for name, right in of_seeds
    ]
    head, real, mixed = paper_table.table(results)
    assert head == ["arm", "protocol", "seeds", *paper_table.HIGH, "Avg-H", "Diff"]
    assert real[:3] == ["run/real", "-", "2"] and real[-2:] == ["91.00 ± 1.41", ""]
    assert mixed[:3] == ["run/scoremix", "-", "1"] and mixed[-2:] == ["95.00", "+4.00"]
    assert paper_table.table([result("x")]) == []
