"""Estimates: plain values apart from draws, the rule of "helps", Holm's correction, what is stored and read back."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
from scipy.stats import binomtest

from scoremix.evaluation.estimate import Estimate, helps, holm, p_value, wilson


def test_an_estimate_keeps_plain_values_apart_from_draws() -> None:
    draws = np.array([[0.5, *np.linspace(0, 1, 101)], [0.7, *np.linspace(0, 1, 101)]])
    found = Estimate.of(draws, 0.9)
    assert found.value == pytest.approx(0.6) and found.seeds == (0.5, 0.7)
    assert found.interval == pytest.approx((0.05, 0.95))
    assert Estimate.of(draws, None).interval is None
    holed = np.concatenate([draws, np.full((2, 50), np.nan)], axis=1)
    assert Estimate.of(holed, 0.9) == found
    assert Estimate.of(np.array([[0.1, np.nan]])).low is None
    with pytest.raises(ValueError, match="both ends or neither"):
        Estimate(0.0, 0.0)
    with pytest.raises(ValueError, match="is above"):
        Estimate(0.0, 1.0, 0.0)


def test_helps_needs_an_interval_above_zero_and_one_sign_against_every_control() -> None:
    sure, wide, mixed = (
        Estimate(0.1, 0.05, 0.2, (0.1, 0.1)),
        Estimate(0.1, -0.05, 0.2, (0.1, 0.1)),
        Estimate(0.1, 0.05, 0.2, (0.3, -0.1)),
    )
    assert helps([sure, sure])
    for other in (wide, mixed, Estimate(0.1, None, None, (0.1, 0.1)), Estimate(math.nan, 0.05, 0.2, (math.nan, 0.1))):
        assert not helps([sure, other])
    assert not helps([])


def test_what_is_stored_is_read_back() -> None:
    for found in (
        Estimate(0.1, 0.0, 0.2, (0.1, 0.1)),
        Estimate(0.1, None, None, (0.1,)),
        Estimate(math.inf, 1.0, math.inf, (math.inf,)),
    ):
        assert Estimate.from_json(json.loads(json.dumps(found.as_json()))) == found
    assert Estimate.from_json({"value": None, "low": None, "high": None, "seeds": [None]}).missing


def test_holm_against_its_definition() -> None:
    p = [0.01, 0.04, 0.03, 0.005]
    assert holm(p) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.6, 0.7]) == [1.0, 1.0]
    assert holm([]) == []


def test_p_values_count_the_draws_beyond_zero() -> None:
    assert p_value(np.linspace(0.1, 0.2, 99)[None]) == (0.02, 0.02)
    assert p_value(np.array([[-1.0, 1.0, 2.0, np.nan]])) == (1.0, 0.5)


@pytest.mark.parametrize(
    ("right", "trials", "ends"), [(9, 10, (0.596, 0.982)), (19, 20, (0.764, 0.991)), (10, 10, (0.722, 1))]
)
def test_wilsons_interval(right: int, trials: int, ends: tuple[float, float]) -> None:
    assert wilson(right / trials, trials) == pytest.approx(ends, abs=6e-4)
    assert wilson(right / trials, trials) == pytest.approx(
        tuple(binomtest(right, trials).proportion_ci(method="wilson")), abs=1e-12
    )
