"""`scoremix report`: the report of a run that is done."""

from __future__ import annotations

from pathlib import Path

from scoremix.commands.options import Debug, Out, Quiet, Reported, app, last_reported, runtime_of


@app.command()
def report(name: Reported = None, out: Out = Path("scoremix_runs"), quiet: Quiet = False, debug: Debug = False) -> None:
    """Write the report of a run that is done, and print where it is."""
    from scoremix.execution import progress
    from scoremix.execution.artifacts import Store

    progress.execute(last_reported(name, out), runtime_of(out, quiet=quiet), Store(out / "store"), only_report=True)
