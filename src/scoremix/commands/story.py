"""`scoremix run`, and a command for every step of it: each runs what its step needs, and stops there."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from scoremix.commands.options import (
    Arms,
    ClassLevel,
    Compile,
    ConfigFile,
    DataPath,
    Debug,
    Device,
    ImageColumn,
    LabelColumn,
    MaxHours,
    Out,
    Preset,
    Quiet,
    Scheduler,
    Settings,
    SkipBad,
    Threads,
    Workers,
    app,
    experiment_of,
    runtime_of,
    stop_after,
)
from scoremix.data.files import refuse_among

if TYPE_CHECKING:
    from scoremix.config import Experiment, Runtime

STEPS = {  # name: (the step to stop after, help)
    "ingest": ("ingest", "Read the images, split the classes, pack them."),
    "recognizer": ("baseline", "Train the baseline recognizer."),
    "generator": ("generator", "Train the class-conditional diffusion generator."),
    "select": ("describe", "Choose the classes to mix."),
    "sample": ("sample", "Sample the mixed images."),
    "combine": ("combine", "Put real and mixed images into one training set."),
    "evaluate": ("compare", "Train the recognizer in every way (arm) and compare them on unseen classes."),
}


@app.command(help="From a folder of classes to a report that says whether mixing helped.")
def run(
    preset: Preset = None,
    config: ConfigFile = None,
    data: DataPath = None,
    arms: Arms = None,
    settings: Settings = None,
    skip_bad: SkipBad = False,
    class_level: ClassLevel = None,
    image_column: ImageColumn = None,
    label_column: LabelColumn = None,
    quick: Annotated[
        bool, typer.Option("--quick", help="a first look: few images, two seeds, no generator; named NAME-quick")
    ] = False,
    time: Annotated[
        str | None, typer.Option("--time", help="leave out what does not fit a time such as 30m; named NAME-30m")
    ] = None,
    out: Out = Path("scoremix_runs"),
    device: Device = "auto",
    workers: Workers = "auto",
    threads: Threads = None,
    scheduler: Scheduler = None,
    compile: Compile = False,
    max_hours: MaxHours = None,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    told = (class_level, image_column, label_column)
    exp = experiment_of(preset, config, data, arms, settings, skip_bad, told, quick=quick, time=time)
    execute(exp, runtime_of(out, device, quiet, workers, threads, compile), None, max_hours, scheduler, time)


def execute(
    exp: Experiment,
    runtime: Runtime,
    until: str | None,
    max_hours: float | None,
    scheduler: str | None = None,
    time: str | None = None,
) -> None:
    """Runs an experiment up to a step, with what does not fit a `time` left out."""
    refuse_among(runtime.out, exp.source)
    stop_after(max_hours)
    from scoremix.execution import budget, progress
    from scoremix.execution.artifacts import Store

    store = Store(runtime.out / "store")
    exp = budget.fitted(exp, runtime, store, time) if time else exp
    progress.execute(exp, runtime, store, until, False, scheduler)


def _add(name: str, until: str, text: str) -> None:
    def command(
        preset: Preset = None,
        config: ConfigFile = None,
        data: DataPath = None,
        arms: Arms = None,
        settings: Settings = None,
        skip_bad: SkipBad = False,
        class_level: ClassLevel = None,
        image_column: ImageColumn = None,
        label_column: LabelColumn = None,
        out: Out = Path("scoremix_runs"),
        device: Device = "auto",
        workers: Workers = "auto",
        threads: Threads = None,
        scheduler: Scheduler = None,
        compile: Compile = False,
        max_hours: MaxHours = None,
        quiet: Quiet = False,
        debug: Debug = False,
    ) -> None:
        exp = experiment_of(preset, config, data, arms, settings, skip_bad, (class_level, image_column, label_column))
        execute(exp, runtime_of(out, device, quiet, workers, threads, compile), until, max_hours, scheduler)

    app.command(name, help=f"{text} Runs what it needs and stops there.")(command)


for _name, (_until, _text) in STEPS.items():
    if _name != "sample":  # commands/sample.py
        _add(_name, _until, _text)
