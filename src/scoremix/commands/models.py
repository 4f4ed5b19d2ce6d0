"""Trained networks outside their runs: embed, export, quality, sheets, ema, import-edm2."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from scoremix.commands.options import (
    Checkpoint,
    Colour,
    Debug,
    Device,
    Out,
    Quiet,
    RunsIn,
    Settings,
    app,
    colour_of,
    device_of,
    reported,
    store_of,
)


@app.command()
def quality(
    name: Annotated[str | None, typer.Argument(help="name of a run; by default the latest with a report")] = None,
    arms: Annotated[list[str] | None, typer.Option("--arm", help="only this arm's images; repeatable")] = None,
    images: Annotated[
        list[str] | None, typer.Option("--images", help="other images to measure: folder, .npz, packed; repeatable")
    ] = None,
    real: Annotated[str | None, typer.Option("--real", help="real images, instead of a run's")] = None,
    held_out: Annotated[str | None, typer.Option("--held-out", help="real images not trained on, with --real")] = None,
    weights: Annotated[Path | None, typer.Option("--weights", help="file of the network that gives features")] = None,
    settings: Settings = None,
    out: Out = Path("scoremix_runs"),
    device: Device = "auto",
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """How faithful, diverse and original a run's reproductions and mixes are, or any images beside real ones."""
    from scoremix.commands import quality as measuring
    from scoremix.config import ConfigError, Experiment, Runtime, load
    from scoremix.execution.artifacts import Store

    runtime = Runtime(out=out, device=device_of(device), quiet=quiet)
    if real is None:
        if held_out is not None:
            raise ConfigError("--held-out: only with --real; a run has held-out classes of its own")
        store = store_of(out)
        measuring.of_run(
            name, runtime, store, lambda exp: load(exp, (), settings or ()), arms or (), images or (), weights
        )
        return
    if name is not None or arms:
        raise ConfigError("--real: give either a run or --real, not both")
    if not images:
        raise ConfigError("--real: nothing to measure; give --images")
    exp = load(Experiment(), (), settings or ())
    measuring.of_places(exp, runtime, Store(out / "store"), images, real, held_out, weights)


@app.command()
def embed(
    checkpoint: Checkpoint,
    images: Annotated[Path, typer.Argument(help="folder of class folders or of images, one image, .npz, packed set")],
    out: Annotated[Path, typer.Option("--out", help=".npz with everything, or .npy with a .csv beside it")] = Path(
        "embeddings.npz"
    ),
    skip_bad: Annotated[
        bool, typer.Option("--skip-bad", help="leave unreadable files out instead of stopping")
    ] = False,
    runs_in: RunsIn = Path("scoremix_runs"),
    device: Device = "auto",
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Embeddings of images by a trained recognizer."""
    from scoremix.commands.embedding import embed_images
    from scoremix.config import Runtime
    from scoremix.execution import records

    runtime = Runtime(out=runs_in, device=device_of(device), quiet=quiet)
    count = embed_images(records.checkpoint_of(runs_in, checkpoint), images, out, runtime, skip_bad)
    print(f"{out}: {count} embeddings")


@app.command()
def export(
    checkpoint: Checkpoint,
    out: Annotated[Path, typer.Argument(help="the .onnx file to write")],
    colour: Colour = None,
    runs_in: RunsIn = Path("scoremix_runs"),
    debug: Debug = False,
) -> None:
    """A trained recognizer as an ONNX file, checked against onnxruntime."""
    from scoremix.commands.export import export_onnx
    from scoremix.execution import records

    worst = export_onnx(records.checkpoint_of(runs_in, checkpoint), out, colour_of(colour))
    print(f"{out}: onnxruntime and torch differ by at most {worst:.1g} in an entry of a unit embedding")


@app.command()
def sheets(
    name: Annotated[str | None, typer.Argument(help="name of a run; by default the latest with a report")] = None,
    seeds: Annotated[list[int] | None, typer.Option("--seed", help="noise of an alpha/beta sheet; repeatable")] = None,
    guidance: Annotated[
        list[float] | None, typer.Option("--guidance", help="of a comparison sheet; repeatable (default 1.3, 2.75)")
    ] = None,
    pairs: Annotated[int, typer.Option("--pairs", min=1, help="m-plets of a comparison sheet")] = 4,
    rows: Annotated[int, typer.Option("--rows", min=1, help="images of each m-plet")] = 4,
    settings: Settings = None,
    to: Annotated[Path, typer.Option("--to", help="folder for the pictures")] = Path("sheets"),
    out: Out = Path("scoremix_runs"),
    device: Device = "auto",
    debug: Debug = False,
) -> None:
    """Pictures of a run's mixes: weights alpha and beta (Fig. 2), and sources beside mixes (Fig. 3, 14, 15)."""
    from scoremix.commands.sheets import write_sheets
    from scoremix.config import Runtime, load

    exp, _ = reported(name, out)
    exp = load(exp, (), settings or ())
    runtime = Runtime(out=out, device=device_of(device), quiet=True)
    for path in write_sheets(exp, runtime, to, seeds or [0], guidance or [1.3, 2.75], pairs, rows):
        print(path)


@app.command()
def ema(
    std: Annotated[float, typer.Option("--std", help="relative length of the average, such as 0.075")],
    name: Annotated[str | None, typer.Argument(help="name of a run; by default the latest")] = None,
    images: Annotated[int | None, typer.Option("--images", help="images seen; by default the end of training")] = None,
    guide: Annotated[bool, typer.Option("--guide", help="of the separately trained guide network")] = False,
    to: Annotated[Path | None, typer.Option("--to", help="the .safetensors file to write")] = None,
    out: Out = Path("scoremix_runs"),
    debug: Debug = False,
) -> None:
    """An average of the generator of any length, reconstructed from its snapshots."""
    from scoremix.commands.averages import write_average
    from scoremix.execution import records

    folder = records.step_folder(out, name, "guide network" if guide else "generator")
    path, missing = write_average(folder, std, images, to)
    print(f"{path}: EMA length {std:g}, {missing:.2%} of its profile is beyond the snapshots")


@app.command(name="import-edm2")
def import_edm2(
    pickle: Annotated[Path, typer.Argument(help="a published pixel-space snapshot, such as edm2-img64-s-*.pkl")],
    out: Annotated[Path, typer.Argument(help="the .safetensors file to write")],
    debug: Debug = False,
) -> None:
    """A published EDM2 snapshot as one of ours; nothing in the pickle is executed."""
    from scoremix.commands.averages import write_published

    network = write_published(pickle, out)
    print(f"{out}: {network['img_resolution']} px, {network['label_dim']} classes; the weights keep their own licence")
