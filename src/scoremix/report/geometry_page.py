"""The page of the geometry, its CSV and JSON, and what it found in words (paper 4.3, Appendices D to G)."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator, Mapping
from typing import Any

import yaml
from markupsafe import Markup

from scoremix.report import drawing, geometry_figures, tables
from scoremix.report.geometry import Geometry, Row
from scoremix.report.page import environment

MEASURES = ("cka", "cka_debiased", "cknna", "soft_cknna")


def render(g: Geometry) -> str:
    """The whole page, self-contained. Same content, same text."""
    series = g.alignment["series"]
    return environment().get_template("geometry.html").render(
        g=g,
        palette=drawing.PALETTE,
        svg={name: Markup(text) for name, text in _figures(g).items()},
        findings=findings(g),
        measured=list(g.measured(g.condition, g.reference).values()),
        anchors=geometry_figures.anchor_styles(list(dict.fromkeys(row["space"] for row in series))),
        emas=sorted({row["ema"] for row in series}),
        measures=MEASURES,
        snapshot_styles=geometry_figures.snapshot_styles(g.snapshots),
        mask_styles=geometry_figures.mask_styles(g.order["simulated_rates"]),
        map_styles=drawing.hues(" and ".join(s.classes) for s in g.strips),
        config=yaml.safe_dump(tables.plain(g.settings), sort_keys=False, allow_unicode=True),
        signed=signed,
    )  # fmt: skip


def _figures(g: Geometry) -> dict[str, str]:
    draw = geometry_figures
    labels, series = g.alignment["labels"], g.alignment["series"]
    made = {"against_chance": draw.against_chance(list(g.measured(g.condition, g.reference).values()), labels)}
    among = _among_recognizers(g)
    for ema in sorted({row["ema"] for row in series}):
        for measure in MEASURES:
            made[f"series {measure} {ema:g}"] = draw.over_training(series, measure, labels[measure], ema, among)
    names = g.alignment["matrix"]["names"]
    for measure in MEASURES:
        made[f"matrix {measure}"] = draw.matrix(
            names, g.alignment["matrix"][measure], f"matrix-{measure.replace('_', '-')}", labels[measure]
        )
    for strategy, found in g.transfer["strategies"].items():
        made[f"transfer {strategy}"] = draw.matrix(
            found["names"], found["shared"], f"transfer-{strategy}", f"Shared m-plets, {strategy}", percent=True
        )
    for key, label in (
        ("top1", "share recognized"),
        ("align", "alignment loss"),
        ("ics", "intra-class similarity"),
        ("cka", "CKA with the recognizer"),
    ):
        made[f"snapshots {key}"] = draw.snapshots(g.snapshots, key, label)
    k = g.order["simulated_k"]
    bounds = [row["paper_expected"] / k for row in g.order["simulated"]]
    made["simulated overlap"] = draw.simulated_overlap(g.order["simulated"], k, bounds)
    made["simulated rates"] = draw.simulated_rates(g.order["simulated_rates"])
    made["matrices"] = draw.distance_matrices(g.distances["condition_matrix"], g.distances["center_matrix"])
    made["signals"] = draw.signals(g.distances)
    made["joint"] = draw.joint_histogram(g.distances)
    made["lambda"] = draw.similarity_over_lambda(g.paths["weights"], g.paths)
    made["map"] = draw.embedding_map(g.paths["map"])
    return made


def _among_recognizers(g: Geometry) -> dict[str, float]:
    """Measure -> mean over pairs of recognizers, {} where there is one only."""
    matrix = g.alignment["matrix"]
    own = [
        i for i, name in enumerate(matrix["names"]) if name in {s["name"] for s in g.spaces if s["kind"] != "condition"}
    ]
    pairs = [(i, j) for i in own for j in own if i < j]
    if not pairs:
        return {}
    return {m: sum(matrix[m][i][j] for i, j in pairs) / len(pairs) for m in MEASURES}


def signed(value: float, places: int = 2) -> str:
    """The number with a true minus sign; a dash where it is none."""
    return tables.DASH if value != value else f"{value:.{places}f}".replace("-", "−")


# ---- in words


def findings(g: Geometry) -> list[str]:
    """What was found, one sentence each, chance level beside every number."""
    return [_aligned(g), *_recognizers(g), _selection(g), _prediction(g), _path(g), *_training(g)]


def _aligned(g: Geometry) -> str:
    rows = g.measured(g.condition, g.reference)
    biased, debiased = rows["cka"], rows["cka_debiased"]
    null = debiased["chance"]["permutation"]
    verdict = "are aligned beyond chance" if null["p_value"] <= 0.05 else "cannot be told from unrelated spaces"
    return (
        f"Conditions and class centers {verdict}: debiased CKA {signed(debiased['value'])} "
        f"({signed(debiased['low'])} to {signed(debiased['high'])}), permuted classes {signed(null['mean'])}, "
        f"p = {null['p_value']:.2g}. The paper's biased CKA is {signed(biased['value'])}, of which permuted classes "
        f"alone give {signed(biased['chance']['permutation']['mean'])}."
    )


def _recognizers(g: Geometry) -> Iterator[str]:
    among = _among_recognizers(g)
    if among:
        yield (
            f"Recognizers agree with each other at a debiased CKA of {signed(among['cka_debiased'])} "
            f"(biased {signed(among['cka'])}) in the mean over pairs."
        )


def _selection(g: Geometry) -> str:
    row = g.order["spaces"][0]
    k = g.order["k"]
    return (
        f"Of the {tables.count(k)} farthest pairs of {row['x']}, {tables.count(row['shared'])} are among those of "
        f"{row['y']}; unrelated spaces would share {row['chance']:.3g}."
    )


def _prediction(g: Geometry) -> str:
    row = g.order["spaces"][0]
    return (
        f"The paper's K·p says {row['paper_expected']:.3g} there, and never less than half of K whatever the spaces: it "
        f"predicts nothing. Expected by the correlation of the pairs (r = {signed(row['correlation'])}): "
        f"{row['expected_by_pairs']:.3g}."
    )


def _path(g: Geometry) -> str:
    means, straight = g.paths["means"], g.paths["straight"]
    moves = means["to_b"][-1] - means["to_b"][0]
    return (
        f"From λ = 0 to 1 the mean similarity to the second class moves by {signed(moves)}; {tables.percent(means['forward'])} "
        f"of steps go forward. Straightness {signed(means['straightness'])}, a straight path would have "
        f"{signed(straight['straightness'])}."
    )


def _training(g: Geometry) -> Iterator[str]:
    for run in g.snapshots:
        few = {ema: found for ema, found in run.correlation.items() if "pearson" not in found}
        for ema, found in run.correlation.items():
            if ema not in few:
                yield (
                    f"Over {found['snapshots']} snapshots of {run.run} (EMA {ema}) CKA and recognition of reproductions "
                    f"correlate at {signed(found['pearson'])} ({signed(found['low'])} to {signed(found['high'])}); their "
                    f"steps, without the common trend, at {signed(found['steps'])}."
                )
        if few:
            counts = ", ".join(f"{found['snapshots']} at EMA {ema}" for ema, found in few.items())
            yield (
                f"Whether phases of higher CKA go with better recognition cannot be told for {run.run}: networks stored "
                f"at {counts}, at least {run.fewest} that differ are needed."
            )


def text_summary(g: Geometry) -> str:
    return "\n".join([g.title, *(f"  {line}" for line in findings(g))]) + "\n"


# ---- numbers


def to_csv(g: Geometry) -> str:
    """Every number in long form: section, x, y, name, value, low, high, chance, p_value, note."""
    out = io.StringIO()
    writer = csv.DictWriter(
        out, ["section", "x", "y", "name", "value", "low", "high", "chance", "p_value", "note"], lineterminator="\n"
    )
    writer.writeheader()
    writer.writerows(_rows(g))
    return out.getvalue()


def _rows(g: Geometry) -> Iterator[dict[str, Any]]:
    for row in g.alignment["pairs"]:
        null = row["chance"]["permutation"]
        numbers = {key: row[key] for key in ("value", "low", "high")}
        yield {"section": "alignment", "x": row["x"], "y": row["y"], "name": row["measure"], **numbers,
               "chance": null["mean"], "p_value": null["p_value"]}  # fmt: skip
    matrix = g.alignment["matrix"]
    for measure in MEASURES:
        for i, x in enumerate(matrix["names"]):
            for j, y in enumerate(matrix["names"][:i]):
                yield {"section": "matrix", "x": x, "y": y, "name": measure, "value": matrix[measure][i][j]}
    for row in g.alignment["series"]:
        for measure in MEASURES:
            yield {"section": "training", "x": f"conditions EMA {row['ema']:g}", "y": row["space"], "name": measure,
                   "value": row[measure], "note": row["images_seen"]}  # fmt: skip
    for run in g.snapshots:
        for row in run.rows:
            for key in ("cka", "top1", "align", "ics", "shift", "coverage"):
                yield {"section": "snapshots", "x": run.run, "y": f"EMA {row['ema']:g}", "name": key,
                       "value": row[key], "note": row["images_seen"]}  # fmt: skip
    for section in ("spaces", "rates"):
        for row in g.order[section]:
            for key, value in _numbers(row):
                yield {"section": f"order {section}", "x": row["x"], "y": row["y"], "name": key, "value": value,
                       "note": row.get("mask", "")}  # fmt: skip
    for section in ("simulated", "simulated_rates"):
        for row in g.order[section]:
            for key, value in _numbers(row):
                if key != "rho":
                    yield {"section": section, "x": f"rho {row['rho']:g}", "name": key, "value": value,
                           "note": row.get("mask", "")}  # fmt: skip
    for strategy, found in g.transfer["strategies"].items():
        for key in ("shared", "jaccard", "classes"):
            for i, x in enumerate(found["names"]):
                for j, y in enumerate(found["names"][:i]):
                    yield {"section": f"transfer {strategy}", "x": x, "y": y, "name": key, "value": found[key][i][j]}
    for name in ("pearson", "spearman"):
        yield {"section": "distances", "x": g.condition, "y": g.reference, "name": name, "value": g.distances[name]}
    for kind in ("singles", "means", "straight"):
        for key in ("forward", "straightness", "off_path_at_half"):
            yield {"section": "paths", "x": kind, "name": key, "value": g.paths[kind][key]}


def _numbers(row: Row) -> Iterator[tuple[str, float]]:
    return ((key, value) for key, value in row.items() if isinstance(value, (int, float)))


def to_json(g: Geometry) -> str:
    """The same as nested JSON, arrays that are only drawn left out."""
    content: Mapping[str, Any] = {
        "title": g.title,
        "run": g.run,
        "classes": g.classes,
        "findings": findings(g),
        "spaces": g.spaces,
        "alignment": g.alignment,
        "order": g.order,
        "transfer": g.transfer,
        "distances": {key: g.distances[key] for key in ("conditions", "centers", "pearson", "spearman", "pairs")},
        "snapshots": [{"run": s.run, "rows": s.rows, "correlation": s.correlation} for s in g.snapshots],
        "paths": {key: g.paths[key] for key in ("pairs", "images", "singles", "means", "straight")},
        "evaluations": g.evaluations,
        "settings": g.settings,
        "versions": g.versions,
    }
    return json.dumps(tables.plain(content), indent=1, ensure_ascii=False) + "\n"
