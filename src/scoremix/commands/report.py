"""`scoremix report`: the report of a run that is done."""

from scoremix.commands.options import Reported, RuntimeOptions, app, last_reported


@app.command(without=("device",))
def report(name: Reported = None, *, here: RuntimeOptions) -> None:
    """Write the report of a run that is done, and print where it is."""
    from scoremix.execution import progress
    from scoremix.execution.store import Store

    progress.execute(last_reported(name, here.out), here.runtime, Store(here.out / "store"), only_report=True)
