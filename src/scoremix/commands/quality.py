"""`scoremix quality`: generated images of a run, or any images, against real ones (Appendix D.6)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from scoremix import pipeline
from scoremix.config import ConfigError, Data, Experiment, Runtime
from scoremix.data.images import LabeledImages
from scoremix.data.sources import fingerprint
from scoremix.execution import records, runner
from scoremix.execution.artifacts import Artifact, Source, Store, file_hash, write_file
from scoremix.recognition import checkpoints
from scoremix.stages.judge.quality import measure_quality
from scoremix.stages.train.external import pack_external
from scoremix.stages.train.recognizer import train_recognizer

SHOWN = ("quality.html", "quality.csv", "quality.json")


def of_run(
    name: str | None,
    runtime: Runtime,
    store: Store,
    change: Callable[[Experiment], Experiment],
    arms: Sequence[str],
    images: Sequence[str],
    weights: Path | None,
) -> Path:
    """Measures a finished run's reproductions, the sets of its arms (all by default) and other images; the page.

    Features come from a recognizer of another seed than the one that selected classes: the run's own second
    seed, or one trained here. ConfigError for unknown arms, and for changed settings but those of `quality`.
    """
    run = records.finished(runtime.out, store, name)
    exp = change(run.exp)
    if exp.model_copy(update={"quality": run.exp.quality}) != run.exp:
        raise ConfigError("quality: only settings below `quality` can change here; others need another run")
    if unknown := [arm for arm in arms if arm not in run.added]:
        raise ConfigError(
            f"--arm {unknown[0]!r}: no arm of {exp.name} that adds images (those are: {', '.join(run.added) or 'none'})"
        )
    stage, real = runner.Runner(store, runtime), run.chain["real"]
    sets = sets_of(store, run, arms or list(run.added))
    packed = LabeledImages.load(real.folder)
    data = exp.data.model_copy(update={"size": packed.size, "channels": packed.channels})
    sets |= _outside(stage, data, images, taken=sets)
    judge: Artifact | Source
    if weights is None:
        _need_weights(exp)
        judge = judge_of(run, stage)
    else:
        judge = _file(weights)
        if file_hash(run.chain["baseline"] / "recognizer.safetensors") == judge.key:
            raise ConfigError(f"--weights {weights}: the recognizer that selected the classes cannot judge them")
    done = stage(measure_quality, exp.quality, judge, {"train": real, "held_out": real}, sets)
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
    stage = runner.Runner(store, runtime)
    judge, data = _file(weights), exp.data
    if exp.quality.features == "recognizer":
        description = checkpoints.load(weights)[1]
        data = data.model_copy(update={"size": description.size, "channels": description.channels})
    places = {"train": real} | ({"held_out": held_out} if held_out else {})
    found = {
        part: stage(pack_external, data, Source(place, fingerprint(place)), label=f"read {part}")
        for part, place in places.items()
    }
    sets = _outside(stage, data, images, taken={})
    return _show(stage(measure_quality, exp.quality, judge, found, sets), runtime.out / "quality")


def judge_of(run: records.Parts, stage: runner.Runner) -> Artifact:
    """A recognizer of the real images whose seed neither selects nor aligns: the run's second, or one trained now."""
    seeds, real = run.exp.seeds, run.chain["real"]
    seed = seeds[1] if len(seeds) > 1 else seeds[0] + 1
    trained = run.recognizers.get(f"real/{seed}")
    if trained and set(trained.manifest["inputs"].values()) == {real.key}:
        return trained
    return stage(train_recognizer, pipeline.seeded(run.exp, seed), real, real, label="recognizer judge")


def sets_of(store: Store, run: records.Parts, arms: Sequence[str]) -> dict[str, Artifact]:
    """The generated sets of a run: the reproductions that its gate looked at, and what arms add, each set once."""
    inputs = [records.stored(store, key) for key in run.chain["gate"].manifest["inputs"].values()]
    found = dict([("reproductions", made) for made in inputs if made and made.stage == "sample"])
    for arm in arms:
        if run.added[arm].key not in {made.key for made in found.values()}:
            found[arm] = run.added[arm]
    return found


def _outside(
    stage: runner.Runner, data: Data, places: Sequence[str], taken: Mapping[str, Artifact]
) -> dict[str, Artifact]:
    """Images from outside by the names of their places."""
    found: dict[str, Artifact] = {}
    for place in places:
        name = Path(place).name or place
        if name in {*taken, *found, "real"}:
            raise ConfigError(f"--images {place}: there is a set called {name!r} already; rename the folder")
        found[name] = stage(pack_external, data, Source(place, fingerprint(place)), label=f"read {name}")
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
