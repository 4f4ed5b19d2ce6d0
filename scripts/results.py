"""Writes docs/results.md, docs/studies/, docs/demo.md, docs/generator.md and README.md from docs/results/: no number is typed (`make results`).

Add a run: python scripts/results.py --add scoremix_runs/NAME (its report.json and the manifest of its comparison);
what its images are: --add-quality scoremix_runs/NAME; a study: --add-study scoremix_runs/NAME (its study.json and the
manifests). Sentences of docs/results/pages/*.md.in take their numbers from there too: {{STUDY/DATA/ARM/METRIC}} becomes a
mean in per cent, {{STUDY/DATA/ARM-OTHER/METRIC}} a difference with its interval, {{STUDY/DATA/ARM/evaluations}} those of the
generator for its images, {{STUDY/DATA/ARM/gate}} how well that knows its classes, {{gates_NAME:ARM/IMAGES/GUIDANCE}} a gate,
{{share:FILE/NAME/...}} a share of any file; @STUDY@ becomes its tables.
"""

from __future__ import annotations

import argparse
import json
import math
import re
from datetime import datetime
from pathlib import Path
from typing import Any

import findings
import result_tables as tables

from scoremix.execution.artifacts import Artifact
from scoremix.outputs.quality import QualitySummary

DOCS = Path(__file__).parents[1] / "docs"
STORED = DOCS / "results"
PAGES = STORED / "pages"


def add(run: Path) -> None:
    """Keeps what the tables need of a finished run."""
    report = json.loads((run / "report.json").read_text())
    store = run.parent / "store"
    folder = next(store / m["path"].removeprefix("store/") for m in report["manifests"] if m["stage"] == "compare")
    kept = {
        name: report[name]
        for name in ("title", "data", "evaluation", "arms", "differences", "gate", "costs", "config", "choice")
        if name in report
    }
    for arm in kept["arms"]:
        arm.pop("roc"), arm.pop("training")
    kept["verdict"] = report["verdict"]
    made = [json.loads((run.parent / m["path"] / "manifest.json").read_text()) for m in report["manifests"]]
    ends = [datetime.strptime(manifest["finished"], "%Y-%m-%dT%H:%M:%S%z").timestamp() for manifest in made]
    begun = min(end - manifest["cost"]["seconds"] for end, manifest in zip(ends, made, strict=True))
    kept["wall_seconds"] = max(ends) - begun  # of a run that nothing stopped
    kept["manifest"] = json.loads((folder / "manifest.json").read_text())
    (STORED / f"{run.name}.json").write_text(json.dumps(kept, indent=1) + "\n")


def add_study(folder: Path) -> None:
    """Keeps a study's tables with the manifests of its comparisons."""
    kept = json.loads((folder / "study.json").read_text())
    compared = folder.parent / "store" / "compare"
    for table in kept["tables"]:
        table["manifests"] = {name: origin(compared / key[:12]) for name, key in table["manifests"]}
    (STORED / f"{kept['name']}.json").write_text(json.dumps(kept, indent=1) + "\n")


def add_quality(run: Path) -> None:
    """Keeps what `scoremix quality` measured of a run's images, with the manifest of that step."""
    measured = QualitySummary.load(Artifact("quality", "", run))
    copy, files = (run / measured.FILE).read_bytes(), (run.parent / "store" / "quality").glob(f"*/{measured.FILE}")
    made = next(file.parent for file in files if file.read_bytes() == copy)
    kept = {"sets": measured.sets, "notes": measured.notes, "run": run.name, "manifest": origin(made)}
    (STORED / f"quality_{run.name.replace('.', '_')}.json").write_text(json.dumps(kept, indent=1) + "\n")


def origin(artifact: Path) -> dict[str, Any]:
    """What of an artifact's manifest says where its numbers come from."""
    manifest = json.loads((artifact / "manifest.json").read_text())
    return {name: manifest[name] for name in ("key", "commit", "versions", "finished")}


def quoted(stored: dict[str, Any], study: str, data: str, arms: str, metric: str) -> str:
    """A number of a study for a sentence; KeyError or StopIteration where there is none."""
    arm, _, other = arms.partition("-")
    found = findings.cell(stored, study, data, arm, metric, other)
    if found is None:
        raise KeyError(f"{study}/{data}/{arms}/{metric}: not stored")
    if metric == "gate":
        return f"{found['value']:.2f}".lstrip("0")
    if metric == "evaluations":
        return f"{found['value']:,}"
    return tables.percent(found, True) if other else f"{100 * found['value']:.1f}"


def gate(stored: dict[str, Any], name: str, arm: str, images: str, guidance: str) -> str:
    """The gate of a snapshot for a sentence; StopIteration where there is none."""
    rows = next(made["rows"] for made in stored[name] if made["arm"] == arm)
    wanted = int(images), float(guidance)
    found = next(row["top1"] for row in rows if (row["images_seen"], row["guidance"]) == wanted)
    return f"{found:.3f}".lstrip("0")


def share(stored: dict[str, Any], path: str) -> str:
    """A share that is stored under the names, or numbers, of a path, for a sentence; KeyError where there is none."""
    found: Any = stored
    for name in path.split("/"):
        found = found[int(name) if isinstance(found, list) else name]
    return f"{found:.3f}".lstrip("0")


def blocks(stored: dict[str, Any]) -> dict[str, str]:
    """Tables by the @NAME@ that a page has in their place."""
    of_content = {"tables": tables.study_section, "sets": tables.quality_section, "verdict": tables.run_section}
    made = {
        f"@{name.upper()}@": section(value)
        for name, value in stored.items()
        for has, section in of_content.items()
        if has in value and name != "people"
    }
    made |= {f"@{name.upper()}@": tables.gates_table(v) for name, v in stored.items() if name.startswith("gates_")}
    made["@PRESENTATION@"] = tables.presentation_table(stored["presentation"])
    made["@SHIFT@"] = tables.shift_table(stored["shift"])
    made["@MPLETS@"] = tables.mplets_table(stored["mplets"])
    made["@PLANS@"] = tables.plans_table(stored["plan_demo"])
    made["@SPEED@"] = tables.speed_table([stored["generator_small"], stored["generator_s"]])
    made["@STAGES@"] = tables.stage_table(stored["demo"])
    made["@MINUTES@"] = f"{math.ceil(stored['demo']['wall_seconds'] / 60)}"
    return made


def load() -> dict[str, Any]:
    """All that is stored, by name; studies of people in the form of the others."""
    stored = {file.stem: json.loads(file.read_text()) for file in sorted(STORED.glob("*.json"))}
    return stored | findings.people(STORED / "people")


def pages(stored: dict[str, Any]) -> dict[Path, str]:
    """Every page with its numbers; SystemExit for a number that is not stored."""
    values, made = blocks(stored), {}
    own = {"readme": DOCS.parent / "README.md"} | {
        name: DOCS / f"{name}.md" for name in ("demo", "generator", "results")
    }
    for template in sorted(PAGES.glob("*.md.in")):
        name = template.name.removesuffix(".md.in")
        text = re.sub(r"@[A-Z0-9_]+@", lambda m: values.get(m[0], m[0]), template.read_text())
        text = re.sub(r"\{\{share:([\w/]+)\}\}", lambda m: share(stored, m[1]), text)
        text = re.sub(r"\{\{([^{}/]+)/([^{}/]+)/([^{}/]+)/([^{}/]+)\}\}", lambda m: quoted(stored, *m.groups()), text)
        text = re.sub(r"\{\{(\w+):(\w+)/(\d+)/([\d.]+)\}\}", lambda m: gate(stored, *m.groups()), text)
        if left := re.findall(r"@[A-Z0-9_]+@|\{\{.*?\}\}", text):
            raise SystemExit(f"{template.name}: no result is stored for {', '.join(left)}")
        made[own.get(name, DOCS / "studies" / f"{name}.md")] = text
    return made


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--add", type=Path, metavar="RUN")
    parser.add_argument("--add-study", type=Path, metavar="FOLDER")
    parser.add_argument("--add-quality", type=Path, metavar="RUN")
    arguments = parser.parse_args()
    for given, action in ((arguments.add, add), (arguments.add_study, add_study), (arguments.add_quality, add_quality)):
        if given:
            action(given)
    stored = load()
    for page, text in pages(stored).items():
        page.write_text(text)
    findings.draw(stored, DOCS / "studies")


if __name__ == "__main__":
    main()
