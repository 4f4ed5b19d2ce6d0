"""The real images: read once, resized by one rule, split into three disjoint parts of classes, packed."""

import hashlib
from dataclasses import asdict
from pathlib import Path

import numpy as np

from scoremix.config import Data
from scoremix.data.lists import noun
from scoremix.data.reading import read
from scoremix.data.source import DEFAULTS, SourceHints
from scoremix.data.sources import fingerprint
from scoremix.data.splits import SPLITS
from scoremix.execution.artifacts import External
from scoremix.execution.work import Work
from scoremix.outputs.images import ImagesSummary, Split


def content_key(
    place: str, split_list: str | None, groups: str | None = None, hints: SourceHints = DEFAULTS.hints
) -> str:
    """Hash of all that would be read, images and lists, wherever they lie; ValueError for nothing readable."""
    parts = [fingerprint(place, hints)]
    for setting, given in (("split_list", split_list), ("groups", groups)):
        if given == "name" and setting == "groups":
            parts.append("groups by name")
        elif given is not None:
            try:
                parts.append(f"{setting} {hashlib.sha256(Path(given).read_bytes()).hexdigest()}")
            except OSError as error:
                hint = ", nor is it 'name'" if setting == "groups" else ""
                raise ValueError(f"{setting} {given}: cannot be read ({error.strerror}){hint}") from None
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()


def ingest(config: Data, source: External, *, work: Work) -> None:
    """Writes the packed images, and summary.json with what was found and what was left out."""
    with work.bar(1, "images") as advance:
        wanted = config.wanted(source.split_list, source.groups)
        images, reading = read(source.place, work.folder, wanted, progress=advance)
    work.count("images", len(images.stored))
    parts = [(name, images.counts[images.splits[name]]) for name in SPLITS]
    ImagesSummary(
        [Split(n, len(counts), int(counts.sum()), int(np.count_nonzero(counts == 1))) for n, counts in parts],
        images.shape[1:],
        reading.unreadable,
        _note(asdict(reading), int(images.held_out.sum()) if images.held_out is not None else 0),
    ).write(work)


def _note(reading: dict[str, object], held_out: int) -> str:
    said = {
        "empty_classes": ("class", "classes", "left out for want of a readable image"),
        "unsplit_classes": ("class", "classes", "in no part of the given split"),
        "ignored_files": ("file", "files", "passed over, no image"),
    }
    counts = {name: v if isinstance(v, int) else len(v) for name, v in reading.items() if name in said}  # type: ignore[arg-type]
    lines = [f"{noun(count, *said[name][:2])} {said[name][2]}" for name, count in counts.items() if count]
    if held_out:
        lines.append(f"{noun(held_out, 'image')} of training classes held out")
    notes = reading["notes"]
    return "; ".join([*lines, *(notes if isinstance(notes, tuple) else ())])
