"""A study: arms x data sets x generator seeds x recognizer seeds over one store, and its tables.

Every data set and generator seed is an experiment of its own; what experiments share is computed once. Steps run arm
by arm, so that a study stopped by its budget, or by hand, ends in the tables of the arms that are finished; the next
run goes on where it was, and a longer study takes over all that a shorter one has made.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np

from scoremix.config import Experiment, Runtime
from scoremix.config.choice import measured
from scoremix.config.study import Say, StudyConfig
from scoremix.data.files import write_file
from scoremix.evaluation.estimate import holm
from scoremix.execution import runner, schedule, workers
from scoremix.execution.artifacts import Artifact, External, StoreBusy
from scoremix.execution.progress import noting, show_files
from scoremix.execution.records import RunRecord, refuse_other_data, source_of
from scoremix.execution.refusals import refuse_unknown_classes
from scoremix.execution.runner import decided
from scoremix.execution.store import Call, Step, Store
from scoremix.execution.timing import estimate
from scoremix.execution.torchrun import say
from scoremix.outputs.comparison import Comparison
from scoremix.outputs.diagnosis import Diagnosis
from scoremix.outputs.networks import GateResult
from scoremix.report.pages import study as pages
from scoremix.report.study import Study, StudyEstimate, StudyRow, Table


@dataclass
class Progress:
    """The experiments of a study in one store; each is planned once its images are read, which say how many classes there are."""

    store: Store
    runtime: Runtime
    planners: dict[str, runner.Planner] = field(default_factory=dict)
    sources: dict[tuple[str, str | None, str | None], External] = field(default_factory=dict)

    def source(self, exp: Experiment) -> External:
        """The experiment's data; its content is hashed once, not for every step."""
        place = exp.source, exp.split_list, exp.groups
        if place not in self.sources:
            self.sources[place] = source_of(exp)
        return self.sources[place]

    def planner(self, exp: Experiment) -> runner.Planner:
        settings = exp.model_dump_json()
        if settings in self.planners:
            return self.planners[settings]
        planner = runner.planned(exp, self.source(exp), self.store)
        if self.store.artifact(planner.listed[0]).done:
            self.planners[settings] = planner
        return planner

    def steps(self, exp: Experiment) -> list[Step]:
        return self.planner(exp).listed

    def record(self, exp: Experiment) -> RunRecord:
        return RunRecord(self.runtime.out, exp, self.steps(exp))

    def run(self, exp: Experiment, until: str, record: RunRecord) -> Artifact:
        """Makes what the step `until` needs in this process, waiting for what another process is making."""
        while True:
            try:
                noted = noting(record, exp.name)
                return runner.run(exp, self.source(exp), runner.Runner(self.store, self.runtime, until, noted))
            except StoreBusy:
                time.sleep(1)


def execute(config: StudyConfig, runtime: Runtime, store: Store, scheduler: str | None = None) -> Path:
    """Runs what is not done, as far as the budget goes, then writes the tables; returns the folder of the page.

    Ready steps of all experiments run side by side, on `runtime.workers` or on the cluster of a Dask `scheduler`.
    """
    said: list[str] = []
    experiments = [(seed, exp) for _, seed, exp in _experiments(config, runtime, said.append)]
    for line in dict.fromkeys(said):
        say(line)
    progress, hours = Progress(store, runtime), config.budget_hours
    records = {exp.name: progress.record(exp) for _, exp in experiments}
    deadline = time.monotonic() + 3600 * hours if hours else float("inf")
    crew, runtime = workers.at_work(runtime, progress.steps(experiments[0][1]), scheduler)
    progress.runtime = runtime
    for _, exp in experiments:
        refuse_unknown_classes(exp, progress.run(exp, "ingest", records[exp.name]))
    _announce([exp for _, exp in experiments], progress, hours)
    calls: dict[str, Call] = {}
    notes: dict[str, list[Callable[[Artifact, bool], None]]] = {}  # by key: who is to know of a step
    for exp, arm in _order(experiments):
        planner, noted = progress.planner(exp), noting(records[exp.name], exp.name)
        steps = planner.listed
        for seed in exp.seeds:
            for step in runner.needed(steps, f"evaluate {arm}/{seed}"):
                calls.setdefault(step.key, planner.calls[step.key])
        for step in steps:
            notes.setdefault(step.key, []).append(partial(noted, step))

    def after(step: Step, artifact: Artifact, made: bool) -> None:
        for number, note in enumerate(notes[step.key]):
            note(artifact, made and number == 0)

    with crew:
        in_time = schedule.run_all(list(calls.values()), store, runtime, crew, after, say, deadline)
    if not in_time:
        say(f"the budget of {hours:g} hours is spent; the tables hold what is finished, the next run goes on")
    return tables(config, runtime, store, training=in_time)


def _experiments(
    config: StudyConfig, runtime: Runtime, say: Say = lambda line: None
) -> list[tuple[str, int, Experiment]]:
    """Those of the study, with what this device computes in; ConfigError where one was run on other images."""
    experiments = config.experiments(say)
    for _, _, exp in experiments:
        refuse_other_data(runtime.out, exp, "name the study or its data set otherwise")
    return [(data, seed, decided(exp, runtime.device)) for data, seed, exp in experiments]


def _order(experiments: list[tuple[int, Experiment]]) -> Iterator[tuple[Experiment, str]]:
    """Arm by arm over the data sets, one generator seed after the other."""
    for _, group in itertools.groupby(experiments, key=lambda e: e[0]):
        of_seed = [exp for _, exp in group]
        for arm in dict.fromkeys(arm for exp in of_seed for arm in measured(exp)):
            yield from ((exp, arm) for exp in of_seed if arm in exp.arms)


def _announce(experiments: list[Experiment], progress: Progress, budget: float | None) -> None:
    """Says how long what is left will take, steps that experiments share counted once."""
    seconds: dict[str, float] = {}
    keys: set[str] = set()
    for exp in experiments:
        steps, store = progress.steps(exp), progress.store
        keys |= {step.key for step in steps}
        todo = [step for step in steps if not store.artifact(step).done and step.key not in seconds]
        real = next(store.artifact(step) for step in steps if step.stage == "ingest")
        seconds |= estimate(real, steps, todo, progress.runtime, store)
    said = f" within a budget of {budget:g} h" if budget else ""
    say(
        f"{len(experiments)} experiments, {len(keys - seconds.keys())} of {len(keys)} steps done; the rest takes about "
        f"{sum(seconds.values()) / 3600:.1f} h on this machine{said}"
    )


def finished_part(exp: Experiment, progress: Progress) -> Experiment | None:
    """The experiment without the arms that are not finished, or lean on one that is not.

    None without the arms of the verdict.
    """
    evaluated = (step for step in progress.steps(exp) if step.stage == "evaluate")
    lacking = {step.label.rpartition("/")[0] for step in evaluated if not progress.store.artifact(step).done}
    arms = {name: arm for name, arm in exp.arms.items() if f"evaluate {name}" not in lacking}
    while unknown := [name for name, arm in arms.items() if not arms.keys() >= {*arm.leans_on}]:
        arms = {name: arm for name, arm in arms.items() if name not in unknown}
    needed = {exp.evaluation.treatment, *exp.evaluation.controls}
    return exp.model_copy(update={"arms": arms}) if needed <= arms.keys() else None


def tables(config: StudyConfig, runtime: Runtime, store: Store, training: bool = True) -> Path:
    """Compares what is finished and writes study.html, study.csv and study.json; returns their folder.

    Without `training` the report of an experiment is left out where a network that no arm has needed is yet to be
    trained for it, as the generator of the settings where every arm has its own.
    """
    progress = Progress(store, runtime)
    compared: dict[str, list[tuple[int, Experiment, Artifact]]] = {}
    missing = []
    for data, generator_seed, exp in _experiments(config, runtime):
        part = finished_part(exp, progress)
        missing += [f"{exp.name}: {arm}" for arm in measured(exp) if part is None or arm not in part.arms]
        if part is not None:
            record = progress.record(exp)  # of all arms: those trained in part are not forgotten
            compared.setdefault(data, []).append((generator_seed, part, progress.run(part, "compare", record)))
            if not training and (lacking := untrained(progress.steps(part), store)):
                say(
                    f"{exp.name}: no report, which needs {', '.join(lacking)}: a study that is run to its end trains it"
                )
            else:
                show_files(progress.run(part, "report", record), runtime.out / part.name)
    of_data = (_table(data, of, progress, config.against) for data, of in compared.items())
    study = Study(config.name, tuple(of_data), tuple(missing))
    folder = runtime.out / config.name
    folder.mkdir(parents=True, exist_ok=True)
    write_file(folder / "study.csv", pages.to_csv(study))
    write_file(folder / "study.json", pages.to_json(study, config.model_dump(mode="json")))
    write_file(folder / "study.html", pages.render(study))
    print(pages.text(study))
    print(f"study: {folder / 'study.html'}")
    return folder


def untrained(steps: list[Step], store: Store) -> list[str]:
    """The networks that the report needs and that are not trained, by their steps' labels."""
    of_report = (step for step in runner.needed(steps, "report") if step.stage in ("recognizer", "generator"))
    return [step.label for step in of_report if not store.artifact(step).done]


Draws = dict[int, dict[str, np.ndarray]]  # of an arm: generator seed -> metric -> (recognizer seeds, 1 + resamples)


def _table(
    data: str, of: list[tuple[int, Experiment, Artifact]], progress: Progress, against: Mapping[str, str]
) -> Table:
    """Arms of one data set: means and differences over all recognizer and generator seeds, paired by both."""
    draws: dict[str, Draws] = {}
    for generator_seed, _, artifact in of:
        for name, values in artifact.arrays("draws.npz").items():
            arm, _, metric = name.rpartition("/")
            draws.setdefault(arm, {}).setdefault(generator_seed, {})[metric] = values.astype(np.float64)
    exp, compared = of[0][1], {seed: Comparison.load(artifact) for seed, _, artifact in of}
    first = compared[of[0][0]]
    metrics = [m for m in first.metrics if m not in first.unsupported]
    headline = first.headline if first.headline in metrics else metrics[0]
    controls = [c for c in exp.evaluation.controls if c in exp.arms]
    steps, store, level = progress.steps(exp), progress.store, exp.evaluation.level
    costs, diagnosed = _costs(exp, steps, store), _artifact_of("diagnose", steps, store)
    mixes = {g.group: g.numbers for g in Diagnosis.load(diagnosed).groups} if diagnosed.done else {}
    gates = {seed: found for seed, exp, _ in of if (found := _judging_gate(exp, compared[seed], progress))}
    rows = []
    for arm in measured(exp):
        differences = {c: _cells(metrics, level, draws[arm], draws[c]) for c in controls if c != arm}
        gate = {"gate": first.gates[arm].top1} if arm in first.gates else {}
        rows.append(
            StudyRow(
                arm,
                exp.arms[arm].note,
                tuple(draws[arm]),
                _cells(metrics, level, draws[arm]),
                {(control, m): cell for control, cells in differences.items() for m, cell in cells.items()},
                costs[arm],
                {**mixes.get(arm, {}), **gate},
            )
        )
    judged = [
        (row, control)
        for row in rows
        for control in controls
        if row.arm not in controls and (control, headline) in row.differences
    ]
    adjusted = holm([row.differences[control, headline].p for row, control in judged])
    for (row, control), value in zip(judged, adjusted, strict=True):
        row.adjusted[control] = value
    return Table(
        data=data,
        source=exp.source,
        classes=exp.evaluation.classes,
        size=exp.data.size,
        metrics=tuple(metrics),
        headline=headline,
        controls=tuple(controls),
        level=level,
        seeds=exp.seeds,
        gates={seed: gate.as_json() for seed, gate in gates.items()},
        rows=tuple(rows),
        pairs=tuple(
            (arm, other, _cells(metrics, level, draws[arm], draws[other]))
            for arm, other in against.items()
            if arm in exp.arms and other in exp.arms
        ),
        manifests=tuple((exp.name, artifact.key) for _, exp, artifact in of),
    )


def _cells(metrics: list[str], level: float, arm: Draws, other: Draws | None = None) -> dict[str, StudyEstimate]:
    """By metric an arm's mean over runs, or that of its differences to another, paired by both seeds and by draw.

    What has nothing to do with a generator, as real images, counts once, not once beside each generator.
    """
    seeds: dict[tuple[int, int | None], int] = {}
    for seed in arm:
        if other is None or seed in other:
            seeds.setdefault((_first_like(arm, seed), _first_like(other, seed) if other else None), seed)
    cells = {}
    for m in metrics:  # an arm without the real classes in its head has no accuracy on them
        if all(m in arm[s] and (other is None or m in other[s]) for s in seeds.values()):
            values = [arm[s][m] - (other[s][m] if other else 0) for s in seeds.values()]
            cells[m] = StudyEstimate.of(np.concatenate(values), level)
    return {m: cell for m, cell in cells.items() if cell is not None}


def _first_like(arm: Draws, seed: int) -> int:
    """The first generator seed with which the arm has these very numbers."""
    return next(s for s in arm if all(np.array_equal(arm[s][m], v, equal_nan=True) for m, v in arm[seed].items()))


def _judging_gate(exp: Experiment, compared: Comparison, progress: Progress) -> GateResult | None:
    """That of the judged arm's generator, its own or the experiment's; None where no arm is generated, or nothing measured."""
    if not any(exp.arms[arm].generated for arm in measured(exp)):
        return None
    check = _artifact_of("check", progress.steps(exp), progress.store)
    return compared.gates.get(exp.evaluation.treatment) or (GateResult.load(check) if check.done else None)


def _artifact_of(stage: str, steps: list[Step], store: Store) -> Artifact:
    """Of the one step of that stage."""
    return next(store.artifact(step) for step in steps if step.stage == stage)


def _costs(exp: Experiment, steps: list[Step], store: Store) -> dict[str, dict[str, float]]:
    """Seconds of each arm's own images, and of one recognizer on average, with the network evaluations."""
    labels = {step.key: step.label for step in steps}
    costs = {}
    for arm in measured(exp):
        trained = [step for step in steps if step.label in {f"recognizer {arm}/{seed}" for seed in exp.seeds}]
        of_generators = [s for key in {t.inputs["0"] for t in trained} for s in runner.needed(steps, labels[key])]
        others = {k.key for s in of_generators if s.stage == "keep_real" for k in runner.needed(steps, s.label)}
        image_steps = {
            s.key: s
            for s in of_generators
            if s.stage in ("combine", "sample", "pixels", "screen", "search") and s.key not in others
        }
        images = [store.artifact(step).manifest["cost"] for step in image_steps.values()]
        training = [store.artifact(step).manifest["cost"]["seconds"] for step in trained]
        costs[arm] = {
            "image_seconds": sum(cost["seconds"] for cost in images),
            "evaluations": sum(cost.get("evaluations", 0) for cost in images),
            "training_seconds": float(np.mean(training)) if training else 0.0,
        }
    return costs
