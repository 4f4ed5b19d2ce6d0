"""`scoremix plan`: prices, distances to the faithful mix, and the economy plan."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from scoremix.config import Experiment, Runtime, load
from scoremix.config import SamplingPlan as Plan
from scoremix.config.study import read_study
from scoremix.execution import prices, refusals
from scoremix.execution.store import Store
from scoremix.stages.mix.plan import evaluations, sample
from support.runs import command


def calls(plan: Plan) -> int:
    return 2 * plan.steps - 1 if plan.solver == "heun" else plan.steps


def test_candidates_differ_from_their_rival_in_the_mixing_only():
    for plan in (Plan(), Plan(guide="condition", steps=10), Plan(guide="unconditional", solver="euler")):
        found = prices.candidates(plan)
        faithful, economy, auggen = (found[name] for name in ("faithful", "economy", "AugGen"))
        assert evaluations(faithful, 2) == calls(plan) * (3 if plan.guide == "unconditional" else 4)
        assert prices.varied(economy, guide=faithful.guide, mixing_interval=None) == faithful
        assert prices.varied(auggen, mixture="scores") == faithful
        assert evaluations(economy, 2) <= 1.25 * evaluations(auggen, 2)
    assert evaluations(Plan(), 2) == 2 * evaluations(prices.candidates(Plan())["AugGen"], 2)


@pytest.mark.parametrize("plan", [Plan(), Plan(solver="dpm2m"), Plan(guide="unconditional"), Plan(churn=10.0)])
def test_every_plan_is_timed_once(plan: Plan):
    found = prices.candidates(plan)
    assert plan in found.values() and {"faithful", "economy", "AugGen"} <= found.keys()
    assert len(set(found.values())) == len(found)


def test_the_arm_is_the_economy_plan():
    found = prices.candidates(Plan())["economy"]
    changes = read_study(Path(__file__).parents[1] / "studies" / "factors.yaml").own["economy"].sampling
    assert prices.varied(Plan(), **{n: tuple(v) if isinstance(v, list) else v for n, v in changes.items()}) == found  # type: ignore[arg-type]


def test_prices_come_before_a_run_and_distances_after(
    tmp_path: Path,
    tiny_npz: Path,
    tiny_settings: list[str],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
):
    images = shutil.copy(tiny_npz, tmp_path / "own.npz")
    settings = [argument for setting in [*tiny_settings, f"source={images}"] for argument in ("--set", setting)]
    common = ["--out", str(tmp_path), "--device", "cpu", "-q"]
    where = ["folder", *common, *settings]
    assert command("plan", *where, "--images", "2", "--rounds", "1", "--json", str(tmp_path / "a.json")) == 0
    rows = {row["name"]: row for row in json.loads((tmp_path / "a.json").read_text())["plans"]}
    assert rows["faithful"]["evaluations"] == 20 and rows["AugGen"]["evaluations"] == 10
    assert rows["economy"]["hours"] == pytest.approx(rows["economy"]["seconds_per_image"] * 15 / 3600)
    assert rows["AugGen"]["times_auggen"] == 1 and rows["faithful"]["pixel_distance"] is None
    assert "economy" in capsys.readouterr().out

    assert command("plan", *where, "--measure") == 2
    assert "no runs here" in capsys.readouterr().err
    here = ("--workers", "1")  # where the estimate of a busy machine is long, worker processes would be started
    assert command("sample", *where, *here) == 0
    with monkeypatch.context() as small:
        small.setattr(refusals, "total_bytes", lambda device: 2**30)
        assert command("sample", *where, "--set", "name=big", "--set", "sampling.chunk=100000") == 2
    assert "sampling.chunk 100000: a layer of the generator takes 2 GiB" in capsys.readouterr().err
    images.unlink()  # what was read is needed no more
    assert command("plan", "tinny", *common) == 2 and "run 'tinny': not in" in capsys.readouterr().err
    assert command("plan", "tiny", *common, "--images", "100000000") == 2
    assert "--images 100000000: a layer of the generator takes 2,289 GiB" in capsys.readouterr().err
    assert command("plan", "tiny", *common, "--measure", "--images", "5", "--rounds", "1") == 0
    shown = capsys.readouterr().out
    assert "nearer than AugGen" in shown
    line = next(line for line in shown.splitlines() if line.startswith("faithful  "))
    assert line.split()[-3:] == ["0.0000", "100%", "1.0000"]


def test_the_same_plan_is_no_distance_away(tmp_path: Path, tiny_settings: list[str]):
    exp = load(Experiment(), (), tiny_settings)
    runtime, store = Runtime(out=tmp_path, device="cpu", quiet=True), Store(tmp_path / "store")
    subject = prices.untrained(exp, runtime, store, 3)
    run = {name: subject.pixels.encode(sample(subject.main, subject.guide, subject.labels, subject.weights, subject.seeds, p).images) for name, p in prices.candidates(Plan(steps=3)).items()}  # fmt: skip
    assert prices.distances(subject, run, "faithful")["pixel_distance"] == 0
    assert subject.images_of_job == 15
