"""`scoremix show`: the chain of a run, done, missing or stale, and why."""

from typing import Annotated

import typer

from scoremix.commands.options import RuntimeOptions, app


@app.command(without=("device",))
def show(
    name: Annotated[str | None, typer.Argument(help="name of a run; by default the latest")] = None,
    verify: Annotated[
        bool, typer.Option("--verify", help="read every file that is done: are its bytes those that were written?")
    ] = False,
    *,
    here: RuntimeOptions,
) -> None:
    """The chain of a run: done, missing or stale, and why, with the cost of each stage."""
    from scoremix.execution.chain import chain_table, damaged
    from scoremix.execution.records import recorded
    from scoremix.execution.store import Store

    exp, store = recorded(here.out, name), Store(here.out / "store")
    wrong = damaged(store, exp) if verify else []
    print(chain_table(store, exp))
    if wrong:
        raise RuntimeError("\n".join([f"{len(wrong)} damaged, the next run makes what needs them again:", *wrong]))
