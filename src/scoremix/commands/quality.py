"""`scoremix quality`: generated images of a run, or any images, against real ones (Appendix D.6)."""

from pathlib import Path
from typing import Annotated

import typer

from scoremix.commands.options import Reported, RuntimeOptions, Settings, app


@app.command()
def quality(
    name: Reported = None,
    arms: Annotated[list[str] | None, typer.Option("--arm", help="only this arm's images; repeatable")] = None,
    images: Annotated[
        list[str] | None,
        typer.Option("--images", "--fake", help="other images: folder, .npz, packed; or features (.npy); repeatable"),
    ] = None,
    real: Annotated[
        str | None, typer.Option("--real", help="real images, or features (.npy), instead of a run's")
    ] = None,
    held_out: Annotated[str | None, typer.Option("--held-out", help="real images not trained on, with --real")] = None,
    weights: Annotated[
        Path | None, typer.Option("--weights", "--features", help="file of the network that gives features")
    ] = None,
    settings: Settings = None,
    *,
    here: RuntimeOptions,
) -> None:
    """How faithful, diverse and original a run's reproductions and mixes are, or any images beside real ones."""
    from scoremix.config import ConfigError
    from scoremix.execution.quality import of_places, of_run

    if real is None:
        if held_out is not None:
            raise ConfigError("--held-out: only with --real; a run has held-out classes of its own")
        of_run(name, here.runtime, settings or (), arms or (), images or (), weights)
        return
    if name is not None or arms:
        raise ConfigError("--real: give either a run or --real, not both")
    if not images:
        raise ConfigError("--real: nothing to measure; give --images")
    of_places(real, images, held_out, here.runtime, settings or (), weights)
