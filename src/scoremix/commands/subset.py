"""`scoremix subset`: some of the classes of a set."""

from pathlib import Path
from typing import Annotated

import typer

from scoremix.commands.convert import bar, say_written
from scoremix.commands.options import Debug, Quiet, ReadingOptions, app


@app.command()
def subset(
    source: Annotated[str, typer.Argument(metavar="IN", help="what --data takes")],
    out: Annotated[
        Path,
        typer.Argument(
            metavar="OUT", help="folder to make: RecordIO and WebDataset stay what they are, all else becomes folders"
        ),
    ],
    classes: Annotated[int | None, typer.Option("--classes", min=1, help="how many; default: all that fit")] = None,
    least: Annotated[int, typer.Option("--min", min=1, help="fewest images of a class")] = 1,
    most: Annotated[int | None, typer.Option("--max", min=1, help="most images of a class")] = None,
    seed: Annotated[int, typer.Option("--seed", min=0, help="of the choice")] = 0,
    *,
    layout: ReadingOptions,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Some of the classes of a set, by number of images and a seed (WebFace160K: 10200 classes of 11 to 24)."""
    from functools import partial

    from scoremix.data import export
    from scoremix.data.sources import format_of

    if most is not None and most < least:
        raise ValueError(f"--min {least} --max {most}: the most must not be below the least")
    keep = partial(export.chosen_classes, classes=classes, least=least, most=most, seed=seed)
    with bar("subset", quiet) as advance:
        form, hints = format_of(source).form or "folders", layout.hints
        written = export.convert(source, out, form, keep=keep, skip_bad=layout.skip_bad, hints=hints, advance=advance)
    say_written(written, out)
