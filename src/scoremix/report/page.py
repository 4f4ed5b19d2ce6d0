"""The report as one HTML page that opens from disk: no network, no scripts, every figure and image inside."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from typing import Any

import jinja2
import numpy as np
import yaml
from markupsafe import Markup

from scoremix.evaluation import metric_table
from scoremix.evaluation.estimate import Estimate
from scoremix.evaluation.metric_table import Metric
from scoremix.report import drawing, figures, mix_figures, tables
from scoremix.report.content import Floats, Image, Report, SheetRow
from scoremix.report.tables import text_summary

__all__ = ["render", "text_summary"]

GLOSSARY = (
    ("class", "identity", "what images are labelled with; the test classes were never trained on"),
    ("recognizer", "discriminator, FR model", "network that maps an image to an embedding"),
    ("class center", "class prototype, weight of the head", "a class's direction in the recognizer's space"),
    ("generator", "class-conditional EDM2", "diffusion network trained on the same images as the recognizer"),
    ("condition", "condition embedding", "the generator's vector for one class"),
    ("denoiser", "D(x; σ)", "anything that estimates the clean image from a noisy one"),
    ("pair, m-plet", "class mixture", "the source classes of one mix"),
    ("mix", "ScoreMix sample", "image drawn with a weighted sum of its source classes' denoisers"),
    ("mixing weights α, β", "λ and 1 − λ", "weights of the sum; convex where they add up to 1"),
    ("reproduction", "D_repro", "image drawn for one original class"),
    ("guide", "weaker model of autoguidance", "earlier generator snapshot; sampling moves away from it"),
    ("arm", "row of Tables 1 and 2", "one way of making the training set; everything else is equal"),
    ("coherence", "–", "similarity of an image to the others of its class: is a mixed class one class?"),
    ("gate", "–", "check that reproductions are recognised as their class"),
    ("TAR at FAR", "TAR@FAR", "genuine pairs accepted while at most that share of impostor pairs is"),
    ("EER, AUC", "EER, AUC", "error where both kinds are equally frequent; area under the verification ROC"),
    ("accuracy, top-5", "–", "held-out images of training classes named rightly, or among five; classes count the same"),
    ("rank-1, rank-5", "TR1, TR5", "own class found first, or among five; one enrolled image a class"),
)  # fmt: skip
_STAGE_COLOURS = ("arm-1", "arm-2", "arm-3", "arm-4", "arm-5", "arm-6", "control-1", "control-2")
OUTLINES = 5
_KINDS = {"helps": "good", "does not help here": "neutral", "generator too weak": "bad"}


def environment() -> jinja2.Environment:
    """Where templates are found, and what they may call."""
    made = jinja2.Environment(
        loader=jinja2.PackageLoader("scoremix.report"),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    made.globals.update(t=tables, metric_table=metric_table, picture=_picture)
    return made


def render(report: Report) -> str:
    """The whole page. Same report, same text. Raises ValueError where an image is not uint8 grey or RGB."""
    drawn = drawing.styles(report.arms)
    chosen = report.distances.chosen if report.distances else {}
    return (
        environment()
        .get_template("report.html")
        .render(
            r=report,
            palette=drawing.PALETTE,
            drawn=drawn,
            level=tables.level(report),
            headline=report.evaluation.metric(report.evaluation.headline),
            tone=_KINDS[report.verdict.kind],
            sentence=tables.verdict_sentence(report),
            caveats=tables.caveats(report),
            svg={name: Markup(text) for name, text in _figures(report, drawn).items()},
            metric_svgs=[
                Markup(figures.metric_rows(m, report.arms, drawn))
                for m in report.supported
                if _measured(report, m) and not m.closed
            ],
            difference_svgs=[Markup(text) for text in _difference_figures(report, drawn, closed=False)],
            closed_svgs=[Markup(text) for text in _difference_figures(report, drawn, closed=True)],
            controls=_controls(report),
            first_control=next((arm.name for arm in report.arms if arm.control), ""),
            sheet=[_cells(row) for row in report.sheet],
            stage_colours=[_STAGE_COLOURS[i % len(_STAGE_COLOURS)] for i in range(len(report.costs))],
            total_seconds=sum(c.seconds for c in report.costs),
            similarity_styles=drawing.hues(report.similarities),
            disagreement_styles=drawing.hues(_disagreements(report)),
            magnitude_styles=drawing.hues(report.magnitudes.ratios) if report.magnitudes else {},
            has_mixes=any(
                getattr(report, part)
                for part in ("groups", "similarities", "screened", "agreements", "magnitudes", "search")
            ),
            curve_styles=drawing.hues(c.label for c in report.generator.curves) if report.generator else {},
            config=yaml.safe_dump(tables.plain(report.config), sort_keys=False, allow_unicode=True),
            has_settings=any((report.command, report.seeds, report.versions, report.manifests, report.config)),
            glossary=GLOSSARY,
            compared=list(dict.fromkeys((d.arm, d.control) for d in report.differences)),
            selections=figures.selection_styles(report.distances, drawn) if report.distances else {},
            medians={name: float(np.median(v)) for name, v in chosen.items() if len(v)},
        )
    )


def _figures(report: Report, drawn: dict[str, drawing.Style]) -> dict[str, str]:
    """The figures that the report has data for."""
    made = {}
    headline = report.evaluation.metric(report.evaluation.headline)
    judged = [report.difference(report.verdict.arm, c, headline.key) for c in report.verdict.controls]
    if any(not e.missing for e in judged):
        made["verdict"] = figures.difference_rows(headline, [(report.verdict.arm, judged)], drawn, "verdict")
    if any(arm.roc is not None for arm in report.arms):
        made["roc"] = figures.roc(report.arms, drawn, report.evaluation.supported_far)
    control = next((arm for arm in report.arms if arm.control), None)
    if control is not None and control.roc is not None and sum(arm.roc is not None for arm in report.arms) > 1:
        made["roc_gain"] = figures.roc_gain(report.arms, control, drawn, report.evaluation.supported_far)
    if report.generator is not None and report.generator.curves:
        made["generator"] = figures.generator_loss(report.generator)
    if any(arm.training for arm in report.arms):
        made["recognizer"] = figures.recognizer_loss(report.arms, drawn)
    if report.gate is not None:
        made["gate"] = figures.gate_bars(report.gate)
    if report.distances is not None:
        made["distances"] = figures.distance_histogram(report.distances, drawn)
    if report.similarities:
        made["similarities"] = figures.similarity_histogram(report.similarities)
    if report.agreements:
        made["disagreements"] = figures.disagreement_histogram(_disagreements(report))
    if report.magnitudes is not None:
        made["magnitudes"] = mix_figures.magnitude_lines(report.magnitudes)
    if report.search is not None:
        made["search"] = mix_figures.search_map(report.search)
    return made


def _disagreements(report: Report) -> dict[str, Floats]:
    """Those of the arm that is judged and of the first few others: more outlines cannot be told apart."""
    first = sorted(report.agreements, key=lambda found: report.verdict.arm not in found.arm.split(", "))[:OUTLINES]
    return {found.arm: found.disagreement for found in first}


def _measured(report: Report, metric: Metric) -> bool:
    return any(metric.key in arm.metrics and not arm.metrics[metric.key].missing for arm in report.arms)


def _controls(report: Report) -> list[str]:
    """The controls of all differences, the verdict's first."""
    return list(dict.fromkeys([*report.verdict.controls, *(d.control for d in report.differences)]))


def _difference_figures(report: Report, drawn: dict[str, drawing.Style], closed: bool) -> list[str]:
    made = []
    names = {d.arm for d in report.differences}
    for metric in (m for m in report.supported if m.closed == closed):
        rows: list[tuple[str, Sequence[Estimate]]] = [
            (arm.name, [report.difference(arm.name, c, metric.key) for c in _controls(report)])
            for arm in report.arms
            if arm.name in names
        ]
        rows = [(arm, estimates) for arm, estimates in rows if any(not e.missing for e in estimates)]
        if rows:
            made.append(figures.difference_rows(metric, rows, drawn))
    return made


def _cells(row: SheetRow) -> list[dict[str, Any]]:
    """A row of the main sheet: A, reproduction, mix, reproduction, B; for other m the mix comes last."""

    def cell(kind: str, image: Image, of: str) -> dict[str, Any]:
        return {"kind": kind, "image": image, "of": of}

    pairs = [
        (cell("original", original, name), cell("reproduction", reproduction, name))
        for name, original, reproduction in zip(row.classes, row.originals, row.reproductions, strict=True)
    ]
    mix = cell("mix", row.mixes[0], " × ".join(row.classes))
    if len(pairs) == 2:
        return [*pairs[0], mix, *reversed(pairs[1])]
    return [*(c for pair in pairs for c in pair), mix]


def _picture(image: Image, alt: str) -> Markup:
    """An <img> with the pixels inside, scaled without smoothing by the page's style."""
    data = base64.b64encode(figures.png(image)).decode()
    height, width = image.shape[:2]
    return Markup('<img src="data:image/png;base64,{}" width="{}" height="{}" alt="{}">').format(
        data, width, height, alt
    )
