"""`scoremix plan`: what ways of sampling cost on this machine, and how far their images are from the faithful mix's."""

import json
from dataclasses import asdict, replace
from pathlib import Path
from typing import Annotated

import typer

from scoremix.commands.convert import bar
from scoremix.commands.options import PRESET_NAMES, ExperimentOptions, RuntimeOptions, app


@app.command(without=("preset", "arms"))
def plan(
    name: Annotated[
        str | None, typer.Argument(help="a run, or a preset of `scoremix run`; by default the latest run")
    ] = None,
    *,
    asked: ExperimentOptions,
    measure: Annotated[bool, typer.Option("--measure", help="compare images of the run's trained generator")] = False,
    images: Annotated[int | None, typer.Option("--images", min=1, help="images timed; by default a chunk")] = None,
    rounds: Annotated[int, typer.Option("--rounds", min=1, help="how often each plan is timed")] = 3,
    to: Annotated[Path | None, typer.Option("--json", help="also write the table to this file")] = None,
    here: RuntimeOptions,
) -> None:
    """What ways of sampling cost here, of a run or before one: evaluations, seconds per image, hours.

    With --measure the run's trained networks are used and images compared; without, untrained ones will do.
    """
    import torch

    from scoremix.config import ConfigError, load
    from scoremix.data.files import refuse_among, write_file
    from scoremix.execution import prices
    from scoremix.execution import processes as engine
    from scoremix.execution.records import recorded
    from scoremix.execution.refusals import refuse_large_chunk
    from scoremix.execution.runner import decided
    from scoremix.execution.store import Store

    if name in PRESET_NAMES or asked.config or asked.data or (name and not (here.out / "runs").is_dir()):
        exp = replace(asked, preset=name).experiment()
    else:
        exp = load(recorded(here.out, name), (), asked.settings or ())
    refuse_among(here.out, exp.source)
    if exp.generator.diffusers is not None:
        raise ConfigError(
            "plan: compares with mixed conditions (AugGen), which are inside a model of diffusers; `scoremix run` needs no plan"
        )
    runtime, store = here.runtime, Store(here.out / "store")
    exp = decided(exp, runtime.device)
    n, device = images or exp.sampling.chunk, engine.start(runtime.device).device
    refuse_large_chunk(exp, device, images)
    subject = (prices.trained if measure else prices.untrained)(exp, runtime, store, n)
    with bar("time", here.quiet, "calls") as advance:
        rows = prices.priced(exp, subject, runtime, rounds, measure, advance)
    print(prices.table(rows, n, subject.images_of_job))
    if to:
        where = {
            "device": str(device),
            "threads": torch.get_num_threads(),
            "torch": torch.__version__,
        }
        of = {"run": exp.name, "images": n, "rounds": rounds, "precision": exp.sampling.precision, **where}
        write_file(to, json.dumps({**of, "plans": [asdict(row) for row in rows]}, indent=1) + "\n")
