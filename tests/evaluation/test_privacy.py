"""Leaks and copying: brute force, planted copies, calibration under no leak."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy.stats import mannwhitneyu
from sklearn.metrics.pairwise import cosine_similarity
from torch import Tensor

from scoremix.analysis import spaces
from scoremix.evaluation.generated import of_copying
from scoremix.evaluation.privacy import data_copying, impostor_thresholds, nearest_similarity


def rows(n: int, d: int = 12, seed: int = 0) -> Tensor:
    return torch.randn(n, d, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spaces, "BLOCK", 500)


def test_nearest_training_image_equals_brute_force() -> None:
    images, train = rows(40), rows(70, seed=1)
    values, indices = nearest_similarity(images, train)
    cosines = cosine_similarity(images, train)
    assert np.allclose(values, cosines.max(1)) and np.array_equal(indices, cosines.argmax(1))


def test_parents_of_a_mix_are_told_apart_from_others() -> None:
    images, train, labels = rows(30), rows(60, seed=1), torch.arange(60) % 6
    parents = torch.stack([torch.arange(30) % 6, (torch.arange(30) + 1) % 6], 1)
    cosines = cosine_similarity(images, train)
    own = (parents.numpy()[:, :, None] == labels.numpy()).any(1)
    for among, mask in (("parents", own), ("others", ~own)):
        values, indices = nearest_similarity(images, train, parents, labels, among)  # type: ignore[arg-type]
        allowed = np.where(mask, cosines, -2)
        assert np.allclose(values, allowed.max(1)) and np.array_equal(indices, allowed.argmax(1))
    with pytest.raises(ValueError, match="image 0 has no training row among 'parents'"):
        nearest_similarity(images, train, parents + 10, labels, "parents")
    with pytest.raises(ValueError, match="needs parents and train_labels"):
        nearest_similarity(images, train, among="others")


def test_thresholds_let_at_most_the_stated_share_through() -> None:
    features, labels = rows(80), torch.arange(80) % 20
    cosines = cosine_similarity(features)
    i, j = np.triu_indices(80, 1)
    impostors = cosines[i, j][(labels[i] != labels[j]).numpy()]
    fmrs = [0.5, 0.1, 0.01, 1 / len(impostors)]
    for fmr, threshold in zip(fmrs, impostor_thresholds(features, labels, fmrs), strict=True):
        assert (impostors > threshold + 1e-12).mean() <= fmr
        assert (impostors >= threshold - 1e-12).mean() > fmr  # the smallest such threshold
    with pytest.raises(ValueError, match=r"fmr: 1e-06, allowed 0.000329 to 1 with 3040 impostor pairs"):
        impostor_thresholds(features, labels, [1e-6])


def test_leak_rate_sees_planted_copies_and_nothing_else() -> None:
    train, held, labels = rows(100, 32), rows(120, 32, 1), torch.arange(120) // 2
    fresh, fmrs = rows(200, 32, 2), (1e-2, 1e-3)
    thresholds = list(zip(fmrs, impostor_thresholds(held, labels, fmrs).tolist(), strict=True))
    assert thresholds[0][1] < thresholds[1][1]
    clean, usual = (of_copying(x, train, None, thresholds) for x in (fresh, held))
    for fmr in fmrs:  # no leak: the same rate as held-out images, far above the pair rate
        share = usual[f"leak@{fmr:g}"]
        error = math.sqrt(share * (1 - share) * (1 / 200 + 1 / 120))
        assert clean[f"leak@{fmr:g}"] == pytest.approx(share, abs=4 * error + 0.01)
    assert usual["leak@0.01"] > 20 * 1e-2
    leaky = fresh.clone()
    leaky[:60] = train[:60] + 0.1 * fresh[:60]
    leaked = of_copying(leaky, train, None, thresholds)["leak@0.001"]
    assert leaked == pytest.approx(0.3 + 0.7 * clean["leak@0.001"], abs=0.05)


def test_data_copying_is_the_mann_whitney_z() -> None:
    train, images, held = rows(150, 6), rows(70, 6, 1) * 0.8, rows(60, 6, 2)
    near = []
    for x in (images, held):
        near.append(np.sqrt(((x[:, None] - train) ** 2).sum(2).numpy()).min(1))
    oracle = mannwhitneyu(*near, method="asymptotic", use_continuity=False)
    u, z = oracle.statistic, data_copying(images, train, held, dims=None)
    assert z == pytest.approx((u - 70 * 60 / 2) / math.sqrt(70 * 60 * 131 / 12), abs=1e-9)
    assert math.erfc(abs(z) / math.sqrt(2)) == pytest.approx(oracle.pvalue, rel=1e-9)


def test_copies_are_far_below_zero_and_fresh_samples_are_standard_normal() -> None:
    train, held = rows(200, 10), rows(100, 10, 1)
    copies = train[:100] + 0.05 * rows(100, 10, 3)
    assert data_copying(copies, train, held) < -8
    assert data_copying(3 * rows(100, 10, 3), train, held) > 5
    z = [data_copying(rows(60, 10, 10 + s), rows(90, 10, 500 + s), rows(60, 10, 900 + s)) for s in range(60)]
    assert np.mean(z) == pytest.approx(0, abs=4 / math.sqrt(60))
    assert 0.6 < np.std(z) < 1.4


def test_principal_axes_keep_what_varies() -> None:
    train, images, held = rows(80, 4), rows(40, 4, 1), rows(40, 4, 2)
    padded = [torch.cat([x, torch.zeros(len(x), 3)], 1) for x in (images, train, held)]
    turn = torch.linalg.qr(rows(7, 7, 9)).Q
    turned = [x @ turn for x in padded]
    assert data_copying(*turned, dims=4) == pytest.approx(data_copying(images, train, held, dims=None), abs=1e-9)


def test_bad_input_is_refused() -> None:
    a, b = rows(10), rows(12, seed=1)
    with pytest.raises(ValueError, match="images and train: 12 and 5 features"):
        nearest_similarity(a, b[:, :5])
    with pytest.raises(ValueError, match="labels: shape"):
        impostor_thresholds(a, torch.arange(9), [0.5])
    with pytest.raises(ValueError, match=r"features: \[12, 12, 3\]"):
        data_copying(a, b, a[:, :3])
    with pytest.raises(ValueError, match="all are equally far"):
        data_copying(a[:1], b, a[:1], dims=None)
    b[3] = 0
    with pytest.raises(ValueError, match="train: row 3 is zero"):
        nearest_similarity(a, b)
