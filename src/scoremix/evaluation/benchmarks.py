"""From embeddings of a public benchmark to its numbers, each with its rule, its interval and what decides it.

All functions take arrays and return measures. Intervals are Wilson's over the pairs for the accuracy of pair sets, for
the others percentile bootstraps over subjects (in IJB 1:1, where subjects are not named, over the groups of templates
that genuine pairs join); where no draw differs from another, as with one subject or without an error, Wilson's over the
subjects.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import scipy.sparse.csgraph
import torch
from jaxtyping import Bool, Float, Int
from numpy import ndarray as Array

from scoremix.evaluation.bootstrap import class_draws
from scoremix.evaluation.estimate import possible_interval, wilson
from scoremix.evaluation.metrics import fold_bounds, kfold_accuracy, pair_distances, unit_rows
from scoremix.evaluation.operating import (
    FARS,
    Resampled,
    compared,
    identified,
    operating_points,
    resampled,
    search,
    tar_draws,
)

PAIR_FARS = (1e-4, 1e-3, 1e-2)
RANKS = (1, 5, 20)
Ends = tuple[float | None, float | None]


@dataclass(frozen=True)
class Measure:
    """One number: `metric` at `level` (a FAR, an FPIR or a rank) by `rule`, over `of` trials.

    `decided_by`: the impostor pairs (non-mated probes) above the threshold. `low`, `high`: 95 % interval. `draws`: of the
    people of a set, of the pairs where it names none; the same draws for every recognizer, so that differences are paired.
    """

    metric: str
    value: float
    level: int | float | None = None  # a rank is whole
    rule: str | None = None
    low: float | None = None
    high: float | None = None
    reached: float | None = None  # the FAR or FPIR of this operating point
    threshold: float | None = None
    decided_by: int | None = None
    of: int | None = None
    draws: Float[Array, " r"] | None = None  # the value in bootstrap draws that all recognizers share

    def as_json(self) -> dict[str, Any]:
        """As it is stored: what is known of it, but never the draws."""
        known = {f.name: getattr(self, f.name) for f in fields(self) if f.name != "draws"}
        return {name: value for name, value in known.items() if value is not None}


def pair_measures(
    a: Float[Array, "p d"], b: Float[Array, "p d"], same: Bool[Array, " p"], draws: int = 0
) -> list[Measure]:
    """Accuracy over ten folds (as many as pairs, below ten) with its deviation, and TAR where there are genuine pairs
    and a hundred impostor pairs can say something. ValueError for fewer than two pairs.
    """
    if len(same) < 2:
        raise ValueError(f"same: {len(same)} pairs, at least 2 are needed for a threshold chosen on other pairs")
    folds = min(10, len(same))
    fold = kfold_accuracy(a, b, same, folds)
    low, high = wilson(fold.mean, len(same))
    threshold = float(1 - fold.thresholds.mean() / 2)  # squared distance of unit vectors to cosine
    again = None
    if draws:
        sizes = [end - start for start, end in fold_bounds(len(same), folds)]
        right = (pair_distances(a, b) < np.repeat(fold.thresholds, sizes)) == same
        shares = np.repeat(1 / (folds * np.array(sizes)), sizes)  # of a pair in the mean of the folds' accuracies
        again = class_draws(len(same), draws) @ (right * shares)
    measures = [
        Measure("accuracy", fold.mean, None, f"{folds} folds", low, high, None, threshold, None, len(same), again),
        Measure("deviation", fold.std, None, f"{folds} folds"),
    ]
    cosine = np.einsum("pd,pd->p", unit_rows(a), unit_rows(b))
    fars = [far for far in PAIR_FARS if far * int((~same).sum()) >= 1]
    if fars and same.any():
        measures += _points(cosine, same, fars, None)
    return measures


def pair_notes(same: Bool[Array, " p"]) -> list[str]:
    """What a reader of a pair set's accuracy has to know: whether one kind of pair is missing, at all or in most folds."""
    if same.any() and not same.all():
        folds = [same[start:end] for start, end in fold_bounds(len(same), min(10, len(same)))]
        alone = sum(len(fold) > 3 and len(set(fold.tolist())) == 1 for fold in folds)
        said = f"{alone} of {len(folds)} folds, taken in the order of the list, hold pairs of one kind only"
        return [f"{said}: the accuracy says little, mix the lines"] if alone > len(folds) / 2 else []
    kind, right = ("genuine", "accepts") if same.all() else ("impostor", "refuses")
    return [f"only {kind} pairs: a threshold that {right} all of them is always right"]


def template_pair_measures(
    similarity: Float[Array, " p"], same: Bool[Array, " p"], draws: Resampled | None, fars: Sequence[float] = FARS
) -> list[Measure]:
    """TAR at each FAR that at least one impostor pair can reach, by both rules; intervals for the rule at_most."""
    possible = [far for far in fars if far * int((~same).sum()) >= 1]
    if not possible:
        raise ValueError(f"same: {int((~same).sum())} impostor pairs are too few for a FAR of {max(fars):g}")
    return _points(similarity, same, possible, draws)


def _points(
    similarity: Float[Array, " p"], same: Bool[Array, " p"], fars: Sequence[float], draws: Resampled | None
) -> list[Measure]:
    table = tar_draws(similarity, same, fars, draws) if draws is not None else None
    points = operating_points(similarity, same, fars)
    plain = {p.target: p.tar for p in points if p.rule == "at_most"}
    bounds: dict[float, Ends] = {}
    if table is not None and draws is not None:
        bounds = {far: _ends(table[:, i], plain[far], draws.n.shape[1]) for i, far in enumerate(fars)}
    impostors = int((~same).sum())
    return [
        Measure(
            "tar",
            p.tar,
            p.target,
            p.rule,
            *(bounds.get(p.target, (None, None)) if p.rule == "at_most" else (None, None)),
            reached=p.far,
            threshold=p.threshold,
            decided_by=p.impostors,
            of=impostors,
            draws=None if table is None or p.rule != "at_most" else table[:, list(fars).index(p.target)],
        )
        for p in points
    ]


def template_draws(
    rows: Int[Array, "p 2"], same: Bool[Array, " p"], templates: int, draws: int, seed: int = 0
) -> Resampled:
    """Bootstrap draws of the people behind template pairs: templates joined by genuine pairs are one person's."""
    a, b = rows[same].T
    graph = scipy.sparse.coo_array((np.ones(len(a), np.int8), (a, b)), (templates, templates))
    _, person = scipy.sparse.csgraph.connected_components(graph, directed=False)
    return resampled(person[rows], same, draws, seed)


def open_set_measures(
    galleries: Sequence[tuple[str, Float[Array, "g d"], Int[Array, " g"]]],
    probes: Float[Array, "q d"],
    subjects: Int[Array, " q"],
    draws: int = 200,
) -> list[Measure]:
    """TPIR per gallery and its mean over galleries, and rank-k over the mated probes of all galleries."""
    searches = {name: search(g, s, probes, subjects) for name, g, s in galleries}
    people, many = _draws_of(subjects, draws)
    measures: list[Measure] = []
    plain = {name: identified(s) for name, s in searches.items()}
    drawn = {name: np.array([[i.tpir for i in identified(s, n)] for n in many]) for name, s in searches.items()}
    for name, results in plain.items():
        for k, i in enumerate(results):
            bounds = _ends(drawn[name][:, k], i.tpir, people)
            of = int((~searches[name].mated).sum())
            measures.append(
                Measure(f"tpir {name}", i.tpir, i.target, i.rule, *bounds, i.fpir, i.threshold, i.non_mated, of)
            )
    if len(searches) > 1:
        for k, i in enumerate(next(iter(plain.values()))):
            value = float(np.mean([results[k].tpir for results in plain.values()]))
            bounds = _ends(np.mean([d[:, k] for d in drawn.values()], axis=0), value, people)
            measures.append(Measure("tpir mean", value, i.target, i.rule, *bounds))
    ahead = np.concatenate([s.ahead[s.mated] for s in searches.values()])
    weights = np.concatenate([many[:, s.mated] for s in searches.values()], axis=1)
    return measures + _rank_measures(ahead, weights, (1, 5, 10), people)


def rank_measures(
    gallery: Float[Array, "g d"],
    gallery_subjects: Int[Array, " g"],
    probes: Float[Array, "q d"],
    probe_subjects: Int[Array, " q"],
    draws: int = 1000,
) -> list[Measure]:
    """Rank-1, 5 and 20 of closed-set identification over the probes that have a mate (TinyFace)."""
    unit = [torch.nn.functional.normalize(torch.from_numpy(np.ascontiguousarray(x))) for x in (gallery, probes)]
    ranked = compared(unit[0], gallery_subjects, unit[1], probe_subjects, 512)
    if not ranked.mated.any():
        raise ValueError("probe_subjects: no probe has a mate in the gallery")
    people, many = _draws_of(probe_subjects[ranked.mated], draws)
    return _rank_measures(ranked.ahead[ranked.mated], many, RANKS, people)


def _draws_of(subjects: Int[Array, " q"], draws: int) -> tuple[int, Int[Array, "r q"]]:
    """How many people probes show, and how often each probe counts in draws of them; of one person, one draw of all."""
    people, person = np.unique(subjects, return_inverse=True)
    many = class_draws(len(people), draws)[:, person] if len(people) > 1 else np.ones((1, len(person)), np.int64)
    return len(people), many


def _rank_measures(
    ahead: Int[Array, " m"], weights: Int[Array, "r m"], ranks: Sequence[int], people: int
) -> list[Measure]:
    measures = []
    total = weights.sum(1)
    for rank in ranks:
        hit = ahead < rank
        with np.errstate(invalid="ignore"):
            drawn = weights @ hit / total
        low, high = _ends(drawn, float(hit.mean()), people)
        measures.append(Measure("rank", float(hit.mean()), rank, None, low, high, of=len(ahead), draws=drawn))
    return measures


def _ends(draws: Float[Array, " r"], value: float, subjects: int) -> Ends:
    """The draws' interval; where they are all alike they say nothing, and it is Wilson's over the subjects."""
    ends = possible_interval(draws)
    if ends is not None and ends.low == ends.high:
        return wilson(value, subjects)
    return ends or (None, None)
