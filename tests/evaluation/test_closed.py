"""Closed-set accuracy against scikit-learn and by counting."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.metrics import balanced_accuracy_score, top_k_accuracy_score

from scoremix.evaluation import bootstrap, closed


@pytest.fixture
def case() -> tuple[torch.Tensor, torch.Tensor]:
    """Scores (300, 12) and labels with classes of different sizes, all present."""
    rng = np.random.default_rng(0)
    labels = np.concatenate([np.arange(12), rng.choice(12, 288, p=np.arange(1, 13) / 78)])
    scores = rng.standard_normal((300, 12)) + 1.2 * np.eye(12)[labels]
    return torch.from_numpy(scores), torch.from_numpy(labels)


def test_accuracy_is_that_of_scikit_learn(case: tuple[torch.Tensor, torch.Tensor]) -> None:
    scores, labels = case
    rank = closed.ranks(scores, labels).numpy()
    ones = np.ones((1, 12), np.int64)
    macro = closed.macro(closed.class_accuracy(rank, labels.numpy(), 12), ones)[0]
    assert macro == pytest.approx(balanced_accuracy_score(labels, scores.argmax(1)), abs=1e-12)
    assert (rank < 5).mean() == pytest.approx(top_k_accuracy_score(labels, scores, k=5), abs=1e-12)
    per_class = closed.class_accuracy(rank, labels.numpy(), 12, 5)
    share = np.bincount(labels, minlength=12) / len(labels)
    assert per_class @ share == pytest.approx(top_k_accuracy_score(labels, scores, k=5), abs=1e-12)


def test_ties_count_against() -> None:
    scores = torch.tensor([[1.0, 1.0, 0.0], [2.0, 1.0, 1.0], [0.0, 0.0, 0.0]])
    assert closed.ranks(scores, torch.tensor([0, 0, 2])).tolist() == [1, 0, 2]


def test_a_draw_is_the_accuracy_of_its_classes_repeated(case: tuple[torch.Tensor, torch.Tensor]) -> None:
    scores, labels = case
    rank = closed.ranks(scores, labels).numpy()
    accuracy = closed.class_accuracy(rank, labels.numpy(), 12)
    draws = bootstrap.class_draws(12, 20, 3)
    for n, value in zip(draws, closed.macro(accuracy, draws), strict=True):
        y, predicted = [], []
        for copy, c in enumerate(np.repeat(np.arange(12), n)):  # every copy of a drawn class is a class of its own
            rows = np.flatnonzero(labels == c)
            y += [copy] * len(rows)
            predicted += np.where(rank[rows] == 0, copy, -1).tolist()
        right = np.array(y) == np.array(predicted)
        assert value == pytest.approx(np.mean([right[np.array(y) == k].mean() for k in set(y)]), abs=1e-12)
    assert np.isnan(closed.macro(accuracy[:3], np.zeros((1, 3), np.int64)))


def test_scores_are_cosines_or_logits() -> None:
    generator = torch.Generator().manual_seed(0)
    x, weight = torch.randn(5, 8, generator=generator), torch.randn(3, 8, generator=generator)
    bias = torch.tensor([0.0, 10.0, -10.0])
    expected = torch.nn.functional.cosine_similarity(x[:, None], weight[None], dim=2)
    torch.testing.assert_close(closed.scores(x, weight, None), expected)
    torch.testing.assert_close(closed.scores(3 * x, 7 * weight, None), expected)
    torch.testing.assert_close(closed.scores(x, weight, bias), x @ weight.T + bias)


def test_extremes_are_disjoint_and_ordered() -> None:
    accuracy = np.array([0.5, 1.0, 0.0, 0.5, 1.0])
    names = list("edcba")
    assert closed.extremes(accuracy, names, 2) == ([2, 3], [4, 1])
    assert closed.extremes(accuracy, names, 9) == ([2, 3], [4, 1])


def test_scores_that_are_not_finite_are_not_right(case: tuple[torch.Tensor, torch.Tensor]) -> None:
    scores, labels = case
    scores[5] = torch.nan
    with pytest.raises(ValueError, match="scores: 1 of 300 are not finite"):
        closed.ranks(scores, labels)
