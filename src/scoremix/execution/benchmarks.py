"""Recognizers on public face benchmarks: measured, printed, and kept as tables."""

from __future__ import annotations

import itertools
import json
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from scoremix.config import Embedding, Experiment, Runtime
from scoremix.data.csv_text import csv_text
from scoremix.data.facesets import FaceSet
from scoremix.data.files import write_file
from scoremix.evaluation.benchmarks import Measure
from scoremix.evaluation.templates import Protocol
from scoremix.execution import schedule, workers
from scoremix.execution.progress import make
from scoremix.execution.store import Store, versions
from scoremix.execution.torchrun import say
from scoremix.outputs.benchmarks import Benchmarks, MeasuredSet, Result
from scoremix.outputs.networks import CHECKPOINT
from scoremix.recognition.checkpoints import Colour
from scoremix.report import paper_table
from scoremix.report.numbers import terminal
from scoremix.report.pages import faces as pages
from scoremix.report.sections.face_tables import tables
from scoremix.stages.judge.benchmark import OpenedRecognizer, embedding, embeddings, evaluated, flips, open_recognizer
from scoremix.stages.judge.embed import BLOCK

RULES = {"nearest": "nearest point", "at_most": "not above", "published": "published rule"}
COLUMNS = ("metric", "level", "rule", "value", "low", "high", "reached", "threshold", "decided_by", "of")


class BenchmarkSetup(NamedTuple):
    """What recognizers are measured on, and how."""

    sets: Sequence[FaceSet]
    protocols: Sequence[Protocol]
    batch: int
    store: Store
    runtime: Runtime

    def embedded(self, recognizer: OpenedRecognizer, faces: FaceSet, flip: bool) -> NDArray[np.float32]:
        return embeddings(recognizer, faces, Embedding(batch=self.batch, flip=flip), self.store, self.runtime)

    def embed_shared(self, recognizer: OpenedRecognizer, faces: FaceSet) -> None:
        """Embeds a set's images by several workers, each a part of them; one worker alone leaves it to who needs them."""
        each = [Embedding(batch=self.batch, flip=flip) for flip in flips(faces, self.protocols)]
        calls = [embedding(recognizer, faces, config) for config in each]
        crew = workers.crew(self.runtime, [call.step for call in calls])
        if crew.size > 1:
            with crew:
                schedule.run_all(calls, self.store, self.runtime, crew, lambda *_: None, say)


def measured(called: str, file: Path, colour: Colour | None, on: BenchmarkSetup) -> Result:
    """What a checkpoint is and what was measured of it, printed as it comes."""
    recognizer = open_recognizer(file, colour)
    of = recognizer.description
    print(f"{called}: {of.provenance}; {of.colour} {of.size} px")
    entries: list[MeasuredSet] = []
    for faces in on.sets:
        if len(faces.images) > BLOCK:
            on.embed_shared(recognizer, faces)
        of_set = evaluated(faces, on.protocols, partial(on.embedded, recognizer, faces), 1000)
        for _, group in itertools.groupby(of_set, key=lambda entry: entry.kind):
            print(text_of(list(group)), flush=True)
        entries += of_set
    return Result(recognizer.called(called), entries)


def keep(results: list[Result], exp: Experiment | None, folder: Path) -> None:
    """Writes and prints what was measured; of a run's arms also the page over their seeds."""
    folder.mkdir(parents=True, exist_ok=True)
    if exp is not None:
        over_seeds = tables(results, [*exp.evaluation.controls, "real"])
        for kind, written in (("html", pages.render), ("csv", pages.to_csv), ("json", pages.to_json)):
            write_file(folder / f"benchmark.{kind}", written(over_seeds))
        print("\n" + pages.text(over_seeds))
    kept = Benchmarks(results, versions(), time.strftime("%Y-%m-%dT%H:%M:%S%z"))
    write_file(folder / kept.FILE, json.dumps(kept.as_json(), indent=1) + "\n")
    write_file(folder / "measures.csv", table_of(results))
    if lines := paper_table.table(results):
        write_file(folder / "table.csv", csv_text(lines))
        if exp is None:
            print(f"\nthe papers' columns, in per cent ({folder / 'table.csv'})\n{terminal(lines)}")
    page = "" if exp is None else f"; over seeds: {folder / 'benchmark.html'}"
    print(f"\nall numbers and thresholds: {folder / 'measures.csv'}{page}")


def recognizers_of(exp: Experiment, arms: Sequence[str], runtime: Runtime) -> list[tuple[str, Path]]:
    """(run/arm/seed, checkpoint) of every seed of some arms, made with all they need where they are not there yet."""
    labels = [f"{arm}/{seed}" for arm in arms for seed in exp.seeds]
    trained = make(exp, runtime, Store(runtime.out / "store"), [f"recognizer {label}" for label in labels])
    return [(f"{exp.name}/{label}", artifact / CHECKPOINT) for label, artifact in zip(labels, trained, strict=True)]


def text_of(entries: Sequence[MeasuredSet]) -> str:
    """A table of one set and kind of comparison: a column for each protocol, whose switches are said above it."""
    first = entries[0]
    lines = [f"\n{first.label} {first.kind}: {', '.join(f'{v:,} {k}' for k, v in first.counts.items())}"]
    lines += [f"  note: {note}" for note in (first.unlike_published, *first.notes) if note]
    lines += [f"  protocol {entry.protocol.name}: {', '.join(entry.protocol.switches(' '))}" for entry in entries]
    measures = zip(*(entry.measures for entry in entries), strict=True)
    names = [entry.protocol.name for entry in entries]
    table = [["per cent", *names], *([label(m[0]), *map(cell, m)] for m in measures)]
    return "\n".join([*lines, terminal(table, indent=4)])


def label(measure: Measure) -> str:
    """What a measure is, with its level and rule."""
    name, _, gallery = measure.metric.partition(" ")
    said = {"tar": "TAR at FAR", "tpir": "TPIR at FPIR", "rank": "rank"}.get(name, name)
    said += f" {measure.level:g}" if measure.level is not None else ""
    rule = measure.rule or ""
    return ", ".join(filter(None, (said, RULES.get(rule, rule), gallery)))


def cell(measure: Measure) -> str:
    """The value with its interval and the number of impostors that decide it."""
    text = f"{100 * measure.value:.2f}"
    if measure.low is not None and measure.high is not None:
        text += f" ({100 * measure.low:.2f} to {100 * measure.high:.2f})"
    return text + (f", {measure.decided_by:,} of {measure.of:,} impostors" if measure.decided_by is not None else "")


def table_of(results: Sequence[Result]) -> str:
    """All measures as CSV, thresholds included."""
    rows = [["checkpoint", "set", "kind", "protocol", "switches", *COLUMNS]]
    for result in results:
        for entry in result.sets:
            followed = [entry.protocol.name, " ".join(entry.protocol.switches("="))]
            start = [result.checkpoint.name, entry.set, entry.kind, *followed]
            rows += ([*start, *(getattr(measure, column) for column in COLUMNS)] for measure in entry.measures)
    return csv_text(rows)
