"""The chosen m-plets for a reader: a table with weights, who is used how often, where their distances lie."""

import re
from collections.abc import Sequence

import numpy as np

from scoremix.config import Sampling
from scoremix.data.csv_text import csv_text
from scoremix.execution.artifacts import Artifact
from scoremix.execution.work import Work
from scoremix.outputs.mplets import MPletsSummary, chosen_classes
from scoremix.outputs.networks import RecognizerSummary
from scoremix.report.charts import element
from scoremix.report.distances import METRICS, ROWS, Distances, histogram
from scoremix.stages.mix.select import as_csv
from scoremix.stages.mix.weights import weights_of

SORTS = {1: "single classes", 2: "pairs", 3: "triples", 4: "quads"}


def describe_mplets(config: Sampling, recognizer: Artifact, mplets: Artifact, *, work: Work) -> None:
    """Writes mplets.csv with names and weights, coverage.csv, an SVG of the distances per space, and summary.txt."""
    names = RecognizerSummary.load(recognizer).class_names
    info, classes = MPletsSummary.load(mplets), chosen_classes(mplets)
    weights = None if config.draw == "image" else weights_of(config, len(classes), classes.shape[1], 1)
    work.write("mplets.csv", as_csv(classes, names, np.array(info.values), weights))
    uses = ([c, name, n] for c, (name, n) in enumerate(zip(names, info.uses, strict=True)))
    work.write("coverage.csv", csv_text([["class", "name", "mplets"], *uses]))
    for space, metric in info.metrics.items():
        distances = Distances.of(mplets, space, metric, info.strategy)
        work.write(f"distances-{space}.svg", standalone(element(histogram, distances)))
    work.write("summary.txt", summary(info, names))


def standalone(svg: str) -> str:
    """A figure of the report as a file of its own: its light colours, on white."""
    svg = re.sub(r"var\(--[a-z0-9-]+, (#[0-9a-f]{6})\)", r"\1", svg)
    svg = svg.replace("<svg ", '<svg font-family="DejaVu Sans, Verdana, sans-serif" ', 1)
    return svg.replace("</title>", '</title><rect width="100%" height="100%" fill="#ffffff"/>', 1)


def summary(info: MPletsSummary, names: Sequence[str]) -> str:
    """What was chosen, how good it is, whether it is exact, and which classes are used, in a few lines."""
    m, values, uses = info.m, info.values, np.array(info.uses)
    spaces = " and ".join(f"{METRICS[metric]} of {ROWS[space]}" for space, metric in info.metrics.items())
    lines = [f"{len(values):,} {SORTS.get(m, f'{m}-plets')} of {len(names):,} classes: {info.strategy}"]
    if m > 1:
        lines[0] += f" by {spaces}"
        lines.append(f"value ({info.objective} over pairs): {span(values)}")
    certificate = info.certificate
    if certificate is not None:
        lines.append(
            f"exact: of {certificate['sets']:,} possible ones none beyond {certificate['bound']:.6g} was left out; "
            f"{certificate['pair_sums']:,} were evaluated"
        )
    verification = info.verification
    if verification is not None:
        better = f"{verification['new']:,}" if verification["new"] else "none"
        lines.append(f"verified: of {verification['samples']:,} random ones {better} should have been on the list")
    most = int(uses.argmax())
    lines.append(
        f"classes used: {info.classes_used:,} of {len(names):,}; most often {names[most]!r}, in {uses[most]:,}"
    )
    if info.cost_of_constraint is not None:
        lines.append(
            f"greedy, without a certificate: the limit on uses costs {info.cost_of_constraint:.6g} of the mean value, "
            f"{np.mean(values):.6g}; no list within the limit is beyond {info.mean_value_without_constraint:.6g}"
        )
    return "\n".join(lines) + "\n"


def span(values: Sequence[float]) -> str:
    """The least and the largest value, or the one there is."""
    low, high = min(values), max(values)
    return f"{low:.6g}" if low == high else f"{low:.6g} to {high:.6g}"
