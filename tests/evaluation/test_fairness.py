"""Group error rates and their summaries: hand-worked numbers, laws, a published table."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from scoremix.evaluation.fairness import (
    accuracy_spread,
    fairness_discrepancy,
    garbe,
    gini,
    group_pair_matrix,
    group_rates,
    group_tar,
    inequity_rate,
)

SIMILARITY = np.array([0.9, 0.8, 0.2, 0.1, 0.6, 0.4, 0.7, 0.3])
SAME = np.array([1, 1, 0, 0, 1, 1, 0, 0], bool)
GROUPS = np.array(["a"] * 4 + ["b"] * 4)


def test_rates_by_hand() -> None:
    rates = group_rates(SIMILARITY, SAME, GROUPS, 0.5)
    assert rates.groups.tolist() == ["a", "b"]
    assert rates.fmr.tolist() == [0, 0.5] and rates.fnmr.tolist() == [0, 0.5]
    assert rates.tar.tolist() == [1, 0.5]
    assert rates.impostor.tolist() == rates.genuine.tolist() == [2, 2]
    assert group_rates(SIMILARITY, SAME, GROUPS, 0.7).fmr[1] == 0  # a pair at the threshold is refused
    tensors = group_rates(torch.tensor(SIMILARITY), torch.tensor(SAME), torch.tensor([0] * 4 + [1] * 4), 0.5)
    assert tensors.fnmr.tolist() == rates.fnmr.tolist()


def test_one_threshold_or_one_per_group() -> None:
    rates, thresholds = group_tar(SIMILARITY, SAME, GROUPS, far=0.25)
    assert thresholds.tolist() == [0.3, 0.3]
    assert rates.fmr.tolist() == [0, 0.5] and rates.tar.tolist() == [1, 1]
    rates, thresholds = group_tar(SIMILARITY, SAME, GROUPS, far=0.5, per_group=True)
    assert thresholds.tolist() == [0.1, 0.3]
    assert rates.fmr.tolist() == [0.5, 0.5]


def test_thresholds_hold_the_far_on_random_pairs() -> None:
    rng = np.random.default_rng(0)
    n = 4000
    same, groups = rng.random(n) < 0.5, rng.integers(0, 4, n)
    similarity = rng.standard_normal(n) + 2 * same + 0.3 * groups
    for far in (0.1, 0.01):
        rates, thresholds = group_tar(similarity, same, groups, far)
        assert (similarity[~same] > thresholds[0]).mean() <= far
        assert (similarity[~same] >= thresholds[0]).mean() > far
        own, thresholds = group_tar(similarity, same, groups, far, per_group=True)
        assert (own.fmr <= far).all() and (own.fmr > far - 2 / own.impostor).all()
        assert np.ptp(own.fmr) < np.ptp(rates.fmr)


def test_equal_groups_are_fair() -> None:
    fmr, fnmr = np.full(5, 1e-3), np.full(5, 0.1)
    assert fairness_discrepancy(fmr, fnmr) == 1
    assert inequity_rate(fmr, fnmr) == 1
    assert garbe(fmr, fnmr) == pytest.approx(0, abs=1e-15)
    assert inequity_rate(np.zeros(3), np.zeros(3)) == 1 and garbe(np.zeros(3), np.zeros(3)) == 0


def test_summaries_by_hand() -> None:
    fmr, fnmr = [0.001, 0.004], [0.1, 0.3]
    assert fairness_discrepancy(fmr, fnmr, 0.25) == pytest.approx(1 - (0.25 * 0.003 + 0.75 * 0.2))
    assert inequity_rate(fmr, fnmr, 0.25) == pytest.approx(4**0.25 * 3**0.75)
    assert garbe(fmr, fnmr, 0.25) == pytest.approx(0.25 * 0.6 + 0.75 * 0.5)  # two groups: |a - b| / (a + b)
    assert inequity_rate([0, 0.1], fnmr) == math.inf
    assert inequity_rate([0, 0.1], fnmr, alpha=0) == pytest.approx(3)


def test_gini_is_that_of_the_lorenz_curve() -> None:
    rng = np.random.default_rng(0)
    for n in (2, 3, 8):
        rates = np.sort(rng.random(n))
        lorenz = np.concatenate([[0], np.cumsum(rates) / rates.sum()])
        area = 1 - 2 * np.trapezoid(lorenz, np.linspace(0, 1, n + 1))
        assert gini(rates) == pytest.approx(area * n / (n - 1))
    assert gini([0, 0, 0, 0.2]) == pytest.approx(1)  # all the error in one group
    for same in ([0.3, 0.1, 0.2], [0.2, 0.6, 0.4]):  # order and scale are free
        assert gini(same) == pytest.approx(gini([0.1, 0.3, 0.2]))


def test_accuracy_spread_reproduces_a_published_row() -> None:
    """ArcFace on RFW (Wang and Deng 2020): std 1.53 and SER 2.33 of these four accuracies."""
    std, ser = accuracy_spread(np.array([97.37, 95.68, 94.55, 93.87]) / 100)
    assert 100 * std == pytest.approx(1.53, abs=0.01)
    assert ser == pytest.approx(2.33, abs=0.01)
    assert accuracy_spread([1.0, 0.9])[1] == math.inf


def test_pair_groups_are_counted_within_each_mplet() -> None:
    groups, counts = group_pair_matrix(torch.tensor([[0, 1], [0, 2], [2, 3]]), ["m", "m", "f", "f"])
    assert groups.tolist() == ["f", "m"]
    assert counts.tolist() == [[1, 1], [1, 1]]
    _, triples = group_pair_matrix([[0, 1, 2]], ["m", "m", "f", "f"])
    assert triples.tolist() == [[0, 2], [2, 1]]


def test_bad_input_is_refused() -> None:
    with pytest.raises(ValueError, match=r"no genuine or no impostor pair in \['b'\]"):
        group_rates(SIMILARITY[:6], SAME[:6], GROUPS[:6], 0.5)
    with pytest.raises(ValueError, match="shapes"):
        group_rates(SIMILARITY, SAME[:5], GROUPS, 0.5)
    with pytest.raises(ValueError, match=r"far: 0.2 for all groups, allowed 0.25 to 1"):
        group_tar(SIMILARITY, SAME, GROUPS, 0.2)
    with pytest.raises(ValueError, match="1 values are not finite"):
        group_rates(np.append(SIMILARITY[:-1], np.nan), SAME, GROUPS, 0.5)
    with pytest.raises(ValueError, match="fmr: needs rates"):
        garbe([0.1], [0.1])
    with pytest.raises(ValueError, match="alpha: 2"):
        garbe([0.1, 0.2], [0.1, 0.2], 2)
    with pytest.raises(ValueError, match="labels must be 0 to 1"):
        group_pair_matrix([[0, 2]], ["m", "f"])
