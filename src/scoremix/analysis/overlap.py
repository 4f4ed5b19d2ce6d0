"""Do two spaces select the same extreme pairs: Table 3 of the paper, with a calibrated prediction beside it.

The paper multiplies K by the probability p that one comparison survives. That is no overlap: p >= 1/2 even
for unrelated spaces, which share K²/P of P pairs. `expected_overlap` follows from the same model.
"""

from __future__ import annotations

import math
from dataclasses import asdict, astuple, dataclass
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from scoremix.analysis import spaces
from scoremix.analysis.preservation import Form, preservation_bound, simulate_misalignment
from scoremix.analysis.spaces import Array, Matrix, Numbers


def pair_norm2(n: int, form: Form) -> float:
    """‖HTH‖² of the functional that scores one pair: K̂(i,j) ("cosine") or d²(i,j) ("euclidean")."""
    return 0.5 - 1 / n + 1 / n**2 if form == "cosine" else 4.0


def expected_overlap(scores: Float[Numbers, " p"], rho: float, n: int, norm2: float, k: int) -> float:
    """Expected number of the K highest-scoring pairs of K̂ that are among the K highest of L̂ = ρK̂ + E.

    `scores` (P,) are the pairs' functionals s = <T, K̂>, larger meaning selected, `norm2` their ‖HTH‖²
    (`pair_norm2`). Derivation: under the misalignment model of Appendix G the score in L̂ is
    t_p = ρ s_p + τ_p z_p with z_p standard normal and τ_p² = (1 - ρ²)(‖HTH‖² - s_p²)/(N - 1). The K-th
    largest of the P values t_p concentrates at the θ that K of them are expected to exceed,
    Σ_p Φ((ρ s_p - θ)/τ_p) = K, so the overlap is Σ Φ((ρ s_p - θ)/τ_p) over the K largest s_p. It is K²/P at
    ρ = 0 and K at ρ = 1. Neglected: the fluctuation of θ, and the small dependence of pairs sharing a class.
    As good as the model only: noise of equal size in all directions. For isotropic spaces it is close; where
    few directions carry the variance, and the noise follows them, more is shared than it says.

    The same model on the vector of all pairs instead of the Gram matrix, whose diagonal no pair sees: scores
    minus their mean and of unit norm, their correlation for ρ (it may be negative), norm2 = 1 - 1/P.
    """
    from scipy.special import ndtr

    if not -1 <= rho <= 1:
        raise ValueError(f"rho: {rho}, allowed -1 to 1")
    values = np.sort(np.asarray(scores, np.float64))
    if not 1 <= k <= len(values):
        raise ValueError(f"k: {k}, allowed 1 to {len(values)} pairs")
    if abs(rho) == 1:
        return float(k if rho == 1 else max(0, 2 * k - len(values)))
    values, counts = _condensed(values, max(2 * k, 100_000))
    spread = np.sqrt((norm2 - values**2).clip(1e-300) * (1 - rho**2) / (math.comb(n, 2) - 1))

    def above(threshold: float) -> Array:
        share: Array = ndtr((rho * values - threshold) / spread)
        return share

    reach = 40 * spread.max()
    low, high = min(rho * values[0], rho * values[-1]) - reach, max(rho * values[0], rho * values[-1]) + reach
    for _ in range(80):
        threshold = (low + high) / 2
        low, high = (threshold, high) if counts @ above(threshold) > k else (low, threshold)
    return float(above((low + high) / 2)[-k:].sum())


@dataclass(frozen=True)
class SetComparison:
    """The top-K pairs of x and of y compared (the columns of Table 3; the two gaps are our definitions)."""

    shared: int | float  # a mean where there are several draws
    jaccard: float
    rank_gap_x: float  # mean |rank in y - rank in x| over the K pairs selected in x, ranks among all pairs
    rank_gap_y: float  # the same over the K pairs selected in y
    margin_gap_x: float  # mean normalised score of x's K pairs minus that of its best pair left out
    margin_gap_y: float


@dataclass(frozen=True)
class SimulatedOverlap(SetComparison):
    """Means over draws of the columns of Table 3 for K̂ and L̂."""

    error: float  # standard error of `shared`
    expected: float  # `expected_overlap` at the same ρ
    paper_expected: float  # K·p, p of Equation 24 (26 for L2) at the mean margin gap


def simulated_overlap(
    gram: Float[Tensor, "n n"], rho: float, k: int, form: Form, draws: int, generator: torch.Generator
) -> SimulatedOverlap:
    """The overlap `expected_overlap` predicts, counted on draws of the model (n x n each, one at a time).

    Farthest pairs: lowest K̂(i,j) ("cosine") or largest squared distance ("euclidean").
    """
    n = len(gram)
    scores = pair_scores(gram, form).numpy()
    drawn = (pair_scores(simulate_misalignment(gram, rho, 1, generator)[0], form).numpy() for _ in range(draws))
    rows = np.array([astuple(compare_sets(scores.copy(), other, k)) for other in drawn])
    mean = SetComparison(*rows.mean(0).tolist())
    return SimulatedOverlap(
        **asdict(mean),
        error=float(rows[:, 0].std(ddof=1)) / math.sqrt(draws),
        expected=expected_overlap(scores, rho, n, pair_norm2(n, form), k),
        paper_expected=k * _bound((mean.margin_gap_x + mean.margin_gap_y) / 2, rho, n, form),
    )


def pair_scores(gram: Float[Tensor, "n n"], form: Form) -> Float[Tensor, " p"]:
    """The functional of every pair i < j, larger for farther ones: -K̂(i,j), or the squared distance in K̂."""
    i, j = torch.triu_indices(len(gram), len(gram), 1)
    if form == "cosine":
        return -gram[i, j]
    return gram[i, i] + gram[j, j] - 2 * gram[i, j]


def _condensed(values: Float[Array, " p"], exact: int, groups: int = 2**16) -> tuple[Array, Array]:
    """Ascending values with counts: the `exact` largest as they are, those below as means of equal groups."""
    rest = len(values) - exact
    if rest <= groups:
        return values, np.ones(len(values))
    starts = np.linspace(0, rest, groups, endpoint=False).astype(np.int64)
    counts = np.diff(np.append(starts, rest))
    means = np.add.reduceat(values[:rest], starts) / counts
    return np.concatenate([means, values[rest:]]), np.concatenate([counts, np.ones(exact)])


def compare_sets(a: Float[Array, " p"], b: Float[Array, " p"], k: int) -> SetComparison:
    """The K highest of two vectors of scores of the same pairs, ties to the earlier pair; sorts both in place."""
    top_a, top_b = _top(a, k), _top(b, k)
    shared = len(np.intersect1d(top_a, top_b, assume_unique=True))
    ranks_a, gap_a = _sorted_ranks(a, k, a[top_a], a[top_b])
    ranks_b, gap_b = _sorted_ranks(b, k, b[top_a], b[top_b])
    gaps = [float(np.abs(in_b - in_a).mean()) for in_a, in_b in zip(ranks_a, ranks_b, strict=True)]
    return SetComparison(shared, shared / (2 * k - shared), gaps[0], gaps[1], gap_a, gap_b)


@dataclass(frozen=True)
class TopOverlap(SetComparison):
    """The columns of Table 3, and what theory says of them."""

    cka: float
    bound: float  # p: Equation 24 (26 for L2) at the margin `delta`
    paper_expected: float  # K·p of the paper: at least K/2 whatever the spaces, no prediction
    expected: float  # `expected_overlap`, x being K̂
    correlation: float  # Pearson correlation of the scores of all pairs (Algorithm 2)
    expected_by_pairs: float  # `expected_overlap` of the pairs alone, with that correlation for ρ
    chance: float  # K²/P, expected of unrelated spaces


def top_overlap(
    x: Matrix,
    y: Matrix,
    k: int,
    metric: Literal["cosine", "l2"] = "cosine",
    largest: bool = True,
    delta: float | None = None,
) -> TopOverlap:
    """Overlap of the K farthest (or closest) class pairs of two spaces, beside what theory says of it.

    Scores are distances in units of K̂: 1 - cosine over ‖K‖_F, or squared L2 over ‖K‖_F, negated for the
    closest. Ties at the K-th place go to the earlier pair. `delta` is the margin put into the bound, by
    default the mean of the two margin gaps; the paper took 1e-5. Memory: about 24 bytes a pair.
    """
    rows, others = spaces.paired(x, y)
    n, pairs = len(rows), math.comb(len(rows), 2)
    if not 1 <= k < pairs:
        raise ValueError(f"k: {k}, allowed 1 to {pairs - 1}, one less than the pairs of {n} classes")
    spaces.check_choice("metric", metric, "cosine", "l2")
    form: Form = "cosine" if metric == "cosine" else "euclidean"
    both = [
        spaces.centred(spaces.unit_rows(space, name) if form == "cosine" else space)
        for name, space in (("x", rows), ("y", others))
    ]
    norms = [float(torch.linalg.matrix_norm(space.T @ space)) for space in both]
    cka = min(float((both[0].T @ both[1]).square().sum()) / (norms[0] * norms[1]), 1.0)
    a, b = (_scores(space, form, largest, norm) for space, norm in zip((rows, others), norms, strict=True))
    correlation = spaces.vector_correlation(a, b)
    sets = compare_sets(a, b, k)
    del b
    bound = _bound((sets.margin_gap_x + sets.margin_gap_y) / 2 if delta is None else delta, cka, n, form)
    if form == "cosine":
        a -= a.mean()  # as centred similarities have it; distances and similarities differ by a constant
    expected = expected_overlap(a, cka, n, pair_norm2(n, form), k)
    a -= a.mean()
    a /= np.linalg.norm(a)
    by_pairs = expected_overlap(a, correlation, n, 1 - 1 / pairs, k)
    return TopOverlap(
        **asdict(sets),
        cka=cka,
        bound=bound,
        paper_expected=k * bound,
        expected=expected,
        correlation=correlation,
        expected_by_pairs=by_pairs,
        chance=k * k / pairs,
    )


def _bound(margin: float, rho: float, n: int, form: Form) -> float:
    """p of Table 3: Equation 24 (26 for L2)."""
    norm2 = 1.0 if form == "cosine" else 8.0
    return float(preservation_bound(torch.tensor(margin, dtype=torch.float64), rho, n, norm2))


def _scores(space: Float[Tensor, "n d"], form: Form, largest: bool, norm: float) -> Float[Array, " p"]:
    scores = spaces.pair_distances(space, "cosine" if form == "cosine" else "sqeuclidean")
    scores *= (1 if largest else -1) / norm
    return scores


def _sorted_ranks(
    scores: Float[Array, " p"], k: int, *selected: Float[Array, " k"]
) -> tuple[list[Int[Array, " k"]], float]:
    """Sorts `scores` in place; how many scores exceed each of the selected, and the margin gap."""
    scores.sort()
    ranks = [len(scores) - np.searchsorted(scores, values, side="right") for values in selected]
    return ranks, float(scores[-k:].mean() - scores[-k - 1])


def _top(values: Float[Array, " p"], k: int) -> Int[Array, " k"]:
    """Ascending pair numbers of the k largest values, ties to the smaller number."""
    threshold = np.partition(values, len(values) - k)[len(values) - k]
    above = np.flatnonzero(values > threshold)
    ties = np.flatnonzero(values == threshold)[: k - len(above)]
    return np.sort(np.concatenate([above, ties]))
