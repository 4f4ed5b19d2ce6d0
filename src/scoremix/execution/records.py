"""Records of runs: what each was made with, and the artifacts of its steps as last done."""

import json
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from pydantic import ValidationError

from scoremix.config import ConfigError, Experiment, error_lines
from scoremix.config.experiment import TRAINED
from scoremix.data.files import locked, write_file
from scoremix.execution.artifacts import Artifact, External, StoreError
from scoremix.execution.store import Step
from scoremix.outputs.networks import CHECKPOINT
from scoremix.stages.train.ingest import content_key


def source_of(exp: Experiment, out: Path | None = None) -> External:
    """The experiment's data with the hash of its content.

    Where `out` is given, images that cannot be read any more have the hash that they had when its run read them.
    """
    try:
        key = content_key(exp.source, exp.split_list, exp.groups, exp.data.hints)
    except ValueError:
        record = out / "runs" / f"{exp.name}.json" if out else None
        read = _read(record)["steps"].get("ingest") if record and record.exists() else None
        if read is None:
            raise
        key = read["inputs"]["0"]
    return External(exp.source, key, exp.split_list, exp.groups)


def refuse_other_data(out: Path, exp: Experiment, otherwise: str = "name this one with --set name=NAME") -> None:
    """ConfigError where a run of that name is on other images that are still there: it would be replaced."""
    record = out / "runs" / f"{exp.name}.json"
    if not record.exists():
        return
    before = Path(_read(record)["experiment"].get("source", exp.source))
    if before.exists() and before.resolve() != Path(exp.source).resolve():
        raise ConfigError(f"run {exp.name!r}: its images are {before}, not {exp.source}; {otherwise}")


def to_continue(out: Path, name: str) -> str:
    """The command that continues a run, wherever one stands."""
    record = (out / "runs" / f"{name}.json").absolute()
    return f"`{shlex.join(['scoremix', 'run', '--config', str(record), '--out', str(out.absolute())])}`"


class RecordedStep(NamedTuple):
    """A step as a run's record has it: how it was last done, by the code of that time."""

    stage: str
    key: str
    config: dict[str, Any]
    inputs: dict[str, str]
    code: str

    def artifact(self, out: Path) -> Artifact:
        """What it made, where that is still there."""
        return Artifact(self.stage, self.key, out / "store" / self.stage / self.key[:12])


class RunRecord:
    """`runs/<name>.json`: the experiment, and the key, config, inputs and code of every step as last done.

    Processes that share a run each add their own steps to what stands there.
    """

    def __init__(self, out: Path, exp: Experiment, plans: list[Step]) -> None:
        self.path = out / "runs" / f"{exp.name}.json"
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self.experiment = exp.model_dump(mode="json")
        labels = {plan.label for plan in plans}
        with locked(self.path.with_suffix(".lock"), wait=True):
            self._before = self.path.read_bytes() if self.path.exists() else None
            before = self._read()["steps"]
            self._write(self.experiment, {label: step for label, step in before.items() if label in labels})

    def done(self, plan: Step) -> None:
        step = {name: getattr(plan, name) for name in RecordedStep._fields}
        if self.steps.get(plan.label) != step:
            with locked(self.path.with_suffix(".lock"), wait=True):
                stored = self._read()
                self._write(stored["experiment"], {**stored["steps"], plan.label: step})

    def withdraw(self) -> None:
        """Leaves what stood there before, for a run that is refused: a record of another one, or none."""
        with locked(self.path.with_suffix(".lock"), wait=True):
            if self._before is not None:
                write_file(self.path, self._before)
            else:
                self.path.unlink(missing_ok=True)
                self.path.with_suffix(".lock").unlink()

    def _read(self) -> dict[str, Any]:
        return _read(self.path) if self.path.exists() else {"experiment": self.experiment, "steps": {}}

    def _write(self, experiment: dict[str, Any], steps: dict[str, Any]) -> None:
        self.steps = steps
        write_file(self.path, json.dumps({"experiment": experiment, "steps": steps}, indent=1) + "\n")


class FinishedRun(NamedTuple):
    """What a run's last report was made of."""

    exp: Experiment
    chain: dict[str, Artifact]
    recognizers: dict[str, Artifact]  # by arm and seed, "real/0"
    added: dict[str, Artifact]  # the images an arm adds to the real ones
    others: dict[str, Artifact] = {}  # noqa: RUF012 - of candidates that were not chosen


def recorded(out: Path, name: str | None) -> Experiment:
    """The experiment of a run, the latest by default; ConfigError where there is none of that name."""
    file = _file(out, name)
    return _settings_of(file.stem, _read(file)["experiment"])


def steps_of(out: Path, name: str | None) -> dict[str, RecordedStep]:
    """The steps of a run as last done, by label; StoreError where the record is damaged."""
    file = _file(out, name)
    try:
        return {label: RecordedStep(**step) for label, step in _read(file)["steps"].items()}
    except (AttributeError, TypeError) as error:
        raise _damaged(file, error) from None


def latest_reported(out: Path) -> str | None:
    """The newest run that has come to its report; None where none has."""
    return next((file.stem for file in reversed(_files(out)) if "report" in _read(file)["steps"]), None)


def finished(out: Path, name: str | None) -> FinishedRun:
    """Experiment and artifacts of a run's last report.

    Of the code of that time: a newer scoremix reads older runs. ConfigError where there is no report.
    """
    file = _file(out, name or latest_reported(out))
    if (reported := steps_of(out, file.stem).get("report")) is None:
        raise ConfigError(
            f"run {file.stem!r} is not finished, it has no report yet; {to_continue(out, file.stem)} continues it"
        )
    parts: tuple[dict[str, Artifact], ...] = ({}, {}, {}, {})  # the report's: chain, recognizers, added images, others
    for place, key in reported.inputs.items():
        position, _, label = place.partition(":")
        if (artifact := stored(out, key)) is None:
            raise ConfigError(
                f"run {file.stem!r}: {label} is gone from {out / 'store'}; {to_continue(out, file.stem)} makes it again"
            )
        parts[int(position)][label] = artifact
    return FinishedRun(_settings_of(file.stem, reported.config), *parts)


def evaluated(out: Path, run: FinishedRun, arm: str) -> dict[str, Artifact]:
    """By seed what was measured of an arm's recognizers when the run was compared; ConfigError where it is gone."""
    keys = {place.partition(":")[2]: key for place, key in run.chain["results"].manifest["inputs"].items()}
    evaluations = {str(seed): stored(out, keys.get(f"{arm}/{seed}", "none")) for seed in run.exp.seeds}
    if gone := [seed for seed, artifact in evaluations.items() if artifact is None]:
        raise ConfigError(
            f"run {run.exp.name!r}: evaluate {arm}/{gone[0]} is gone from {out / 'store'}; "
            f"{to_continue(out, run.exp.name)} makes it again"
        )
    return {seed: artifact for seed, artifact in evaluations.items() if artifact}


def stored(out: Path, key: str) -> Artifact | None:
    """The finished artifact of a key, whatever stage made it."""
    file = next((out / "store").glob(f"*/{key[:12]}/manifest.json"), None)
    return Artifact(file.parts[-3], key, file.parent) if file else None


def step_folder(out: Path, name: str | None, label: str) -> Path:
    """Folder of a finished step of a run (by default the latest); ConfigError where it is not done."""
    run = recorded(out, name).name
    steps = steps_of(out, run)
    step = steps.get(label)
    if step is None and "report" in steps:
        raise ConfigError(f"run {run!r}: its report was made without a step {label!r}, which none of its arms needed")
    if step is None or not (artifact := step.artifact(out)).done:
        raise ConfigError(f"run {run!r}: step {label!r} is not done; {to_continue(out, run)} continues it")
    return artifact.folder


def checkpoint_of(out: Path, name: str, option: str = "--out") -> Path:
    """The recognizer checkpoint `name`: a file, an artifact's folder, or RUN/ARM or RUN/ARM/SEED of a run in `out`.

    Without a seed the first one trained. ConfigError says what there is, and the option that `out` comes from.
    """
    path = Path(name)
    if path.is_dir() and (path / CHECKPOINT).exists():
        return path / CHECKPOINT
    if path.is_file():
        return path
    run, _, arm = name.partition("/")
    known = [file.stem for file in _files(out)]
    if not arm or run not in known:
        runs = ", ".join(sorted(known)) or "none"
        raise ConfigError(
            f"checkpoint {name!r}: neither a file nor RUN/ARM of a run in {out} (runs: {runs}; {option} says where they are)"
        )
    trained = trained_of(out, run)
    for step in of_arm(trained, arm):
        if (file := step.artifact(out) / CHECKPOINT).exists():
            return file
    raise ConfigError(
        f"checkpoint {name!r}: run {run!r} has no trained recognizer {arm!r} (has: {', '.join(trained) or 'none'})"
    )


def trained_of(out: Path, run: str) -> dict[str, RecordedStep]:
    """The recognizers of a run as last trained, by arm and seed, "real/0"."""
    start = "recognizer "
    return {label.removeprefix(start): of for label, of in steps_of(out, run).items() if label.startswith(start)}


def of_arm(trained: Mapping[str, RecordedStep], name: str) -> list[RecordedStep]:
    """Those of an arm, or the one of an arm and seed."""
    return [step for label, step in trained.items() if name in (label, label.rpartition("/")[0])]


def _settings_of(run: str, settings: Any) -> Experiment:
    """A stored experiment; ConfigError where another version's settings can no longer be read."""
    try:
        return Experiment.model_validate(settings, context=TRAINED)
    except ValidationError as error:
        wrong = error_lines(error.errors(), Experiment)[0]
        raise ConfigError(
            f"run {run!r}: made by a scoremix with other settings ({wrong}); `scoremix run` makes it anew"
        ) from None


def _files(out: Path) -> list[Path]:
    """The records of all runs, the newest last."""
    return sorted((out / "runs").glob("*.json"), key=lambda file: file.stat().st_mtime)


def _file(out: Path, name: str | None) -> Path:
    files = {file.stem: file for file in _files(out)}
    if not files:
        raise ConfigError(f"{out}: no runs here; start with `scoremix run`")
    if name is not None and name not in files:
        raise ConfigError(f"run {name!r}: not in {out} (runs: {', '.join(files)})")
    return files[name or list(files)[-1]]


def _read(file: Path) -> dict[str, Any]:
    try:
        record: dict[str, Any] = json.loads(file.read_text())
        return {name: record[name] for name in ("experiment", "steps")}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise _damaged(file, error) from None


def _damaged(file: Path, error: Exception) -> StoreError:
    return StoreError(f"{file}: damaged or unreadable ({error}); remove it, finished stages stay")
