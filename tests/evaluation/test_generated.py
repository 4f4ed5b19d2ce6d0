"""Measures by name: they are the library's numbers, and rows are chosen evenly and equally."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from scoremix.evaluation import generated, privacy, quality


def rows(n: int, d: int = 6, seed: int = 0) -> Tensor:
    return torch.randn(n, d, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_class_measures_are_means_and_deviations_over_classes() -> None:
    features, labels, targets = rows(24), torch.arange(24) // 6, rows(9, seed=1)
    found, values = quality.fidelity(features, labels, targets), generated.of_classes(features, labels, targets)
    assert values["classes"] == 4
    for name in ("align", "ics", "shift"):
        per_class = getattr(found, name).numpy()
        assert values[name] == pytest.approx(per_class.mean())
        assert values[f"{name}_std"] == pytest.approx(per_class.std(ddof=1))
    alone = generated.of_classes(features, labels + 40)  # labels without centers, any numbers
    assert alone["ics"] == pytest.approx(values["ics"])
    assert math.isnan(alone["align"]) and math.isnan(alone["shift"]) and math.isnan(alone["mode_coverage"])
    single = generated.of_classes(features, torch.arange(24), rows(24, seed=2))
    assert math.isnan(single["ics"]) and single["align"] == pytest.approx(single["shift"])


def test_all_real_classes_compete_for_the_strict_coverage() -> None:
    targets = torch.eye(6)[:3].double()
    features = torch.cat([targets, targets]) + 0.05 * rows(6)
    features[[2, 5]] = torch.tensor(
        [0, 0, 0.4, 0.6, 0, 0]
    ).double()  # the third class drifts to one that is not measured
    measured = generated.of_classes(features, torch.arange(6) % 3, targets, everything=torch.eye(6).double())
    assert measured["mode_coverage"] == 1 and measured["mode_coverage_all"] == pytest.approx(2 / 3)
    assert measured["mode_coverage_all"] == pytest.approx(
        quality.fidelity(features, torch.arange(6) % 3, torch.eye(6).double(), "all").coverage
    )


def test_sources_are_left_out_of_the_second_leak_rate() -> None:
    train, labels = rows(40, 16), torch.arange(40) // 4
    parents = torch.tensor([[k, (k + 1) % 10] for k in range(10)])
    mixes = train[::4] + 0.05 * rows(10, 16, 1)  # a copy of the first source
    values = generated.of_copying(mixes, train, None, [(0.01, 0.95)], parents, labels)
    assert values["leak@0.01"] == 1 and values["leak_others@0.01"] == 0
    assert math.isnan(values["copying_z"])
    assert values["nearest"] == pytest.approx(float(privacy.nearest_similarity(mixes, train)[0].median()), abs=1e-3)
    assert values["authenticity"] == 0


@pytest.mark.parametrize(("n", "count"), [(10, 3), (7, 7), (5, 9), (1000, 999), (3, 1)])
def test_spread_rows_are_distinct_even_and_in_range(n: int, count: int) -> None:
    chosen = generated.spread(n, count)
    assert len(chosen) == min(n, count) and len(set(chosen.tolist())) == len(chosen)
    assert chosen[0] == 0 and chosen[-1] < n
    assert np.ptp(np.diff(chosen)) <= 1 if len(chosen) > 2 else True


def test_classes_with_too_few_images_are_left_out() -> None:
    labels = np.array([2, 2, 2, 5, 7, 7, 7, 7])
    assert generated.first_of_classes(labels, 3).tolist() == [0, 1, 2, 4, 5, 6]
    assert generated.first_of_classes(labels, 9).tolist() == []
