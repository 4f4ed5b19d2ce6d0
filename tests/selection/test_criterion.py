"""Float32 scores never fall below the truth and stay near it; float64 values are those of plain formulas."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from scoremix.selection.criterion import Criterion
from scoremix.selection.scores import Scores
from scoremix.selection.search import unrank


@pytest.mark.parametrize("metric", ["cosine", "l2", "sqeuclidean"])
@pytest.mark.parametrize("largest", [True, False])
@pytest.mark.parametrize("scale", [1e-18, 1.0, 1e15])
def test_scores_bound_the_truth(metric: Any, largest: bool, scale: float) -> None:
    rng = np.random.default_rng(0)
    x = (rng.standard_normal((70, 40)) * scale).astype(np.float32)
    y = rng.standard_normal((70, 3))
    x[3] = x[4]
    criterion = Criterion.of(x, metric, largest=largest, terms=[(y, "l2", -0.5 * scale), (y, "cosine", scale)])
    pairs = unrank(np.arange(70 * 69 // 2), 70, 2)
    truth = criterion.sign * criterion.distances(pairs)[:, 0] / criterion.size
    margin = 4e-2 if metric == "l2" else 4e-3  # a root of the products' rounding, near zero
    for scores in (Scores(criterion, 1e9), Scores(criterion, 0)):
        found = {
            tuple(pair): value
            for p, v, _ in scores.scan(lambda: -9.0)
            for pair, value in zip(p.tolist(), v, strict=True)
        }
        block = np.array([found[tuple(pair)] for pair in pairs.tolist()])
        assert (block >= truth).all() and (block <= truth + margin).all()
        assert np.median(block - truth) < 1e-4
        some, values = scores.sample(500)
        index = some[:, 0] * 70 + some[:, 1]
        order = np.argsort(pairs[:, 0] * 70 + pairs[:, 1])
        at = order[np.searchsorted((pairs[:, 0] * 70 + pairs[:, 1])[order], index)]
        assert (values >= truth[at]).all() and (values <= truth[at] + margin).all()


def test_matrix_is_symmetric_and_leaves_out_what_is_not_allowed() -> None:
    x = np.random.default_rng(0).standard_normal((50, 8))
    groups = np.arange(50) % 3
    scores = Scores(Criterion.of(x, "l2", groups=groups), 1e9)
    list(scores.scan(lambda: 0.0))
    dense = scores.pairs.dense
    np.testing.assert_array_equal(dense, dense.T)
    np.testing.assert_array_equal(dense == -np.inf, groups[:, None] == groups[None])


def test_values_do_not_depend_on_order_and_break_no_ties() -> None:
    x = np.random.default_rng(0).standard_normal((20, 300))
    x[7], x[9] = x[3], 5 * x[3]
    criterion = Criterion.of(x, "cosine")
    sets = np.array([[1, 3, 5, 8], [1, 5, 7, 8], [1, 5, 8, 9], [8, 5, 3, 1]])
    values = criterion.values(sets)
    assert (values == values[0]).all()
    unit = x / np.linalg.norm(x, axis=1, keepdims=True)
    table = 1 - unit @ unit.T
    expected = sum(table[a, b] for n, a in enumerate(sets[0]) for b in sets[0][n + 1 :])
    assert values[0] == pytest.approx(expected, rel=1e-11)
    assert criterion.values(np.array([[3, 7], [3, 9]])).tolist() == [0.0, 0.0]


def test_unrank_is_lexicographic() -> None:
    from itertools import combinations

    for n, m in ((6, 2), (7, 3), (6, 6), (8, 5)):
        every = np.array(list(combinations(range(n), m)))
        np.testing.assert_array_equal(unrank(np.arange(len(every)), n, m), every)
