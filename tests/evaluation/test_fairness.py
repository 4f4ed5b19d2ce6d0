"""Group error rates and their summaries: hand-worked numbers, laws, a published table."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from scoremix.evaluation.bootstrap import class_draws
from scoremix.evaluation.fairness import (
    fairness_discrepancy,
    garbe,
    gini,
    inequity_rate,
    pairs_across,
    within_groups,
)
from scoremix.evaluation.metrics import pair_similarities
from support.plain_metrics import group_rates

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


ONCE = np.ones((1, 9), np.int64)


@pytest.fixture(scope="module")
def clusters() -> tuple[np.ndarray, np.ndarray]:
    """Unit rows of nine classes and their labels; those from the fifth on lie closer together."""
    rng = np.random.default_rng(1)
    labels = np.repeat(np.arange(9), 6)
    centers = rng.standard_normal((9, 8)) + np.array([2.0] + [0.0] * 7) * (np.arange(9) >= 4)[:, None]
    unit = centers[labels] + 0.8 * rng.standard_normal((54, 8))
    return unit / np.linalg.norm(unit, axis=1, keepdims=True), labels


def test_rates_within_groups_are_those_of_a_loop_over_pairs(clusters: tuple[np.ndarray, np.ndarray]) -> None:
    unit, labels = clusters
    groups = ["a"] * 4 + ["b"] * 3 + ["c"] + ["d"]  # two with one class: no impostor pair within
    n = np.concatenate([ONCE, class_draws(9, 20, 0)])
    of = pair_similarities(unit, labels)
    found = within_groups(of, groups, 0.05, n)
    assert found is not None and found.groups.tolist() == ["a", "b"] and found.classes.tolist() == [4, 3]
    pairs = [(labels[i], labels[j], float(unit[i] @ unit[j])) for i in range(54) for j in range(i)]
    for r, times in enumerate(n):
        weighted = [(p, q, s, times[p] if p == q else times[p] * times[q]) for p, q, s in pairs]
        impostors = sorted(((s, w) for p, q, s, w in weighted if p != q), reverse=True)
        allowed, before = int(0.05 * sum(w for _, w in impostors)), np.cumsum([w for _, w in impostors])
        threshold = impostors[int(np.argmax(before > allowed))][0]
        for g, name in enumerate("ab"):
            inside = [(p == q, s, w) for p, q, s, w in weighted if groups[p] == groups[q] == name]
            for kind, same in ((found.fmr, False), (found.fnmr, True)):
                total = sum(w for one, _, w in inside if one == same)
                wrong = sum(w for one, s, w in inside if one == same and (s > threshold + 1e-6) != same)
                near = sum(w for one, s, w in inside if one == same and abs(s - threshold) <= 1e-6)
                assert np.isnan(kind[r, g]) if total == 0 else abs(kind[r, g] - wrong / total) <= near / total + 1e-12
    for g, name in enumerate("ab"):
        inside = [p == q for p, q, _ in pairs if groups[p] == groups[q] == name]
        assert (found.genuine[g], found.impostor[g]) == (sum(inside), len(inside) - sum(inside))
    similarity = np.array([s for _, _, s in pairs])
    same = np.array([p == q for p, q, _ in pairs])
    inside = np.array([groups[p] == groups[q] and groups[p] in "ab" for p, q, _ in pairs])
    names = np.array([groups[p] for p, _, _ in pairs])
    strict = np.sort(similarity[~same])[::-1][int(0.05 * (~same).sum())]
    plain = group_rates(similarity[inside], same[inside], names[inside], float(strict) + 1e-6)
    np.testing.assert_allclose([found.fmr[0], found.fnmr[0]], [plain.fmr, plain.fnmr], atol=2e-3)
    assert found.fmr[0, 1] > found.fmr[0, 0]  # the classes of b lie closer together


def test_groups_that_cannot_be_told_have_no_rates(clusters: tuple[np.ndarray, np.ndarray]) -> None:
    of, groups = pair_similarities(*clusters), ["a"] * 4 + ["b"] * 5
    assert within_groups(of, ["a"] * 9, 0.05, ONCE) is None
    assert within_groups(of, groups, 1e-6, ONCE) is None
    assert within_groups(of, groups, 1 / 1296, ONCE) is not None  # one of the impostor pairs may pass
    assert within_groups(of, groups, 1 / 1297, ONCE) is None


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


def test_inequality_of_draws_leaves_out_what_is_not_there() -> None:
    rng = np.random.default_rng(2)
    fmr, fnmr = rng.random((2, 6, 5))
    fmr[3, 1] = fmr[4, 1:] = fmr[5] = np.nan
    found = garbe(fmr, fnmr)
    for r in range(3):
        assert found[r] == pytest.approx(garbe(fmr[r], fnmr[r]))
    assert found[3] == pytest.approx((gini(np.delete(fmr[3], 1)) + gini(fnmr[3])) / 2)
    assert np.isnan(found[4:]).all()
    for summary in (fairness_discrepancy, inequity_rate):
        found = summary(fmr, fnmr)
        np.testing.assert_allclose(found[:3], [summary(*rates) for rates in zip(fmr[:3], fnmr[:3], strict=True)])
        assert np.isnan(found[4:]).all() and np.isfinite(found[:4]).all()


def test_pairs_across_groups_are_counted_within_each_mplet() -> None:
    groups = ["m", "m", "f", "f"]
    assert pairs_across(np.array([[0, 1], [0, 2], [2, 3], [1, 3]]), groups) == 0.5
    assert pairs_across(torch.tensor([[0, 1, 2]]), groups) == pytest.approx(2 / 3)


def test_bad_input_is_refused() -> None:
    with pytest.raises(ValueError, match=r"no genuine or no impostor pair in \['b'\]"):
        group_rates(SIMILARITY[:6], SAME[:6], GROUPS[:6], 0.5)
    with pytest.raises(ValueError, match="shapes"):
        group_rates(SIMILARITY, SAME[:5], GROUPS, 0.5)
    with pytest.raises(ValueError, match="1 values are not finite"):
        group_rates(np.append(SIMILARITY[:-1], np.nan), SAME, GROUPS, 0.5)
    with pytest.raises(ValueError, match="fmr: needs rates"):
        garbe([0.1], [0.1])
    with pytest.raises(ValueError, match="alpha: 2"):
        garbe([0.1, 0.2], [0.1, 0.2], 2)
    with pytest.raises(ValueError, match="of 0 to 1"):
        pairs_across(np.array([[0, 2]]), ["m", "f"])
