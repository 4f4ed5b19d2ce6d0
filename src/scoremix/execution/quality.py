"""Generated images of a run, or any images, measured against real ones (Appendix D.6)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from scoremix import making
from scoremix.config import ConfigError, Data, Experiment, Runtime, load
from scoremix.config.loading import load_below
from scoremix.data.files import file_hash, write_file
from scoremix.data.finite import finite_rows
from scoremix.data.images import LabeledImages
from scoremix.data.sources import fingerprint
from scoremix.evaluation.generated import C_T, of_features
from scoremix.execution.artifacts import Artifact, External
from scoremix.execution.progress import show_files
from scoremix.execution.records import FinishedRun, finished, stored
from scoremix.execution.runner import Runner
from scoremix.execution.store import Store
from scoremix.outputs.networks import CHECKPOINT
from scoremix.recognition import checkpoints
from scoremix.report.pages.quality import table, to_csv
from scoremix.stages.judge.quality import measure_quality
from scoremix.stages.train.external import pack_external


def of_places(
    real: str,
    images: Sequence[str],
    held_out: str | None,
    runtime: Runtime,
    settings: Sequence[str],
    weights: Path | None,
) -> None:
    """Measures images at some places, or features in files, beside real ones, and others that nothing was trained on."""
    exp, out = load(Experiment(), (), settings), runtime.out
    if any(Path(place).suffix == ".npy" for place in (real, *images)):
        _of_features(exp, real, images, held_out, out / "quality")
        return
    judge = _file(exp, weights)
    if weights is None or judge is None:
        raise ConfigError("--weights: with --real, give the recognizer.safetensors of some run")
    stage, read_as = Runner(Store(out / "store"), runtime), exp.data
    if exp.quality.features == "recognizer":  # at its size; for other networks at data.size
        description = checkpoints.load(weights)[1]
        read_as = read_as.model_copy(update={"size": description.size, "channels": description.channels})
    places = {"train": real} | ({"held_out": held_out} if held_out else {})
    parts = {part: _read(stage, read_as, place, part) for part, place in places.items()}
    sets = _outside(stage, read_as, images, taken={})
    _show(stage(measure_quality, exp.quality, judge, parts, sets), out / "quality")


def _of_features(exp: Experiment, real: str, fakes: Sequence[str], held_out: str | None, folder: Path) -> None:
    """The distances and shares that need no images, of features in files: (n, d) numbers, one row per image."""
    files = [Path(place) for place in (real, *fakes, *([held_out] if held_out else []))]
    if wrong := [file for file in files if file.suffix != ".npy"]:
        raise ConfigError(f"{wrong[0]}: must be features (.npy) as {files[0] if wrong[0] != files[0] else files[1]} is")
    rows = {file: _rows(file) for file in files}
    if len(names := {file.stem for file in files[1 : len(fakes) + 1]}) < len(fakes):
        raise ConfigError(f"--fake: {len(fakes)} files of {len(names)} names; rename them")
    k, held = exp.quality.neighbours, rows[Path(held_out)] if held_out else None
    measured = {file.stem: of_features(rows[files[0]], rows[file], held, k) for file in files[1 : len(fakes) + 1]}
    folder.mkdir(parents=True, exist_ok=True)
    file = write_file(folder / "features.csv", to_csv(measured))
    print(table(measured))
    print(f"real: {len(rows[files[0]]):,} rows of {rows[files[0]].shape[1]} features; {k} neighbours; {file}")
    if held is not None:
        print(C_T)


def _rows(file: Path) -> NDArray[np.float32]:
    """Features (n, d) of a .npy file; ConfigError where it holds something else."""
    try:
        rows = np.load(file, allow_pickle=False)
        if rows.ndim != 2 or rows.dtype.kind not in "fiu" or not rows.size:
            raise ValueError(f"shape {rows.shape} of {rows.dtype}, must be numbers (n, d)")
        return finite_rows(rows.astype(np.float32), "features")
    except (OSError, ValueError, EOFError) as error:
        raise ConfigError(f"{file}: no features ({error})") from None


def of_run(
    name: str | None,
    runtime: Runtime,
    settings: Sequence[str],
    arms: Sequence[str],
    images: Sequence[str],
    weights: Path | None,
) -> None:
    """Measures a finished run's reproductions, the sets of its arms (all by default) and other images.

    Features come from a recognizer of another seed than the one that selected classes: the run's own second
    seed, or one trained here. ConfigError for unknown arms, and for changed settings but those of `quality`.
    """
    run = finished(runtime.out, name)
    exp = load_below("quality", run.exp, (), settings)
    if unknown := [arm for arm in arms if arm not in run.added]:
        raise ConfigError(
            f"--arm {unknown[0]!r}: no arm of {exp.name} that adds images (those are: {', '.join(run.added) or 'none'})"
        )
    stage, real = Runner(Store(runtime.out / "store"), runtime), run.chain["real"]
    sets = sets_of(runtime.out, run, arms or list(run.added))
    packed = LabeledImages.load(real.folder)
    data = exp.data.model_copy(update={"size": packed.size, "channels": packed.channels})
    sets |= _outside(stage, data, images, taken=sets)
    given = _file(exp, weights)
    if given and given.key == file_hash(run.chain["baseline"] / CHECKPOINT):
        raise ConfigError(f"--weights {weights}: the recognizer that selected the classes cannot judge them")
    judge = given or judge_of(run, stage)
    _show(stage(measure_quality, exp.quality, judge, {"train": real, "held_out": real}, sets), runtime.out / exp.name)


def judge_of(run: FinishedRun, stage: Runner) -> Artifact:
    """A recognizer of the real images whose seed neither selects nor aligns: the run's second, or one trained now."""
    seeds, real = run.exp.seeds, run.chain["real"]
    seed = seeds[1] if len(seeds) > 1 else seeds[0] + 1
    trained = run.recognizers.get(f"real/{seed}")
    if trained and {trained.manifest["inputs"][place] for place in ("0", "1")} == {real.key}:
        return trained
    return making.trained(stage, making.seeded(run.exp, seed), real, real, "recognizer judge")


def sets_of(out: Path, run: FinishedRun, arms: Sequence[str]) -> dict[str, Artifact]:
    """The generated sets of a run: the reproductions that its gate looked at, and what arms add, each set once."""
    looked_at = run.chain["gate"].manifest["inputs"].values() if "gate" in run.chain else ()
    inputs = [stored(out, key) for key in looked_at]
    sets = dict([("reproductions", artifact) for artifact in inputs if artifact and artifact.stage == "sample"])
    for arm in arms:
        if run.added[arm].key not in {artifact.key for artifact in sets.values()}:
            sets[arm] = run.added[arm]
    return sets


def _outside(stage: Runner, data: Data, places: Sequence[str], taken: Mapping[str, Artifact]) -> dict[str, Artifact]:
    """Images from outside by the names of their places."""
    sets: dict[str, Artifact] = {}
    for place in places:
        name = Path(place).name or place
        if name in {*taken, *sets, "real"}:
            raise ConfigError(f"--images {place}: there is a set called {name!r} already; rename the folder")
        sets[name] = _read(stage, data, place, name)
    return sets


def _read(stage: Runner, data: Data, place: str, name: str) -> Artifact:
    return stage(pack_external, data, External(place, fingerprint(place, data.hints)), label=f"read {name}")


def _file(exp: Experiment, weights: Path | None) -> External | None:
    """The network that gives features, None for a recognizer of the run; ConfigError where it is missing."""
    if weights is None and exp.quality.features != "recognizer":
        raise ConfigError(
            f"quality.features {exp.quality.features!r}: give --weights FILE, the published weights on this disk; "
            "nothing is downloaded"
        )
    try:
        return External(str(weights), file_hash(weights)) if weights else None
    except OSError as error:
        raise ConfigError(f"--weights {weights}: cannot be read ({error.strerror})") from None


def _show(done: Artifact, folder: Path) -> None:
    show_files(done, folder)
    print((done / "quality.txt").read_text())
    print(f"quality: {folder / 'quality.html'}")
