"""A run as a person follows it: what is done and what it cost, how long the rest takes, what cannot work."""

import contextlib
import errno
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from scoremix.config import Choice, ConfigError, Experiment, Runtime
from scoremix.config.base import undecided
from scoremix.data.files import write_file
from scoremix.evaluation.estimate import FEW
from scoremix.execution import processes as engine
from scoremix.execution import runner, schedule, workers
from scoremix.execution.artifacts import Artifact, StoreBusy
from scoremix.execution.processes import native
from scoremix.execution.records import RunRecord, refuse_other_data, source_of, to_continue
from scoremix.execution.refusals import refuse_impossible, refuse_missing_library
from scoremix.execution.runner import decided
from scoremix.execution.store import Step, Store
from scoremix.execution.timing import estimate
from scoremix.execution.torchrun import process, processes, say
from scoremix.outputs.choice import Choosing
from scoremix.outputs.images import ImagesSummary
from scoremix.outputs.networks import GateResult
from scoremix.pipeline import folds_of
from scoremix.report import words
from scoremix.report.numbers import duration, noun

WORTHWHILE = 40.0  # seconds of work from which several workers, who take some to start, are worth while
MARKS = {"done": "✓", "started": "…", "stale": "≠", "missing": "·"}


def execute(
    exp: Experiment,
    runtime: Runtime,
    store: Store,
    until: str | None = None,
    only_report: bool = False,
    scheduler: str | None = None,
    rates: Mapping[str, dict[str, float]] = {},
) -> Path:
    """Runs what is not done yet, up to the step `until`, and says where it is; returns the last artifact's folder.

    `rates`: what estimates of it have measured already, by the key of the images.
    """
    (last,) = make(exp, runtime, store, [until], only_report, scheduler, rates)
    if process():
        return last.folder
    if last.stage != "report":
        if (last / "summary.txt").exists():
            print((last / "summary.txt").read_text())
        print(last.folder)
        return last.folder
    try:
        shown = show_files(last, runtime.out / exp.name)
    except OSError as error:
        if not only_report or error.errno not in (errno.EACCES, errno.EPERM, errno.EROFS):
            raise
        shown = last.folder  # a store that can only be read
    print((last / "summary.txt").read_text())
    print(f"report: {shown / 'report.html'}")
    return shown


def make(
    exp: Experiment,
    runtime: Runtime,
    store: Store,
    labels: Sequence[str | None],
    only_report: bool = False,
    scheduler: str | None = None,
    rates: Mapping[str, dict[str, float]] = {},
) -> list[Artifact]:
    """Runs what is not done yet of what some steps need (None: of all), telling a person; returns their artifacts.

    On workers of this machine, or of the Dask cluster of a `scheduler`. ConfigError where more than the report is to do but it alone was asked for.
    """
    refuse_other_data(runtime.out, exp)
    given, exp = exp, decided(exp, runtime.device)
    source = source_of(exp, runtime.out if only_report else None)
    planner = runner.planned(exp, source, store)
    plans = planner.listed
    if lacking := [label for label in labels if label and label not in {plan.label for plan in plans}]:
        raise ConfigError(
            f"run {exp.name!r} has no step {lacking[0]!r}: no candidate needs a generator, or the one there is is too weak "
            "for them (--set choice=null makes every step)"
        )
    wanted = runner.needed(plans, *labels)
    team = _team(runtime, wanted)
    record = None if process() else _opened(given, exp, plans, wanted, runtime, store, only_report)
    noted = noting(record)
    after = telling(exp, noted)

    def begin(real: Artifact, made: bool, size: int) -> bool:
        """Says what was read and how long the rest takes, or refuses what cannot work; whether workers are worth while."""
        summary = ImagesSummary.load(real)
        if made:
            say(read_in_words(summary))
        refuse_impossible(exp, real, wanted, engine.start(runtime.device).device)
        planner = runner.planned(exp, source, store)  # with the number of classes known
        left = runner.needed(planner.listed, *labels)
        if any(step.stage == "choose" and not store.artifact(step).done for step in left) and (
            few := too_few(exp, real)
        ):
            say(f"  {few}")
        if any(step.stage == "fold" and not store.artifact(step).done for step in left):
            classes = summary.classes
            say(
                f"  {noun(classes['validation'], 'validation class', 'validation classes')} are few to choose on: in "
                f"{folds_of(exp, classes)} folds every candidate is trained without a part of the "
                f"{classes['train'] + classes['validation']} training and validation classes and measured on it (--set "
                "choice.folds=1: on the validation classes alone)"
            )
        held = waits(store, left, size)
        return _announce(real, planner, left, runtime, size, rates.get(real.key)) > WORTHWHILE or held

    crew, runtime = (None, runtime) if team else workers.at_work(runtime, plans, scheduler)
    unread, one = not store.artifact(plans[0]).done, runner.Runner(store, runtime, "ingest", after, team)
    try:
        real = runner.run(exp, source, one)
        long = not process() and begin(real, unread, crew.size if crew else 1)
    except ValueError:  # refused by the images that were read, before anything was trained
        if record:
            record.withdraw()
        raise
    side_by_side = crew and (scheduler or (crew.size > 1 and (runtime.workers != "auto" or long)))

    def made(planner: runner.Planner, steps: list[Step]) -> None:
        after_each = runner.labelled(after, planner.listed)
        calls = [planner.calls[step.key] for step in steps]
        if crew and side_by_side:
            schedule.run_all(calls, store, runtime, crew, after_each, say)
        else:
            for call in calls:
                one.made(call, after_each)

    with crew or contextlib.nullcontext():
        return runner.in_parts(exp, source, store, labels, made)


def _opened(
    given: Experiment,
    exp: Experiment,
    plans: Sequence[Step],
    wanted: Sequence[Step],
    runtime: Runtime,
    store: Store,
    only_report: bool,
) -> RunRecord | None:
    """The run's record, None of a finished one, after damaged artifacts are disowned and it was said what is done.

    `given` is the experiment before what the device decides was decided. ConfigError as for `make`.
    """
    _unmake_damaged(store, plans, wanted)
    todo = [plan for plan in runner.needed(plans, None) if not store.artifact(plan).done]
    if only_report and (open_steps := [plan.label for plan in todo if plan.stage != "report"]):
        page = runtime.out / exp.name / "report.html"
        how = (
            f"was made by other code, its page is still {page}"
            if page.exists()
            else "is not finished, it has no report yet"
        )
        raise ConfigError(
            f"run {exp.name!r} {how} ({noun(len(open_steps), 'step')} to do, first: {open_steps[0]}); "
            f"{to_continue(runtime.out, exp.name)} continues it"
        )
    if only_report and not todo:  # a finished run is read where nothing can be written
        return None
    if todo and wanted:
        refuse_missing_library(exp)
    record = RunRecord(runtime.out, exp, list(plans))
    if todo and wanted:
        say(f"{exp.name}: {sum(store.artifact(plan).done for plan in wanted)} of {len(wanted)} steps are done already")
        if undecided(given.model_dump(mode="json")):
            say(f"  precision auto: {native(runtime.device)} suits this device")
        if given.recognizer.microbatch == "auto":
            batch = exp.recognizer.batch
            say(f"  recognizer.microbatch auto: {exp.recognizer.microbatch or batch} of {batch} images")
    return record


def _unmake_damaged(store: Store, plans: Sequence[Step], wanted: Sequence[Step]) -> None:
    """Inputs of what is to be done whose bytes are no longer those that were written are named, and not done any more."""
    artifacts, looked = {plan.key: store.artifact(plan) for plan in plans}, set[str]()
    while (
        inputs := {k for s in wanted if not artifacts[s.key].done for k in s.inputs.values() if k in artifacts} - looked
    ):
        looked |= inputs
        for artifact in (artifacts[key] for key in sorted(inputs)):
            if artifact.done and (wrong := artifact.damaged()):
                say(f"  {artifact.folder}: {'; '.join(wrong)}; it is made again")
                artifact.disown()


def noting(record: RunRecord | None = None, run: str = "") -> Callable[[Step, Artifact, bool], None]:
    """What a runner does after a step: the record learns of it, and a person if it was made now; `run` of several."""

    def after(plan: Step, artifact: Artifact, made: bool) -> None:
        if record:
            record.done(plan)
        if made:
            say(" ".join([MARKS["done"], *([run] if run else []), f"{plan.label:<28}", cost(artifact)]))

    return after


def telling(exp: Experiment, after: schedule.After) -> schedule.After:
    """`after`, and of a choice its word: which candidates are left out, which one was chosen."""

    def after_telling(step: Step, artifact: Artifact, made: bool) -> None:
        after(step, artifact, made)
        if made and exp.choice is not None and step.stage == "check" and not (gate := GateResult.load(artifact)).passed:
            say(f"  {words.weak(gate.top1, gate.floor)}; the other candidates go on")
        if made and step.stage == "choose":
            say(f"  {words.chosen(Choosing.load(artifact))}")

    return after_telling


def _team(runtime: Runtime, plans: Sequence[Step]) -> engine.Engine | None:
    """The processes that torchrun started, where there are several; ValueError where they cannot share a batch."""
    if processes() == 1:
        return None
    team = engine.start(runtime.device, together=True)
    for plan in plans:
        if plan.stage in ("recognizer", "generator"):
            team.part(plan.config["batch"], f"{plan.stage}.batch")
    return team


def show_files(artifact: Artifact, folder: Path) -> Path:
    """Copies the page and its numbers to where a person looks for them."""
    folder.mkdir(parents=True, exist_ok=True)
    for file in artifact.folder.iterdir():
        if file.suffix in (".html", ".csv", ".json") and file.name != "manifest.json":
            write_file(folder / file.name, file.read_bytes())
    return folder


def read_in_words(summary: ImagesSummary) -> str:
    """What ingest found and left out, in one line."""
    parts = [f"{part.name} {part.classes:,} classes ({part.images:,} images)" for part in summary.splits]
    said = [", ".join(parts)]
    if single := sum(part.single_image_classes for part in summary.splits):
        said.append(f"{noun(single, 'class', 'classes')} with one image: in training they count, for genuine pairs not")
    if summary.skipped:
        said.append(f"{noun(len(summary.skipped), 'unreadable file')} left out")
    return "  " + "; ".join([*said, *([summary.note] if summary.note else [])])


def too_few(exp: Experiment, real: Artifact) -> str | None:
    """That a choice can take nothing but a control, and what to do; None where its classes are enough."""
    classes, folds = ImagesSummary.load(real).classes, Choice().folds
    if exp.choice is None or folds_of(exp, classes) > 1 or classes["validation"] >= FEW:
        return None
    both = classes["train"] + classes["validation"]
    in_folds = f", or choose on folds (choice.folds={folds})" if both >= FEW * folds else ""
    return f"{words.too_few(classes['validation'])}; {words.MORE_CLASSES}{in_folds}"


def waits(store: Store, wanted: Sequence[Step], size: int) -> bool:
    """Whether another process makes a part of what is left, which is said: several workers wait for it while they make the
    rest. StoreBusy where there is one.
    """
    try:
        store.refuse_busy([step for step in wanted if not store.artifact(step).done])
    except StoreBusy as busy:
        if size == 1:
            raise
        say(f"  {busy}; what needs it waits")
        return True
    return False


def lasting(seconds: float, todo: Sequence[Step], size: int) -> str:
    """How long some steps will take that many workers, in words. A generator is reckoned with to the end of its training."""
    shared = f" with {size} workers" if size > 1 else ""
    early = any(step.config.get("until") == "gate" for step in todo)
    return f"about {duration(seconds)}{shared}" + (", less if the generator's training ends early" if early else "")


def _announce(
    real: Artifact,
    planner: runner.Planner,
    wanted: list[Step],
    runtime: Runtime,
    size: int,
    rates: dict[str, float] | None = None,
) -> float:
    """Says how long what is left will take with that many workers, by `rates`, or from a short measurement on this machine.

    Returns the seconds that one worker needs.
    """
    todo = [step for step in wanted if not planner.store.artifact(step).done]
    if not todo:
        return 0.0
    start = time.monotonic()
    measured = "as measured for --time" if rates else ""
    seconds = estimate(real, planner.listed, todo, runtime, planner.store, rates=rates)
    measured = measured or f"measured here in {time.monotonic() - start:.0f} s"
    parts: dict[str, float] = {}
    for plan in todo:
        parts[plan.stage] = parts.get(plan.stage, 0) + seconds[plan.key]
    detail = ", ".join(f"{stage} {duration(s)}" for stage, s in sorted(parts.items(), key=lambda p: -p[1]) if s >= 1)
    total = sum(parts.values())
    side = schedule.makespan([planner.calls[step.key] for step in todo], seconds, size)
    if any(step.stage == "adopt" for step in planner.listed):
        detail += "; sampling by the model of diffusers is not counted"
    say(f"estimate: {lasting(side if size > 1 else total, todo, size)} ({detail}; {measured})")
    return total


def cost(artifact: Artifact) -> str:
    """What a step cost, in words."""
    manifest = artifact.manifest
    spent, ended = manifest["cost"], manifest.get("notes", {}).get("ended")
    extra = [f"{spent[n]:,.0f} {n}" for n in ("evaluations", "images") if spent.get(n)]
    return ", ".join(
        [duration(spent["seconds"]), *extra, f"peak {spent['peak_mib']:,.0f} MiB", *([ended] if ended else [])]
    )
