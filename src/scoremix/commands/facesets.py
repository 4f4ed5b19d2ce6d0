"""`scoremix evaluate` on public face benchmarks: of a checkpoint, or of every arm of a run."""

from __future__ import annotations

import csv
import io
import itertools
import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from scoremix.config import Embedding, Experiment, Runtime
from scoremix.data.faces import FaceSet, open_set
from scoremix.evaluation.templates import PROTOCOLS, Protocol, protocol
from scoremix.execution import progress, records, runner
from scoremix.execution.artifacts import Store, versions, write_file
from scoremix.execution.runner import decided
from scoremix.execution.torchrun import process
from scoremix.recognition.checkpoints import Colour
from scoremix.stages.judge.benchmark import evaluated, open_recognizer

__all__ = ["evaluate", "evaluate_run", "opened", "protocol"]


def opened(sets: Sequence[str], root: Path) -> list[FaceSet]:
    """The sets, each given alone or with commas; ValueError before anything is computed if one cannot be used."""
    names = [name.strip() for item in sets for name in item.split(",") if name.strip()]
    faces = [open_set(name, root) for name in names]
    for one in faces:
        one.images.check()
    return faces


def evaluate(
    checkpoints: Sequence[tuple[str, Path]],
    faces: Sequence[FaceSet],
    protocols: Sequence[Protocol],
    runtime: Runtime,
    store: Store,
    config: Embedding,
    *,
    called: str,
    colour: Colour | None = None,
    draws: int = 1000,
) -> Path:
    """Evaluates every (name, checkpoint) and prints the numbers; results.json and measures.csv go to the folder returned."""
    wanted = protocols or list(PROTOCOLS.values())
    results = []
    for name, path in checkpoints:
        recognizer = open_recognizer(path, colour)
        print(
            f"{name}: {recognizer.description.provenance}; {recognizer.description.colour} {recognizer.description.size} px"
        )
        entries: list[dict[str, Any]] = []
        for one in faces:
            found = evaluated(recognizer, one, wanted, config, store, runtime, draws)
            for _, group in itertools.groupby(found, key=lambda entry: entry["kind"]):
                print(text_of(list(group)), flush=True)
            entries += found
        results.append({"checkpoint": recognizer.as_json() | {"name": name}, "sets": entries})
    folder = runtime.out / "benchmarks" / called
    folder.mkdir(parents=True, exist_ok=True)
    stored = {"results": results, "versions": versions(), "finished": time.strftime("%Y-%m-%dT%H:%M:%S%z")}
    write_file(folder / "results.json", json.dumps(stored, indent=1) + "\n")
    write_file(folder / "measures.csv", table_of(results))
    return folder


def evaluate_run(
    exp: Experiment,
    arms: Sequence[str],
    faces: Sequence[FaceSet],
    protocols: Sequence[Protocol],
    runtime: Runtime,
    store: Store,
    config: Embedding,
) -> Path | None:
    """Trains what is not trained yet of some arms of a run, and nothing else; evaluates every one of their seeds.

    Of several processes the first evaluates; the others only train and return None.
    """
    trained = recognizers_of(exp, arms, runtime, store)
    if process():
        return None
    called = exp.name if set(arms) == set(exp.arms) else f"{exp.name}-{'-'.join(arms)}"
    return evaluate(trained, faces, protocols, runtime, store, config, called=called)


def recognizers_of(exp: Experiment, arms: Sequence[str], runtime: Runtime, store: Store) -> list[tuple[str, Path]]:
    """(run/arm/seed, checkpoint) of every seed of some arms, made with all they need where they are not there yet."""
    exp = decided(exp, runtime.device)
    source = records.source_of(exp)
    wanted = [f"recognizer {arm}/{seed}" for arm in arms for seed in exp.seeds]
    plans = runner.plan_all(exp, source, store)
    team = progress.team_of(runtime, [plan for label in wanted for plan in runner.needed(plans, label)])
    record = records.Record(runtime.out, exp, plans) if process() == 0 else None

    after = progress.noting(record)
    found = []
    for label in wanted:
        trained = runner.run(exp, source, runner.Runner(store, runtime, label, after, team=team))
        found.append((f"{exp.name}/{label.removeprefix('recognizer ')}", trained / records.RECOGNIZER))
    return found


def text_of(entries: Sequence[dict[str, Any]]) -> str:
    """A table of one set and kind of comparison: a column for each protocol, whose switches are said above it."""
    first = entries[0]
    lines = [f"\n{first['label']} {first['kind']}: {', '.join(f'{v:,} {k}' for k, v in first['counts'].items())}"]
    if first["unlike_published"]:
        lines.append(f"  note: {first['unlike_published']}")
    for entry in entries:
        switches = ", ".join(f"{k} {v}" for k, v in entry["protocol"].items() if k != "name")
        lines.append(f"  protocol {entry['protocol']['name']}: {switches}")
    names = [entry["protocol"]["name"] for entry in entries]
    table = [
        ["per cent", *names],
        *([label(m[0]), *map(cell, m)] for m in zip(*(e["measures"] for e in entries), strict=True)),
    ]
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    rows = ("  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)).rstrip() for row in table)
    return "\n".join([*lines, *(f"    {row}" for row in rows)])


RULES = {"nearest": "nearest point", "at_most": "not above", "published": "published rule", "10 folds": "10 folds"}


def label(measure: dict[str, Any]) -> str:
    """What a measure is, with its level and rule."""
    name, _, gallery = measure["metric"].partition(" ")
    said = {"tar": "TAR at FAR", "tpir": "TPIR at FPIR", "rank": "rank"}.get(name, name)
    said += f" {measure['level']:g}" if "level" in measure else ""
    return ", ".join([said, *([RULES[measure["rule"]]] if "rule" in measure else []), *([gallery] if gallery else [])])


def cell(measure: dict[str, Any]) -> str:
    """The value with its interval and the number of impostors that decide it."""
    text = f"{100 * measure['value']:.2f}"
    if "low" in measure:
        text += f" ({100 * measure['low']:.2f} to {100 * measure['high']:.2f})"
    return text + (f", {measure['decided_by']:,} of {measure['of']:,} impostors" if "decided_by" in measure else "")


COLUMNS = ("metric", "level", "rule", "value", "low", "high", "reached", "threshold", "decided_by", "of")


def table_of(results: Sequence[dict[str, Any]]) -> str:
    """All measures as CSV, thresholds included."""
    buffer = io.StringIO()
    rows = csv.writer(buffer)
    rows.writerow(["checkpoint", "set", "kind", "protocol", "switches", *COLUMNS])
    for result in results:
        for entry in result["sets"]:
            switches = " ".join(f"{k}={v}" for k, v in entry["protocol"].items() if k != "name")
            start = [result["checkpoint"]["name"], entry["set"], entry["kind"], entry["protocol"]["name"], switches]
            rows.writerows([*start, *(m.get(c, "") for c in COLUMNS)] for m in entry["measures"])
    return buffer.getvalue()
