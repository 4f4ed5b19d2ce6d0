"""Alignment measures against laws, dense brute force, scipy and the published implementations."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import scipy.spatial
import scipy.stats
import torch
from torch import Tensor

from scoremix.analysis import alignment, spaces
from scoremix.analysis.alignment import (
    cka,
    cknna,
    median_distance,
    minibatch_cka,
    mutual_knn,
    procrustes,
    rbf_cka,
    rsa,
    soft_cknna,
)

MEASURES = {
    "cka": cka,
    "debiased": partial(cka, debiased=True),
    "minibatch": partial(minibatch_cka, batch=20),
    "rbf": rbf_cka,
    "rbf debiased": partial(rbf_cka, debiased=True),
    "cknna": partial(cknna, k=5, eps=0.0),
    "cknna paper": partial(cknna, k=5, variant="paper"),
    "soft_cknna": soft_cknna,
    "mutual_knn": mutual_knn,
    "procrustes": procrustes,
    "rsa": rsa,
    "rsa pearson": partial(rsa, kind="pearson"),
}
# rsa centres each row over features, which rotations do not respect
ROTATION_FREE = [name for name in MEASURES if not name.startswith("rsa")]


def related(n: int = 40, dx: int = 6, dy: int = 9, seed: int = 0, noise: float = 0.7) -> tuple[Tensor, Tensor]:
    g = torch.Generator().manual_seed(seed)
    latent = torch.randn(n, dx, generator=g, dtype=torch.float64)
    lift = torch.randn(dx, dy, generator=g, dtype=torch.float64)
    y = latent @ lift + noise * torch.randn(n, dy, generator=g, dtype=torch.float64) + 0.3
    return latent + 0.2, y


def rotation(d: int, seed: int = 1) -> Tensor:
    g = torch.Generator().manual_seed(seed)
    return torch.linalg.qr(torch.randn(d, d, generator=g, dtype=torch.float64)).Q


# ---------------------------------------------------------------------------------- laws


@pytest.mark.parametrize("name", ROTATION_FREE)
def test_a_rotated_space_is_the_same_space(name: str) -> None:
    x, _ = related()
    assert MEASURES[name](x, x @ rotation(6)) == pytest.approx(1, abs=1e-9)


@pytest.mark.parametrize("name", MEASURES)
def test_order_of_the_arguments_and_of_the_classes_is_free(name: str) -> None:
    x, y = related()
    value = MEASURES[name](x, y)
    if name != "cknna":  # the published code's masked kernels are asymmetric
        assert MEASURES[name](y, x) == pytest.approx(value, abs=1e-12)
    if name != "minibatch":
        order = torch.randperm(40, generator=torch.Generator().manual_seed(3))
        assert MEASURES[name](x[order], y[order]) == pytest.approx(value, abs=1e-12)
    assert value < 0.999


@pytest.mark.parametrize("name", ["cka", "debiased", "minibatch", "rbf", "rbf debiased", "procrustes", "rsa"])
def test_scale_of_either_space_is_free(name: str) -> None:
    x, y = related()
    assert MEASURES[name](1e3 * x, 1e-4 * y) == pytest.approx(MEASURES[name](x, y), abs=1e-9)


@pytest.mark.parametrize("name", ["cka", "debiased", "minibatch", "rbf", "rbf debiased", "procrustes"])
def test_shift_of_either_space_is_free(name: str) -> None:
    x, y = related()
    assert MEASURES[name](x + 50, y - 20) == pytest.approx(MEASURES[name](x, y), abs=1e-9)


@pytest.mark.parametrize("name", MEASURES)
def test_numpy_and_float32_rows_are_welcome(name: str) -> None:
    x, y = related()
    value = MEASURES[name](x.float(), y.float())
    assert MEASURES[name](x.float().numpy(), y.float().numpy()) == value
    assert value == pytest.approx(MEASURES[name](x, y), abs=1e-5)


@pytest.mark.parametrize("name", MEASURES)
def test_blocks_do_not_change_results(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    x, y = related()
    value = MEASURES[name](x, y)
    monkeypatch.setattr(spaces, "BLOCK", 7 * 80)
    assert MEASURES[name](x, y) == pytest.approx(value, abs=1e-12)


def test_limits_of_the_neighbour_measures() -> None:
    x, y = related()
    assert cknna(x, y, 39, eps=0.0) == pytest.approx(cka(x, y, debiased=True), abs=1e-12)
    assert mutual_knn(x, y, 39) == 1.0
    z = torch.randn(40, 5, generator=torch.Generator().manual_seed(9), dtype=torch.float64)
    assert soft_cknna(x, z, tau=1e5) == pytest.approx(1, abs=1e-6)  # as documented: no information left
    assert soft_cknna(x, z, tau=0.1) < 0.5


def test_unrelated_gaussians_have_the_stated_chance_level() -> None:
    g = torch.Generator().manual_seed(0)
    n, d1, d2 = 1500, 96, 64
    x, y = (torch.randn(n, d, generator=g, dtype=torch.float64) for d in (d1, d2))
    assert cka(x, y) == pytest.approx(math.sqrt(d1 * d2 / ((n + d1) * (n + d2))), rel=0.03)
    assert cka(x, y, debiased=True) == pytest.approx(0, abs=0.004)
    assert mutual_knn(x, y, 30) == pytest.approx(30 / (n - 1), rel=0.1)


def test_minibatches_average_to_the_debiased_value() -> None:
    x, y = related(n=400)
    g = torch.Generator().manual_seed(0)
    assert minibatch_cka(x, y, batch=400) == pytest.approx(cka(x, y, debiased=True), abs=1e-12)
    assert minibatch_cka(x, y, batch=20, passes=20, generator=g) == pytest.approx(cka(x, y, debiased=True), abs=0.01)


# ---------------------------------------------------------------------------------- brute force


def dense_hsic(k: Tensor, m: Tensor, debiased: bool) -> float:
    n = len(k)
    if not debiased:
        h = torch.eye(n, dtype=torch.float64) - 1 / n
        return float(torch.trace(k @ h @ m @ h))
    k, m = k.clone().fill_diagonal_(0), m.clone().fill_diagonal_(0)
    total = torch.trace(k @ m) + k.sum() * m.sum() / ((n - 1) * (n - 2)) - 2 / (n - 2) * (k @ m).sum()
    return float(total) / (n * (n - 3))


def dense_alignment(k: Tensor, m: Tensor, debiased: bool) -> float:
    own = dense_hsic(k, k, debiased) * dense_hsic(m, m, debiased)
    return dense_hsic(k, m, debiased) / math.sqrt(own)


@pytest.mark.parametrize("debiased", [False, True])
@pytest.mark.parametrize(("dx", "dy"), [(6, 9), (60, 9), (60, 80)], ids=["d<n", "mixed", "d>n"])
def test_linear_cka_equals_the_definition(debiased: bool, dx: int, dy: int) -> None:
    x, y = related(dx=dx, dy=dy)
    assert cka(x, y, debiased) == pytest.approx(dense_alignment(x @ x.T, y @ y.T, debiased), abs=1e-11)


@pytest.mark.parametrize("debiased", [False, True])
def test_kernel_cka_equals_the_definition(debiased: bool) -> None:
    x, y = related()
    kernels = [torch.exp(-(torch.cdist(a, a) ** 2) / (2 * 2.5**2)) for a in (x, y)]
    assert rbf_cka(x, y, sigma=2.5, debiased=debiased) == pytest.approx(dense_alignment(*kernels, debiased), abs=1e-11)
    assert median_distance(x) == pytest.approx(float(np.median(scipy.spatial.distance.cdist(x, x))), rel=0.02)


def dense_masks(x: Tensor, y: Tensor, k: int) -> tuple[Tensor, Tensor]:
    masks = []
    for rows in (x, y):
        gram = (rows @ rows.T).fill_diagonal_(-math.inf)
        masks.append(torch.zeros_like(gram).scatter_(1, gram.topk(k).indices, 1.0))
    return masks[0], masks[1]


@pytest.mark.parametrize("k", [2, 5, 20])
def test_cknna_equals_both_definitions(k: int) -> None:
    x, y = related()
    mx, my = dense_masks(x, y, k)
    gx, gy = x @ x.T, y @ y.T

    def code(a: Tensor, ma: Tensor, b: Tensor, mb: Tensor) -> float:
        return dense_hsic(ma * mb * a, ma * mb * b, True)

    expected = code(gx, mx, gy, my) / (math.sqrt(code(gx, mx, gx, mx) * code(gy, my, gy, my)) + 1e-6)
    assert cknna(x, y, k) == pytest.approx(expected, abs=1e-12)
    cx, cy = (g - g.mean(1, keepdim=True) for g in (gx, gy))
    paper = (mx * my * cx * cy).sum() / ((mx * cx * cx).sum() * (my * cy * cy).sum()).sqrt()
    assert cknna(x, y, k, variant="paper") == pytest.approx(float(paper), abs=1e-12)
    assert mutual_knn(x, y, k) == pytest.approx(float((mx * my).sum()) / (40 * k), abs=1e-12)


@pytest.mark.parametrize("tau", [0.02, 0.1, 3.0])
def test_soft_cknna_equals_appendix_f(tau: float) -> None:
    x, y = related()
    h = torch.eye(40, dtype=torch.float64) - 1 / 40
    kernels = []
    for rows in (x, y):
        unit = rows / rows.norm(dim=1, keepdim=True)
        soft = torch.softmax((unit @ unit.T / tau).fill_diagonal_(-math.inf), 1)
        kernels.append(h @ soft @ h)
    expected = (kernels[0] * kernels[1]).sum() / (kernels[0].norm() * kernels[1].norm())
    assert soft_cknna(x, y, tau) == pytest.approx(float(expected), abs=1e-11)


def test_procrustes_and_rsa_equal_scipy() -> None:
    x, y = related(dx=6, dy=6)
    disparity = scipy.spatial.procrustes(x.numpy(), y.numpy())[2]
    assert 1 - procrustes(x, y) ** 2 == pytest.approx(disparity, abs=1e-12)
    vectors = [scipy.spatial.distance.pdist(a.numpy(), "correlation") for a in (x, y)]
    assert rsa(x, y) == pytest.approx(scipy.stats.spearmanr(*vectors).statistic, abs=1e-12)
    assert rsa(x, y, "pearson") == pytest.approx(scipy.stats.pearsonr(*vectors).statistic, abs=1e-12)


# ---------------------------------------------------------------------------------- published implementations


@pytest.mark.parametrize("name", ["alignment_n200.npz", "alignment_n60_close.npz"])
@pytest.mark.parametrize("prefix", ["raw", "unit"])
def test_published_implementations(golden: Callable[[str], Path], name: str, prefix: str) -> None:
    data = np.load(golden(name), allow_pickle=False)
    meta = json.loads(str(data["meta"]))
    x, y = (torch.from_numpy(data[key]) for key in "XY")
    if prefix == "unit":
        x, y = (rows / rows.norm(dim=1, keepdim=True) for rows in (x, y))

    def expect(value: float, key: str, tolerance: float) -> None:
        assert value == pytest.approx(float(data[f"{prefix}:{key}"]), abs=tolerance), key

    exact = 1e-9
    expect(cka(x, y), "google_cka_gram", exact)
    expect(cka(x, y), "yuanli_linear_CKA", exact)
    expect(cka(x, y, debiased=True), "google_cka_feat_debiased", exact)
    expect(cka(x, y, eps=1e-6), "cka", exact)
    expect(cka(x, y, debiased=True, eps=1e-6), "unbiased_cka", exact)
    expect(cka(x, y, debiased=True), "unbiased_cka", 1e-5)
    expect(rbf_cka(x, y, fraction=0.5), "google_cka_rbf0.5", exact)
    sigma = meta["rbf_sigma"]
    expect(rbf_cka(x, y, sigma=sigma, eps=1e-6), "cka_rbf", exact)
    expect(rbf_cka(x, y, sigma=sigma, debiased=True, eps=1e-6), "unbiased_cka_rbf", exact)
    for k in meta["topks"]:
        expect(mutual_knn(x, y, k), f"mutual_knn@{k}", 1e-6)
        if k > 1:
            expect(cknna(x, y, k), f"cknna@{k}", exact)
    expect(cknna(x, y, len(x) - 1), f"cknna@{len(x) - 1}", exact)


# ---------------------------------------------------------------------------------- errors


@pytest.mark.parametrize("name", MEASURES)
def test_bad_spaces_are_refused(name: str) -> None:
    x, y = related()
    measure = MEASURES[name]
    with pytest.raises(ValueError, match="40 and 39 rows"):
        measure(x, y[:-1])
    with pytest.raises(ValueError, match="x: 3 rows"):
        measure(x[:3], y[:3])
    constant = y.clone()
    constant[:, 2] = 1.5
    with pytest.raises(ValueError, match=r"y: 1 constant columns, first \[2\]"):
        measure(x, constant)
    broken = x.clone()
    broken[7, 0] = math.nan
    with pytest.raises(ValueError, match="x: 1 rows are not finite"):
        measure(broken, y)


def test_bad_options_are_refused() -> None:
    x, y = related()
    for measure in (mutual_knn, cknna):
        with pytest.raises(ValueError, match="k: 40 neighbours, allowed 1 to 39"):
            measure(x, y, 40)
    with pytest.raises(ValueError, match="cknna needs at least 2"):
        cknna(x, y, 1)
    with pytest.raises(ValueError, match="tau"):
        soft_cknna(x, y, 0)
    with pytest.raises(ValueError, match="batch: 41"):
        minibatch_cka(x, y, batch=41)
    with pytest.raises(ValueError, match="sigma"):
        rbf_cka(x, y, sigma=0.0)
    x[3] = 0
    with pytest.raises(ValueError, match="x: row 3 is zero"):
        soft_cknna(x, y)
    assert alignment.cka(x, y) > 0
