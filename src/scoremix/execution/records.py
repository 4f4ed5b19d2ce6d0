"""One run from the outside: its record, what it prints, and the chain that `scoremix show` draws."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

from pydantic import ValidationError

from scoremix import pipeline
from scoremix.config import ConfigError, Experiment, Runtime, changed
from scoremix.data.images import LabeledImages
from scoremix.data.mplet_list import read_mplets
from scoremix.execution import processes as engine
from scoremix.execution import runner
from scoremix.execution.artifacts import Artifact, Plan, Source, Store, StoreError, held, write_file
from scoremix.execution.estimate import estimate
from scoremix.execution.precision import decided, native
from scoremix.execution.torchrun import process, processes
from scoremix.report.tables import noun
from scoremix.stages.mix.select import files_of, groups_of
from scoremix.stages.train.ingest import content_key

RECOGNIZER = "recognizer.safetensors"
MARKS = {"done": "✓", "started": "…", "stale": "≠", "missing": "·"}


def execute(
    exp: Experiment, runtime: Runtime, store: Store, until: str | None = None, only_report: bool = False
) -> Path:
    """Runs what is not done yet, up to the step `until`; returns the last artifact's folder."""
    exp, source = decided(given := exp, runtime.device), source_of(exp)
    plans = runner.plan_all(exp, source, store)
    team = team_of(runtime, runner.needed(plans, until))
    if team and team.rank:
        return runner.run(exp, source, runner.Runner(store, runtime, until, team=team)).folder
    todo = [plan for plan in runner.needed(plans, None) if not store.artifact(plan).done]
    if only_report and any(plan.stage != "report" for plan in todo):
        open_steps = [plan.label for plan in todo if plan.stage != "report"]
        raise ConfigError(
            f"run {exp.name!r} is not finished, there is no report yet ({len(open_steps)} steps to do, first: "
            f"{open_steps[0]}); `scoremix run` continues it"
        )
    record = Record(runtime.out, exp, plans)
    if todo and (wanted := runner.needed(plans, until)):
        done = sum(store.artifact(plan).done for plan in wanted)
        say(f"{exp.name}: {done} of {len(wanted)} steps are done already")
        if exp is not given:
            say(f"  precision auto: {native(runtime.device)} suits this device")

    def after(plan: Plan, artifact: Artifact, made: bool) -> None:
        record.done(plan)
        if made:
            say_made(plan, artifact)
        if plan.stage == "ingest":
            summary = artifact.json("summary.json")
            if made:
                say(read_in_words(summary))
            if any(step.stage == "compare" for step in runner.needed(plans, until)):
                refuse_unmeasurable(summary, exp.evaluation.classes)
            if any(step.label == "select" for step in runner.needed(plans, until)):
                refuse_unknown_classes(exp, artifact)
            _announce(artifact, plans, store, runtime, until)

    last = runner.run(exp, source, runner.Runner(store, runtime, until, after, team=team))
    if last.stage != "report":
        if (last / "summary.txt").exists():
            print((last / "summary.txt").read_text())
        print(last.folder)
        return last.folder
    shown = show_files(last, runtime.out / exp.name)
    print((last / "summary.txt").read_text())
    print(f"report: {shown / 'report.html'}")
    return shown


def team_of(runtime: Runtime, plans: Sequence[Plan]) -> engine.Engine | None:
    """The processes that torchrun started, where there are several; ValueError where they cannot share a batch."""
    if processes() == 1:
        return None
    team = engine.start(runtime.device, together=True)
    for plan in plans:
        if plan.stage in ("recognizer", "generator"):
            team.part(plan.config["batch"], f"{plan.stage}.batch")
    return team


def analyze(
    name: str | None,
    runtime: Runtime,
    store: Store,
    change: Callable[[Experiment], Experiment],
    against: Sequence[str] = (),
) -> Path:
    """The geometry of a finished run with changed settings of the analysis; returns the folder of its page.

    `against`: other finished runs, whose generators are followed beside this one's.
    """
    exp, chain, recognizers, _ = finished(runtime.out, store, name)
    wanted = decided(change(exp), runtime.device)
    if wanted.model_copy(update={"analysis": exp.analysis}) != exp:
        raise ConfigError("analyze: only settings below `analysis` can change here; others need another run")
    if exp.name in against:
        raise ConfigError(f"--against {exp.name!r}: that is the run itself")
    if wanted.analysis.paths.map == "umap" and find_spec("umap") is None:
        raise ConfigError(
            "analysis.paths.map 'umap': needs umap-learn, pip install 'scoremix[umap]' (allowed without it: pca)"
        )
    others = {other: finished(runtime.out, store, other).chain for other in against}

    def after(plan: Plan, artifact: Artifact, made: bool) -> None:
        if made:
            say_made(plan, artifact)

    last = pipeline.geometry(wanted, chain, recognizers, others, runner.Runner(store, runtime, after=after))
    shown = show_files(last, runtime.out / exp.name)
    print((last / "summary.txt").read_text())
    print(f"page: {shown / 'analysis.html'}")
    return shown


class Parts(NamedTuple):
    """What a run's last report was made of."""

    exp: Experiment
    chain: dict[str, Artifact]
    recognizers: dict[str, Artifact]  # by arm and seed, "real/0"
    added: dict[str, Artifact]  # the images an arm adds to the real ones


def finished(out: Path, store: Store, name: str | None) -> Parts:
    """Experiment and artifacts of a run's last report.

    Of the code of that time: a newer scoremix reads older runs. ConfigError where there is no report.
    """
    name = name or latest_reported(out)
    steps = _record(_record_file(out, name))["steps"]
    run = _record_file(out, name).stem
    if "report" not in steps:
        raise ConfigError(f"run {run!r} is not finished, it has no report yet; `scoremix run` continues it")
    parts: tuple[dict[str, Artifact], ...] = ({}, {}, {})  # the report's arguments: chain, recognizers, added images
    for place, key in steps["report"]["inputs"].items():
        position, _, label = place.partition(":")
        if (artifact := stored(store, key)) is None:
            raise ConfigError(f"run {run!r}: {label} is gone from {store.root}; `scoremix run` makes it again")
        parts[int(position)][label] = artifact
    return Parts(_settings_of(run, steps["report"]["config"]), *parts)


def stored(store: Store, key: str) -> Artifact | None:
    """The finished artifact of a key, whatever stage made it."""
    file = next(iter(store.root.glob(f"*/{key[:12]}/manifest.json")), None)
    return Artifact(file.parts[-3], key, file.parent) if file else None


def show_files(artifact: Artifact, folder: Path) -> Path:
    """Copies the page and its numbers to where a person looks for them."""
    folder.mkdir(parents=True, exist_ok=True)
    for file in artifact.folder.iterdir():
        if file.suffix in (".html", ".csv", ".json") and file.name != "manifest.json":
            write_file(folder / file.name, file.read_bytes())
    return folder


def read_in_words(summary: Mapping[str, Any]) -> str:
    """What ingest found and left out, in one line."""
    parts = [f"{s['name']} {s['classes']:,} classes ({s['images']:,} images)" for s in summary["splits"]]
    said = [", ".join(parts)]
    if single := sum(s["single_image_classes"] for s in summary["splits"]):
        said.append(f"{noun(single, 'class', 'classes')} with one image: in training they count, for genuine pairs not")
    if summary["skipped"]:
        said.append(f"{noun(len(summary['skipped']), 'unreadable file')} left out")
    return "  " + "; ".join([*said, *([summary["note"]] if summary["note"] else [])])


def refuse_unmeasurable(summary: Mapping[str, Any], part: str) -> None:
    """ConfigError, before hours of training, where the evaluated classes give no genuine pair."""
    found = next(s for s in summary["splits"] if s["name"] == part)
    if found["single_image_classes"] == found["classes"]:
        raise ConfigError(
            f"all {found['classes']} {part} classes have one image: no two images of one class are left to recognize "
            "(add images, or name other classes in split_list)"
        )


def refuse_unknown_classes(exp: Experiment, real: Artifact) -> None:
    """ValueError, before anything is trained, where a list of m-plets or of groups does not fit the training classes."""
    chosen = [exp.selection, *(changed(exp.selection, a.selection) for a in exp.arms.values() if a.images != "real")]
    lists = {s.model_dump_json(include={"file", "groups", "m"}): s for s in chosen if s.file or s.groups}
    if lists:
        names = list(LabeledImages.load(real.folder).of_classes("train").class_names)
    for selection in lists.values():
        if selection.file is not None:
            read_mplets(Path(selection.file), names, selection.m)
        groups_of(selection, names, {**files_of(selection), "real": real})


def source_of(exp: Experiment) -> Source:
    """The experiment's data with the hash of its content."""
    return Source(exp.source, content_key(exp.source, exp.split_list, exp.groups), exp.split_list, exp.groups)


class Record:
    """`runs/<name>.json`: the experiment, and the key, config, inputs and code of every step as last done.

    Processes that share a run each add their own steps to what stands there.
    """

    def __init__(self, out: Path, exp: Experiment, plans: list[Plan]) -> None:
        self.path = out / "runs" / f"{exp.name}.json"
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self.experiment = exp.model_dump(mode="json")
        labels = {plan.label for plan in plans}
        with held(self.path.with_suffix(".lock")):
            before = self._read()["steps"]
            self._write(self.experiment, {label: step for label, step in before.items() if label in labels})

    def done(self, plan: Plan) -> None:
        step = {
            "stage": plan.stage,
            "key": plan.key,
            "config": plan.config,
            "inputs": plan.inputs,
            "code": plan.code,
        }
        if self.steps.get(plan.label) != step:
            with held(self.path.with_suffix(".lock")):
                found = self._read()
                self._write(found["experiment"], {**found["steps"], plan.label: step})

    def _read(self) -> dict[str, Any]:
        return _record(self.path) if self.path.exists() else {"experiment": self.experiment, "steps": {}}

    def _write(self, experiment: dict[str, Any], steps: dict[str, Any]) -> None:
        self.steps = steps
        write_file(self.path, json.dumps({"experiment": experiment, "steps": steps}, indent=1) + "\n")


def recorded(out: Path, name: str | None) -> Experiment:
    """The experiment of a run, the latest by default; ConfigError where there is none of that name."""
    file = _record_file(out, name)
    return _settings_of(file.stem, _record(file)["experiment"])


def _settings_of(run: str, stored: Any) -> Experiment:
    """A stored experiment; ConfigError where another version's settings can no longer be read."""
    try:
        return Experiment.model_validate(stored)
    except ValidationError as error:
        wrong = error.errors()[0]
        where = ".".join(map(str, wrong["loc"]))
        raise ConfigError(
            f"run {run!r}: made by a scoremix with other settings ({where}: {wrong['msg']}); `scoremix run` makes it anew"
        ) from None


def latest_reported(out: Path) -> str | None:
    """The newest run that has come to its report; None where none has."""
    newest = reversed(_record_files(out))
    return next((file.stem for file in newest if "report" in _record(file)["steps"]), None)


def _record_files(out: Path) -> list[Path]:
    """The records of all runs, the newest last."""
    return sorted((out / "runs").glob("*.json"), key=lambda f: f.stat().st_mtime)


def _record_file(out: Path, name: str | None) -> Path:
    files = _record_files(out)
    if not files:
        raise ConfigError(f"{out}: no runs here; start with `scoremix run`")
    if name is not None and name not in (names := [f.stem for f in files]):
        raise ConfigError(f"run {name!r}: not in {out} (runs: {', '.join(names)})")
    return files[-1] if name is None else out / "runs" / f"{name}.json"


def _record(file: Path) -> dict[str, Any]:
    try:
        record: dict[str, Any] = json.loads(file.read_text())
        return {name: record[name] for name in ("experiment", "steps")}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise StoreError(f"{file}: damaged or unreadable ({error}); remove it, finished stages stay") from None


def step_folder(out: Path, name: str | None, label: str) -> Path:
    """Folder of a finished step of a run (by default the latest); ConfigError where it is not done."""
    run = recorded(out, name).name
    step = _record(out / "runs" / f"{run}.json")["steps"].get(label)
    folder = None if step is None else out / "store" / str(step["stage"]) / str(step["key"])[:12]
    if folder is None or not (folder / "manifest.json").exists():
        raise ConfigError(f"run {run!r}: step {label!r} is not done; `scoremix run` continues it")
    return folder


def checkpoint_of(out: Path, name: str, option: str = "--runs") -> Path:
    """The recognizer checkpoint `name`: a file, an artifact's folder, or RUN/ARM or RUN/ARM/SEED of a run in `out`.

    Without a seed the first one trained. ConfigError says what there is, and the option that `out` comes from.
    """
    path = Path(name)
    if path.is_dir() and (path / RECOGNIZER).exists():
        return path / RECOGNIZER
    if path.is_file():
        return path
    run, _, arm = name.partition("/")
    record = out / "runs" / f"{run}.json"
    if not arm or not record.exists():
        known = ", ".join(sorted(f.stem for f in (out / "runs").glob("*.json"))) or "none"
        raise ConfigError(
            f"checkpoint {name!r}: neither a file nor RUN/ARM of a run in {out} (runs: {known}; {option} says where they are)"
        )
    prefix = "recognizer "
    trained: dict[str, Path] = {
        label.removeprefix(prefix): out / "store" / step["stage"] / step["key"][:12] / RECOGNIZER
        for label, step in _record(record)["steps"].items()
        if label.startswith(prefix)
    }
    for label, file in trained.items():
        if arm in (label, label.rpartition("/")[0]) and file.exists():
            return file
    raise ConfigError(
        f"checkpoint {name!r}: run {run!r} has no trained recognizer {arm!r} (has: {', '.join(trained) or 'none'})"
    )


def chain_table(store: Store, exp: Experiment) -> str:
    """Every step of a run with its state (done, started, stale, missing), why, and its cost."""
    steps = _record(store.root.parent / "runs" / f"{exp.name}.json")["steps"]
    lines, total = [f"run {exp.name}: data {exp.source}"], 0.0
    first: dict[str, str] = {}  # key -> the label it was listed under
    plans = runner.plan_all(exp, source_of(exp), store)
    width = max(28, *(len(plan.label) for plan in plans))
    for plan in plans:
        artifact = store.artifact(plan)
        state, why = state_of(plan, artifact, steps.get(plan.label), steps)
        if first.setdefault(plan.key, plan.label) != plan.label:
            why = f"the same as {first[plan.key]}"
        elif state == "done":
            spent = artifact.manifest["cost"]
            total += spent["seconds"]
            why = cost(spent)
        lines.append(f"{MARKS[state]} {state:<8} {plan.label:<{width}} {plan.key[:12]}  {why}")
    return "\n".join([*lines, f"total of what is done: {_time(total)}"])


def state_of(
    plan: Plan, artifact: Artifact, before: Mapping[str, Any] | None, steps: Mapping[str, Any]
) -> tuple[str, str]:
    """(state, why) of a step, given how the record says it was last done."""
    if artifact.done:
        return "done", ""
    if (artifact.folder / "progress").exists():
        return "started", "a process stopped in the middle; the next run continues it"
    if before is None:
        return "missing", "never done"
    changes = []
    if before["code"] != plan.code:
        changes.append("its code changed")
    changes += _differences(before["config"], plan.config)
    if before["inputs"] != plan.inputs:
        changed = [name for name, key in plan.inputs.items() if before["inputs"].get(name) != key]
        changes.append(
            "the images changed" if plan.stage == "ingest" else f"{max(1, len(changed))} of its inputs changed"
        )
    return ("stale", "; ".join(changes)) if changes else ("missing", "its folder is gone")


def _differences(before: Any, now: Any, path: str = "") -> list[str]:
    if isinstance(before, dict) and isinstance(now, dict):
        names = sorted(set(before) | set(now))
        return [line for n in names for line in _differences(before.get(n), now.get(n), f"{path}.{n}".strip("."))]
    return [] if before == now else [f"{path}: {before!r} became {now!r}"]


def _announce(real: Artifact, plans: list[Plan], store: Store, runtime: Runtime, until: str | None) -> None:
    """Prints how long what is left will take, from a short measurement on this machine."""
    todo = [plan for plan in runner.needed(plans, until) if not store.artifact(plan).done]
    if not todo:
        return
    start = time.monotonic()
    seconds = estimate(real, plans, todo, runtime)
    spent = time.monotonic() - start
    parts: dict[str, float] = {}
    for plan in todo:
        parts[plan.stage] = parts.get(plan.stage, 0) + seconds[plan.key]
    detail = ", ".join(f"{stage} {_time(s)}" for stage, s in sorted(parts.items(), key=lambda p: -p[1]) if s >= 1)
    say(f"estimate: about {_time(sum(parts.values()))} ({detail}; measured here in {spent:.0f} s)")


def cost(spent: Mapping[str, float]) -> str:
    """A manifest's cost in words."""
    extra = [f"{spent[n]:,.0f} {n}" for n in ("evaluations", "images") if spent.get(n)]
    return ", ".join([_time(spent["seconds"]), *extra, f"peak {spent['peak_mib']:,.0f} MiB"])


def _time(seconds: float) -> str:
    if seconds < 100:
        return f"{seconds:.0f} s" if seconds >= 10 else f"{seconds:.1f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


def say_made(plan: Plan, artifact: Artifact, of: str = "") -> None:
    """That a step is done, and its cost; `of` names its run where there are several."""
    say(" ".join([MARKS["done"], *([of] if of else []), f"{plan.label:<28}", cost(artifact.manifest["cost"])]))


def say(text: str) -> None:
    """A line for the person who waits, from the first of several processes."""
    if process() == 0:
        print(text, file=sys.stderr, flush=True)
