"""A finished run's recipe on all its classes: planned, announced, made side by side, and put where a person looks."""

import contextlib
import os
import shutil
import tempfile
import time
from pathlib import Path

from scoremix.config import ConfigError, Runtime
from scoremix.config.choice import by_generator
from scoremix.config.delivery import Delivery
from scoremix.config.places import with_places
from scoremix.data.files import locked, refuse_existing, whole
from scoremix.data.images import LabeledImages
from scoremix.delivery import delivery
from scoremix.execution import records, schedule, workers
from scoremix.execution.artifacts import Artifact, StoreError
from scoremix.execution.progress import WORTHWHILE, lasting, noting, waits
from scoremix.execution.recipe import ChosenRecipe, chosen_recipe
from scoremix.execution.runner import Planner, labelled
from scoremix.execution.store import Store
from scoremix.execution.timing import estimate
from scoremix.execution.torchrun import say
from scoremix.outputs.comparison import Comparison
from scoremix.outputs.networks import GateResult
from scoremix.recognition.onnxfile import refuse_without_onnx

MODEL = "model"  # the stage, and the folder of a run's model


def fit(
    run: str | None,
    runtime: Runtime,
    folder: Path | None = None,
    *,
    arm: str | None = None,
    retrain_generator: bool = False,
    ensemble: bool = False,
    licence: str = "other",
) -> Path:
    """Trains a finished run's recipe (its best one, or that of `arm`) on all its classes; returns the model's folder.

    The folder is RUN/model where none is named. ConfigError, one line, before anything is trained, where the run is not
    finished or the recipe cannot be used.
    """
    refuse_without_onnx("fit")
    if not licence.strip():
        raise ConfigError("--licence '': name one, such as apache-2.0, or leave the option out")
    parts = records.finished(runtime.out, run)
    exp = parts.exp
    recipe = chosen_recipe(parts) if arm is None else ChosenRecipe(arm, "it was asked for by name.")
    refuse_unusable(parts, recipe.arm, retrain_generator, ensemble)
    to = folder or runtime.out / exp.name / MODEL
    if not _ours(to):
        refuse_existing(to)
    refuse_unwritable(to)
    if retrain_generator and not by_generator(exp, exp.arms[recipe.arm]):
        say(f"--retrain-generator: the recipe {recipe.arm!r} needs no generator, none is trained")
        retrain_generator = False
    config = Delivery(
        experiment=with_places(exp, lambda place: Path(place).name),  # without the folders of this machine
        recipe=recipe.arm,
        why=recipe.why,
        seeds=exp.seeds if ensemble else exp.seeds[:1],
        retrained=retrain_generator,
        licence=licence,
    )
    say(f"{exp.name}: recipe {recipe.arm}: {recipe.why}")
    planner, planned = plan(parts, config, runtime)
    if retrain_generator:  # for as long as all classes need, which are counted when they are put together
        put_together(planner, runtime)
        planner, planned = plan(parts, config, runtime)
    if said := replacing(to, planned, exp.name):
        say(said)
    make(parts, planner, runtime)
    put(planned, to)
    say(f"model: {to}")
    return to


def refuse_unwritable(folder: Path) -> None:
    """ValueError where the model's folder could not be made, which otherwise its end would show."""
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder.parent):
            pass
    except OSError as error:
        raise ValueError(f"{folder}: no folder can be made there ({error.strerror})") from None


def refuse_unusable(parts: records.FinishedRun, name: str, retrain: bool, ensemble: bool) -> None:
    """ConfigError for an arm that the run has not trained, one of a generator that is too weak, or too few seeds."""
    exp = parts.exp
    trained = dict.fromkeys(label.rpartition("/")[0] for label in parts.recognizers)
    if name not in trained:
        known = any(label.rpartition("/")[0] == name for label in parts.others)
        why = "was not chosen, so never measured on classes kept back" if known else "not an arm"
        raise ConfigError(f"--arm {name!r}: {why} of run {exp.name!r} (arms: {', '.join(trained)})")
    if ensemble and len(exp.seeds) < 2:
        raise ConfigError(f"--ensemble: run {exp.name!r} has one seed, {exp.seeds[0]}; an ensemble needs two or more")
    if exp.arms[name].generated and retrain and exp.changed_by(exp.arms[name]).sampling.leak_gate is not None:
        raise ConfigError(
            "--retrain-generator: with all classes trained on no image is left unseen, and sampling.leak_gate needs some to "
            "set its threshold by; without the option the run's own mixes are used"
        )
    if exp.arms[name].generated and retrain and exp.generator.diffusers is not None:
        raise ConfigError(
            "--retrain-generator: the run's generator is a model of diffusers; without the option its mixes are used"
        )
    if exp.arms[name].generated:
        gates = Comparison.load(parts.chain["results"]).gates
        gate = gates[name] if name in gates else GateResult.load(parts.chain["gate"])
        if not gate.passed:
            raise ConfigError(
                f"--arm {name!r}: its generator is too weak ({gate.top1:.0%} of its reproductions are in their own class, "
                f"at least {gate.floor:.0%} are needed); train it longer, or take an arm of real images"
            )


def plan(parts: records.FinishedRun, config: Delivery, runtime: Runtime) -> tuple[Planner, Artifact]:
    """The steps to a model, and what the last of them makes."""
    planner, evaluated = Planner(Store(runtime.out / "store")), records.evaluated(runtime.out, parts, config.recipe)
    last = delivery(parts.exp, config, parts.chain, parts.recognizers, parts.added, evaluated, planner)
    return planner, last


def replacing(folder: Path, model: Artifact, run: str) -> str | None:
    """That another model is in the folder, which the one of a run will replace, and of which run it is where that is another;
    None where there is none, or the same.
    """
    if not _ours(folder):
        return None
    before = Artifact(MODEL, "", folder).manifest
    if before.get("key") == model.key:
        return None
    try:
        of = before["config"]["experiment"]["name"]
    except (KeyError, TypeError):
        of = run
    whose = "" if of == run else f", of run {of!r},"
    return f"{folder}: the model that is there{whose} is replaced when this one is done"


def put_together(planner: Planner, runtime: Runtime) -> Artifact:
    """All classes as training classes, the first step."""
    store, first = planner.store, next(iter(planner.calls.values()))
    made = not store.artifact(first.step).done
    real = store.run(*first, runtime)
    labelled(noting(), planner.listed)(first.step, real, made)
    return real


def make(parts: records.FinishedRun, planner: Planner, runtime: Runtime) -> None:
    """What is planned and not there yet is made, ready steps side by side."""
    store, steps, calls = planner.store, planner.listed, list(planner.calls.values())
    todo = [step for step in steps if not store.artifact(step).done]
    if todo:
        say(f"{len(steps) - len(todo)} of {len(steps)} steps are done already")
        crew, runtime = workers.at_work(runtime, steps)
        waits(store, todo, crew.size)
        after, real = labelled(noting(), steps), put_together(planner, runtime)
        start = time.monotonic()
        known = {artifact.key: len(LabeledImages.load(artifact.folder)) for artifact in parts.added.values()}
        seconds = estimate(real, steps, todo, runtime, store, known)
        left = schedule.makespan(calls, seconds, crew.size)
        say(f"estimate: {lasting(left, todo, crew.size)} (measured here in {time.monotonic() - start:.0f} s)")
        if runtime.workers == "auto" and sum(seconds.values()) <= WORTHWHILE:
            crew = workers.ThisProcess()
        with crew:
            schedule.run_all(calls, store, runtime, crew, after, say)


def put(model: Artifact, folder: Path) -> None:
    """Copies a model, its manifest with it, to where a person looks; whole, in the place of an older or damaged one.

    Files of others that lie beside that one stay.
    """
    folder = folder.resolve()
    folder.parent.mkdir(parents=True, exist_ok=True)
    aside = folder.with_name(f".{folder.name}.before")
    with contextlib.ExitStack() as held:
        with contextlib.suppress(OSError):  # a file system without locks
            held.enter_context(locked(folder.parent, wait=True))
        if aside.exists() and not folder.exists():  # a process was killed between the two renamings below
            os.replace(aside, folder)
        before = Artifact(MODEL, model.key, folder)
        if _ours(folder) and before.manifest == model.manifest and not before.damaged():
            return
        with whole(folder, folder=True) as partial:
            for file in _of_others(before) if _ours(folder) else ():
                if file.is_dir() and not file.is_symlink():
                    shutil.copytree(file, partial / file.name, symlinks=True)
                else:
                    shutil.copy2(file, partial / file.name, follow_symlinks=False)
            for name in (*model.manifest["outputs"], "manifest.json"):
                (partial / name).write_bytes((model / name).read_bytes())  # an error names the folder, not its source
            shutil.rmtree(aside, ignore_errors=True)
            if folder.exists():
                os.replace(folder, aside)
        shutil.rmtree(aside, ignore_errors=True)


def _of_others(model: Artifact) -> list[Path]:
    """What lies in a model's folder and is not of the model."""
    return [file for file in model.folder.iterdir() if file.name not in (*model.manifest["outputs"], "manifest.json")]


def _ours(folder: Path) -> bool:
    """Whether a folder is a model that was put there, perhaps damaged since."""
    try:
        manifest = Artifact(MODEL, "", folder).manifest
        return manifest["stage"] == MODEL and isinstance(manifest["outputs"], dict)
    except (StoreError, KeyError, TypeError):
        return False
