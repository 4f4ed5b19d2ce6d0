"""Pairs judged wrongly, against all pairs written out."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest

from scoremix.evaluation import errors
from scoremix.evaluation.metrics import pair_similarities, tar_at_far

FARS = (0.2, 0.05)


@pytest.fixture(scope="module", params=[7, 256])
def case(request: pytest.FixtureRequest) -> tuple[np.ndarray, np.ndarray, errors.JudgedPairs]:
    """Unit embeddings and labels of 60 images, judged in blocks of few rows and in one."""
    rng = np.random.default_rng(0)
    labels = np.sort(rng.integers(0, 9, 60))
    unit = rng.standard_normal((60, 5)) + 0.6 * rng.standard_normal((9, 5))[labels]
    unit = (unit / np.linalg.norm(unit, axis=1, keepdims=True)).astype(np.float32)
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(errors, "BLOCK", request.param)
        return unit, labels, errors.judge_pairs(unit, labels, FARS)


def test_against_all_pairs_written_out(case: tuple[np.ndarray, np.ndarray, errors.JudgedPairs]) -> None:
    unit, labels, judged = case
    every = {(i, j): float(unit[i] @ unit[j]) for i, j in combinations(range(60), 2)}
    same = {pair: value for pair, value in every.items() if labels[pair[0]] == labels[pair[1]]}
    pairs = errors.genuine_pairs(labels)
    assert {tuple(pair) for pair in pairs.tolist()} == set(same) and len(pairs) == len(same)
    np.testing.assert_allclose(judged.genuine, [same[tuple(pair)] for pair in pairs.tolist()], atol=1e-6)
    other = sorted((v, pair) for pair, v in every.items() if pair not in same)[::-1][: len(judged.impostor)]
    np.testing.assert_allclose(judged.impostor, [value for value, _ in other], atol=1e-6)
    assert [tuple(pair) for pair in judged.impostor_pairs.tolist()] == [pair for _, pair in other]
    assert judged.counts.sum(1).tolist() == [len(same), len(every) - len(same)]


def test_thresholds_accept_what_the_metric_counts(case: tuple[np.ndarray, np.ndarray, errors.JudgedPairs]) -> None:
    unit, labels, judged = case
    similarity, same = pair_similarities(unit, labels).flat()
    for far, threshold in zip(FARS, judged.thresholds, strict=True):
        accepted = (judged.impostor > threshold).sum()
        assert accepted == int(far * (~same).sum())
        assert (judged.genuine > threshold).mean() == pytest.approx(float(tar_at_far(similarity, same, far)))


def test_a_far_that_the_pairs_do_not_support_is_refused() -> None:
    with pytest.raises(ValueError, match=r"far: 0\.001"):
        errors.judge_pairs(np.eye(4, dtype=np.float32), np.array([0, 0, 1, 1]), [0.001])


def test_no_two_pairs_of_the_same_classes_are_shown() -> None:
    labels = np.array([0, 0, 1, 1, 2])
    pairs = np.array([[0, 2], [1, 3], [0, 4], [3, 4]])
    assert errors.first_of_each(pairs, labels, 5) == [0, 2, 3] and errors.first_of_each(pairs, labels, 2) == [0, 2]
