"""The geometry of a finished run at toy size: a page, numbers that hang together, clear refusals."""

from __future__ import annotations

import csv
import json
import os
import re
import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch

from scoremix.analysis.alignment import cka
from scoremix.commands import analyze
from scoremix.config import ConfigError, Experiment, Runtime, Sampling, load
from scoremix.diffusion.checkpoints import Pixels
from scoremix.diffusion.unet import EDM2
from scoremix.execution import progress, records
from scoremix.execution.artifacts import Artifact, StoreError
from scoremix.execution.runner import decided
from scoremix.execution.store import Store
from scoremix.execution.work import Work
from scoremix.outputs.comparison import Comparison
from scoremix.outputs.diagnosis import Diagnosis
from scoremix.outputs.errors import ErrorsSummary
from scoremix.outputs.geometry import (
    AlignmentSummary,
    DistancesSummary,
    OrderSummary,
    PathsSummary,
    Snapshot,
    SnapshotsSummary,
    TransferSummary,
)
from scoremix.outputs.images import ImagesSummary
from scoremix.outputs.record import Record
from scoremix.outputs.spaces import SpacesSummary
from scoremix.stages.geometry.snapshots import reproduce
from support.runs import run as make

SMALL = [
    "seeds=[0]",
    "recognizer.epochs=8",
    "generator.snapshots=2",
    "analysis.recognizers={'<i>deep': {units: [2, 1]}}",
    "analysis.spaces.centers=[head, mean]",
    "analysis.spaces.ema=[0.07]",
    "analysis.measures.permutations=4",
    "analysis.measures.random_spaces=2",
    "analysis.measures.bootstrap=20",
    "analysis.order.comparisons=2000",
    "analysis.order.draws=20",
    "analysis.order.rhos=[0, 0.9]",
    "analysis.paths.pairs=3",
    "analysis.paths.weights=[0, 0.5, 1]",
    "analysis.paths.images=2",
    "analysis.paths.classes=4",
    "analysis.paths.images_per_class=3",
]


def experiment(tiny_settings: list[str], *changes: str) -> Experiment:
    return load(Experiment(), (), [*tiny_settings, *SMALL, *changes])


def analyzed(out: Path, *settings: str, run: str = "tiny", against: Sequence[str] = ()) -> Path:
    """The folder of the page; `settings` change the run's own."""
    return analyze.analyzed(run, Runtime(out=out, device="cpu", quiet=True), (), settings, against)


@pytest.fixture(scope="module")
def shown(tmp_path_factory: pytest.TempPathFactory, tiny_settings: list[str]) -> Path:
    out = tmp_path_factory.mktemp("run")
    exp = experiment(tiny_settings)
    make(out, exp)
    return analyzed(out)


def test_the_latest_run_is_the_latest_with_a_report(tmp_path: Path) -> None:
    (tmp_path / "runs").mkdir()
    for time, name in enumerate(("first", "second", "failed")):
        report = {"stage": "report", "key": "0" * 64, "config": {"name": name}, "inputs": {}, "code": ""}
        steps = {} if name == "failed" else {"report": report}
        record = tmp_path / "runs" / f"{name}.json"
        record.write_text(json.dumps({"experiment": {"name": name}, "steps": steps}))
        os.utime(record, (time, time))
    assert records.latest_reported(tmp_path) == "second"
    assert records.recorded(tmp_path, None).name == "failed"  # what `show` shows
    assert records.finished(tmp_path, None).exp == Experiment(name="second")


def test_a_map_without_its_extra_is_refused_before_anything_is_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(analyze, "find_spec", lambda name: None)
    monkeypatch.setattr(records, "finished", lambda *_: records.FinishedRun(decided(Experiment(), "cpu"), {}, {}, {}))
    with pytest.raises(ConfigError, match=r"scoremix\[umap\].*pca"):
        analyzed(tmp_path, "analysis.paths.map=umap")


def artifact(shown: Path, stage: str) -> Path:
    folder, *others = (shown.parent / "store" / stage).iterdir()
    assert not others
    return folder


def test_page_has_every_figure_and_needs_nothing_from_outside(shown: Path) -> None:
    page = (shown / "analysis.html").read_text()
    assert ">left out: " not in page
    assert page.count("<svg ") > 20 and page.count('src="data:image/png') == 3 * 3
    assert not re.search(r'(?:src|href)="(?!#|data:|analysis\.)', page)
    for words in ("cannot be told for tiny", "Does order carry over", "&lt;i&gt;deep head", "baseline mean", "blob"):
        assert words in page
    assert "<i>" not in page


def test_spaces_have_the_real_classes_in_order_whatever_a_recognizer_knows_besides(shown: Path) -> None:
    folder = artifact(shown, "spaces")
    info = json.loads((folder / "spaces.json").read_text())
    spaces = {s["name"]: np.load(folder / s["file"]) for s in info["spaces"]}
    kinds = {"baseline", "equal_steps/0", "scoremix/0", "<i>deep"}
    assert set(spaces) == {f"{r} {c}" for r in kinds for c in ("head", "mean")} | {
        "conditions EMA 0.05",
        "conditions EMA 0.1",
        "conditions EMA 0.07",
    }
    assert {len(rows) for rows in spaces.values()} == {len(info["classes"])}
    for file in (shown.parent / "store" / "recognizer").glob("*/recognizer.json"):
        known = json.loads(file.read_text())["class_names"]
        if len(known) > len(info["classes"]):  # trained on mixes as well
            centers = np.load(file.parent / "centers.npy")
            wanted = centers[[known.index(name) for name in info["classes"]]]
            np.testing.assert_allclose(spaces["scoremix/0 head"], wanted, atol=1e-6)
            break
    else:
        pytest.fail("no recognizer knows mixed classes")


def test_numbers_are_those_of_the_spaces(shown: Path) -> None:
    numbers = json.loads((shown / "analysis.json").read_text())
    folder = artifact(shown, "spaces")
    files = {s["name"]: folder / s["file"] for s in numbers["spaces"]}
    x, y = (np.load(files[name]) for name in ("conditions EMA 0.05", "baseline head"))
    pair = numbers["alignment"]["pairs"][0]
    assert (pair["x"], pair["y"], pair["measure"]) == ("conditions EMA 0.05", "baseline head", "cka")
    assert pair["value"] == pytest.approx(cka(x, y)) and pair["low"] <= pair["value"] <= pair["high"]
    last = [r for r in numbers["alignment"]["series"] if r["space"] == "baseline head" and r["ema"] == 0.05]
    assert [r["images_seen"] for r in last] == [0, 320, 640] and last[-1]["cka"] == pytest.approx(cka(x, y))
    for strategy in numbers["transfer"]["strategies"].values():
        assert np.allclose(np.diag(strategy["shared"]), 1) and np.allclose(
            strategy["shared"], np.transpose(strategy["shared"])
        )
    with open(shown / "analysis.csv") as file:
        rows = list(csv.DictReader(file))
    first = next(r for r in rows if r["section"] == "alignment")
    assert float(first["value"]) == pair["value"]
    assert {r["section"] for r in rows} >= {"matrix", "training", "snapshots", "order spaces", "simulated", "paths"}
    apart = [float(r["value"]) for r in rows if r["section"] == "snapshots" and r["name"] == "fd"]
    assert (
        len(apart) == len([r for r in rows if r["section"] == "snapshots" and r["name"] == "top1"]) and min(apart) > 0
    )


def test_what_stages_hand_over_is_read_and_written_to_the_byte(shown: Path, tmp_path: Path) -> None:
    handed: tuple[tuple[type[Record], str], ...] = (
        *((AlignmentSummary, "alignment"), (OrderSummary, "order"), (TransferSummary, "transfer")),
        *((DistancesSummary, "distances"), (PathsSummary, "paths"), (SnapshotsSummary, "snapshots")),
        *((Comparison, "compare"), (ErrorsSummary, "errors"), (Diagnosis, "diagnose"), (ImagesSummary, "ingest")),
        (SpacesSummary, "spaces"),
    )
    for kind, stage in handed:
        text = (artifact(shown, stage) / kind.FILE).read_text()
        assert json.dumps(kind.from_json(json.loads(text)).as_json(), indent=1) + "\n" == text
    told = {**json.loads((artifact(shown, "distances") / "distances.json").read_text()), "pearson": "none"}
    (tmp_path / "distances.json").write_text(json.dumps(told))
    with pytest.raises(StoreError, match=r"distances\.json: pearson: input should be a valid number"):
        DistancesSummary.load(Artifact("distances", "", tmp_path))


def test_simulated_spaces_obey_the_theorem(shown: Path) -> None:
    order = json.loads((artifact(shown, "order") / "order.json").read_text())
    for row in order["simulated_rates"]:
        assert row["rate"] == pytest.approx(row["predicted"], abs=5 * row["error"] + 1e-9)
        assert row["bound"] <= row["predicted"] + 1e-12
    for row in order["simulated"]:
        assert row["shared"] == pytest.approx(row["expected"], abs=5 * row["error"] + 0.1 * order["simulated_k"])
        assert row["paper_expected"] >= order["simulated_k"] / 2


def test_ends_of_a_path_are_reproductions_and_evaluations_are_counted(shown: Path) -> None:
    with np.load(artifact(shown, "paths") / "paths.npz") as file:
        assert file["pictures"].shape == (3, 3, 8, 8, 1) and file["to_a"].shape == (6, 3)
    manifest = json.loads((artifact(shown, "paths") / "manifest.json").read_text())
    assert (
        manifest["cost"]["evaluations"] == 3 * 3 * 2 * (2 * 3 - 1) * 4
    )  # images x denoiser calls x 2 classes x 2 networks


def test_a_second_analysis_computes_nothing_and_settings_redo_only_what_they_touch(
    shown: Path, tmp_path: Path, tiny_settings: list[str], capfd: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "copy"
    shutil.copytree(shown.parent, out)
    before = set((out / "store").rglob("manifest.json"))
    analyzed(out)
    assert set((out / "store").rglob("manifest.json")) == before
    capfd.readouterr()
    analyzed(out, "analysis.paths.pairs=2")
    made = capfd.readouterr().err
    assert "paths" in made and "analyze" in made and "alignment" not in made and "order" not in made


@pytest.mark.slow
def test_generators_of_two_runs_stand_side_by_side(shown: Path, tmp_path: Path, tiny_settings: list[str]) -> None:
    out = tmp_path / "copy"
    shutil.copytree(shown.parent, out)
    other = experiment(tiny_settings, "name=other", "generator.conditions=raw")
    progress.execute(other, Runtime(out=out, device="cpu", quiet=True), Store(out / "store"))
    page = (analyzed(out, run="other", against=["tiny"]) / "analysis.html").read_text()
    assert "tiny, EMA 0.05" in page and "other, EMA 0.05" in page
    for against, message in (("other", "that is the run itself"), ("nobody", "not in .*runs: .*tiny")):
        with pytest.raises(ConfigError, match=message):
            analyzed(out, run="other", against=[against])


def test_an_unfinished_run_and_wrong_settings_are_refused(
    shown: Path, tmp_path: Path, tiny_settings: list[str]
) -> None:
    out = tmp_path / "copy"
    shutil.copytree(shown.parent, out)
    trained = {file.name for file in (out / "store" / "recognizer").iterdir()}
    for setting, message in (
        ("analysis.recognizers={x: {unit: [1]}}", r"analysis\.recognizers\.x\.unit: "),
        ("analysis.recognizers={x: {lr: 0}}", r"analysis\.recognizers\.x\.lr: "),
        ("analysis.paths.weights=[0, 1, 0.5]", r"analysis\.paths\.weights: must rise from 0 to 1"),
        ("analysis.spaces.centers=[]", r"analysis\.spaces\.centers: must name head, mean or both"),
        (
            "analysis={recognizers: {new: {units: [2, 2]}}, measures: {k: 9}}",
            r"analysis\.measures\.k: 9 neighbours, intervals from halves of 14 classes allow 6",
        ),
        (
            "analysis={recognizers: {new: {units: [2, 2]}}, order: {pairs: 91}}",
            r"analysis\.order\.pairs: 91, 14 classes have 91 pairs",
        ),
        ("generator.lr=1", "only settings below `analysis` can change here"),
    ):
        with pytest.raises(ValueError, match=message):
            analyzed(out, setting)
        assert {file.name for file in (out / "store" / "recognizer").iterdir()} == trained
    exp = experiment(tiny_settings, "name=half")
    progress.execute(exp, Runtime(out=out, device="cpu", quiet=True), Store(out / "store"), "baseline")
    with pytest.raises(ConfigError, match="run 'half' is not finished, it has no report yet"):
        analyzed(out, run="half")
    shutil.rmtree(out / "store" / "generator")
    with pytest.raises(ConfigError, match="run 'tiny': generator is gone from"):
        analyzed(out)


def test_snapshots_are_asked_in_chunks_of_one_size(tmp_path: Path) -> None:
    net = EDM2(8, 1, label_dim=3, model_channels=8, channel_mult=(1, 2), num_blocks=1, attention=False).eval()
    shapes: list[int] = []
    net.register_forward_hook(lambda _, given, __: shapes.append(len(given[0])))
    config, work = Sampling(steps=2, chunk=4), Work(tmp_path, Runtime(device="cpu", quiet=True), "snapshots")
    labels = np.array([0, 1, 2, 0, 1, 2])
    made = reproduce(config, net, Pixels(), labels, list(range(6)), work)
    assert made.shape == (6, 8, 8, 1) and set(shapes) == {4}
    assert work.counts["evaluations"] == 6 * 3
    assert np.array_equal(made[:5], reproduce(config, net, Pixels(), labels[:5], list(range(5)), work))


def test_cka_and_recognition_are_correlated_over_enough_snapshots_only() -> None:
    from scoremix.stages.geometry.snapshots import correlations

    rng = np.random.default_rng(0)

    def at(ema: float, cka: float, top1: float) -> Snapshot:
        return Snapshot(ema, 0, cka, top1, align=0, ics=0, shift=0, coverage=0, fd=0)

    rows = [at(0.1, v, v + w) for v, w in zip(*rng.random((2, 9)), strict=True)]
    rows += [at(0.05, v, v) for v in rng.random(4)]
    rows += [at(0.2, v, 0.0) for v in rng.random(9)]
    found = correlations(rows, 0)
    pearson = np.corrcoef([[r.cka, r.top1] for r in rows[:9]], rowvar=False)[0, 1]
    low, high = found["0.1"].low, found["0.1"].high
    assert found["0.1"].pearson == pytest.approx(pearson) and low is not None and high is not None
    assert low < pearson < high
    assert found["0.05"].as_json() == {"snapshots": 4} and found["0.2"].as_json() == {"snapshots": 9}


def test_a_damaged_space_is_named() -> None:
    from scoremix.analysis.spaces import as_space, in_order

    with pytest.raises(ValueError, match=r"recognizer deep: 1 of 3 classes are unknown to it, first \['c'\]"):
        in_order(torch.eye(3), ["a", "b", "d"], ["a", "b", "c"], "recognizer deep")
    rows = in_order(torch.eye(4), ["d", "c", "b", "a"], ["a", "b"], "recognizer deep")
    assert torch.equal(rows, torch.eye(4)[[3, 2]])
    with pytest.raises(ValueError, match="deep: 3 rows, at least 4 are needed"):
        as_space(torch.eye(3), "deep")
    flat = torch.randn(5, 3)
    flat[:, 1] = 2
    with pytest.raises(ValueError, match=r"deep: 1 constant columns, first \[1\]"):
        as_space(flat, "deep")
