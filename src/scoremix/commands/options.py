"""The options that verbs share, and what they mean."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

if TYPE_CHECKING:
    from scoremix.config import Experiment
    from scoremix.execution.artifacts import Store

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    help="Make a recognizer better with nothing but its own labelled images, and learn whether it did.",
)


def _some_arms(given: str | None) -> str | None:
    if given is not None and not all(name.strip() for name in given.split(",")):
        raise typer.BadParameter(f"{given!r} leaves a name empty; give arms and groups, such as table2,controls")
    return given


Preset = Annotated[
    str | None,
    typer.Argument(
        help="demo, omniglot, folder (the default with --data), edm2-s and others: a wrong name lists them all"
    ),
]
ConfigFile = Annotated[
    list[Path] | None, typer.Option("--config", "-c", help="YAML, TOML or JSON file of settings; repeatable")
]
DataPath = Annotated[
    str | None,
    typer.Option("--data", help="folder of class folders, RecordIO, parquet, packed set, fonts, .npz, or 'glyphs'"),
]
Arms = Annotated[
    str | None,
    typer.Option(
        "--arms", callback=_some_arms, help="arms and groups by name, such as table2,controls; see docs/arms.md"
    ),
]
Settings = Annotated[list[str] | None, typer.Option("--set", "-s", help="one setting, a.b=c; repeatable")]
Out = Annotated[Path, typer.Option("--out", help="folder of everything scoremix makes")]
Device = Annotated[str, typer.Option("--device", help="auto, cpu or cuda")]
SkipBad = Annotated[
    bool, typer.Option("--skip-bad", help="leave unreadable files out (and count them) instead of stopping")
]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="no progress bars")]
Checkpoint = Annotated[str, typer.Argument(help="a recognizer: checkpoint file, or RUN/ARM or RUN/ARM/SEED of a run")]
Colour = Annotated[str | None, typer.Option("--colour", help="rgb or bgr, where a published checkpoint does not say")]
RunsIn = Annotated[Path, typer.Option("--runs", help="folder in which runs are looked for")]
Debug = Annotated[bool, typer.Option("--debug", help="show the traceback of an error")]


def run_until(
    until: str | None,
    preset: str | None,
    config: list[Path] | None,
    data: str | None,
    arms: str | None,
    settings: list[str] | None,
    out: Path,
    device: str,
    quiet: bool,
) -> None:
    from scoremix.config import Runtime
    from scoremix.execution import progress
    from scoremix.execution.artifacts import Store

    exp = experiment_of(preset, config, data, arms, settings)
    runtime = Runtime(out=out, device=device_of(device), quiet=quiet)
    progress.execute(exp, runtime, Store(out / "store"), until)


def with_flags(settings: list[str] | None, skip_bad: bool) -> list[str]:
    """The settings and those that stand for other options."""
    return [*(settings or ()), *(["data.skip_bad=true"] if skip_bad else ())]


def experiment_of(
    preset: str | None,
    config: list[Path] | None,
    data: str | None,
    arms: str | None,
    settings: list[str] | None,
    judged: bool = True,
) -> Experiment:
    """The preset, changed by files and settings; ConfigError also where it has no images and none are given.

    Arms that the verdict needs and nobody named are added, and said where there is a verdict (`judged`).
    """
    from functools import partial

    from scoremix.config import ConfigError, load, read_settings
    from scoremix.config.arms import named
    from scoremix.config.presets import PRESETS
    from scoremix.execution import progress

    chosen = preset or ("folder" if data or config else None)
    if chosen is None:
        raise ConfigError("nothing to run: give --data FOLDER, or a preset (demo)")
    if chosen not in PRESETS:
        hint = f"; for the images there, say --data {chosen}" if Path(chosen).exists() else ""
        raise ConfigError(f"preset {chosen!r}: no such preset (allowed: {', '.join(PRESETS)}){hint}")
    extra = [f"source={quoted(data)}"] if data else []
    extra += [f"arms={quoted(arms)}"] if arms else []
    base = PRESETS[chosen]()
    files, changes = [read_settings(file) for file in config or ()], [*extra, *(settings or ())]
    named_here = any("source" in file for file in files) or any(s.partition("=")[0] == "source" for s in changes)
    if "source" not in base.model_fields_set and not named_here:
        raise ConfigError(
            f"preset {chosen!r}: has no images of its own; give --data FOLDER, or `source:` in a --config file"
        )
    exp = load(base, files, changes, partial(named, say=progress.say) if judged else named)
    if data and exp.name == "run":
        exp = load(exp, (), [f"name={name_of(data)}"])
    return exp


def colour_of(name: str | None) -> Literal["rgb", "bgr"] | None:
    from scoremix.config import ConfigError

    match name:
        case None | "rgb" | "bgr":
            return name
    raise ConfigError(f"--colour {name!r}: allowed are rgb, bgr")


def device_of(name: str) -> Literal["auto", "cpu", "cuda"]:
    from scoremix.config import ConfigError

    match name:
        case "cuda":
            from scoremix.execution import processes as engine

            engine.check(name)
            return name
        case "auto" | "cpu":
            return name
    raise ConfigError(f"--device {name!r}: allowed are auto, cpu, cuda")


def recorded(name: str | None, out: Path) -> tuple[Experiment, Store]:
    """The experiment of a run, the one last started by default."""
    from scoremix.execution import records

    store = store_of(out)
    return records.recorded(out, name), store


def reported(name: str | None, out: Path) -> tuple[Experiment, Store]:
    """The experiment of a run, by default the latest with a report, else the one last started."""
    from scoremix.execution import records

    store = store_of(out)
    return records.recorded(out, name or records.latest_reported(out)), store


def store_of(out: Path) -> Store:
    from scoremix.config import ConfigError
    from scoremix.execution.artifacts import Store

    if not (out / "store" / "store.json").exists():
        raise ConfigError(f"{out}: no runs here; start with `scoremix run`")
    return Store(out / "store")


def quoted(text: str) -> str:
    import json

    return json.dumps(text)


def name_of(source: str) -> str:
    import re

    stem = re.sub(r"[^A-Za-z0-9_.-]+", "-", Path(source).resolve().stem).strip("-.")
    return stem or "run"
