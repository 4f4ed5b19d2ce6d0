"""`scoremix explore`: a finished run as a page to play with, on this machine alone."""

from typing import Annotated

import typer

from scoremix.commands.options import Reported, RuntimeOptions, app


@app.command()
def explore(
    name: Reported = None,
    port: Annotated[int, typer.Option("--port", min=0, max=65535, help="port of this machine; 0: a free one")] = 0,
    browser: Annotated[bool, typer.Option("--browser", help="open the page in the browser")] = False,
    *,
    here: RuntimeOptions,
) -> None:
    """A page to play with a finished run: mixes, m-plets, a map of the classes, your own photographs."""
    import signal
    import threading
    from contextlib import suppress
    from importlib.util import find_spec

    from scoremix.config import ConfigError

    if find_spec("gradio") is None:
        raise ConfigError("explore: needs Gradio, pip install 'scoremix[explore]'")
    from scoremix.explore.opened import OpenedRun
    from scoremix.explore.server import served

    run = OpenedRun.of(name, here.runtime)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with suppress(KeyboardInterrupt), served(run, port) as address:
        print(f"{run.exp.name}: {address} (this machine alone; Ctrl-C ends it)", flush=True)
        if browser:
            typer.launch(address)
        threading.Event().wait()
