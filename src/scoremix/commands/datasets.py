"""`scoremix convert`, `subset` and `verify-data`: sets of images outside a run."""

from __future__ import annotations

import contextlib
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from scoremix.config import Runtime
from scoremix.data import audit, export
from scoremix.execution.artifacts import Work, write_file


def convert(source: str, out: Path, form: str | None, *, size: int | None, seed: int, quiet: bool) -> None:
    """Writes `source` in another form and says what was written; ValueError for what cannot be."""
    with _bar("convert", quiet) as advance:
        written = export.convert(source, out, _form(form), size=size, seed=seed, advance=advance)
    _say(written, out)


def subset(
    source: str, out: Path, classes: int | None, least: int, most: int | None, *, seed: int, quiet: bool
) -> None:
    """Writes some of the classes of `source` in the form of `source` (folders, where that is none to write)."""
    if most is not None and most < least:
        raise ValueError(f"--min {least} --max {most}: the most must not be below the least")
    with _bar("subset", quiet) as advance:
        written = export.convert(
            source,
            out,
            export.form_of(source),
            keep=lambda s: export.chosen_classes(s, classes=classes, least=least, most=most, seed=seed),
            advance=advance,
        )
    _say(written, out)


def _form(name: str | None) -> export.Form | None:
    match name:
        case None | "folders" | "recordio" | "webdataset":
            return name
    raise ValueError(f"--to {name!r}: allowed are folders, recordio, webdataset")


def verify(place: str, report: Path | None, *, quiet: bool) -> bool:
    """Prints what is in the set at `place`, writes it to `report` as JSON; returns whether it has no problems."""
    with _bar("verify", quiet) as advance:
        found = audit.audit(place, advance=advance)
    if report is not None:
        write_file(report, json.dumps(found, indent=1) + "\n")
    print("\n".join(_lines(found)))
    return not found["problems"]


def _lines(found: dict[str, Any]) -> Iterator[str]:
    yield f"{found['place']} ({found['kind']})"
    if found["kind"] == "pairs":
        yield f"  {found['pairs']:,} pairs, {found['same']:,} the same, {found['images']:,} images, {found['distinct_images']:,} distinct"
    else:
        named = f" = {found['known_set']}" if found["known_set"] else ""
        sizes = found["class_sizes"]
        columns = {
            "classes": found["classes"],
            "images": found["images"],
            **{c: sizes[c] for c in ("min", "25%", "50%", "75%", "max")},
        }
        cells = [(name, f"{value:,.10g}") for name, value in columns.items()]
        yield "  " + "  ".join(f"{name:>{max(len(name), len(value))}}" for name, value in cells)
        yield "  " + "  ".join(f"{value:>{max(len(name), len(value))}}" for name, value in cells) + named
        yield f"  classes {found['first_class']!r} to {found['last_class']!r}"
    yield "  images: " + ", ".join(f"{n:,} of {shape}" for shape, n in list(found["image_shapes"].items())[:5])
    for kind in ("exact_duplicates", "near_duplicates"):
        if (alike := found.get(kind)) is not None:
            rule = f" ({alike['rule']})" if "rule" in alike else ""
            yield f"  {kind.replace('_', ' ')}{rule}: {alike['pairs']:,} pairs, {alike['between_classes']:,} between classes"
            yield from (f"    {a} = {b}" for a, b in alike["examples"][:3])
    yield from (f"    {where}: {why}" for where, why in found["unreadable"][:10])
    yield from (f"  note: {note}" for note in found["notes"])
    yield from (f"  PROBLEM: {problem}" for problem in found["problems"])
    if not found["problems"]:
        yield "  no problems"


@contextlib.contextmanager
def _bar(label: str, quiet: bool) -> Iterator[export.Advance]:
    try:
        with Work(Path(), Runtime(quiet=quiet), label).bar(1, "images") as advance:
            yield advance
    except KeyboardInterrupt:
        print("scoremix: stopped; nothing was written", file=sys.stderr)
        raise SystemExit(130) from None


def _say(written: export.Export, out: Path) -> None:
    of = f" of {written.classes:,} classes" if written.classes else ""
    print(f"{out}: {written.images:,} images{of} as {written.form}")
    for note in written.notes:
        print(f"  note: {note}")
