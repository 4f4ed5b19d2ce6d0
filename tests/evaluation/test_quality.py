"""Generation quality against laws, closed forms, scipy, brute force and the published implementation."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.linalg import sqrtm
from scipy.spatial.distance import cdist
from sklearn.metrics.pairwise import polynomial_kernel
from torch import Tensor

from scoremix.analysis import spaces
from scoremix.evaluation.quality import (
    authenticity,
    fidelity,
    frechet_distance,
    kernel_distance,
    prdc,
)
from support.more_quality import neighbour_radii, realism, vendi


def rows(n: int, d: int, seed: int = 0) -> Tensor:
    return torch.randn(n, d, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def two_sets() -> tuple[Tensor, Tensor]:
    return rows(60, 5), rows(50, 5, 1) * 0.7 + 0.3


# ---------------------------------------------------------------------------------- Fréchet, kernel distance


def test_frechet_distance_of_equal_sets_is_zero_and_of_shifted_ones_the_shift() -> None:
    a, _ = two_sets()
    shift = torch.arange(5.0)
    assert frechet_distance(a, a) == pytest.approx(0, abs=1e-12)
    assert frechet_distance(a, a[torch.randperm(60)] + shift) == pytest.approx(30, abs=1e-10)
    assert frechet_distance(a, 3 * (a - a.mean(0)) + a.mean(0)) == pytest.approx(
        4 * float(a.var(0).sum()), rel=1e-12
    )  # commuting covariances: sum of (σ - 3σ)²


def test_frechet_distance_equals_the_matrix_square_root_and_is_symmetric() -> None:
    a, b = two_sets()
    sa, sb = np.cov(a.numpy().T), np.cov(b.numpy().T)
    trace = np.trace(sa + sb - 2 * sqrtm(sa @ sb).real)
    expected = float((a.mean(0) - b.mean(0)).square().sum()) + trace
    assert frechet_distance(a, b) == pytest.approx(expected, rel=1e-10)
    assert frechet_distance(b, a) == pytest.approx(expected, rel=1e-10)
    assert frechet_distance(a.numpy(), b.float()) == pytest.approx(expected, rel=1e-6)


def test_singular_covariances_need_no_epsilon() -> None:
    a, b = rows(6, 40), rows(7, 40, 1)  # fewer rows than features
    values = torch.linalg.svdvals((a - a.mean(0)) @ (b - b.mean(0)).T).sum() / math.sqrt(5 * 6)
    expected = (a.mean(0) - b.mean(0)).square().sum() + a.var(0).sum() + b.var(0).sum() - 2 * values
    assert frechet_distance(a, b) == pytest.approx(float(expected), rel=1e-12)
    assert frechet_distance(a, a) == pytest.approx(0, abs=1e-12)


def test_kernel_distance_equals_its_definition(monkeypatch: pytest.MonkeyPatch) -> None:
    a, b = (x.numpy() for x in two_sets())
    kxx, kyy, kxy = (polynomial_kernel(x, y, 3, 1 / 5, 1) for x, y in ((a, a), (b, b), (a, b)))
    expected = (kxx.sum() - np.trace(kxx)) / (60 * 59) + (kyy.sum() - np.trace(kyy)) / (50 * 49)
    expected -= 2 * kxy.mean()
    assert kernel_distance(a, b) == pytest.approx(expected, rel=1e-11)
    monkeypatch.setattr(spaces, "BLOCK", 300)
    assert kernel_distance(a, b) == pytest.approx(expected, rel=1e-11)


def test_kernel_distance_is_unbiased() -> None:
    values = [kernel_distance(rows(30, 4, 2 * s), rows(30, 4, 2 * s + 1)) for s in range(80)]
    assert np.mean(values) == pytest.approx(0, abs=4 * np.std(values) / math.sqrt(80))
    assert min(values) < 0


# ---------------------------------------------------------------------------------- neighbourhoods


@pytest.mark.parametrize("k", [1, 3, 7])
def test_prdc_equals_brute_force(k: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spaces, "BLOCK", 200)
    real, fake = (x.numpy() for x in two_sets())
    reach_real = np.sort(cdist(real, real), 1)[:, k]
    reach_fake = np.sort(cdist(fake, fake), 1)[:, k]
    between = cdist(real, fake)
    inside = between < reach_real[:, None]
    expected = {
        "precision": inside.any(0).mean(),
        "recall": (between < reach_fake).any(1).mean(),
        "density": inside.sum(0).mean() / k,
        "coverage": (between.min(1) < reach_real).mean(),
    }
    assert prdc(real, fake, k) == pytest.approx(expected)
    assert np.allclose(neighbour_radii(real, k), reach_real)
    keep = reach_real < np.median(reach_real)
    ratio = (reach_real[keep, None] / between[keep]).max(0)
    assert np.allclose(realism(real, fake, k), ratio)
    assert ((ratio > 1) <= inside.any(0)).all()


def test_prdc_of_equal_disjoint_and_collapsed_sets() -> None:
    real, _ = two_sets()
    assert prdc(real, real, 3)["precision"] == prdc(real, real, 3)["coverage"] == 1
    assert set(prdc(real, real + 100, 3).values()) == {0.0}
    collapsed = real[:1] + 1e-3 * rows(50, 5, 5)
    result = prdc(real, collapsed, 3)
    assert result["precision"] == 1 and result["recall"] < 0.05 and result["coverage"] < 0.2


def test_far_from_the_origin_nothing_is_lost() -> None:
    real, fake = two_sets()
    assert prdc(real + 1e4, fake + 1e4, 3) == pytest.approx(prdc(real, fake, 3))
    assert authenticity(real + 1e4, fake + 1e4) == authenticity(real, fake)


def test_authenticity_sees_copies() -> None:
    real, _ = two_sets()
    fresh = rows(400, 5, 8)
    copies = real[torch.arange(400) % 60] + 1e-3 * fresh
    assert authenticity(real, copies) == 0
    assert authenticity(real.repeat(2, 1), real) == 0  # duplicates are no room for copies, either
    assert bool(realism(real, real).isinf().any())
    assert authenticity(real, fresh) > 0.5
    between, own = cdist(fresh, real), np.sort(cdist(real, real), 1)[:, 1]
    assert authenticity(real, fresh) == (between.min(1) > own[between.argmin(1)]).mean()


def test_vendi_counts_different_rows() -> None:
    corners = torch.eye(6, dtype=torch.float64)
    assert vendi(corners) == pytest.approx(6)
    assert vendi(corners.repeat(4, 1)) == pytest.approx(6)
    assert vendi(rows(1, 4).repeat(9, 1)) == pytest.approx(1)
    uneven = torch.cat([corners[:1].repeat(9, 1), corners[1:2]])
    assert vendi(uneven) == pytest.approx(math.exp(-0.9 * math.log(0.9) - 0.1 * math.log(0.1)))
    assert vendi(uneven, order=2) == pytest.approx(1 / (0.81 + 0.01))
    x = rows(9, 20)
    assert vendi(x) == pytest.approx(vendi(torch.cat([x, torch.zeros(9, 5)], 1)))


def test_published_implementation(golden: Callable[[str], Path]) -> None:
    data = np.load(golden("genmetrics_n300.npz"), allow_pickle=False)
    real, fake = data["real"], data["fake"]
    assert frechet_distance(real, fake) == pytest.approx(float(data["fd"]), rel=1e-7)
    assert frechet_distance(real, fake) == pytest.approx(float(data["fd_efficient"]), rel=1e-7)
    assert kernel_distance(real, fake) == pytest.approx(float(data["mmd_poly"]), rel=1e-9)
    assert kernel_distance(real, fake, 2, 0.1, 0.5) == pytest.approx(float(data["mmd_poly_deg2"]), rel=1e-9)
    for k in (1, 3, 5):
        expected = {name: float(data[f"{name}@{k}"]) for name in ("precision", "recall", "density", "coverage")}
        assert prdc(real, fake, k) == pytest.approx(expected, abs=1e-12)
        assert np.allclose(neighbour_radii(real, k), data[f"real_radii@{k}"], rtol=0, atol=1e-9)
        assert np.allclose(realism(real, fake, k), data[f"realism@{k}"], rtol=1e-9)
    assert authenticity(real, fake) == pytest.approx(float(data["authpct"]) / 100, abs=1.01 / 300)
    assert vendi(fake) == pytest.approx(float(data["vendi_linear"]), rel=1e-8)
    assert vendi(fake, order=2) == pytest.approx(float(data["vendi_q2"]), rel=1e-8)
    for c, expected in enumerate(data["vendi_per_class"]):
        assert vendi(fake[data["fake_labels"] == c]) == pytest.approx(float(expected), rel=1e-8)


# ---------------------------------------------------------------------------------- D.6


def test_fidelity_equals_appendix_d6() -> None:
    centers = rows(5, 8)
    labels = torch.tensor([3, 0, 0, 3, 4, 3, 4, 0])
    features = centers[labels] * 2 + rows(8, 8, 3)
    result = fidelity(features, labels, centers)
    assert result.classes.tolist() == [0, 3, 4]
    unit = features / features.norm(dim=1, keepdim=True)
    targets = centers / centers.norm(dim=1, keepdim=True)
    for row, c in enumerate((0, 3, 4)):
        f = unit[labels == c]
        centroid = f.mean(0) / f.mean(0).norm()
        assert float(result.align[row]) == pytest.approx(float((1 - f @ targets[c]).mean()), abs=1e-12)
        assert float(result.ics[row]) == pytest.approx(float((f @ centroid).mean()), abs=1e-12)
        assert float(result.shift[row]) == pytest.approx(float(1 - centroid @ targets[c]), abs=1e-12)
    assert result.coverage == 1


def test_perfect_generators_and_wrong_classes() -> None:
    centers = torch.eye(4, dtype=torch.float64)
    perfect = fidelity(5 * centers, torch.arange(4), centers)
    for values, ideal in ((perfect.align, 0), (perfect.ics, 1), (perfect.shift, 0)):
        assert torch.allclose(values, torch.full((4,), float(ideal), dtype=torch.float64))
    swapped = fidelity(centers[[1, 0, 2]], torch.tensor([0, 1, 2]), centers)
    assert swapped.covered.tolist() == [False, False, True]
    # class 0 looks like the unevaluated class 3: only the strict coverage sees it
    like_other = torch.cat([centers[3:] + 0.1 * centers[:1], centers[1:2]])
    assert fidelity(like_other, torch.tensor([0, 1]), centers).coverage == 1
    assert fidelity(like_other, torch.tensor([0, 1]), centers, among="all").coverage == 0.5


def test_bad_input_is_refused() -> None:
    a, b = two_sets()
    for measure in (frechet_distance, kernel_distance):
        with pytest.raises(ValueError, match="a and b: 5 and 4 features"):
            measure(a, b[:, :4])
        with pytest.raises(ValueError, match="rows: 1 and 50"):
            measure(a[:1], b)
    with pytest.raises(ValueError, match="k: 50 neighbours, allowed 1 to 49"):
        prdc(a, b, 50)
    with pytest.raises(ValueError, match="real and fake: 5 and 3 features"):
        prdc(a, b[:, :3])
    with pytest.raises(ValueError, match="labels: 0 to 5, allowed 0 to 4"):
        fidelity(a[:2], torch.tensor([0, 5]), b[:5])
    with pytest.raises(ValueError, match="labels: shape"):
        fidelity(a[:2], torch.tensor([0]), b)
    with pytest.raises(ValueError, match="all radii are equal"):
        realism(torch.eye(4, dtype=torch.float64), torch.eye(4, dtype=torch.float64), 1)
