"""`scoremix study`: arms x data sets x seeds on shared artifacts, and their tables."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated

import typer

from scoremix.commands.options import Debug, Device, Out, Quiet, app, runtime_of


@app.command()
def study(
    file: Annotated[Path, typer.Argument(help="YAML file: data sets, arms, seeds, budget; see docs/study.md")],
    part: Annotated[
        str, typer.Option("--part", help="K/N: this process takes every N-th arm, from K = 0; one device each")
    ] = "0/1",
    only_tables: Annotated[
        bool, typer.Option("--tables", help="run nothing, write the tables of what is done")
    ] = False,
    out: Out = Path("scoremix_runs"),
    device: Device = "auto",
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Arms x data sets x seeds on shared artifacts, and their tables."""
    from scoremix import study as studies
    from scoremix.config import ConfigError
    from scoremix.execution.artifacts import Store

    numbers = re.fullmatch(r"(\d+)/(\d+)", part)
    if not numbers or int(numbers[1]) >= int(numbers[2]):
        raise ConfigError(f"--part {part!r}: expected K/N with K from 0 to N - 1")
    config, runtime = studies.read(file), runtime_of(out, device, quiet)
    if only_tables:
        studies.tables(config, runtime, Store(out / "store"))
    else:
        studies.execute(config, runtime, Store(out / "store"), (int(numbers[1]), int(numbers[2])))
