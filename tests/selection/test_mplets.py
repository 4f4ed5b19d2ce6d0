"""Exact m-plets against float64 brute force: objectives, metrics, ties, groups, several spaces."""

from __future__ import annotations

import _thread
import signal
import threading
import time
from itertools import combinations
from math import comb
from typing import Any
from unittest import mock

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from scoremix.selection import mplets, scores, search
from scoremix.selection.criterion import Criterion
from scoremix.selection.mplets import top_mplets, verified
from support.baselines import greedy_quads, lost, one_best_per_pair

METRICS = ("cosine", "l2", "sqeuclidean")
KINDS = ("normal", "anisotropic", "duplicates", "grid", "clustered", "offset")
LARGEST_N = {2: 40, 3: 40, 4: 22, 5: 14, 6: 12}


def rows(kind: str, n: int, d: int, seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((n, d))
    if kind == "anisotropic":
        x *= np.arange(1, d + 1) ** -2.0
    elif kind == "duplicates":
        x = x[rng.integers(0, max(2, n // 3), n)]
    elif kind == "grid":
        x = rng.integers(-1, 2, (n, d)).astype(float)
        x[(x == 0).all(axis=1)] = 1
    elif kind == "clustered":
        x = rng.standard_normal((3, d))[rng.integers(0, 3, n)] + 0.05 * x
    elif kind == "offset":
        x += 100 * rng.standard_normal(d)
    return x.astype(np.float32)


def distances(x: np.ndarray, metric: str) -> np.ndarray:
    x = np.asarray(x, np.float64)
    if metric == "cosine":
        unit = x / np.linalg.norm(x, axis=1, keepdims=True)
        return 1 - unit @ unit.T
    square = ((x[:, None] - x[None]) ** 2).sum(axis=2)
    return np.sqrt(square) if metric == "l2" else square


def brute(
    table: np.ndarray, m: int, objective: str, largest: bool, groups: Any = None, across: bool = True
) -> tuple[np.ndarray, np.ndarray]:
    """All allowed sets and their values, best first, ties by indices."""
    sets = np.array(list(combinations(range(len(table)), m)))
    if groups is not None:
        wanted = m if across else 1
        sets = sets[[len(set(row)) == wanted for row in groups[sets].tolist()]].reshape(-1, m)
    pairs = np.stack([table[sets[:, a], sets[:, b]] for a, b in combinations(range(m), 2)], axis=1)
    reduce = dict(sum=np.sum, mean=np.mean, min=np.min, max=np.max, range=np.ptp, std=np.std)[objective]
    values = np.round(reduce(pairs, axis=1), 11) + 0.0
    order = np.lexsort((*sets.T[::-1], -values if largest else values))
    return sets[order], values[order]


def check(found: mplets.MPlets, sets: np.ndarray, values: np.ndarray, size: float) -> None:
    """Same values, same sets in the same order; only values within the brute force's rounding may change places."""
    m, k = sets.shape[1], len(found)
    tolerance = 2e-11 * m * m * max(size, 1.0)
    np.testing.assert_allclose(found.values, values[:k], rtol=0, atol=tolerance)
    for place in np.flatnonzero((found.classes != sets[:k]).any(axis=1)):
        near = np.abs(values - values[place]) <= tolerance
        assert near.sum() > 1 and (sets[near] == found.classes[place]).all(axis=1).any()
    assert len(np.unique(found.classes, axis=0)) == k
    assert (np.diff(found.classes, axis=1) > 0).all()
    assert found.classes.dtype == np.int64 and found.values.dtype == np.float64


@st.composite
def problems(draw: st.DrawFn) -> dict[str, Any]:
    m = draw(st.integers(2, 6))
    n = draw(st.integers(m, LARGEST_N[m]))
    total = comb(n, m)
    largest = draw(st.booleans())
    return {
        "x": rows(draw(st.sampled_from(KINDS)), n, draw(st.integers(1, 12)), draw(st.integers(0, 10**6))),
        "m": m,
        "k": draw(st.sampled_from([1, total]) | st.integers(1, total)),
        "objective": draw(st.sampled_from(["sum", "mean", "min" if largest else "max"])),
        "metric": draw(st.sampled_from(METRICS)),
        "largest": largest,
    }


def searched(memory: float = 1.0, **problem: Any) -> mplets.MPlets:
    """With small problems searched, in small blocks, and not just listed."""
    with (
        mock.patch.multiple(mplets, FEW=0),
        mock.patch.multiple(scores, TILE=16),
        mock.patch.multiple(search, SAMPLE=256, MANY=50, GUESS=8),
    ):
        return top_mplets(memory=memory, **problem)


@settings(max_examples=80, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(problems(), st.sampled_from([1.0, 2e-5]))
def test_same_as_brute_force(problem: dict[str, Any], memory: float) -> None:
    table = distances(problem["x"], problem["metric"])
    sets, values = brute(table, problem["m"], problem["objective"], problem["largest"])
    try:
        found = searched(memory, **problem)
    except MemoryError:
        assert memory < 1
        return
    check(found, sets, values, table.max())
    assert found.certificate is not None
    sign = 1 if problem["largest"] else -1
    assert sign * found.certificate.bound <= sign * found.certificate.kth_value + 1e-9 * max(1, table.max())
    assert found.certificate.sets == len(sets)


@pytest.mark.parametrize("across", [True, False])
@pytest.mark.parametrize("m", [2, 3, 4])
def test_groups_and_two_spaces(m: int, across: bool) -> None:
    x, y = rows("normal", 20, 5, 1), rows("anisotropic", 20, 3, 2)
    groups = np.random.default_rng(3).integers(0, 4, 20)
    table = distances(x, "cosine") - 0.7 * distances(y, "l2")
    for largest in (True, False):
        sets, values = brute(table, m, "sum", largest, groups, across)
        options: dict[str, Any] = dict(largest=largest, terms=[(y, "l2", -0.7)], groups=groups, across=across)
        for k in (1, len(sets) // 2, len(sets)):
            check(searched(x=x, m=m, k=k, **options), sets, values, np.abs(table).max())
        with pytest.raises(ValueError, match=f"number of allowed {m}-plets, {len(sets)}"):
            top_mplets(x, m, len(sets) + 1, **options)


@pytest.mark.parametrize("objective", ["range", "std"])
@pytest.mark.parametrize("m", [3, 4])
def test_exhaustive_objectives(objective: str, m: int) -> None:
    x = rows("normal", 18, 4, 0)
    for metric in METRICS:
        for largest in (True, False):
            sets, values = brute(distances(x, metric), m, objective, largest)
            check(top_mplets(x, m, 300, objective=objective, metric=metric, largest=largest), sets, values, 50)  # type: ignore[arg-type]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("m", [3, 4])
def test_with_and_without_the_matrix(kind: str, m: int) -> None:
    x = rows(kind, 100 if m == 3 else 50, 16, 5)
    for largest in (True, False):
        problem: dict[str, Any] = dict(x=x, m=m, k=500, largest=largest)
        with mock.patch.multiple(mplets, FEW=1 << 60):
            expected = top_mplets(**problem)
        with mock.patch.multiple(mplets, FEW=0):
            for options in ({}, {"memory": 1.2e-4}):
                try:
                    found = top_mplets(**problem, **options)
                except MemoryError:
                    assert "memory" in options
                    continue
                np.testing.assert_array_equal(found.classes, expected.classes)
                np.testing.assert_array_equal(found.values, expected.values)


@pytest.mark.parametrize("kind", ["normal", "clustered", "anisotropic"])
def test_far_fewer_sums_than_sets_and_nothing_random_beats_it(kind: str) -> None:
    x = rows(kind, 1500, 64, 0)
    for largest in (True, False):
        found = top_mplets(x, 3, 1000, largest=largest, verify=200_000)
        assert found.certificate is not None
        if kind == "normal":
            assert found.certificate.pair_sums < comb(1500, 3) / 20
        report = found.verification
        assert report is not None and report.samples > 199_000
        assert (report.top1_violations, report.new, report.worst_margin) == (0, 0, 0.0)


@pytest.mark.parametrize("guess", [0.9, 0.5, -1e9])
def test_a_wrong_guess_of_the_threshold_costs_time_only(guess: float) -> None:
    x = rows("normal", 120, 8, 4)
    with mock.patch.multiple(mplets, FEW=0):
        expected = top_mplets(x, 3, 200)
        with mock.patch.multiple(search, _guess_threshold=lambda *_: guess * 3):
            found = top_mplets(x, 3, 200)
    np.testing.assert_array_equal(found.classes, expected.classes)
    np.testing.assert_array_equal(found.values, expected.values)


def test_all_rows_identical_gives_the_first_sets() -> None:
    x = np.ones((100, 4), np.float32)
    for m in (2, 3):
        found = searched(x=x, m=m, k=50, metric="l2")
        np.testing.assert_array_equal(found.classes, list(combinations(range(100), m))[:50])
        assert (found.values == 0).all()


def test_permuting_rows_permutes_answers_and_scaling_leaves_cosine_alone() -> None:
    x = rows("normal", 120, 8, 4)
    found = top_mplets(x, 3, 200)
    order = np.random.default_rng(0).permutation(120)
    moved = top_mplets(x[order], 3, 200)
    np.testing.assert_array_equal(np.sort(order[moved.classes], axis=1), found.classes)
    np.testing.assert_array_equal(moved.values, found.values)
    scaled = top_mplets(x * np.linspace(0.1, 9, 120, dtype=np.float32)[:, None], 3, 200)
    np.testing.assert_array_equal(scaled.classes, found.classes)
    np.testing.assert_allclose(scaled.values, found.values, atol=1e-6)  # the scaled rows are rounded to float32
    np.testing.assert_array_equal(top_mplets(x * 4, 3, 200).values, found.values)


def test_mean_is_the_sum_divided() -> None:
    x = rows("normal", 60, 8, 4)
    total, mean = top_mplets(x, 4, 100), top_mplets(x, 4, 100, objective="mean")
    np.testing.assert_array_equal(mean.classes, total.classes)
    np.testing.assert_array_equal(mean.values, total.values / 6)


def test_distances_of_near_rows_keep_their_digits() -> None:
    """Squared distances of 1e-12 between rows of norm 100: far below the rounding of the float32 product."""
    rng = np.random.default_rng(0)
    x = 100 + 1e-6 * rng.standard_normal((400, 3))
    x[7] = x[3] + 1e-9
    found = top_mplets(x, 2, 1, metric="l2", largest=False)
    assert found.classes.tolist() == [[3, 7]]
    assert found.values[0] == pytest.approx(np.linalg.norm(x[3] - x[7]), rel=1e-4)


def test_one_best_per_pair_loses_what_we_find() -> None:
    """Three far corners with a near copy each: all eight choices are the top 8, but the copies are best for no pair."""
    corners = np.array([[0, 2.0], [3**0.5, -1], [-(3**0.5), -1]])
    copies = corners + np.array([[0.01, 0], [0.01, 0.02], [0.02, 0.01]])
    crowd = np.random.default_rng(0).standard_normal((60, 3)) + np.array([0, 0, 4])
    x = np.concatenate([np.pad(np.concatenate([corners, copies]), ((0, 0), (0, 1))), crowd])
    exact, baseline = top_mplets(x, 3, 8), one_best_per_pair(x, 8)
    sets, _ = brute(distances(x, "cosine"), 3, "sum", True)
    np.testing.assert_array_equal(exact.classes, sets[:8])
    assert exact.classes.max() == 5
    assert lost(baseline, exact) > 0 and lost(exact, exact) == 0
    assert baseline.values.mean() < exact.values.mean()


def test_baselines_are_the_papers() -> None:
    """One best third class per pair and the best fourth per triple, by plain loops."""
    x = rows("clustered", 40, 6, 2)
    table = distances(x, "cosine")
    np.fill_diagonal(table, np.nan)
    best: dict[tuple[int, ...], float] = {}
    for i, j in combinations(range(40), 2):
        k = int(np.nanargmax(table[i] + table[j]))
        best[tuple(sorted((i, j, k)))] = table[i, j] + table[i, k] + table[j, k]
    ranked = sorted(best, key=lambda triple: -best[triple])
    baseline = one_best_per_pair(x, 60)
    assert {tuple(row) for row in baseline.classes.tolist()} == set(ranked[:60])
    quads = greedy_quads(x, baseline.classes)
    expected = {tuple(sorted((*t, int(np.nanargmax(table[list(t)].sum(axis=0)))))) for t in ranked[:60]}
    assert {tuple(row) for row in quads.classes.tolist()} == expected
    assert (np.diff(quads.values) <= 0).all()


def test_verifier_sees_a_wrong_list() -> None:
    x = rows("normal", 30, 6, 0)
    found = top_mplets(x, 3, 100)
    report = verified(Criterion.of(x), found.classes, found.values, 50_000)
    assert report.top1_violations == report.new == 0 and report.known > 0
    report = verified(Criterion.of(x), found.classes[50:], found.values[50:], 50_000)
    assert report.top1_violations > 0 and report.new > 0
    assert report.worst_margin == pytest.approx(found.values[0] - found.values[99])


BAD = [
    (dict(x=np.full((5, 2), np.nan)), "finite, but 5 of its rows"),
    (dict(x=np.array([[1.0, 0], [np.inf, 1], [0, 1]])), "first is row 1"),
    (dict(x=np.array([[1.0, 0], [0, 0], [0, 1]])), "zero row"),
    (dict(x=np.ones(3)), "matrix"),
    (dict(k=11, m=2), "k must lie between 1 and the number of allowed 2-plets, 10, got 11"),
    (dict(k=0), "k must lie between 1"),
    (dict(m=6), "m must lie between 2 and the number of rows, 5, got 6"),
    (dict(m=1), "m must lie between 2"),
    (dict(metric="manhattan"), "metric must be one of"),
    (dict(objective="median"), "objective must be one of"),
    (dict(objective="max"), "degenerate"),
    (dict(objective="min", largest=False), "degenerate"),
    (dict(objective="std", m=2), "0 for every pair"),
    (dict(objective="range", x=np.eye(4000)), "hours"),
    (dict(terms=[(np.ones((4, 2)), "l2", 1.0)]), "4 rows, x has 5"),
    (dict(weight=np.inf), "must be finite"),
    (dict(weight=0.0), "not all zero"),
    (dict(groups=[0, 1]), "one label per row"),
    (dict(groups=[0, 0, 0, 0, 0]), "no 3-plet is allowed"),
    (dict(k=2.0), "k must be a whole number"),
    (dict(m=3.0), "m must be a whole number"),
    (dict(x=np.eye(5) + 1j), "real numbers"),
    (dict(max_degree=1, min_degree=1), "exclude each other"),
]


@pytest.mark.parametrize("classes", [30, 2**16])  # one number per set, and too many classes for that
def test_distinct_sets_in_the_order_of_their_indices(classes: int) -> None:
    rng = np.random.default_rng(0)
    sets = np.sort(rng.integers(0, classes, (400, 4)).astype(np.int32), axis=1)
    sets = np.concatenate([sets, sets[rng.integers(0, 400, 300)]])
    sums = rng.standard_normal(len(sets)).astype(np.float32)
    best: dict[tuple[int, ...], float] = {}
    for row, value in zip(sets.tolist(), sums.tolist(), strict=True):
        best[tuple(row)] = max(value, best.get(tuple(row), -np.inf))
    found, values = scores.distinct(sets, sums)
    assert [tuple(row) for row in found.tolist()] == sorted(best)
    assert values.tolist() == [best[row] for row in sorted(best)]


@pytest.mark.parametrize(("change", "message"), BAD, ids=[message[:24] for _, message in BAD])
def test_bad_input_is_one_clear_line(change: dict[str, Any], message: str) -> None:
    problem: dict[str, Any] = dict(x=rows("normal", 5, 3, 0), m=3, k=2) | change
    with pytest.raises(ValueError, match=message) as error:
        top_mplets(**problem)
    assert "\n" not in str(error.value)


def test_progress_reaches_one_and_an_interrupt_stops_at_once() -> None:
    x = rows("normal", 400, 16, 0)
    told: list[tuple[str, float]] = []
    top_mplets(x, 3, 100, progress=lambda what, share: told.append((what, share)))
    assert max(share for _, share in told) == 1.0 and all(0 <= share <= 1 for _, share in told)

    def stop(what: str, share: float) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        top_mplets(x, 3, 100, progress=stop)


def test_control_c_is_prompt() -> None:
    x = rows("normal", 4000, 3, 0)  # thousands of millions of sums: many seconds
    sent: list[float] = []
    timer = threading.Timer(1.0, lambda: (sent.append(time.monotonic()), _thread.interrupt_main()))
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # a suite in the background ignores it
    timer.start()
    try:
        with pytest.raises(KeyboardInterrupt):
            while True:
                top_mplets(x, 4, 20_000)
    finally:
        signal.signal(signal.SIGINT, before)
    assert time.monotonic() - sent[0] < 10


def test_tensors_are_taken() -> None:
    x = rows("normal", 50, 4, 0)
    np.testing.assert_array_equal(top_mplets(torch.from_numpy(x), 3, 20).classes, top_mplets(x, 3, 20).classes)
