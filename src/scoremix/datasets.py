"""`scoremix convert`, `subset` and `verify-data`: sets of images outside a run."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

from scoremix.artifacts import Work
from scoremix.config import Runtime
from scoremix.data import export


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


@contextlib.contextmanager
def _bar(label: str, quiet: bool) -> Iterator[export.Advance]:
    with Work(Path(), Runtime(quiet=quiet), label).bar(1, "images") as advance:
        yield lambda done, total: advance(done, total)


def _say(written: export.Export, out: Path) -> None:
    of = f" of {written.classes:,} classes" if written.classes else ""
    print(f"{out}: {written.images:,} images{of} as {written.form}")
    for note in written.notes:
        print(f"  note: {note}")
