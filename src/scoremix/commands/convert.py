"""`scoremix convert`: sets of images from one form to another."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from scoremix.commands.options import Debug, Quiet, SkipBad, app

if TYPE_CHECKING:
    from scoremix.data.export import Advance, Export


@app.command()
def convert(
    source: Annotated[str, typer.Argument(metavar="IN", help="what --data takes; a .bin, or a list of pairs")],
    out: Annotated[Path, typer.Argument(metavar="OUT", help="folder to make, or a .bin")],
    to: Annotated[
        Literal["folders", "recordio", "webdataset"] | None,
        typer.Option("--to", help="default: recordio for folders, else folders"),
    ] = None,
    size: Annotated[
        int | None, typer.Option("--size", min=8, help="side in pixels, as PNG; default: files as they are")
    ] = None,
    seed: Annotated[int, typer.Option("--seed", help="of the order in WebDataset shards")] = 0,
    skip_bad: SkipBad = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Sets of images from one form to another: class folders, RecordIO, WebDataset, verification .bin."""
    from scoremix.data import export

    with bar("convert", quiet) as advance:
        written = export.convert(source, out, to, size=size, seed=seed, skip_bad=skip_bad, advance=advance)
    say_written(written, out)


@contextlib.contextmanager
def bar(label: str, quiet: bool) -> Iterator[Advance]:
    """A progress bar of work that leaves nothing when it is stopped."""
    from scoremix.config import Runtime
    from scoremix.execution.artifacts import Work

    try:
        with Work(Path(), Runtime(quiet=quiet), label).bar(1, "images") as advance:
            yield advance
    except KeyboardInterrupt:
        print("scoremix: stopped; nothing was written", file=sys.stderr)
        raise SystemExit(130) from None


def say_written(written: Export, out: Path) -> None:
    """Prints what was written where."""
    of = f" of {written.classes:,} classes" if written.classes else ""
    print(f"{out}: {written.images:,} images{of} as {written.form}")
    for note in written.notes:
        print(f"  note: {note}")
