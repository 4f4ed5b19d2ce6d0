"""The whole story at toy size: it runs, runs once, and says what changed."""

from __future__ import annotations

import itertools
import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from scoremix.config import Experiment, load
from scoremix.diffusion import checkpoints
from scoremix.diffusion.unet import condition_matrix
from scoremix.execution.chain import chain_table
from scoremix.execution.store import Store
from support.runs import run


def contents(out: Path) -> dict[str, bytes]:
    """Every finished output of a store but what tells of time and cost."""
    skip = {"manifest.json", ".lock", "report.html", "report.json", "report.csv", "summary.txt"}
    files = (out / "store").rglob("*")
    return {str(f.relative_to(out)): f.read_bytes() for f in files if f.is_file() and f.name not in skip}


def differing(a: Path, b: Path) -> list[str]:
    """Names of the outputs that two stores do not share to the byte."""
    first, second = contents(a), contents(b)
    return sorted(name for name in first.keys() | second.keys() if first.get(name) != second.get(name))


def test_ends_in_a_report_and_its_numbers(tiny_run: Path) -> None:
    page = (tiny_run / "tiny" / "report.html").read_text()
    numbers = json.loads((tiny_run / "tiny" / "report.json").read_text())
    assert page.lower().startswith("<!doctype html>")
    assert "blob" in page
    assert {arm["name"] for arm in numbers["arms"]} == {"real", "equal_steps", "scoremix"}
    assert (tiny_run / "tiny" / "report.csv").read_text().count("\n") > 10


def test_equal_steps_means_equal_steps(tiny_run: Path) -> None:
    steps = json.loads((tiny_run / "tiny" / "report.json").read_text())["arms"]
    by_name = {arm["name"]: arm for arm in steps}
    assert by_name["equal_steps"]["steps"] == by_name["scoremix"]["steps"] > by_name["real"]["steps"]
    assert by_name["equal_steps"]["images"] == by_name["real"]["images"] < by_name["scoremix"]["images"]


def test_conditions_are_kept_over_training_and_end_as_the_snapshots_do(tiny_run: Path) -> None:
    folder = next((tiny_run / "store" / "generator").iterdir())
    info = json.loads((folder / "generator.json").read_text())
    for std in ("0.050", "0.100"):
        kept = [c for c in info["conditions"] if f"{c['ema']:.3f}" == std]
        assert [c["images_seen"] for c in kept] == [0, 96, 160, 256, 320, 416, 480, 576, 640]
        series = [np.load(folder / c["file"]) for c in kept]
        net, _ = checkpoints.load(folder / info["snapshots"][std])
        np.testing.assert_array_equal(series[-1], condition_matrix(net).numpy())
        assert all(not np.array_equal(a, b) for a, b in itertools.pairwise(series))


def test_second_run_executes_nothing(
    tiny_run: Path, tmp_path: Path, tiny_settings: list[str], capfd: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(tiny_run, out := tmp_path / "copy")
    before = {f: f.stat().st_mtime_ns for f in (out / "store").rglob("manifest.json")}
    run(out, tiny_settings)
    assert {f: f.stat().st_mtime_ns for f in (out / "store").rglob("manifest.json")} == before
    assert "estimate" not in capfd.readouterr().err


def test_same_seed_same_bytes(tiny_run: Path, tmp_path: Path, tiny_settings: list[str]) -> None:
    run(tmp_path, tiny_settings)
    assert differing(tmp_path, tiny_run) == []


def test_sampling_seed_changes_only_what_follows(tiny_run: Path, tmp_path: Path, tiny_settings: list[str]) -> None:
    shutil.copytree(tiny_run, out := tmp_path / "copy")
    done = {str(f.parent.relative_to(out)) for f in (out / "store").rglob("manifest.json")}
    run(out, [*tiny_settings, "sampling.seed=5"])
    new = {str(f.parent.relative_to(out)) for f in (out / "store").rglob("manifest.json")} - done
    stages = {Path(folder).parts[1] for folder in new}
    assert "sample" in stages and "report" in stages
    assert not stages & {"ingest", "generator", "select"}


def test_other_controls_measure_no_recognizer_again(tiny_run: Path, tmp_path: Path, tiny_settings: list[str]) -> None:
    shutil.copytree(tiny_run, out := tmp_path / "copy")
    before = {f: f.stat().st_mtime_ns for f in (out / "store").rglob("evaluate/*/manifest.json")}
    run(out, [*tiny_settings, 'evaluation.controls=["real"]', "evaluation.level=0.9"])
    assert {f: f.stat().st_mtime_ns for f in (out / "store").rglob("evaluate/*/manifest.json")} == before
    assert len(list((out / "store" / "compare").glob("*/manifest.json"))) == 2


def test_a_step_that_stands_for_two_runs_under_either_name(
    tiny_run: Path, tmp_path: Path, tiny_settings: list[str]
) -> None:
    shutil.copytree(tiny_run, out := tmp_path / "copy")
    store, exp = Store(out / "store"), load(Experiment(), (), tiny_settings)
    first = f"recognizer real/{exp.seeds[0]}"
    assert "the same as baseline" in next(row for row in chain_table(store, exp).splitlines() if first in row)
    for folder in (out / "store" / "recognizer").iterdir():
        shutil.rmtree(folder)
    made = run(out, exp, first)
    assert made.parent.name == "recognizer" and [f.name for f in made.parent.iterdir()] == [made.name]


def test_show_says_why_a_step_is_stale(tiny_run: Path, tmp_path: Path, tiny_settings: list[str]) -> None:
    shutil.copytree(tiny_run, out := tmp_path / "copy")
    store = Store(out / "store")
    exp = load(Experiment(), (), tiny_settings)
    assert "stale" not in (table := chain_table(store, exp)) and "missing" not in table
    changed = load(exp, (), ["generator.lr=0.005"])
    table = chain_table(store, changed)
    row = next(line for line in table.splitlines() if " generator " in line)
    assert "stale" in row and "lr: 0.01 became 0.005" in row
    assert "inputs changed" in next(line for line in table.splitlines() if " compare " in line)
    folder = next((out / "store" / "combine").iterdir())
    shutil.rmtree(folder)
    row = next(line for line in chain_table(store, exp).splitlines() if " combine " in line)
    assert "missing" in row and "folder is gone" in row


@pytest.mark.slow
def test_test_classes_packed_anew_are_looked_at_again(tiny_run: Path, tmp_path: Path, tiny_settings: list[str]) -> None:
    shutil.copytree(tiny_run, out := tmp_path / "out")
    plain = json.loads((out / "tiny" / "report.json").read_text())["evaluation"]["test_looks"]
    run(out, [*tiny_settings, "name=smaller", "data.images_per_class=4"])
    assert json.loads((out / "smaller" / "report.json").read_text())["evaluation"]["test_looks"] == plain + 1
    run(out, [*tiny_settings, "name=others", "data.seed=5"])
    assert json.loads((out / "others" / "report.json").read_text())["evaluation"]["test_looks"] == 1


def test_where_the_pairs_are_too_few_for_the_far_asked_for_the_verdict_is_on_auc(
    tiny_run: Path, tmp_path: Path, tiny_settings: list[str]
) -> None:
    shutil.copytree(tiny_run, out := tmp_path / "copy")
    shown = run(out, [*tiny_settings, "evaluation.headline=0.01"], figures=True)
    numbers = json.loads((shown / "report.json").read_text())
    assert numbers["evaluation"]["headline"] == "auc"
    assert numbers["evaluation"]["impostor_pairs"] < 1000
    page = (shown / "report.html").read_text()
    assert "The verdict is on AUC" in page and "AUC, scoremix against real" in page


def test_a_run_on_validation_classes_says_so(tiny_run: Path, tmp_path: Path, tiny_settings: list[str]) -> None:
    shutil.copytree(tiny_run, out := tmp_path / "copy")
    shown = run(out, [*tiny_settings, "evaluation.classes=validation"], figures=True)
    page = (shown / "report.html").read_text()
    assert "the test classes were not evaluated" in page and "pairs of validation classes" in page
    assert "pairs of test classes" not in page
