"""`scoremix convert`: sets of images from one form to another."""

from __future__ import annotations

import contextlib
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from scoremix.commands.options import ReadingOptions, RuntimeOptions, app, stop_after

if TYPE_CHECKING:
    from scoremix.data.export import Export
    from scoremix.data.source import Advance


@app.command(without=("device",))
def convert(
    source: Annotated[
        str,
        typer.Argument(metavar="IN", help="what --data takes; a .bin; a list of pairs; RUN/ARM: what it trained on"),
    ],
    place: Annotated[Path, typer.Argument(metavar="OUT", help="folder to make, or a .bin")],
    to: Annotated[
        Literal["folders", "recordio", "webdataset", "parquet"] | None,
        typer.Option("--to", help="default: recordio for folders, else folders"),
    ] = None,
    size: Annotated[
        int | None, typer.Option("--size", min=8, help="side in pixels, as PNG; default: files as they are")
    ] = None,
    seed: Annotated[int, typer.Option("--seed", min=0, help="of the order in WebDataset shards")] = 0,
    licence: Annotated[str | None, typer.Option("--licence", help="of the images of RUN/ARM, for their card")] = None,
    push: Annotated[
        str | None, typer.Option("--push", metavar="OWNER/NAME", help="upload OUT to the Hugging Face hub, private")
    ] = None,
    *,
    layout: ReadingOptions,
    here: RuntimeOptions,
) -> None:
    """Sets of images from one form to another: class folders, RecordIO, WebDataset, parquet, verification .bin."""
    from scoremix.data import export
    from scoremix.execution import hub

    api = hub.client(push) if push else None
    of_run: dict[str, Any] = {}
    if (
        not Path(source).exists()
        and "/" in source
        and (here.out / "runs" / f"{source.partition('/')[0]}.json").exists()
    ):
        source, of_run = of_arm(source, here.out, licence, to)
    elif licence is not None:
        raise ValueError(f"--licence: is for the card of RUN/ARM; {source} is none of a run in {here.out}")
    given = {"size": size, "seed": seed, "skip_bad": layout.skip_bad, "hints": layout.hints, **of_run}
    with bar("convert", here.quiet) as advance:
        written = export.convert(source, place, to, advance=advance, **given)
    say_written(written, place)
    if api is not None and push is not None:
        print(hub.push(api, place, push, "dataset"))


def of_arm(name: str, out: Path, licence: str | None, to: str | None) -> tuple[str, dict[str, Any]]:
    """The packed images that an arm trained on, and what `convert` is to say of them."""
    from scoremix import __version__
    from scoremix.data.images import LabeledImages
    from scoremix.execution.card import card
    from scoremix.execution.records import recorded
    from scoremix.execution.training_set import load_training_set

    images = load_training_set(name, out=out)
    run, _, arm = name.partition("/")
    kept = LabeledImages.load(images.folder).splits["train"]
    text = card(recorded(out, run), arm.partition("/")[0], images, out, licence, to == "parquet", __version__)
    if images.targets is not None:
        print(f"note: {arm} trains on soft labels; OUT has the class of each image, provenance.jsonl the weights")
    return str(images.folder), {"keep": lambda _: kept, "made": images.made, "card": text}


@contextlib.contextmanager
def bar(label: str, quiet: bool, unit: str = "images") -> Iterator[Advance]:
    """A progress bar of work that leaves nothing when it is stopped."""
    from scoremix.config import Runtime
    from scoremix.execution import stopping
    from scoremix.execution.work import Work

    stop_after(None)
    try:
        with Work(Path(), Runtime(quiet=quiet), label).bar(1, unit) as advance:
            yield advance
    except KeyboardInterrupt:
        print("scoremix: stopped; nothing was written", file=sys.stderr)
        raise SystemExit(128 + (stopping.asked() or signal.SIGINT)) from None


def say_written(written: Export, out: Path) -> None:
    """Prints what was written where."""
    from scoremix.data.lists import noun

    of = f" of {noun(written.classes, 'class', 'classes')}" if written.classes else ""
    print(f"{out}: {noun(written.images, 'image')}{of} as {written.form}")
    for note in written.notes:
        print(f"  note: {note}")
