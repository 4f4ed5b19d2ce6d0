"""`scoremix run`, and a command for every step of it: each runs what its step needs, and stops there."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from scoremix.commands.options import ExperimentOptions, LongRunOptions, app, stop_after
from scoremix.data.files import refuse_among

if TYPE_CHECKING:
    from scoremix.config import Experiment

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
    asked: ExperimentOptions,
    quick: Annotated[
        bool,
        typer.Option(
            "--quick", help="a first look in minutes: few images, two seeds, no generator but for --arms; NAME-quick"
        ),
    ] = False,
    time: Annotated[
        str | None, typer.Option("--time", help="leave out what does not fit a time such as 30m; named NAME-30m")
    ] = None,
    *,
    running: LongRunOptions,
) -> None:
    execute(asked.experiment(quick=quick, time=time), running, None, time)


def execute(exp: Experiment, running: LongRunOptions, until: str | None, time: str | None = None) -> None:
    """Runs an experiment up to a step, with what does not fit a `time` left out."""
    runtime = running.runtime
    refuse_among(runtime.out, exp.source)
    stop_after(running.max_hours)
    from scoremix.execution import budget, progress
    from scoremix.execution.store import Store

    store = Store(runtime.out / "store")
    rates: dict[str, dict[str, float]] = {}
    exp = budget.fitted(exp, runtime, store, time, rates) if time else exp
    progress.execute(exp, runtime, store, until, False, running.scheduler, rates)


def _add(name: str, until: str, text: str) -> None:
    def command(asked: ExperimentOptions, running: LongRunOptions) -> None:
        execute(asked.experiment(), running, until)

    app.command(name, help=f"{text} Runs what it needs and stops there.")(command)


for _name, (_until, _text) in STEPS.items():
    if _name != "sample":  # commands/sample.py
        _add(_name, _until, _text)
