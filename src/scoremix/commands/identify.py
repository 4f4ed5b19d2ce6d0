"""`scoremix identify`: which of the enrolled classes is on an image, if any?"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from scoremix.commands.convert import bar
from scoremix.commands.options import Debug, Delivered, Far, Quiet, app
from scoremix.data.csv_text import in_line, printable

if TYPE_CHECKING:
    from collections.abc import Sequence

    from scoremix.use.gallery import Identified

SHOWN = 20  # probes in the terminal


@app.command()
def identify(
    model: Delivered,
    gallery: Annotated[Path, typer.Argument(help="an .npz of `enroll`, or a folder to enroll")],
    probes: Annotated[Path, typer.Argument(help="a folder of images, or one image")],
    k: Annotated[int, typer.Option("--top", min=1, help="so many classes per image")] = 5,
    far: Far = None,
    out: Annotated[
        Path | None, typer.Option("--out", help="a .html or .png with the images side by side, or a .csv with all")
    ] = None,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Which enrolled class is on each image, or "unknown"; --out page.html shows the images beside each other."""
    from scoremix.data.files import refuse_place, write_file

    if out is not None:
        refuse_place(out, ".html", ".png", ".csv", option="--out")
    from scoremix.use import pictures
    from scoremix.use.model import load_model

    opened = load_model(model)
    with bar("enroll", quiet) as advance:
        known = opened.gallery(gallery, advance)
    for images in (probes, Path(known.place)):
        if out is not None and out.suffix == ".png" and out.resolve().is_relative_to(images.resolve()):
            raise ValueError(f"--out {out}: lies among the images, {in_line(str(images))}; take another place")
    with bar("identify", quiet) as advance:
        identified = opened.identify(known, probes, k, far, advance)
    note = pictures.said(identified, len(known), opened.for_gallery(len(known), far))
    for one in identified[:SHOWN]:
        print(line(one))
    if len(identified) > SHOWN:
        print(f"... and {len(identified) - SHOWN} more (--out FILE.csv has all)")
    print(note)
    if out is None:
        return
    if out.suffix == ".csv":
        write_file(out, table(identified))
    else:
        print(f"enrolled images are shown from {in_line(known.place)}")  # a stranger's gallery may name any place
        rows = pictures.rows_of(identified, probes, known)
        write_file(out, pictures.page(rows, note) if out.suffix == ".html" else pictures.picture(rows))
    print(out)


def line(one: Identified) -> str:
    """A probe, who it is, and who is alike, for a terminal that no name can steer."""
    alike = ", ".join(f"{in_line(match.name)} {match.similarity:.3f}" for match in one.matches)
    return f"{in_line(one.probe)}: {in_line(one.name)} ({alike})"


def table(identified: Sequence[Identified]) -> str:
    """CSV with a row per probe and match; what no UTF-8 can hold of a name is written out."""
    from scoremix.data.csv_text import csv_text

    rows = (
        [one.probe, one.name, rank, match.name, round(match.similarity, 6), match.image]
        for one in identified
        for rank, match in enumerate(one.matches, 1)
    )
    return printable(csv_text([["probe", "identified", "rank", "class", "similarity", "image"], *rows]))
