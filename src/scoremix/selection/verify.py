"""Stochastic check of a reported list: random m-plets must not beat it (Appendix H, verification)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from scoremix.selection.distances import Metric, Term, pair_function
from scoremix.selection.exhaustive import allowed
from scoremix.selection.mplets import MPlets, Objective

STEP = 1 << 16


@dataclass(frozen=True)
class Verification:
    """What random m-plets say about a reported list; an exact one has top1_violations = new = worst_margin = 0."""

    samples: int  # allowed m-plets drawn, with repeats
    top1_violations: int  # strictly better than the first reported value
    known: int  # strictly better than the K-th reported value, and reported
    new: int  # strictly better than the K-th reported value, yet not reported
    worst_margin: float  # by how much the best of the new ones beats the K-th value


def verify(
    result: MPlets,
    x: Any,
    *,
    samples: int = 1_000_000,
    seed: int = 0,
    objective: Objective = "sum",
    metric: Metric = "cosine",
    largest: bool = True,
    weight: float = 1.0,
    terms: Sequence[Term] | None = None,
    groups: Any = None,
    across: bool = True,
) -> Verification:
    """Draws random m-plets of the rows of x and scores them in float64; the options are those of `top_mplets`."""
    function = pair_function(x, metric, largest=largest, weight=weight, terms=terms, groups=groups, across=across)
    m = result.classes.shape[1]
    reported = {tuple(row) for row in result.classes.tolist()}
    sign = function.sign
    rng = np.random.default_rng(seed)
    drawn = violations = known = new = 0
    worst = 0.0
    for begin in range(0, samples, STEP):
        sets = np.sort(rng.integers(0, function.n, (min(STEP, samples - begin), m)), axis=1)
        sets = sets[(np.diff(sets, axis=1) > 0).all(axis=1)]
        sets = sets[allowed(sets, function.groups, function.across)]
        values = function.values(sets, objective)
        drawn += len(sets)
        violations += int((sign * values > sign * result.values[0]).sum())
        for at in np.flatnonzero(sign * values > sign * result.values[-1]).tolist():
            if tuple(sets[at].tolist()) in reported:
                known += 1
            else:
                new += 1
                worst = max(worst, abs(float(values[at] - result.values[-1])))
    return Verification(drawn, violations, known, new, worst)
