"""`scoremix verify-data`: what is in a set of images and what is wrong with it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import typer

from scoremix.commands.convert import bar
from scoremix.commands.options import Debug, Quiet, SkipBad, app


@app.command()
def verify_data(
    source: Annotated[str, typer.Argument(metavar="PATH", help="what --data takes, or a .bin")],
    report: Annotated[Path | None, typer.Option("--json", help="also write everything found to this file")] = None,
    skip_bad: SkipBad = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """What is in a set and what is wrong with it: counts, unreadable images, duplicates, traps; status 2 if anything is."""
    if not verify(source, report, quiet=quiet, skip_bad=skip_bad):
        raise typer.Exit(2)


def verify(place: str, report: Path | None, *, quiet: bool, skip_bad: bool = False) -> bool:
    """Prints what is in the set at `place`, writes it to `report` as JSON; returns whether it has no problems."""
    from scoremix.data import audit
    from scoremix.data.files import write_file

    with bar("verify", quiet) as advance:
        facts = audit.audit(place, skip_bad=skip_bad, advance=advance)
    if report is not None:
        write_file(report, json.dumps(facts, indent=1) + "\n")
    print("\n".join(_lines(facts)))
    return not facts["problems"]


def _lines(facts: dict[str, Any]) -> Iterator[str]:
    yield f"{facts['place']} ({facts['kind']})"
    if facts["kind"] == "pairs":
        yield f"  {facts['pairs']:,} pairs, {facts['same']:,} the same, {facts['images']:,} images, {facts['distinct_images']:,} distinct"
    else:
        known = f" = {facts['known_set']}" if facts["known_set"] else ""
        sizes = {name: facts["class_sizes"][name] for name in ("min", "25%", "50%", "75%", "max")}
        columns = {"classes": facts["classes"], "images": facts["images"], **sizes}
        cells = [(name, f"{value:,.10g}") for name, value in columns.items()]
        yield "  " + "  ".join(f"{name:>{max(len(name), len(value))}}" for name, value in cells)
        yield "  " + "  ".join(f"{value:>{max(len(name), len(value))}}" for name, value in cells) + known
        yield f"  classes {facts['first_class']!r} to {facts['last_class']!r}"
    yield "  images: " + ", ".join(f"{n:,} of {shape}" for shape, n in list(facts["image_shapes"].items())[:5])
    for kind in ("exact_duplicates", "near_duplicates"):
        if (alike := facts.get(kind)) is not None:
            rule = f" ({alike['rule']})" if "rule" in alike else ""
            yield f"  {kind.replace('_', ' ')}{rule}: {alike['pairs']:,} pairs, {alike['between_classes']:,} between classes"
            yield from (f"    {a} = {b}" for a, b in alike["examples"][:3])
    yield from (f"    {where}: {why}" for where, why in facts["unreadable"][:10])
    yield from (f"  note: {note}" for note in facts["notes"])
    yield from (f"  PROBLEM: {problem}" for problem in facts["problems"])
    if not facts["problems"]:
        yield "  no problems"
