"""`scoremix benchmark`: a recognizer, or every arm of a run, on public face benchmarks and lists of one's own."""

from __future__ import annotations

import dataclasses
import itertools
import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from scoremix.commands.options import Asked, Colour, Running, app

if TYPE_CHECKING:
    from scoremix.config import Experiment, Runtime
    from scoremix.execution.store import Call, Store

RULES = {"nearest": "nearest point", "at_most": "not above", "published": "published rule"}
COLUMNS = ("metric", "level", "rule", "value", "low", "high", "reached", "threshold", "decided_by", "of")


@app.command(without=("preset", "class_level", "image_column", "label_column", "scheduler", "max_hours"))
def benchmark(
    name: Annotated[
        str | None, typer.Argument(metavar="[PRESET|CHECKPOINT]", help="a preset, or a recognizer's file, or RUN/ARM")
    ] = None,
    *,
    asked: Asked,
    sets: Annotated[
        list[str] | None,
        typer.Option(
            "--sets", help="public sets: lfw,cfp_fp,cplfw,calfw,agedb_30,ijbb,ijbc,tinyface, or paths; repeatable"
        ),
    ] = None,
    root: Annotated[Path, typer.Option("--root", help="folder that holds the named sets")] = Path(),
    protocol: Annotated[
        list[str] | None,
        typer.Option(
            "--protocol", help="arcface_torch, adaface, cvlface, or one with ,switch=value; default all three"
        ),
    ] = None,
    colour: Colour = None,
    batch: Annotated[int, typer.Option("--batch", min=1, help="images per forward")] = 64,
    running: Running,
) -> None:
    """A recognizer, or the arms of a run, on public face benchmarks: LFW ... IJB-C, TinyFace, lists of pairs.

    Of a preset the arms are trained first. A checkpoint (ours, arcface_torch's, AdaFace's or CVLFace's) is only
    evaluated: scoremix benchmark FILE --sets lfw,ijbc --root FACES.
    """
    from scoremix.config import Embedding
    from scoremix.config.arms import named
    from scoremix.config.presets import CHECKPOINTS, PRESETS
    from scoremix.execution.records import checkpoint_of
    from scoremix.execution.store import Store
    from scoremix.execution.torchrun import process

    path = Path(str(name))
    is_file = name is not None and name not in PRESETS and (path.exists() or "/" in name or path.suffix in CHECKPOINTS)
    refuse_unfit(name or "benchmark", is_file, colour, bool(sets), asked.changes)
    exp = None if is_file else dataclasses.replace(asked, preset=name).experiment(judged=False)
    runtime, store = running.runtime, Store(running.out / "store")

    from scoremix.data.faces import open_set
    from scoremix.evaluation.templates import PROTOCOLS
    from scoremix.evaluation.templates import protocol as protocol_of
    from scoremix.stages.judge.benchmark import embedding, evaluated, flips, open_recognizer
    from scoremix.stages.judge.embed import BLOCK

    faces = [open_set(one.strip(), root) for item in sets or () for one in item.split(",") if one.strip()]
    for one in faces:
        one.images.check()
    protocols = [protocol_of(text) for text in protocol or ()] or list(PROTOCOLS.values())
    if exp is None:
        file = path if path.suffix in CHECKPOINTS else checkpoint_of(running.out, str(name), "--out")
        checkpoints = [(path.name if path.suffix else str(name), file)]
        called = checkpoints[0][0].removesuffix(".safetensors").replace("/", "-")
    else:  # the verdict's arms are not trained here: sets have no verdict
        wanted = list(named(asked.arms.split(","), exp.arms)) if asked.arms else list(exp.arms)
        checkpoints = recognizers_of(exp, wanted, runtime)
        called = exp.name if set(wanted) == set(exp.arms) else f"{exp.name}-{'-'.join(wanted)}"
        if process():
            return  # of several processes the first evaluates
    results = []
    for checkpoint, file in checkpoints:
        recognizer = open_recognizer(file, colour)
        of = recognizer.description
        print(f"{checkpoint}: {of.provenance}; {of.colour} {of.size} px")
        entries: list[dict[str, Any]] = []
        config = Embedding(batch=batch)
        for one in faces:
            if len(one.images) > BLOCK:
                each = [config.model_copy(update={"flip": flip}) for flip in flips(one, protocols)]
                embed_shared([embedding(recognizer, one, how) for how in each], store, runtime)
            measured = evaluated(recognizer, one, protocols, config, store, runtime, 1000)
            for _, group in itertools.groupby(measured, key=lambda entry: entry["kind"]):
                print(text_of(list(group)), flush=True)
            entries += measured
        results.append({"checkpoint": recognizer.as_json() | {"name": checkpoint}, "sets": entries})
    keep(results, exp, runtime.out / "benchmarks" / called)


def embed_shared(calls: Sequence[Call], store: Store, runtime: Runtime) -> None:
    """Embeds the images of a set by several workers, each a part of them; one worker alone leaves it to who needs them."""
    from scoremix.execution import schedule, workers
    from scoremix.execution.torchrun import say

    crew = workers.crew(runtime, [call.step for call in calls])
    if crew.size > 1:
        schedule.run_all(calls, store, runtime, crew, lambda *_: None, say)


def refuse_unfit(name: str, is_file: bool, colour: str | None, has_sets: bool, of_a_run: bool) -> None:
    """ConfigError where a checkpoint is given what only a run takes, or the other way round, or there is no set."""
    from scoremix.config import ConfigError
    from scoremix.execution.torchrun import processes

    if not is_file and colour is not None:
        raise ConfigError(
            f"--colour {colour}: only for a published checkpoint; images of a run are read as RGB or grey"
        )
    if not has_sets:
        raise ConfigError(f"{name}: what shall it be evaluated on? give --sets, such as lfw or a list of pairs")
    if is_file and processes() > 1:
        raise ConfigError(f"{name}: a checkpoint is evaluated by one process, not with torchrun")
    if is_file and of_a_run:
        raise ConfigError(f"{name}: a checkpoint takes no --config, --data, --arms or --set (where sets are: --root)")


def keep(results: list[dict[str, Any]], exp: Experiment | None, folder: Path) -> None:
    """Writes and prints what was measured; of a run's arms also the page over their seeds."""
    from scoremix.data.csv_text import csv_text
    from scoremix.data.files import write_file
    from scoremix.execution.store import versions
    from scoremix.report import paper_table
    from scoremix.report.numbers import terminal

    folder.mkdir(parents=True, exist_ok=True)
    if exp is not None:
        from scoremix.report.pages import faces as pages
        from scoremix.report.sections.face_tables import tables

        over_seeds = tables(results, [*exp.evaluation.controls, "real"])
        for kind, written in (("html", pages.render), ("csv", pages.to_csv), ("json", pages.to_json)):
            write_file(folder / f"benchmark.{kind}", written(over_seeds))
        print("\n" + pages.text(over_seeds))
    results = [without_draws(result) for result in results]
    stored = {"results": results, "versions": versions(), "finished": time.strftime("%Y-%m-%dT%H:%M:%S%z")}
    write_file(folder / "results.json", json.dumps(stored, indent=1) + "\n")
    write_file(folder / "measures.csv", table_of(results))
    if lines := paper_table.table(results):
        write_file(folder / "table.csv", csv_text(lines))
        if exp is None:
            print(f"\nthe papers' columns, in per cent ({folder / 'table.csv'})\n{terminal(lines)}")
    page = "" if exp is None else f"; over seeds: {folder / 'benchmark.html'}"
    print(f"\nall numbers and thresholds: {folder / 'measures.csv'}{page}")


def recognizers_of(exp: Experiment, arms: Sequence[str], runtime: Runtime) -> list[tuple[str, Path]]:
    """(run/arm/seed, checkpoint) of every seed of some arms, made with all they need where they are not there yet."""
    from scoremix.execution.progress import make
    from scoremix.execution.store import Store
    from scoremix.outputs.networks import CHECKPOINT

    labels = [f"{arm}/{seed}" for arm in arms for seed in exp.seeds]
    trained = make(exp, runtime, Store(runtime.out / "store"), [f"recognizer {label}" for label in labels])
    return [(f"{exp.name}/{label}", made / CHECKPOINT) for label, made in zip(labels, trained, strict=True)]


def without_draws(result: dict[str, Any]) -> dict[str, Any]:
    """A checkpoint's results as they are stored."""
    sets = [
        {**e, "measures": [{k: v for k, v in m.items() if k != "draws"} for m in e["measures"]]} for e in result["sets"]
    ]
    return {**result, "sets": sets}


def text_of(entries: Sequence[dict[str, Any]]) -> str:
    """A table of one set and kind of comparison: a column for each protocol, whose switches are said above it."""
    from scoremix.report.numbers import terminal

    first = entries[0]
    lines = [f"\n{first['label']} {first['kind']}: {', '.join(f'{v:,} {k}' for k, v in first['counts'].items())}"]
    lines += [f"  note: {note}" for note in (first["unlike_published"], *first["notes"]) if note]
    for entry in entries:
        switches = ", ".join(f"{k} {v}" for k, v in entry["protocol"].items() if k != "name")
        lines.append(f"  protocol {entry['protocol']['name']}: {switches}")
    names = [entry["protocol"]["name"] for entry in entries]
    measures = zip(*(entry["measures"] for entry in entries), strict=True)
    table = [["per cent", *names], *([label(m[0]), *map(cell, m)] for m in measures)]
    return "\n".join([*lines, terminal(table, indent=4)])


def label(measure: dict[str, Any]) -> str:
    """What a measure is, with its level and rule."""
    name, _, gallery = measure["metric"].partition(" ")
    said = {"tar": "TAR at FAR", "tpir": "TPIR at FPIR", "rank": "rank"}.get(name, name)
    said += f" {measure['level']:g}" if "level" in measure else ""
    return ", ".join(
        [
            said,
            *([RULES.get(measure["rule"], measure["rule"])] if "rule" in measure else []),
            *([gallery] if gallery else []),
        ]
    )


def cell(measure: dict[str, Any]) -> str:
    """The value with its interval and the number of impostors that decide it."""
    text = f"{100 * measure['value']:.2f}"
    if "low" in measure:
        text += f" ({100 * measure['low']:.2f} to {100 * measure['high']:.2f})"
    return text + (f", {measure['decided_by']:,} of {measure['of']:,} impostors" if "decided_by" in measure else "")


def table_of(results: Sequence[dict[str, Any]]) -> str:
    """All measures as CSV, thresholds included."""
    from scoremix.data.csv_text import csv_text

    rows = [["checkpoint", "set", "kind", "protocol", "switches", *COLUMNS]]
    for result in results:
        for entry in result["sets"]:
            switches = " ".join(f"{k}={v}" for k, v in entry["protocol"].items() if k != "name")
            start = [result["checkpoint"]["name"], entry["set"], entry["kind"], entry["protocol"]["name"], switches]
            rows += ([*start, *(m.get(c, "") for c in COLUMNS)] for m in entry["measures"])
    return csv_text(rows)
