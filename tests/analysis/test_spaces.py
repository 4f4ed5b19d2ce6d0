"""Spaces: blocks of rows, checks."""

from __future__ import annotations

import pytest
import torch

from scoremix.analysis import spaces
from scoremix.analysis.spaces import as_rows, paired, row_blocks


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
