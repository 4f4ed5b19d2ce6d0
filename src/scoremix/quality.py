"""`scoremix quality`: generated images of a run, or any images, against real ones (Appendix D.6)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from scoremix import pipeline, runs
from scoremix.artifacts import Artifact, Plan, Source, Store, file_hash, write_file
from scoremix.config import ConfigError, Data, Experiment, Runtime
from scoremix.data.images import LabeledImages
from scoremix.data.sources import fingerprint
from scoremix.recognition import checkpoints
from scoremix.stages.outside import outside
from scoremix.stages.quality import measure_quality
from scoremix.stages.recognizer import train_recognizer

REPRODUCTIONS = "sample reproductions"
IMAGES = ("sample", "pixels", "screen")  # stages that make a set with one class per m-plet
SHOWN = ("quality.html", "quality.csv", "quality.json")


def of_run(
    exp: Experiment, runtime: Runtime, store: Store, arms: Sequence[str], images: Sequence[str], weights: Path | None
) -> Path:
    """Measures a run's reproductions, the sets of its arms (all by default) and other images; returns the page.

    Features come from a recognizer of another seed than the one that selected classes: the run's own second
    seed, or one trained here. ConfigError for unknown arms and for a run whose images are not all made.
    """
    plans = {plan.key: plan for plan in pipeline.plan_all(exp, runs.source_of(exp), store)}
    if unknown := [arm for arm in arms if arm not in exp.arms]:
        raise ConfigError(f"--arm {unknown[0]!r}: not an arm of {exp.name} (arms: {', '.join(exp.arms)})")
    chosen = sets_of(exp, plans, arms or list(exp.arms))
    real = _artifact(store, plans, "ingest")
    missing = [plan.label for plan in chosen.values() if not store.artifact(plan).done]
    if missing or not real.done:
        raise ConfigError(
            f"run {exp.name!r} has not made its images yet (not done: {', '.join(missing) or 'ingest'}); "
            "`scoremix run` continues it"
        )
    stage = pipeline.Runner(store, runtime)
    sets = {name: store.artifact(plan) for name, plan in chosen.items()}
    mixed = {name: mplets_of(plan, plans) for name, plan in chosen.items()}
    mplets = {name: store.artifact(plan) for name, plan in mixed.items() if plan is not None}
    packed_real = LabeledImages.load(real.folder)
    data = exp.data.model_copy(update={"size": packed_real.size, "channels": packed_real.channels})
    sets |= _outside(stage, data, images, taken=sets)
    judge: Artifact | Source
    if weights is None:
        _need_weights(exp)
        judge = stage(train_recognizer, pipeline.seeded(exp, judge_seed(exp)), real, real, label="recognizer judge")
    else:
        judge = _file(weights)
        baseline = _artifact(store, plans, "recognizer") / "recognizer.safetensors"
        if baseline.exists() and file_hash(baseline) == judge.key:
            raise ConfigError(f"--weights {weights}: the recognizer that selected the classes cannot judge them")
    done = stage(measure_quality, exp.quality, judge, {"train": real, "held_out": real}, sets, mplets)
    return _show(done, runtime.out / exp.name)


def of_places(
    exp: Experiment,
    runtime: Runtime,
    store: Store,
    images: Sequence[str],
    real: str,
    held_out: str | None,
    weights: Path | None,
) -> Path:
    """Measures images against real ones, both from outside a run; returns the page.

    Images are read at the recognizer's size, or at data.size for other networks.
    """
    if weights is None:
        _need_weights(exp)
        raise ConfigError("--weights: with --real, give the recognizer.safetensors of some run")
    stage = pipeline.Runner(store, runtime)
    judge, data = _file(weights), exp.data
    if exp.quality.features == "recognizer":
        description = checkpoints.load(weights)[1]
        data = data.model_copy(update={"size": description.size, "channels": description.channels})
    places = {"train": real} | ({"held_out": held_out} if held_out else {})
    found = {
        part: stage(outside, data, Source(place, fingerprint(place)), label=f"read {part}")
        for part, place in places.items()
    }
    sets = _outside(stage, data, images, taken={})
    return _show(stage(measure_quality, exp.quality, judge, found, sets, {}), runtime.out / "quality")


def judge_seed(exp: Experiment) -> int:
    """A seed that neither selects nor aligns: the run's second one, trained anyway, or the next number."""
    return exp.seeds[1] if len(exp.seeds) > 1 else exp.seeds[0] + 1


def sets_of(exp: Experiment, plans: Mapping[str, Plan], arms: Sequence[str]) -> dict[str, Plan]:
    """The generated sets of a run: the reproductions, and what each arm adds to the real images."""
    labelled = {plan.label: plan for plan in plans.values()}
    found = {"reproductions": labelled[REPRODUCTIONS]}
    for arm in arms:
        trained = labelled.get(f"recognizer {arm}/{exp.seeds[0]}")
        training = plans[trained.inputs["0"]] if trained else None
        if training is None or training.stage == "ingest":
            continue
        parts = [plans[key] for key in training.inputs.values()] if training.stage == "combine" else [training]
        made = [plan for plan in parts if plan.stage != "ingest" and plan not in found.values()]
        made = [plan for plan in made if plan.stage in IMAGES]
        found |= {arm if len(made) == 1 else f"{arm} {i + 1}": plan for i, plan in enumerate(made)}
    return found


def mplets_of(made: Plan, plans: Mapping[str, Plan]) -> Plan | None:
    """The m-plets that a set was made of: an input of the stage that made it, or of the one that made its images."""
    inputs = [plans[key] for key in made.inputs.values() if key in plans]
    if found := [plan for plan in inputs if plan.stage == "select"]:
        return found[0]
    return next((mplets_of(plan, plans) for plan in inputs if plan.stage in IMAGES), None)


def _artifact(store: Store, plans: Mapping[str, Plan], stage: str) -> Artifact:
    return store.artifact(next(plan for plan in plans.values() if plan.stage == stage))


def _outside(
    stage: pipeline.Runner, data: Data, places: Sequence[str], taken: Mapping[str, Artifact]
) -> dict[str, Artifact]:
    """Images from outside by the names of their places."""
    found: dict[str, Artifact] = {}
    for place in places:
        name = Path(place).name or place
        if name in {*taken, *found, "real"}:
            raise ConfigError(f"--images {place}: there is a set called {name!r} already; rename the folder")
        found[name] = stage(outside, data, Source(place, fingerprint(place)), label=f"read {name}")
    return found


def _file(path: Path) -> Source:
    try:
        return Source(str(path), file_hash(path))
    except OSError as error:
        raise ConfigError(f"--weights {path}: cannot be read ({error.strerror})") from None


def _need_weights(exp: Experiment) -> None:
    if exp.quality.features != "recognizer":
        raise ConfigError(
            f"quality.features {exp.quality.features!r}: give --weights FILE, the published weights on this disk; "
            "nothing is downloaded"
        )


def _show(done: Artifact, folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name in SHOWN:
        write_file(folder / name, (done / name).read_bytes())
    print((done / "quality.txt").read_text())
    print(f"quality: {folder / 'quality.html'}")
    return folder / "quality.html"
