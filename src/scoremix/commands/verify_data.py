"""`scoremix verify-data`: what is in a set of images and what is wrong with it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from scoremix.commands.convert import bar
from scoremix.commands.options import ReadingOptions, RuntimeOptions, app

if TYPE_CHECKING:
    from scoremix.data.source import SourceHints
    from scoremix.execution.trained import TrainedRecognizer


@app.command()
def verify_data(
    source: Annotated[str, typer.Argument(metavar="PATH", help="what --data takes, or a .bin")],
    report: Annotated[Path | None, typer.Option("--json", help="also write everything found to this file")] = None,
    recognizer: Annotated[
        str | None,
        typer.Option(
            help="also list classes that may be one, by a recognizer that was trained on others: a file, or RUN/ARM"
        ),
    ] = None,
    *,
    layout: ReadingOptions,
    here: RuntimeOptions,
) -> None:
    """What is in a set and what is wrong with it: counts, unreadable images, duplicates, traps; status 2 if anything is."""
    from scoremix.data.files import refuse_place

    if report is not None:
        refuse_place(report, option="--json")
    known = None
    if recognizer:
        from scoremix.execution.trained import load_recognizer

        known = load_recognizer(recognizer, out=here.out, device=here.runtime.device)
    if not verify(source, report, quiet=here.quiet, skip_bad=layout.skip_bad, hints=layout.hints, recognizer=known):
        raise typer.Exit(2)


def verify(
    place: str,
    report: Path | None,
    *,
    quiet: bool,
    skip_bad: bool = False,
    hints: SourceHints | None = None,
    recognizer: TrainedRecognizer | None = None,
) -> bool:
    """Prints what is in the set at `place`, writes it to `report` as JSON; returns whether it has no problems.

    With a recognizer also which classes may be one.
    """
    from scoremix.data import audit
    from scoremix.data.files import write_file

    with bar("verify", quiet) as advance:
        facts = audit.audit(place, skip_bad=skip_bad, hints=hints, advance=advance)
    if recognizer is not None:
        facts |= alike(place, recognizer, hints, quiet)
    if report is not None:
        write_file(report, json.dumps(facts, indent=1) + "\n")
    print("\n".join(_lines(facts)))
    return not facts["problems"]


def alike(place: str, recognizer: TrainedRecognizer, hints: SourceHints | None, quiet: bool) -> dict[str, Any]:
    """Pairs of classes that may be one by a recognizer, as facts; unreadable images are passed over.

    ValueError for a set without classes, or with too few of several images.
    """
    import numpy as np
    import torch

    from scoremix.data.sources import open_listing
    from scoremix.evaluation.coherence import alike_classes
    from scoremix.execution.trained import ROWS

    listing = open_listing(Path(place), hints)
    if listing.labels is None:
        raise ValueError(f"--recognizer: {place} has no classes to compare")
    size, channels = recognizer.description.size, recognizer.description.channels
    unit, rows = [], []
    with bar("compare classes", quiet) as advance:
        for pixels, which in listing.blocks(size, channels, ROWS, []):
            unit.append(recognizer.embed(pixels))
            rows.append(which)
            advance(int(which[-1]) + 1, len(listing))
    labels = listing.labels[np.concatenate(rows)].astype(np.int64)
    alike_pairs = alike_classes(torch.from_numpy(np.concatenate(unit)), torch.from_numpy(labels))
    names = listing.class_names
    pairs = [
        [names[a], names[b], round(float(cosine), 4)]
        for (a, b), cosine in zip(alike_pairs.pairs, alike_pairs.cosines, strict=True)
    ]
    return {
        "alike_classes": {"pairs": pairs, "threshold": alike_pairs.threshold, "classes_measured": alike_pairs.halves}
    }


def _lines(facts: dict[str, Any]) -> Iterator[str]:
    from scoremix.data.lists import noun
    from scoremix.report.numbers import terminal

    yield f"{facts['place']} ({facts['kind']})"
    if facts["kind"] == "pairs":
        yield f"  {facts['pairs']:,} pairs, {facts['same']:,} the same, {facts['images']:,} images, {facts['distinct_images']:,} distinct"
    else:
        known = f" = {facts['known_set']}" if facts["known_set"] else ""
        sizes = {name: facts["class_sizes"][name] for name in ("min", "25%", "50%", "75%", "max")}
        columns = {"classes": facts["classes"], "images": facts["images"], **sizes}
        yield terminal([list(columns), [f"{value:,.10g}" for value in columns.values()]], indent=2, right=True) + known
        yield f"  classes {facts['first_class']!r} to {facts['last_class']!r}"
    shapes = [f"{n:,} of {shape}" for shape, n in facts["image_shapes"].items()]
    yield "  images: " + ", ".join([*shapes[:5], *([f"and {len(shapes) - 5:,} more kinds"] if shapes[5:] else [])])
    for kind in ("exact_duplicates", "near_duplicates"):
        if (alike := facts.get(kind)) is not None:
            rule = f" ({alike['rule']})" if "rule" in alike else ""
            yield f"  {kind.replace('_', ' ')}{rule}: {noun(alike['pairs'], 'pair')}, {alike['between_classes']:,} between classes"
            yield from (f"    {a} = {b}" for a, b in alike["examples"][:3])
    if (alike := facts.get("alike_classes")) is not None:
        yield (
            f"  classes that may be one: {len(alike['pairs']):,} pairs (means of cosine {alike['threshold']:.3f} or more, as nine "
            f"of ten classes have between their own halves)"
        )
        yield from (f"    {cosine:.3f}  {a} = {b}" for a, b, cosine in alike["pairs"][:20])
    yield from (f"    {where}: {why}" for where, why in facts["unreadable"][:10])
    yield from (f"  note: {note}" for note in facts["notes"])
    yield from (f"  PROBLEM: {problem}" for problem in facts["problems"])
    if not facts["problems"]:
        yield "  no problems"
