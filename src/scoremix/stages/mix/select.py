"""Which classes are mixed: m-plets by the distances of class centers or conditions (paper 4.2 to 4.4)."""

import math
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import cast

import numpy as np

from scoremix.analysis.spaces import in_order
from scoremix.config import ConfigError, Selection
from scoremix.data import lists
from scoremix.data.csv_text import csv_text
from scoremix.data.files import known_hash
from scoremix.diffusion import checkpoints
from scoremix.diffusion.unet import condition_matrix
from scoremix.execution.artifacts import Artifact, External
from scoremix.execution.work import Work
from scoremix.outputs.images import real_images
from scoremix.outputs.mplets import MPletsSummary
from scoremix.outputs.networks import GeneratorSummary, RecognizerSummary, centers_of
from scoremix.selection import strategies
from scoremix.selection.coverage import Coverage, degrees_of, refuse_degrees
from scoremix.selection.criterion import Criterion, Metric
from scoremix.selection.distribution import pair_histogram
from scoremix.selection.mplets import MPlets, refuse_impossible
from scoremix.selection.search import Progress

VERIFIED = 100_000  # random m-plets that no list of the best ones may miss (Appendix H)


def select_mplets(
    config: Selection, recognizer: Artifact, more: Mapping[str, Artifact | External] = {}, *, work: Work
) -> None:
    """Writes classes.npy (K, m), mplets.csv, mplets.json and the distances of all pairs and of the chosen ones.

    `more` holds what only some selections read: the `generator` for its condition matrix, the `real` images for their
    groups, the files of `groups` and of the m-plets (`file`).
    """
    spaces, names = {"embedding": centers_of(recognizer).numpy()}, RecognizerSummary.load(recognizer).class_names
    if "generator" in more:
        spaces["condition"] = conditions(cast("Artifact", more["generator"]), config.ema, names)
    count = config.count or default_count(len(names), config.mixed)
    if config.strategy == "each":
        chosen = each_class(len(names), count, config.seed)
    elif config.strategy == "list":
        classes = lists.read_mplets(Path(cast("External", more["file"]).place), names, config.m)
        values = Criterion.of(spaces[config.space], config.metric).values(classes)
        chosen = MPlets(classes, values, None, Coverage(degrees_of(classes, len(names))))
    else:
        allowed = groups_of(config, names, more)
        with work.bar(100, "%") as advance:
            chosen = search(config, spaces, count, allowed, lambda what, share: advance(100 * share, unit=f"% {what}"))
    work.write_array("classes.npy", chosen.classes)
    for space, metric in metrics_of(config).items():
        counts, edges = pair_histogram(spaces[space], metric)
        distances = Criterion.of(spaces[space], metric).distances(chosen.classes)
        work.write_arrays(f"distances-{space}.npz", counts=counts, edges=edges, chosen=distances)
    work.write("mplets.csv", as_csv(chosen.classes, names, chosen.values))
    summary(config, chosen, len(names)).write(work)


def search(
    config: Selection, spaces: Mapping[str, np.ndarray], count: int, groups: np.ndarray | None, progress: Progress
) -> MPlets:
    """The m-plets of a strategy; ValueError, saying whose, where the choice is impossible."""
    try:
        return strategies.select(
            spaces[config.space],
            cast("strategies.Strategy", config.strategy),
            count,
            m=config.m,
            metric=config.metric,
            objective=config.objective,
            seed=config.seed,
            conditions=spaces.get("condition"),
            condition_metric=config.condition_metric,
            window=config.window,
            groups=groups,
            across=config.across,
            max_degree=config.max_degree,
            min_degree=config.min_degree,
            verify=VERIFIED,
            progress=progress,
        )
    except ValueError as error:
        raise ValueError(f"selection of {count} m-plets: {error}") from None


def refuse_too_few(config: Selection, classes: int, groups: np.ndarray | None) -> None:
    """ValueError, before there are any spaces, where so many m-plets of so many classes cannot be chosen.

    ConfigError, which is one, of the setting by its name where there are not so many, whatever the groups.
    """
    if config.strategy in ("each", "list"):
        return
    m = config.m
    if m > classes:
        raise ConfigError(f"selection.m {m}: there are {classes} training classes, a mix has as many at most")
    if config.count is not None and config.count > (total := math.comb(classes, m)):
        said = lists.noun(total, "m-plet")
        raise ConfigError(f"selection.count {config.count}: {classes} training classes have {said} of {m}")
    count = config.count or default_count(classes, m)
    ordered = config.strategy not in ("random", "window")
    objective, largest = (config.objective, config.strategy in ("far", "joint_top")) if ordered else ("sum", True)
    try:
        refuse_impossible(classes, m, count, objective, largest, groups, config.across)
        refuse_degrees(classes, m, count, config.max_degree, config.min_degree)
    except ValueError as error:
        raise ValueError(f"selection of {count} m-plets: {error}") from None


def metrics_of(config: Selection) -> Mapping[str, Metric]:
    """Space -> metric of the distances that decide, the first one first."""
    joint = config.strategy.startswith("joint")
    metrics: dict[str, Metric] = {config.space: config.metric}
    return {**metrics, "condition": config.condition_metric} if joint else metrics


def summary(config: Selection, chosen: MPlets, classes: int) -> MPletsSummary:
    """The selection: values, certificate, how often each class is used, the cap's cost."""
    coverage = chosen.coverage
    assert coverage is not None
    return MPletsSummary(
        strategy=config.strategy,
        metrics=dict(metrics_of(config)),
        objective=config.objective,
        m=chosen.classes.shape[1],
        count=len(chosen),
        values=chosen.values.tolist(),
        certificate=None if chosen.certificate is None else asdict(chosen.certificate),
        verification=None if chosen.verification is None else asdict(chosen.verification),
        classes=classes,
        classes_used=coverage.used,
        most_uses_of_a_class=int(coverage.degrees.max()),
        uses=coverage.degrees.tolist(),
        mean_value_without_constraint=coverage.unconstrained,
        cost_of_constraint=coverage.cost,
    )


def each_class(classes: int, count: int, seed: int) -> MPlets:
    """Every class alone, or `count` of them drawn at random; the objective of one class is 0."""
    drawn = np.sort(np.random.default_rng(seed).permutation(classes)[:count])[:, None].astype(np.int64)
    return MPlets(drawn, np.zeros(len(drawn)), None, Coverage(degrees_of(drawn, classes)))


def conditions(generator: Artifact, ema: float, names: list[str]) -> np.ndarray:
    """The generator's condition of each class (N, c), rows in the order of `names`; ValueError where one is missing."""
    info = GeneratorSummary.load(generator)
    net, _ = checkpoints.load(generator / info.snapshots[f"{ema:.3f}"], "float32")
    rows: np.ndarray = in_order(condition_matrix(net), info.classes, names, "the generator").numpy()
    return rows


def default_count(classes: int, m: int) -> int:
    """As many m-plets as there are classes, or all of them where there are fewer."""
    return min(classes, math.comb(classes, m))


def files_of(config: Selection) -> dict[str, External]:
    """Setting -> the file it names, with the hash of its content; ValueError where there is none."""
    named = {"groups": config.groups if config.groups not in (None, "name", "data") else None, "file": config.file}
    files = {}
    for setting, place in named.items():
        if place is not None:
            if not Path(place).is_file():
                hint = " (or 'name', or 'data')" if setting == "groups" else ""
                raise ValueError(f"selection.{setting} {place!r}: no such file{hint}")
            files[setting] = External(place, known_hash(Path(place)))
    return files


def groups_of(config: Selection, names: list[str], more: Mapping[str, Artifact | External]) -> np.ndarray | None:
    """The group of every class, or None; ValueError where they cannot be told."""
    match config.groups:
        case None:
            return None
        case "data":
            real = real_images(cast("Artifact", more["real"]))
            if real.groups is None:
                raise ValueError("selection.groups 'data': the data has no groups; give a file, or 'name'")
            groups = list(real.groups)
        case how:
            groups = lists.groups_of(how if how == "name" else str(cast("External", more["groups"]).place), names)
    return np.unique(groups, return_inverse=True)[1]


def as_csv(classes: np.ndarray, names: list[str], values: np.ndarray, weights: np.ndarray | None = None) -> str:
    """One line per m-plet: class indices, names, value, and weights (K, m) where they are given."""
    m = classes.shape[1]
    header = [*(f"class_{k}" for k in range(m)), *(f"name_{k}" for k in range(m)), "value"]
    header += [] if weights is None else [f"weight_{k}" for k in range(m)]
    rows: list[list[object]] = [[*header]]
    for i, (row, value) in enumerate(zip(classes.tolist(), values.tolist(), strict=True)):
        rows.append([*row, *(names[c] for c in row), value, *(() if weights is None else weights[i].tolist())])
    return csv_text(rows)
