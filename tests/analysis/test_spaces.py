"""Spaces: matching by name, class centers, the condition matrix, checks."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from scoremix.analysis import spaces
from scoremix.analysis.spaces import as_rows, class_centers, condition_matrix, match_classes, paired, row_blocks


def test_classes_are_matched_by_name() -> None:
    x, y = torch.arange(12.0).reshape(4, 3), torch.arange(8.0).reshape(4, 2)
    a, b = match_classes(x, ["d", "a", "c", "b"], y, ["a", "b", "c", "d"])
    assert torch.equal(a, x.double())
    assert torch.equal(b, y[[3, 0, 2, 1]].double())
    a, b = match_classes(x, np.array([3, 0, 2, 1]), y, np.arange(4))
    assert torch.equal(b, y[[3, 0, 2, 1]].double())


def test_other_classes_are_refused_by_name() -> None:
    x = torch.randn(3, 2)
    with pytest.raises(ValueError, match=r"1 only in x \['c'\], 1 only in y \['z'\]"):
        match_classes(x, ["a", "b", "c"], x, ["a", "b", "z"])
    with pytest.raises(ValueError, match=r"y_names: repeated class names \['a'\]"):
        match_classes(x, ["a", "b", "c"], x, ["a", "b", "a"])
    with pytest.raises(ValueError, match="x_names: 2 names for 3 rows"):
        match_classes(x, ["a", "b"], x, ["a", "b", "c"])


def test_centers_are_normalised_means_of_unit_embeddings() -> None:
    embeddings = torch.tensor([[2.0, 0], [0, 5], [0, -3], [7, 0]])
    centers = class_centers(embeddings, torch.tensor([4, 4, 2, 2]))
    half = 0.5**0.5
    assert torch.allclose(centers, torch.tensor([[half, -half], [half, half]], dtype=torch.float64))
    with pytest.raises(ValueError, match="class sums: row 0 is zero"):
        class_centers(torch.tensor([[1.0, 0], [-1, 0]]), torch.tensor([0, 0]))
    with pytest.raises(ValueError, match="labels"):
        class_centers(embeddings, torch.tensor([0, 1]))


def test_each_condition_feature_has_unit_rms_over_classes() -> None:
    weight = torch.randn(8, 50, generator=torch.Generator().manual_seed(0)) * torch.arange(1, 9)[:, None]
    conditions = condition_matrix(weight)
    assert conditions.shape == (50, 8)
    assert torch.allclose(conditions.square().mean(0).sqrt(), torch.ones(8, dtype=torch.float64), atol=2e-4)
    assert torch.allclose(conditions * (1e-4 + weight.double().square().mean(1).sqrt()), weight.T.double())


def test_blocks_cover_all_rows_once_within_the_budget(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spaces, "BLOCK", 100)
    blocks = list(row_blocks(23, 30))
    assert [i for b in blocks for i in range(b.start, b.stop)] == list(range(23))
    assert all((b.stop - b.start) * 30 <= 100 for b in blocks)
    assert len(list(row_blocks(5, 1000))) == 5  # at least a row


def test_bad_rows_are_refused() -> None:
    for bad in (torch.zeros(3), torch.zeros(0, 4), torch.zeros(2, 3, 4)):
        with pytest.raises(ValueError, match=r"space: needs a matrix \(n, d\)"):
            as_rows(bad, "space")
    grown = torch.randn(5, 2, requires_grad=True)
    assert not paired(grown, grown)[0].requires_grad
