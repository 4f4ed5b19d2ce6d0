"""How much alignment chance alone gives, and how sure a measured one is (Appendix F, Fig. 4 and 13).

A measure is any function of two spaces that returns a float, such as those of `alignment.py`; bind its
options first. Randomness comes from the given generator only.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Literal, NamedTuple

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from scoremix.analysis.spaces import Matrix, Numbers, as_rows, check_choice, paired
from scoremix.evaluation.estimate import Estimate, interval

AlignmentMeasure = Callable[[Tensor, Tensor], float]


class Chance(NamedTuple):
    """A measured alignment and its distribution under chance."""

    value: float
    mean: float
    std: float
    high: float  # 95 % quantile of chance
    p_value: float  # (1 + draws at least as large as the value) / (1 + draws)
    draws: Float[np.ndarray, " draws"]


def _chance(value: float, draws: Sequence[float]) -> Chance:
    if len(draws) < 2:
        raise ValueError(f"draws: {len(draws)}, at least 2 are needed")
    null = np.array(draws)
    p = (1 + int((null >= value).sum())) / (1 + len(null))
    return Chance(value, float(null.mean()), float(null.std(ddof=1)), float(np.quantile(null, 0.95)), p, null)


def permutation_null(
    measure: AlignmentMeasure, x: Matrix, y: Matrix, generator: torch.Generator, draws: int = 100
) -> Chance:
    """The measure with y's classes shuffled: the main chance level, as it keeps both spaces' spectra."""
    rows, others = paired(x, y)
    shuffled = (others[torch.randperm(len(others), generator=generator)] for _ in range(draws))
    return _chance(measure(rows, others), [measure(rows, other) for other in shuffled])


def random_space(
    n: int, d: int, generator: torch.Generator, kind: Literal["normal", "uniform"] = "normal"
) -> Float[Tensor, "n d"]:
    """A space without structure (Fig. 13): entries standard normal, or uniform on [0, 1)."""
    check_choice("kind", kind, "normal", "uniform")
    draw = torch.randn if kind == "normal" else torch.rand
    return draw(n, d, generator=generator, dtype=torch.float64)


def random_null(
    measure: AlignmentMeasure,
    x: Matrix,
    y: Matrix,
    generator: torch.Generator,
    kind: Literal["normal", "uniform"] = "normal",
    draws: int = 20,
) -> Chance:
    """The measure of x against random spaces of y's shape; p_value is for the measured x against y."""
    rows, others = paired(x, y)
    n, d = others.shape
    spaces = (random_space(n, d, generator, kind).to(rows.device) for _ in range(draws))
    return _chance(measure(rows, others), [measure(rows, space) for space in spaces])


def bootstrap_interval(
    measure: AlignmentMeasure, x: Matrix, y: Matrix, generator: torch.Generator, draws: int = 200, level: float = 0.95
) -> Estimate:
    """Interval of an alignment over the choice of classes, by half-samples.

    Each draw takes half of the classes *without* replacement: its conditional variance equals that of the
    usual bootstrap (half the classes double it, the finite population halves it), but no class meets its own
    copy, which is what every measure of pairs mistakes for perfect agreement. Smaller sets shift some
    measures (biased CKA, k neighbours of fewer classes), so deviations from the draws' mean are put around
    the estimate of all classes.
    """
    rows, others = paired(x, y)
    n, half = len(rows), len(rows) // 2
    if half < 4:
        raise ValueError(f"n: {n} rows, the interval needs at least 8")
    picks = (torch.randperm(n, generator=generator)[:half] for _ in range(draws))
    values = np.array([measure(rows[pick], others[pick]) for pick in picks])
    deviations = (values - values.mean()) * math.sqrt(half / (n - half))
    value, ends = measure(rows, others), interval(deviations, level)
    return Estimate(value, value + ends.low, value + ends.high)


def alignment_matrix(
    spaces: Mapping[str, Matrix], measure: AlignmentMeasure
) -> tuple[list[str], Float[np.ndarray, "s s"]]:
    """Names and the measure of every pair of spaces; a pair is measured once, the earlier space first."""
    rows = {name: as_rows(space, name) for name, space in spaces.items()}
    names = list(rows)
    out = np.empty((len(names), len(names)))
    for s, t in itertools.combinations_with_replacement(range(len(names)), 2):
        out[s, t] = out[t, s] = measure(rows[names[s]], rows[names[t]])
    return names, out


class SeriesCorrelation(NamedTuple):
    """Correlation of two series over the same snapshots."""

    pearson: float
    low: float
    high: float
    spearman: float
    steps: float  # Pearson correlation of successive differences: what is left without a common trend


def series_correlation(
    a: Float[Numbers, " t"], b: Float[Numbers, " t"], generator: torch.Generator, draws: int = 2000, level: float = 0.95
) -> SeriesCorrelation:
    """Does one quantity go with another over training, e.g. CKA with recognition (section 4.3)?

    Neighbouring snapshots resemble each other, so the interval is the percentile interval of a circular
    moving-block bootstrap with blocks of about t^(1/3) snapshots. Two series that merely both rise
    correlate, too: `steps` tells that apart. ValueError below 5 snapshots or for a constant series.
    """
    from scipy.stats import spearmanr

    series = np.stack([np.asarray(values, np.float64) for values in (a, b)])
    t = series.shape[1]
    if t < 5:
        raise ValueError(f"snapshots: {t}, at least 5 are needed")
    for name, values in zip("ab", series, strict=True):
        if not np.isfinite(values).all() or np.ptp(values) == 0:
            raise ValueError(f"{name}: needs finite values that are not all equal")
    block = max(1, round(t ** (1 / 3)))
    starts = torch.randint(t, (draws, math.ceil(t / block)), generator=generator).numpy()
    picks = ((starts[..., None] + np.arange(block)) % t).reshape(draws, -1)[:, :t]
    ends = interval(_rowwise_pearson(*series[:, picks]), level)
    return SeriesCorrelation(
        float(_rowwise_pearson(*series[:, None])[0]),
        *ends,
        float(spearmanr(*series).statistic),
        float(_rowwise_pearson(*np.diff(series)[:, None])[0]),
    )


def _rowwise_pearson(a: Float[np.ndarray, "r t"], b: Float[np.ndarray, "r t"]) -> Float[np.ndarray, " r"]:
    """Pearson correlation of each row of a with that of b; nan where a row is constant."""
    a, b = a - a.mean(1, keepdims=True), b - b.mean(1, keepdims=True)
    with np.errstate(invalid="ignore", divide="ignore"):
        correlation: np.ndarray = (a * b).sum(1) / np.sqrt((a * a).sum(1) * (b * b).sum(1))
    return correlation
