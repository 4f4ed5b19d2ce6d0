"""`scoremix study`: arms x data sets x seeds on shared artifacts, and their tables."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from scoremix.commands.options import (
    Debug,
    Device,
    MaxHours,
    Out,
    Quiet,
    Scheduler,
    Threads,
    Workers,
    app,
    runtime_of,
    stop_after,
)


@app.command()
def study(
    file: Annotated[Path, typer.Argument(help="YAML file: data sets, arms, seeds, budget; see docs/study.md")],
    only_tables: Annotated[
        bool, typer.Option("--tables", help="run nothing, write the tables of what is done")
    ] = False,
    out: Out = Path("scoremix_runs"),
    device: Device = "auto",
    workers: Workers = "auto",
    threads: Threads = None,
    scheduler: Scheduler = None,
    max_hours: MaxHours = None,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Arms x data sets x seeds on shared artifacts, and their tables."""
    from scoremix import study as studies
    from scoremix.execution.artifacts import Store

    stop_after(max_hours)
    config, runtime = studies.read(file), runtime_of(out, device, quiet, workers, threads)
    if only_tables:
        studies.tables(config, runtime, Store(out / "store"))
    else:
        studies.execute(config, runtime, Store(out / "store"), scheduler)
