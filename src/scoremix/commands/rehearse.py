"""`scoremix rehearse`: minutes that say whether a run of days would come to its end, and what it costs."""

from pathlib import Path
from typing import Annotated

import typer

from scoremix.commands.options import ExperimentOptions, LongRunOptions, app


@app.command(without=("workers", "scheduler", "compile", "max_hours"))
def rehearse(
    asked: ExperimentOptions,
    sets: Annotated[
        list[str] | None, typer.Option("--sets", help="public sets the run is to be evaluated on, as in benchmark")
    ] = None,
    root: Annotated[Path, typer.Option("--root", help="folder that holds the named sets")] = Path(),
    price: Annotated[float | None, typer.Option("--price", min=0, help="euros of an hour of this device")] = None,
    *,
    running: LongRunOptions,
) -> None:
    """What a run needs and what would stop it, in minutes: a sample of the data, a few steps at the true shapes.

    Ends with "ready", or with the list of what would have failed (status 1). Nothing of it stays.
    """
    exp = asked.experiment()
    out, threads = running.out, running.threads
    runtime = running.runtime.model_copy(update={"workers": 1})

    import tempfile
    import time

    from scoremix.execution import processes as engine
    from scoremix.execution.rehearsal import rehearse as rehearsed
    from scoremix.execution.rehearsal import table
    from scoremix.execution.runner import decided

    if threads:
        engine.use_threads(threads)
    begin = time.monotonic()
    exp = decided(exp, runtime.device)
    out.mkdir(parents=True, exist_ok=True)
    items = [one.strip() for item in sets or () for one in item.split(",") if one.strip()]
    with tempfile.TemporaryDirectory(dir=out, prefix="rehearsal-") as folder:
        done = rehearsed(exp, runtime, Path(folder), items, root)
    print("\n".join(table(done, price)))
    took = (time.monotonic() - begin) / 60
    if done.failures:
        print(f"not ready, after {took:.1f} minutes; this would have failed:")
        print("\n".join(f"  {line}" for line in done.failures))
        raise typer.Exit(1)
    print(f"ready, after {took:.1f} minutes")
