"""Which images are evaluated: all, or a bounded number drawn evenly by class."""

from __future__ import annotations

import numpy as np
import pytest

from scoremix.stages.judge.evaluate import evaluated


@pytest.mark.parametrize("most", [100, 150, 333, 10_000])
def test_bounded_even_and_seeded(most: int) -> None:
    counts = np.random.default_rng(0).integers(1, 40, 30)
    labels = np.repeat(np.arange(30), counts)
    chosen = evaluated(counts, most, seed=3)
    assert (np.diff(chosen) > 0).all()
    assert len(chosen) <= max(most, 60)
    kept = np.bincount(labels[chosen], minlength=30)
    level = kept.max()
    assert np.array_equal(kept, np.minimum(counts, level))  # nobody gives up images while another has more left
    assert np.array_equal(chosen, evaluated(counts, most, seed=3))
    if most < counts.sum():
        assert len(chosen) + (counts > level).sum() > most
        assert not np.array_equal(chosen, evaluated(counts, most, seed=4))
    else:
        assert np.array_equal(chosen, np.arange(counts.sum()))


def test_no_class_loses_its_genuine_pair() -> None:
    chosen = evaluated(np.full(200, 5), 100, seed=0)
    assert np.array_equal(np.bincount(chosen // 5), np.full(200, 2))
