"""Solvers: closed forms and laws, then the published sampler. Orders of convergence are in test_toy."""

from __future__ import annotations

import json
import math
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from scoremix.diffusion.denoisers import autoguide, by_class, condition, mix, within
from scoremix.diffusion.solvers import (
    UnitNoise,
    balanced,
    ddim,
    dpm2m,
    equidistant,
    euler,
    heun,
    heun_path,
    karras_sigmas,
)
from scoremix.diffusion.unet import EDM2, frozen
from support.toy import GaussianMixture, gaussians


def shrink(x: Tensor, sigma: Tensor) -> Tensor:
    """Exact denoiser of data N(0, 1)."""
    return x / (1 + sigma**2)


def test_karras_levels():
    sigmas = karras_sigmas(5, 0.01, 10, 7)
    assert sigmas.shape == (6,) and sigmas.dtype == torch.float64
    assert sigmas[0] == pytest.approx(10) and sigmas[4] == pytest.approx(0.01) and sigmas[5] == 0
    gaps = sigmas[:5].pow(1 / 7).diff()
    assert torch.allclose(gaps, gaps[0].expand(4))  # evenly spaced in the power
    assert karras_sigmas(1, 0.01, 10).tolist() == pytest.approx([10.0, 0.0])


def test_linear_denoiser_has_a_hand_made_answer():
    x = torch.tensor([[3.0]], dtype=torch.float64)
    sigmas = torch.tensor([2.0, 1.0, 0.0], dtype=torch.float64)
    slope = lambda x, t: (x - x / (1 + t**2)) / t
    first = 3 - slope(3, 2)
    corrected = 3 - (slope(3, 2) + slope(first, 1)) / 2
    assert float(heun(shrink, x, sigmas)) == pytest.approx(corrected - slope(corrected, 1), rel=1e-14)
    assert float(euler(shrink, x, sigmas)) == pytest.approx(first - slope(first, 1), rel=1e-14)


def test_euler_is_deterministic_ddim():
    """x_next = alpha' D + sigma' eps in variance-preserving variables is the Euler step in sigma."""
    x = torch.randn(4, 2, dtype=torch.float64) * 5
    sigmas = karras_sigmas(6, 0.1, 5)
    state = x
    for t, t_next in pairwise(sigmas):
        alpha, alpha_next = (1 / (1 + s**2).sqrt() for s in (t, t_next))
        z = alpha * state  # variance preserving
        denoised = shrink(state, t)
        epsilon = (z - alpha * denoised) / (alpha * t)
        state = (alpha_next * denoised + alpha_next * t_next * epsilon) / alpha_next
    assert torch.allclose(euler(shrink, x, sigmas), state, atol=1e-12)


def test_ddim_is_euler_and_one_step_of_either_is_the_estimate():
    x = torch.randn(4, 2, dtype=torch.float64) * 5
    sigmas = karras_sigmas(6, 0.1, 5)
    assert torch.equal(ddim(shrink, x, sigmas), euler(shrink, x, sigmas))
    one = torch.tensor([5.0, 0.0], dtype=torch.float64)
    for solver in (euler, heun, dpm2m):
        assert torch.allclose(solver(shrink, x, one), shrink(x, one[0]), atol=1e-14)


@pytest.mark.parametrize("eta", [0.5, 1.0])
def test_ddim_with_noise_is_the_published_step(eta: float):
    """Song et al. 2021, eq. 12 with the deviation of eq. 16, in variance-preserving variables."""
    x = torch.randn(4, 2, dtype=torch.float64) * 5
    sigmas = karras_sigmas(6, 0.1, 5)
    drawn = [torch.randn_like(x) for _ in range(5)]
    state = x
    for t, t_next, z in zip(sigmas[:-2], sigmas[1:-1], drawn, strict=True):
        a, a_next = (1 / (1 + s**2) for s in (t, t_next))  # their alpha
        deviation = eta * ((1 - a_next) / (1 - a)).sqrt() * (1 - a / a_next).sqrt()
        clean = shrink(state, t)
        epsilon = (a.sqrt() * state - a.sqrt() * clean) / (1 - a).sqrt()
        state = a_next.sqrt() * clean + (1 - a_next - deviation**2).sqrt() * epsilon + deviation * z
        state = state / a_next.sqrt()
    expected = shrink(state, sigmas[-2])
    noises = iter(drawn)
    assert torch.allclose(ddim(shrink, x, sigmas, eta, lambda _: next(noises)), expected, atol=1e-12)


def test_ddim_with_noise_keeps_the_law_of_the_data():
    g = torch.Generator().manual_seed(0)
    x = torch.randn(40_000, 1, generator=g, dtype=torch.float64) * math.sqrt(1 + 20**2)
    noise = lambda x: torch.randn(x.shape, generator=g, dtype=x.dtype)
    final = ddim(shrink, x, karras_sigmas(200, 0.01, 20), 1.0, noise)
    assert final.std() == pytest.approx(1, abs=0.03)
    assert abs(torch.corrcoef(torch.cat([final, x], 1).t())[0, 1]) < 0.5
    for eta, wrong in ((1.5, "from 0 to 1"), (0.5, "needs `noise`")):
        with pytest.raises(ValueError, match=wrong):
            ddim(shrink, x, karras_sigmas(4), eta)


def test_a_point_as_far_from_all_is_the_nearest_one():
    points = torch.randn(3, 5, 4, dtype=torch.float64)
    x = torch.randn(5, 4, dtype=torch.float64)
    found = equidistant(x, points)
    distances = torch.linalg.vector_norm(found - points, dim=-1)
    assert torch.allclose(distances, distances[:1].expand_as(distances))
    sides = (points[1:] - points[0]).transpose(0, 1)  # the way to it leaves what leans to no point as it is
    solution = torch.linalg.lstsq(sides.mT, (found - x)[:, :, None]).solution
    assert torch.allclose((sides.mT @ solution)[..., 0], found - x)
    assert torch.equal(equidistant(x, points[:1]), x)
    assert torch.allclose(equidistant(x, points[:1].repeat(2, 1, 1)), x)


def mixed_ends(toy: GaussianMixture, even: bool, steps: int = 64) -> Tensor:
    """Where ancestral paths of the mix of all classes end, of 800 starts."""
    labels = torch.arange(toy.label_dim).expand(800, -1)
    g = torch.Generator().manual_seed(0)
    noise = lambda like: torch.randn(like.shape, generator=g, dtype=like.dtype)
    x = 80 * noise(torch.zeros(800, toy.means.shape[2], dtype=torch.float64))
    mixed, sigmas = mix(toy, labels, [1 / toy.label_dim] * toy.label_dim), karras_sigmas(steps)
    if even:
        return balanced(lambda x, sigma: by_class(mixed, x, sigma), x, sigmas, noise)
    return ddim(mixed, x, sigmas, 1.0, noise)


def test_balanced_paths_of_two_classes_end_between_them_and_spread_along_it():
    toy = gaussians(torch.tensor([[-1.0, 0.2], [1.0, 0.2]]).double(), torch.full((2, 2), 0.5).double())
    ends = mixed_ends(toy, True)
    assert float(ends[:, 0].abs().max()) < 0.02
    assert (float(ends[:, 1].mean()), float(ends[:, 1].std())) == pytest.approx((0.2, 0.5), abs=0.05)
    assert float(mixed_ends(toy, False)[:, 0].std()) > 0.4  # the mix alone leans to one or the other


@pytest.mark.parametrize(("spreads", "left"), [((0.5, 0.5, 0.5), 0.01), ((0.4, 0.6, 0.5), 0.4)])
def test_balanced_paths_are_as_likely_under_every_class(spreads: tuple[float, ...], left: float):
    means = torch.tensor([[-0.8, 0, 0, 0.3], [0.7, 0.2, 0, 0], [0, -0.6, 0.5, 0]]).double()
    toy = gaussians(means, torch.tensor(spreads).double()[:, None].expand(3, 4))

    def unequal(even: bool) -> float:
        ends = mixed_ends(toy, even)
        logs = torch.stack([toy.log_density(ends, 0.0, torch.full((800,), k)) for k in range(3)])
        return float(logs.std(0).median())

    assert unequal(True) < left * unequal(False)


def test_classes_of_a_guided_mix_are_the_guided_classes():
    toy, other = (gaussians(torch.randn(3, 2).double(), torch.full((3, 2), s).double()) for s in (0.5, 0.8))
    labels, x, sigma = torch.tensor([[0, 1], [2, 1]]), torch.randn(2, 2).double(), torch.tensor(0.7).double()
    guided = autoguide(mix(toy, labels, [0.5, 0.5]), mix(other, labels, [0.5, 0.5]), 1.5)
    found = by_class(within((0.5, 1.0), guided, mix(toy, labels, [0.5, 0.5])), x, sigma)
    for k in range(2):
        one = labels[:, k]
        assert torch.allclose(found[k], autoguide(condition(toy, one), condition(other, one), 1.5)(x, sigma))
    shared = autoguide(mix(toy, labels, [0.5, 0.5]), condition(other, None), 1.5)
    assert torch.allclose(by_class(shared, x, sigma).mean(0), shared(x, sigma))
    assert by_class(shrink, x, sigma).shape == (1, 2, 2)


def test_dpm2m_is_the_published_recursion():
    """In variance-preserving variables, lambda = log(alpha / sigma): Lu et al. 2022, algorithm 2."""
    levels = karras_sigmas(6, 0.1, 5)
    x = torch.randn(3, 2, dtype=torch.float64) * 5
    alpha = 1 / (1 + levels**2).sqrt()
    noise, lam = alpha * levels, -levels.log()
    z, estimates = alpha[0] * x, []
    for i in range(1, len(levels) - 1):
        estimates.append(shrink(z / alpha[i - 1], levels[i - 1]))
        h = lam[i] - lam[i - 1]
        ahead = estimates[-1]
        if i > 1:
            r = (lam[i - 1] - lam[i - 2]) / h
            ahead = (1 + 1 / (2 * r)) * estimates[-1] - estimates[-2] / (2 * r)
        z = noise[i] / noise[i - 1] * z - alpha[i] * torch.expm1(-h) * ahead
    expected = shrink(z / alpha[-2], levels[-2])  # the step to sigma = 0
    assert torch.allclose(dpm2m(shrink, x, levels), expected, atol=1e-13)


def test_churn_keeps_the_law_of_the_noisy_data():
    n = 40_000
    g = torch.Generator().manual_seed(0)
    x = torch.randn(n, 1, generator=g, dtype=torch.float64) * math.sqrt(1 + 20**2)
    noise = lambda x: torch.randn(x.shape, generator=g, dtype=x.dtype)
    final = heun(shrink, x, karras_sigmas(40, 0.01, 20), churn=30, noise=noise)
    assert final.std() == pytest.approx(1, abs=0.02)
    assert abs(torch.corrcoef(torch.cat([final, x], 1).t())[0, 1]) < 0.5  # and it did stir
    with pytest.raises(ValueError, match="churn=3"):
        heun(shrink, x, karras_sigmas(4), churn=3)


def test_dtype_follows_x_and_no_graph_is_kept():
    weight = torch.ones((), requires_grad=True)
    final = heun(lambda x, s: shrink(x, s) * weight, torch.ones(2, 1), karras_sigmas(3))
    assert final.dtype == torch.float32 and not final.requires_grad


@pytest.mark.parametrize("sigmas", [[1.0, 2.0, 0.0], [2.0, 1.0], [0.0], [2.0, 2.0, 0.0], [math.nan, 0.0]])
def test_senseless_levels_are_refused(sigmas: list[float]):
    for solver in (heun, euler, dpm2m):
        with pytest.raises(ValueError, match="sigmas"):
            solver(shrink, torch.ones(1, 1), torch.tensor(sigmas))


@pytest.mark.parametrize("arguments", [(0,), (5, 0.0, 1.0), (5, 2.0, 1.0), (5, 0.1, math.inf), (5, 0.1, 1.0, 0.0)])
def test_senseless_schedules_are_refused(arguments: tuple[Any, ...]):
    with pytest.raises(ValueError, match=r"steps|sigma_min"):
        karras_sigmas(*arguments)


def test_noise_of_an_image_depends_on_its_seed_only():
    many, one = UnitNoise([5, 6, 7], (1, 4, 4)), UnitNoise([6], (1, 4, 4))
    for _ in range(3):
        assert torch.equal(many()[1:2], one())
    assert one(torch.zeros(1, dtype=torch.float64)).dtype == torch.float64
    sample = UnitNoise(range(2000), (8,))()
    assert abs(sample.mean()) < 0.03 and sample.std() == pytest.approx(1, abs=0.03)


# ---- the published sampler ----


def test_seeded_noise_matches(golden):
    data = np.load(golden("edm2_seed_noise.npz"), allow_pickle=False)
    classes = json.loads(str(data["meta"]))["label_dim"]
    noise = UnitNoise(data["seeds"].tolist(), data["noise"].shape[1:])
    assert np.array_equal(noise().numpy(), data["noise"])
    assert np.array_equal(
        torch.stack([torch.randint(classes, (), generator=g) for g in noise.generators]).numpy(), data["labels"]
    )
    assert np.array_equal(noise(torch.zeros(1)).numpy(), data["noise2"])


def load(golden_state: Any, name: str, double: bool) -> EDM2:
    spec, state = golden_state(f"{name}_state.json")
    net = EDM2(**spec["config"])
    net.load_state_dict(state)
    return frozen(net.double() if double else net)


@pytest.mark.parametrize("name", ["edm2_sampler", "edm2_sampler_uncond_guide"])
@pytest.mark.parametrize("kind", ["x64", "x32", pytest.param("x64_net32", marks=pytest.mark.slow)])
def test_sampler_matches(name: str, kind: str, golden, golden_state):
    data = np.load(golden(f"{name}.npz"), allow_pickle=False)
    meta = json.loads(str(data["meta"]))
    dtype = torch.float32 if kind == "x32" else torch.float64
    main, guide = (load(golden_state, meta[key], kind == "x64") for key in ("net", "gnet"))
    noise, onehot = torch.from_numpy(data["noise"]).to(dtype), torch.from_numpy(data["labels"])

    def check(case: dict[str, Any], key: str, draws: np.ndarray | None = None) -> None:
        labels = None if case.get("zero_labels") else onehot.argmax(1)
        calls: list[float] = []

        def spy(x: Tensor, sigma: Tensor) -> Tensor:
            calls.append(float(sigma))
            return guided(x, sigma)

        guided = autoguide(
            condition(main, labels), condition(guide, labels if guide.label_dim else None), case["guidance"]
        )
        sigmas = karras_sigmas(case["num_steps"]).to(dtype)
        source = None if draws is None else iter(torch.from_numpy(draws).to(dtype))
        states = list(
            heun_path(
                spy,
                noise * sigmas[0],
                sigmas,
                churn=case.get("S_churn", 0),
                noise=None if source is None else lambda _: next(source),
                s_min=case.get("S_min", 0),
                s_max=case.get("S_max", math.inf),
                s_noise=case.get("S_noise", 1),
            )
        )
        expected = torch.from_numpy(data[f"{key}_{kind}"])
        tolerance = 1e-8 if kind == "x64" else 1e-4 if case["num_steps"] <= 10 else 2e-5
        assert (states[-1] - expected).abs().max() <= tolerance
        if f"{key}_call_sigmas" in data:
            np.testing.assert_allclose(calls, data[f"{key}_call_sigmas"], rtol=1e-6)
        if kind == "x32" and f"{key}_euler_in32" in data:
            inner = torch.stack(states[:-1])
            np.testing.assert_allclose(inner.numpy(), data[f"{key}_euler_in32"], rtol=1e-5, atol=1e-4)
        if source is not None:
            assert next(source, None) is None  # as many draws as the reference made

    for i, case in enumerate(meta["variants"]):
        check(case, f"v{i}")
    if kind != "x64_net32":
        for j, case in enumerate(meta["churns"]):
            check(case, f"c{j}", data[f"c{j}_randn"])
