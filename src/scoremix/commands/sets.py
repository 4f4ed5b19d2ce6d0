"""Sets of images outside runs: convert, verify-data, subset."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from scoremix.commands.options import Debug, Quiet, app


@app.command()
def convert(
    source: Annotated[str, typer.Argument(metavar="IN", help="what --data takes; a .bin, or a list of pairs")],
    out: Annotated[Path, typer.Argument(metavar="OUT", help="folder to make, or a .bin")],
    to: Annotated[
        str | None,
        typer.Option("--to", help="folders, recordio or webdataset; default: recordio for folders, else folders"),
    ] = None,
    size: Annotated[
        int | None, typer.Option("--size", min=8, help="side in pixels, as PNG; default: files as they are")
    ] = None,
    seed: Annotated[int, typer.Option("--seed", help="of the order in WebDataset shards")] = 0,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Sets of images from one form to another: class folders, RecordIO, WebDataset, verification .bin."""
    from scoremix.commands import datasets

    datasets.convert(source, out, to, size=size, seed=seed, quiet=quiet)


@app.command("verify-data")
def verify_data(
    source: Annotated[str, typer.Argument(metavar="PATH", help="what --data takes, or a .bin")],
    report: Annotated[Path | None, typer.Option("--json", help="also write everything found to this file")] = None,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """What is in a set and what is wrong with it: counts, unreadable images, duplicates, traps; status 2 if anything is."""
    from scoremix.commands import datasets

    if not datasets.verify(source, report, quiet=quiet):
        raise typer.Exit(2)


@app.command()
def subset(
    source: Annotated[str, typer.Argument(metavar="IN", help="what --data takes")],
    out: Annotated[Path, typer.Argument(metavar="OUT", help="folder to make, in the form of IN")],
    classes: Annotated[int | None, typer.Option("--classes", min=1, help="how many; default: all that fit")] = None,
    least: Annotated[int, typer.Option("--min", min=1, help="fewest images of a class")] = 1,
    most: Annotated[int | None, typer.Option("--max", min=1, help="most images of a class")] = None,
    seed: Annotated[int, typer.Option("--seed", help="of the choice")] = 0,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Some of the classes of a set, by number of images and a seed (WebFace160K: 10200 classes of 11 to 24)."""
    from scoremix.commands import datasets

    datasets.subset(source, out, classes, least, most, seed=seed, quiet=quiet)
