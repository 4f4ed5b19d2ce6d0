"""Ready steps side by side: the same bytes as one after the other, deaths survived, stops with checkpoints."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from scoremix.config import Experiment, Runtime, load
from scoremix.data.files import locked
from scoremix.execution import progress, runner, schedule, workers
from scoremix.execution.artifacts import Artifact, StoreBusy
from scoremix.execution.records import source_of
from scoremix.execution.store import Call, Step, Store, step_of
from support.runs import run
from support.steps import Named, chunk, dies, dies_once, fails, note, slow


def outputs(out: Path) -> dict[str, Any]:
    """What every stage wrote, by its key, but for pages, which name times."""
    manifests = [json.loads(file.read_text()) for file in out.glob("store/*/*/manifest.json")]
    return {m["label"]: m["outputs"] for m in manifests if m["stage"] not in ("report", "compare")}


def test_two_workers_end_in_the_bytes_of_one(tiny_run: Path, tiny_settings: list[str], tmp_path: Path) -> None:
    run(tmp_path, tiny_settings, workers=2)
    one, two = outputs(tiny_run), outputs(tmp_path)
    assert one.keys() == two.keys() and len(one) > 12
    for label, files in one.items():
        stable = {name: of for name, of in files.items() if not name.endswith(".html")}
        assert stable == {name: of for name, of in two[label].items() if not name.endswith(".html")}, label
    record = json.loads((tmp_path / "runs" / "tiny.json").read_text())
    assert {"baseline", "recognizer real/0", "report"} <= record["steps"].keys()
    manifest = json.loads(next((tmp_path / "store" / "generator").glob("*/manifest.json")).read_text())
    assert manifest["threads"] == 1


def call(function: Callable[..., None], name: str, *inputs: Artifact, mark: str = "") -> Call:
    config = Named(name=name, mark=mark)
    return Call(step_of(function, config, inputs, name), function, config, inputs)


class Heard:
    """What a run said, and which steps ended."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.ended: list[str] = []

    def after(self, step: Any, artifact: Artifact, made: bool) -> None:
        self.ended.append(step.label)


def go(calls: list[Call], store: Store, size: int = 2, **options: Any) -> Heard:
    heard = Heard()
    with workers.Processes(size, 1) as crew:
        schedule.run_all(calls, store, Runtime(quiet=True), crew, heard.after, heard.lines.append, **options)
    assert all(slot.pool is None for slot in crew.slots)
    return heard


def test_a_worker_that_dies_is_named_and_its_step_tried_once_more(tmp_path: Path) -> None:
    store = Store(tmp_path / "store")
    first = call(slow, "first")
    a = store.artifact(first.step)
    second = call(dies_once, "second", a, mark=str(tmp_path / "mark"))
    beside = call(slow, "beside", a)
    last = call(note, "last", store.artifact(second.step), store.artifact(beside.step))
    heard = go([first, second, beside, last], store)
    assert heard.lines == ["second: its worker died; the step is tried once more"]
    assert heard.ended[0] == "first" and heard.ended[-1] == "last" and len(heard.ended) == 4
    assert (store.artifact(last.step) / "said.txt").read_text() == "lastsecondfirstbesidefirst"


@pytest.mark.slow
def test_a_step_that_kills_every_worker_ends_the_run_and_keeps_what_is_done(tmp_path: Path) -> None:
    store = Store(tmp_path / "store")
    done, deadly = call(note, "done"), call(dies, "deadly")
    with pytest.raises(RuntimeError, match="deadly: its worker died 2 times"):
        go([done, deadly], store)
    assert store.artifact(done.step).done and not store.artifact(deadly.step).done


def test_an_error_of_a_step_is_the_error_of_the_run(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="broken: cannot be made"):
        go([call(slow, "beside"), call(fails, "broken")], Store(tmp_path / "store"))


def test_workers_go_on_after_a_part_and_one_that_died_meanwhile_is_replaced(tmp_path: Path) -> None:
    store, heard = Store(tmp_path / "store"), Heard()
    with workers.Processes(1, 1) as crew:
        told = Runtime(quiet=True), crew, heard.after, heard.lines.append
        schedule.run_all([call(note, "first")], store, *told)
        pid = crew.slots[0].pid
        schedule.run_all([call(note, "second")], store, *told)
        assert crew.slots[0].pid == pid
        os.kill(pid, signal.SIGKILL)
        time.sleep(0.5)
        schedule.run_all([call(note, "third")], store, *told)
    assert (heard.ended, heard.lines) == (["first", "second", "third"], [])


def test_nothing_begins_after_the_deadline(tmp_path: Path) -> None:
    store = Store(tmp_path / "store")
    first = call(note, "first")
    heard = go([first], store, deadline=0.0)
    assert heard.ended == [] and not store.artifact(first.step).done


def test_makespan_is_that_of_a_list_schedule(tmp_path: Path) -> None:
    store = Store(tmp_path / "store")
    root = call(note, "root")
    left, right = (call(note, name, store.artifact(root.step)) for name in ("left", "right"))
    end = call(note, "end", store.artifact(left.step), store.artifact(right.step))
    calls = [root, left, right, end]
    seconds = dict(zip([c.step.key for c in calls], [1.0, 4.0, 3.0, 2.0], strict=True))
    assert schedule.makespan(calls, seconds, 1) == 10
    assert schedule.makespan(calls, seconds, 2) == 7
    assert schedule.makespan(calls, {end.step.key: 2.0}, 2) == 2


def test_a_study_of_thousands_of_finished_steps_goes_on(tmp_path: Path) -> None:
    class Finished:
        root, done = tmp_path, True

        def artifact(self, step: Step) -> Finished:
            return self

    store: Any = Finished()
    calls, heard = [call(note, f"step {k}") for k in range(3000)], Heard()
    assert schedule.run_all(calls, store, Runtime(quiet=True), workers.ThisProcess(), heard.after, heard.lines.append)
    assert heard.ended == [c.step.label for c in calls]


def test_what_most_steps_wait_for_begins_first(tmp_path: Path) -> None:
    store = Store(tmp_path / "store")
    root = call(note, "root")
    beside = [call(note, name, store.artifact(root.step)) for name in ("a", "b", "awaited")]
    end = call(note, "end", store.artifact(beside[-1].step))
    calls = [root, *beside, end]
    assert list(schedule.waited_for(calls).values()) == [4, 0, 0, 1, 0]
    assert (
        schedule.makespan(calls, dict(zip([c.step.key for c in calls], [1.0, 3.0, 3.0, 4.0, 1.0], strict=True)), 2) == 7
    )
    heard = Heard()
    schedule.run_all(calls, store, Runtime(quiet=True), workers.ThisProcess(), heard.after, heard.lines.append)
    assert heard.ended[:2] == ["root", "awaited"]


def test_what_another_process_makes_is_refused_before_a_measurement_or_waited_for(
    tiny_settings: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    exp, store, begun = load(Experiment(), (), tiny_settings), Store(tmp_path / "store"), list[str]()
    run(tmp_path, exp, "ingest")
    steps = runner.plan_all(runner.decided(exp, "cpu"), source_of(exp), store)
    (step,) = (step for step in steps if step.label == "generator")

    def estimate(real: Artifact, plans: list[Step], todo: list[Step], *_: object, **__: object) -> dict[str, float]:
        begun.append("estimate")
        return {step.key: 1.0 for step in todo}

    monkeypatch.setattr(progress, "estimate", estimate)
    monkeypatch.setattr(schedule, "run_all", lambda calls, *_: begun.extend(call.step.label for call in calls))
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1})
    with locked(store.make_folder(step) / ".lock"):
        with pytest.raises(StoreBusy, match="another process is working on it"):
            run(tmp_path, exp, "generator", workers=1)
        assert not begun
        run(tmp_path, exp, "generator", workers="auto")  # so short that one worker would do it alone
    assert "another process is working on it; what needs it waits" in capsys.readouterr().err
    assert begun[0] == "estimate" and "generator" in begun


def test_large_networks_have_all_cores() -> None:
    small, large = Experiment(), load(Experiment(), (), ["generator.model_channels=192"])
    cores = len(os.sched_getaffinity(0))
    for exp, threads in ((small, 1), (large, cores)):
        exp = runner.decided(exp, "cpu")
        steps = runner.plan_all(exp, source_of(exp), Store(Path(os.devnull).parent / "shm" / f"scoremix-{os.getpid()}"))
        crew = workers.crew(Runtime(device="cpu", workers="auto"), steps)
        assert (crew.size, crew.threads) == (cores // threads, threads)
    assert workers.crew(Runtime(device="cpu", workers=5), steps).size == 5


@pytest.mark.parametrize(
    ("number", "status"),
    [
        (signal.SIGTERM, 143),
        pytest.param(signal.SIGINT, 130, marks=pytest.mark.slow),
        pytest.param(signal.SIGHUP, 129, marks=pytest.mark.slow),
    ],
)
def test_a_stop_by_any_signal_ends_with_a_checkpoint_and_one_line(
    number: int, status: int, tiny_settings: list[str], tmp_path: Path
) -> None:
    chosen = [word for setting in (*tiny_settings, "recognizer.epochs=9000") for word in ("--set", setting)]
    command = [sys.executable, "-m", "scoremix", "recognizer", "folder", *chosen, "--out", str(tmp_path / "out"), "-q"]
    process = subprocess.Popen(
        [*command, "--workers", "1"],
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    assert process.stderr is not None
    lines = iter(process.stderr.readline, "")
    assert any("estimate: " in line for line in lines)  # what follows is training
    while not list(tmp_path.glob("out/store/recognizer/*/progress")):
        time.sleep(0.1)
    time.sleep(1.0)
    process.send_signal(number)
    last = process.stderr.read().strip().splitlines()[-1]
    assert process.wait(60) == status, last
    assert last == "scoremix: stopped; the next run continues from here"
    assert len(list(tmp_path.glob("out/store/recognizer/*/progress/checkpoint.safetensors"))) == 1


@pytest.mark.slow
def test_a_dask_cluster_survives_a_killed_worker(tmp_path: Path) -> None:
    distributed = pytest.importorskip("distributed")
    with (
        distributed.LocalCluster(n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None) as local,
        workers.cluster(local.scheduler_address) as crew,
    ):
        assert crew.size == 2
        store, heard = Store(tmp_path / "store"), Heard()
        first = call(slow, "first")
        second = call(dies_once, "second", store.artifact(first.step), mark=str(tmp_path / "mark"))
        third = call(slow, "third", store.artifact(first.step))
        schedule.run_all([first, second, third], store, Runtime(quiet=True), crew, heard.after, heard.lines.append)
        assert sorted(heard.ended) == ["first", "second", "third"]
        more = call(slow, "more", store.artifact(third.step))  # as after a choice: the same workers once more
        schedule.run_all([more], store, Runtime(quiet=True), crew, heard.after, heard.lines.append)
        assert heard.ended[-1] == "more"


def test_a_wrong_number_of_workers_is_one_line() -> None:
    command = [sys.executable, "-m", "scoremix", "run", "demo", "--workers", "many"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr.strip()) == (
        2,
        "scoremix: --workers 'many': allowed are auto and whole numbers from 1",
    )


def test_parts_are_counted_in_the_cost_and_kept_where_a_damaged_artifact_is_made_again(tmp_path: Path) -> None:
    store, one = Store(tmp_path), call(chunk, "x")
    artifact, runtime = store.artifact(one.step), Runtime(quiet=True)
    for again in range(2):
        for number in range(2):
            workers.perform(workers.Task(one, (number, 2)), tmp_path, runtime)
        assert 0 <= artifact.share_done < 1 and not artifact.done
        workers.perform(workers.Task(one), tmp_path, runtime)
        assert artifact.manifest["cost"]["seconds"] >= 0.4
        assert (artifact / "said.txt").read_text() == "xx" and artifact.share_done == 1
        if not again:
            (artifact / "said.txt").write_text("y")
            artifact.disown()
