"""Writes docs/tables.md: our stored numbers beside the paper's Tables 1 and 2, so that none of ours is typed.

The paper's rows are docs/results/faces/paper_tables.json; every other JSON there is a results.json of `scoremix benchmark`.
Add one: python scripts/tables.py --add scoremix_runs/benchmarks/NAME/results.json
"""

from __future__ import annotations

import argparse
import json
import shlex
import statistics
import textwrap
from pathlib import Path
from typing import Any

from scoremix.config.presets import RECIPES
from scoremix.outputs.benchmarks import Benchmarks, Result
from scoremix.report.paper_table import over_seeds, protocols

DOCS = Path(__file__).parents[1] / "docs"
STORED = DOCS / "results" / "faces"
PAPER = STORED / "paper_tables.json"
SETS = "--sets lfw,cfp_fp,cplfw,calfw,agedb_30,ijbb,ijbc,tinyface --root FACES"


def ours(row: dict[str, Any], columns: list[str], results: list[Result]) -> list[str]:
    """Table lines of our numbers for a row: one per protocol, mean over seeds with its deviation; or `not run`."""
    found = [r for r in results if r.checkpoint.arm == f"{row['run']}/{row['arm']}"]
    if not found:
        return [f"| | ours | {' | '.join(['not run'] * len(columns))} |"]
    lines = []
    for protocol in protocols(found):
        cells = []
        for name in columns:
            values = over_seeds(found, name, protocol)
            spread = f" ± {statistics.stdev(values):.2f}" if len(values) > 1 else ""
            cells.append(f"{statistics.fmean(values):.2f}{spread}" if values else "not run")
        seeds = f"{len(found)} seed{'s' if len(found) > 1 else ''}"
        lines.append(f"| | ours, {protocol or 'no IJB'}, {seeds} | {' | '.join(cells)} |")
    return lines


def command(row: dict[str, Any]) -> str:
    """The command of a row, on two lines."""
    settings = "".join(f" --set {shlex.quote(s)}" for s in row["set"])
    start = f"scoremix benchmark {row['preset']} --data {row['data']}"
    return f"{start} \\\n        --arms {row['arm']}{settings} {SETS}"


def table(content: dict[str, Any], results: list[Result]) -> str:
    columns = content["columns"]
    lines = [f"| row | n^s / n^r | {' | '.join(columns)} |", "|---" * (2 + len(columns)) + "|"]
    for row in content["rows"]:
        values = " | ".join(f"{v:.2f}" for v in row["paper"])
        lines.append(f"| **{row['name']}** | paper: {row['synthetic']} / {row['real']} | {values} |")
        lines += ours(row, columns, results)
    notes = [f"\n{row['name']} ({row['synthetic']}): {row['note']}." for row in content["rows"] if "note" in row]
    commands = [
        f"    # {row['name']}, {row['synthetic']} / {row['real']}\n    {command(row)}" for row in content["rows"]
    ]
    return "\n".join([*lines, *notes, "\nOne command a row:\n", *commands])


def recipes() -> str:
    lines = ["| preset | source | cost | numbers to expect |", "|---|---|---|---|"]
    return "\n".join([*lines, *(f"| `{n}` | {r.source} | {r.cost} | {r.expect} |" for n, r in RECIPES.items())])


def page() -> str:
    paper = json.loads(PAPER.read_text())
    files = [file for file in sorted(STORED.glob("*.json")) if file != PAPER]
    results = [result for file in files for result in Benchmarks.from_json(json.loads(file.read_text())).results]
    parts = [
        "# The paper's tables, and ours beside them",
        "Written by `make results` from `docs/results/faces/`; no number of ours is typed. The paper's are typed from it: "
        f"{paper['source']}.",
        "IJB columns are TAR at the nearest point of the ROC, as published numbers are, under the protocol named in the "
        "row; the paper names none, and the choice alone moves these columns by more than its gains. The data are licensed "
        "and not ours to pass on: a row says *not run* until somebody who holds them runs its command. WEBFACE160K is made "
        "of WebFace4M by",
        "    scoremix subset WEBFACE4M WEBFACE160K --classes 10200 --min 11 --max 24 --seed 0",
        "(200 identities more than the paper's 10,000: 100 to make choices on and 100 for the run's own test). Runs share "
        "what they have in common, so the generator is trained once for all rows that need it. Rows of other sets train on all "
        "of their identities but for one in ten thousand (at least two) in validation and test each.",
        *(f"## Table {content['number']}\n\n{table(content, results)}" for content in paper["tables"]),
        "## Recipes",
        "Presets for `scoremix benchmark PRESET --data DATA --arms real --sets ... --root FACES` (recognizers alone) or "
        "`scoremix run PRESET --data DATA` (the whole method). Costs marked as estimates are arithmetic on published "
        "numbers; those of recognizers are of one seed, and a preset trains three (`--set seeds=[0]` for one). Departures: weight decay leaves out biases, BN and PReLU (arcface_torch's does not); bfloat16 where they "
        "use float16; batch statistics are those of the whole batch on one device, of each part on several (theirs) "
        "([scale.md](scale.md)).",
        "The paper's Table 5 (appendix J) has the recognizers' hardware and settings. The copy of the paper that this was "
        "written from has its caption alone, so `webface160k` takes AdaFace's batch, rate and epochs: compare them with "
        "yours, and change them by `--set recognizer.batch=...`, `recognizer.lr`, `recognizer.epochs`.",
        recipes(),
    ]
    return "\n\n".join(map(wrapped, parts)) + "\n"


def wrapped(part: str) -> str:
    """A paragraph in lines that can be read in an editor; tables, headings and commands as they are."""
    return (
        part
        if part.startswith(("#", "|", " "))
        else textwrap.fill(part, 150, break_long_words=False, break_on_hyphens=False)
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--add", type=Path, metavar="RESULTS")
    if file := parser.parse_args().add:
        (STORED / f"{file.parent.name}.json").write_text(file.read_text())
    (DOCS / "tables.md").write_text(page())


if __name__ == "__main__":
    main()
