"""The report: opens every artifact of a run and hands plain content to the page."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import numpy as np

from scoremix.evaluation.estimate import Estimate
from scoremix.evaluation.fairness import pairs_across
from scoremix.evaluation.metric_table import metric_of
from scoremix.report import content, page, tables
from scoremix.report.advice import advice
from scoremix.stages.mix.describe import distances_of
from scoremix.stages.outputs import (
    GateResult,
    GeneratorSummary,
    MPletsSummary,
    RecognizerSummary,
    chosen_classes,
    real_images,
)
from scoremix.stages.show import mixes

if TYPE_CHECKING:
    from scoremix.config import Experiment
    from scoremix.execution.artifacts import Artifact, Work


def report(
    config: Experiment,
    chain: Mapping[str, Artifact],
    recognizers: Mapping[str, Artifact],
    added: Mapping[str, Artifact],
    *,
    work: Work,
) -> None:
    """Writes report.html, the same numbers as report.csv and report.json, and the terminal's summary.txt."""
    results = chain["results"].json("results.json")
    verdict = results["verdict"]
    gate, groups = content.Gate(**asdict(GateResult.load(chain["gate"]))), mixes.groups(chain["diagnostics"])
    screened = mixes.screened(added)
    gains = {
        d["arm"]: d["value"]
        for d in results["differences"]
        if (d["control"], d["metric"]) == (verdict["controls"][-1], results["headline"]) and d["value"] is not None
    }
    made = content.Report(
        title=f"Does mixing classes help? {config.name}",
        verdict=content.Verdict(
            kind=verdict["kind"],
            arm=verdict["arm"],
            controls=tuple(verdict["controls"]),
            change=advice(verdict["kind"], verdict["arm"], config.arms, groups, gate, [s.arm for s in screened], gains),
        ),
        data=_data(config, chain["real"]),
        evaluation=_evaluation(config, results),
        arms=tuple(_arm(config, name, results, chain, recognizers) for name in config.arms),
        differences=tuple(
            content.Difference(d["arm"], d["control"], d["metric"], Estimate.from_json(d))
            for d in results["differences"]
        ),
        gate=gate,
        generator=_generator(chain["generator"]),
        sheet=_sheet(chain),
        grid=_grid(chain),
        distances=_distances(chain["mplets"]),
        groups=groups,
        similarities=mixes.similarities(chain["diagnostics"], config.evaluation.treatment),
        screened=screened,
        agreements=mixes.agreements(added),
        magnitudes=mixes.magnitudes(chain["magnitudes"]),
        search=mixes.search(chain),
        costs=_costs(chain, recognizers, added),
        closed=_closed(results),
        by_group=_by_group(results, chain),
        config=config.model_dump(mode="json"),
        versions=chain["results"].manifest["versions"],
        seeds={
            "recognizers": list(config.seeds),
            "generator": config.generator.seed,
            "data": config.data.seed,
            "sampling": config.sampling.seed,
            "selection": config.selection.seed,
            "bootstrap": config.evaluation.seed,
        },
        manifests=tuple(
            content.Manifest(a.stage, a.key, f"store/{a.stage}/{a.key[:12]}")
            for a in [*chain.values(), *added.values(), *recognizers.values()]
        ),
    )
    work.write("report.html", page.render(made))
    work.write("report.csv", tables.to_csv(made))
    work.write("report.json", tables.to_json(made))
    work.write("summary.txt", tables.text_summary(made))
    for name in made.closed.files if made.closed else ():
        work.write(name, (chain["results"] / name).read_bytes())


def _data(config: Experiment, real: Artifact) -> content.Data:
    info = real.json("summary.json")
    return content.Data(
        name=config.source,
        splits=tuple(content.Split(**split) for split in info["splits"]),
        image_shape=tuple(info["image_shape"]),
        skipped=tuple(content.Skipped(path, reason) for path, reason in info["skipped"]),
        note=info["note"],
    )


def _evaluation(config: Experiment, results: dict[str, Any]) -> content.Evaluation:
    return content.Evaluation(
        metrics=tuple(metric_of(key, results["unsupported"].get(key, "")) for key in results["metrics"]),
        headline=results["headline"],
        genuine_pairs=results["genuine_pairs"],
        impostor_pairs=results["impostor_pairs"],
        supported_far=results["supported_far"],
        images=results["images"],
        images_of=results["images_of"],
        recognizer_seeds=config.seeds,
        generator_seed=config.generator.seed,
        test_looks=results["looks"],
        confidence=config.evaluation.level,
    )


def _closed(results: dict[str, Any]) -> content.Closed | None:
    found = results["closed"]
    if found is None:
        return None
    groups = (
        content.ClosedGroup(
            g["name"], g["classes"], g["images"], {n: Estimate.from_json(e) for n, e in g["arms"].items()}
        )
        for g in found["groups"]
    )
    worst, best = (tuple(content.ClosedClass(**c) for c in found.get(name, ())) for name in ("worst", "best"))
    files = ("closed_classes.csv", "closed_groups.csv") if found["groups"] else ("closed_classes.csv",)
    return content.Closed(found["classes"], found["images"], found["looks"], tuple(groups), worst, best, files)


def _by_group(results: dict[str, Any], chain: Mapping[str, Artifact]) -> content.ByGroup | None:
    found = results["groups"]
    if found is None:
        return None

    def rate(name: str, k: int) -> dict[str, Estimate]:
        return {arm: Estimate.from_json(rates[name][k]) for arm, rates in found["arms"].items()}

    groups = [
        content.GroupErrors(
            name, found["classes"][k], found["genuine"][k], found["impostor"][k], rate("fnmr", k), rate("fmr", k)
        )
        for k, name in enumerate(found["groups"])
    ]
    groups.sort(key=lambda group: -group.fnmr[results["verdict"]["arm"]].value)
    garbe = {arm: Estimate.from_json(rates["garbe"]) for arm, rates in found["arms"].items()}
    others = {
        key: {arm: Estimate.from_json(rates[key]) for arm, rates in found["arms"].items()}
        for key in ("fdr", "inequity")
    }
    minus = {control: Estimate.from_json(value) for control, value in found["minus"].items()}
    names = real_images(chain["real"]).groups
    classes = chosen_classes(chain["mplets"])
    across: tuple[float | None, float | None] = (None, None)
    if names is not None and classes.shape[1] > 1:
        sizes = np.unique(names, return_counts=True)[1]
        alike = (sizes * (sizes - 1)).sum() / (len(names) * (len(names) - 1))
        across = pairs_across(classes, names), 1 - float(alike)
    return content.ByGroup(found["far"], tuple(groups), garbe, minus, *across, others)


def _arm(
    config: Experiment,
    name: str,
    results: dict[str, Any],
    chain: Mapping[str, Artifact],
    recognizers: Mapping[str, Artifact],
) -> content.Arm:
    of_arm = [recognizers[f"{name}/{seed}"] for seed in config.seeds]
    info = RecognizerSummary.load(of_arm[0])
    curves = chain["results"].arrays("roc.npz")
    histories = [np.genfromtxt(a / "history.csv", delimiter=",", names=True) for a in of_arm]
    return content.Arm(
        name,
        config.arms[name].note,
        control=name in results["verdict"]["controls"],
        classes=info.classes,
        images=info.images,
        steps=info.steps,
        metrics={key: Estimate.from_json(value) for key, value in results["arms"][name].items()},
        roc=content.Roc(curves["far"], curves[name]),
        training=(
            content.Curve("loss", histories[0]["images_seen"], np.stack([np.atleast_1d(h["loss"]) for h in histories])),
        ),
    )


def _generator(generator: Artifact) -> content.Generator:
    history = np.genfromtxt(generator / "history.csv", delimiter=",", names=True)
    curve = content.Curve("loss", np.atleast_1d(history["images_seen"]), np.atleast_1d(history["loss"]))
    return content.Generator((curve,), GeneratorSummary.load(generator).guide_at)


def _sheet(chain: Mapping[str, Artifact]) -> tuple[content.SheetRow, ...]:
    names = GeneratorSummary.load(chain["generator"]).classes
    distances = MPletsSummary.load(chain["mplets"]).values
    sheet = chain["pictures"].arrays("sheet.npz")
    return tuple(
        content.SheetRow(
            tuple(names[c] for c in sheet["classes"][i]),
            tuple(sheet["originals"][i]),
            tuple(sheet["reproductions"][i]),
            tuple(sheet["mixes"][i]),
            distances[sheet["rows"][i]],
        )
        for i in range(len(sheet["classes"]))
    )


def _grid(chain: Mapping[str, Artifact]) -> content.Grid | None:
    names = GeneratorSummary.load(chain["generator"]).classes
    grid = chain["pictures"].arrays("grid.npz")
    if len(grid["classes"]) != 2:
        return None
    first, second = (names[k] for k in grid["classes"])
    return content.Grid((first, second), *2 * (tuple(grid["ticks"]),), tuple(tuple(row) for row in grid["images"]))


def _distances(mplets: Artifact) -> content.Distances:
    info = MPletsSummary.load(mplets)
    space, metric = next(iter(info.metrics.items()))
    return distances_of(mplets, space, metric, info.strategy)


def _costs(
    chain: Mapping[str, Artifact], recognizers: Mapping[str, Artifact], added: Mapping[str, Artifact]
) -> tuple[content.Cost, ...]:
    """One row per stage; the recognizers of all arms and seeds are summed."""
    rows: dict[str, list[dict[str, float]]] = {}
    once = {artifact.key: artifact for artifact in [*recognizers.values(), *chain.values(), *added.values()]}
    for artifact in once.values():
        label = "recognizers, all arms and seeds" if artifact.stage == "recognizer" else artifact.stage
        rows.setdefault(label, []).append(artifact.manifest["cost"])
    return tuple(
        content.Cost(
            label,
            sum(c["seconds"] for c in costs),
            int(sum(c.get("evaluations", 0) for c in costs)) or None,
            int(max(c["peak_mib"] for c in costs) * 2**20),
            int(sum(c.get("images", 0) for c in costs)) or None,
        )
        for label, costs in rows.items()
    )
