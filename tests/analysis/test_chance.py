"""Chance levels and intervals: their coverage in simulation, their laws."""

from __future__ import annotations

import math
from functools import partial

import numpy as np
import pytest
import scipy.stats
import torch
from torch import Tensor

from scoremix.analysis.alignment import cka, cknna, mutual_knn
from scoremix.analysis.chance import (
    alignment_matrix,
    bootstrap_interval,
    permutation_null,
    random_null,
    random_space,
    series_correlation,
)

debiased = partial(cka, debiased=True)


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def related(n: int, seed: int, noise: float = 1.0) -> tuple[Tensor, Tensor]:
    g = seeded(seed)
    x = torch.randn(n, 8, generator=g, dtype=torch.float64)
    return x, x + noise * torch.randn(n, 8, generator=g, dtype=torch.float64)


def test_permutation_null_centres_the_debiased_measure_at_zero() -> None:
    x, y = related(120, 0)
    null = permutation_null(debiased, x, y, seeded(0), draws=200)
    assert null.value == debiased(x, y) and len(null.draws) == 200
    assert null.mean == pytest.approx(0, abs=4 * null.std / math.sqrt(200))
    assert null.p_value == 1 / 201 and null.value > null.high
    biased = permutation_null(cka, x, y, seeded(0), draws=50)
    assert biased.mean == pytest.approx(8 / (120 + 8), rel=0.15)  # the bias that the null shows
    again = permutation_null(debiased, x, y, seeded(0), draws=200)
    assert np.array_equal(again.draws, null.draws)


def test_p_values_of_unrelated_spaces_are_uniform() -> None:
    values = []
    for seed in range(60):
        x, _ = related(30, seed)
        y, _ = related(30, seed + 1000)
        values.append(permutation_null(partial(mutual_knn, k=3), x, y, seeded(seed), draws=19).p_value)
    # mutual_knn takes few values, so ties make p conservative: stochastically above uniform
    assert np.mean(np.array(values) <= 0.1) <= 0.1 + 4 * math.sqrt(0.09 / 60)
    assert 0.4 < np.mean(values) < 0.75


def test_random_spaces_have_the_asked_shape_and_law() -> None:
    normal, uniform = (random_space(4000, 6, seeded(0), kind) for kind in ("normal", "uniform"))
    assert normal.shape == uniform.shape == (4000, 6)
    assert scipy.stats.kstest(normal.flatten().numpy(), "norm").pvalue > 1e-3
    assert scipy.stats.kstest(uniform.flatten().numpy(), "uniform").pvalue > 1e-3
    with pytest.raises(ValueError, match="kind: 'cauchy'"):
        random_space(3, 3, seeded(0), "cauchy")  # type: ignore[arg-type]


@pytest.mark.parametrize("kind", ["normal", "uniform"])
def test_random_null_is_the_alignment_with_noise(kind: str) -> None:
    x, y = related(200, 0)
    null = random_null(cka, x, y, seeded(5), kind, draws=40)  # type: ignore[arg-type]
    assert null.mean == pytest.approx(math.sqrt(64 / (208 * 208)), rel=0.15)
    assert null.p_value == 1 / 41


@pytest.mark.parametrize("measure", [cka, debiased, partial(cknna, k=10, eps=0.0)], ids=["cka", "debiased", "cknna"])
def test_interval_has_the_width_of_the_sampling_spread(measure: object) -> None:
    spread = np.std([measure(*related(100, seed)) for seed in range(50)], ddof=1)  # type: ignore[operator]
    widths = []
    for seed in range(5):
        interval = bootstrap_interval(measure, *related(100, seed), seeded(seed), draws=60)  # type: ignore[arg-type]
        assert interval.low < interval.value < interval.high
        widths.append((interval.high - interval.low) / (2 * 1.96))
    assert np.mean(widths) == pytest.approx(spread, rel=0.35)


def test_interval_covers_the_value_of_the_population() -> None:
    truth = debiased(*related(20_000, 999))
    hits = 0
    for seed in range(50):
        interval = bootstrap_interval(debiased, *related(80, seed), seeded(seed), draws=40)
        hits += interval.low <= truth <= interval.high
    assert hits / 50 > 0.95 - 4 * math.sqrt(0.95 * 0.05 / 50)


def test_alignment_matrix_is_symmetric_and_named() -> None:
    x, y = related(40, 0)
    names, matrix = alignment_matrix({"arc": x, "ada": y, "random": random_space(40, 8, seeded(2))}, debiased)
    assert names == ["arc", "ada", "random"]
    assert np.array_equal(matrix, matrix.T) and np.allclose(np.diag(matrix), 1)
    assert matrix[0, 1] == debiased(x, y) > matrix[0, 2]


def test_series_correlation_tells_a_common_trend_from_common_steps() -> None:
    rng = np.random.default_rng(0)
    t = 24
    trend = np.arange(t)
    a, b = trend + rng.standard_normal(t), trend + rng.standard_normal(t)
    both_rise = series_correlation(a, b, seeded(0))
    assert both_rise.pearson == pytest.approx(scipy.stats.pearsonr(a, b).statistic)
    assert both_rise.spearman == pytest.approx(scipy.stats.spearmanr(a, b).statistic)
    assert both_rise.pearson > 0.95 and abs(both_rise.steps) < 0.6
    steps = np.cumsum(rng.standard_normal(t))
    same = series_correlation(steps, steps + 0.01 * rng.standard_normal(t), seeded(0))
    assert same.steps > 0.95 and same.low > 0.9


def test_series_interval_covers_the_truth() -> None:
    rng = np.random.default_rng(1)
    hits = 0
    for seed in range(100):
        a = rng.standard_normal(40)
        b = 0.6 * a + 0.8 * rng.standard_normal(40)
        result = series_correlation(a, b, seeded(seed), draws=300)
        hits += result.low <= 0.6 <= result.high
    assert hits >= 82


def test_bad_input_is_refused() -> None:
    x, y = related(7, 0)
    with pytest.raises(ValueError, match="n: 7 rows, the interval needs at least 8"):
        bootstrap_interval(cka, x, y, seeded(0))
    with pytest.raises(ValueError, match="draws: 1"):
        permutation_null(cka, x, y, seeded(0), draws=1)
    x, y = related(20, 0)
    with pytest.raises(ValueError, match="level: 95"):
        bootstrap_interval(cka, x, y, seeded(0), level=95)
    with pytest.raises(ValueError, match="snapshots: 4"):
        series_correlation(np.arange(4.0), np.arange(4.0), seeded(0))
    with pytest.raises(ValueError, match="b: needs finite values"):
        series_correlation(np.arange(6.0), np.ones(6), seeded(0))
