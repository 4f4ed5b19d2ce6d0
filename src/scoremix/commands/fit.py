"""`scoremix fit`: from a finished run to a recognizer of all its classes, ready to use."""

from pathlib import Path
from typing import Annotated

import typer

from scoremix.commands.options import LongRunOptions, Reported, app, stop_after


@app.command(without=("scheduler", "compile"))
def fit(
    run: Reported = None,
    folder: Annotated[Path | None, typer.Argument(help="of the model; by default RUN/model below --out")] = None,
    arm: Annotated[str | None, typer.Option("--arm", help="whose recipe; by default what the run has shown")] = None,
    retrain_generator: Annotated[
        bool, typer.Option("--retrain-generator", help="train the generator, too, on all classes")
    ] = False,
    ensemble: Annotated[
        bool, typer.Option("--ensemble", help="one recognizer for every seed of the run, their embeddings' mean")
    ] = False,
    licence: Annotated[str, typer.Option("--licence", help="for the model card, such as apache-2.0")] = "other",
    *,
    running: LongRunOptions,
) -> None:
    """A finished run's recipe, trained on all its classes: a folder with the recognizer, thresholds and a model card."""
    out = running.out
    if not (out / "runs").is_dir() and folder is None and out != Path("scoremix_runs"):
        raise ValueError(f"--out {out}: holds no runs; the model's folder is named last, `fit {run or 'RUN'} {out}`")
    runtime = running.runtime
    stop_after(running.max_hours)
    from scoremix.execution import fitting

    fitting.fit(run, runtime, folder, arm=arm, retrain_generator=retrain_generator, ensemble=ensemble, licence=licence)
