"""`scoremix study`: arms x data sets x seeds on shared artifacts, and their tables."""

from pathlib import Path
from typing import Annotated

import typer

from scoremix.commands.options import LongRunOptions, app, stop_after


@app.command(without=("compile",))
def study(
    file: Annotated[Path, typer.Argument(help="YAML file: data sets, arms, seeds, budget; see docs/study.md")],
    only_tables: Annotated[
        bool, typer.Option("--tables", help="train nothing, write the tables of what is done")
    ] = False,
    *,
    running: LongRunOptions,
) -> None:
    """Arms x data sets x seeds on shared artifacts, and their tables."""
    from scoremix import study as studies
    from scoremix.config.study import read_study
    from scoremix.execution.store import Store

    stop_after(running.max_hours)
    config, runtime, store = read_study(file), running.runtime, Store(running.out / "store")
    if only_tables:
        studies.tables(config, runtime, store, training=False)
    else:
        studies.execute(config, runtime, store, running.scheduler)
