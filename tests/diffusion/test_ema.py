"""Power-function averages: closed forms, brute force, published values."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from scipy import integrate
from torch import nn

from scoremix.diffusion.ema import PowerEMA, posthoc_coefficients, power_beta, std_to_exponent


def profile_std(gamma: float) -> float:
    """Standard deviation of the density (g + 1) t^g on [0, 1]."""
    return float(np.sqrt((gamma + 1) / ((gamma + 2) ** 2 * (gamma + 3))))


@pytest.mark.parametrize("gamma", [0.01, 1.0, 6.94, 16.97, 200.0])
def test_exponent_and_length_are_inverse(gamma: float):
    assert std_to_exponent(profile_std(gamma)) == pytest.approx(gamma, rel=1e-9)


@pytest.mark.parametrize("std", [0.0, -0.1, 0.2887, float("nan")])
def test_impossible_lengths_are_refused(std: float):
    with pytest.raises(ValueError, match="std="):
        std_to_exponent(std)


def test_first_step_copies_and_more_images_than_seen_are_refused():
    assert power_beta(0.1, 64, 64) == 0
    with pytest.raises(ValueError, match="nimg=32"):
        power_beta(0.1, 32, 64)


def walk(ema_stds: tuple[float, ...], steps: int, batch: int = 10) -> tuple[PowerEMA, np.ndarray]:
    """The average of a random walk of a one-layer network, and the walk's values."""
    net = nn.Linear(3, 1, bias=False).double()
    net.register_buffer("count", torch.zeros(()))
    ema = PowerEMA(net, ema_stds)
    g = torch.Generator().manual_seed(0)
    values = []
    for i in range(1, steps + 1):
        net.weight.data += torch.randn(1, 3, generator=g, dtype=torch.float64)
        net.count += 1  # type: ignore[operator]
        ema.update(i * batch, batch)
        values.append(net.weight.data.numpy().copy())
    return ema, np.stack(values)


def test_average_is_the_power_function_of_time():
    """Weights of the stored values approach (g + 1) t^g / T^(g + 1)."""
    ema, values = walk((0.1, 0.2), 2000)
    for i, std in enumerate(ema.stds):
        gamma = std_to_exponent(std)
        edges = np.arange(len(values) + 1) / len(values)
        weights = np.diff(edges ** (gamma + 1))  # exact integral of the profile over each step
        expected = np.einsum("t,tij->ij", weights, values)
        np.testing.assert_allclose(ema.state(i)["weight"].numpy(), expected, rtol=1e-9, atol=1e-9)


def test_first_update_copies_and_buffers_follow():
    ema, values = walk((0.1,), 1)
    np.testing.assert_array_equal(ema.state(0)["weight"].numpy(), values[0])
    assert ema.state(0)["count"] == 1
    assert set(ema.state(0)) == {"weight", "count"}


def test_averages_do_not_share_memory_with_the_network():
    ema, _ = walk((0.1, 0.2), 3)
    before = [ema.state(i)["weight"].clone() for i in range(2)]
    ema.net.weight.data.zero_()  # type: ignore[operator, union-attr]
    assert all(torch.equal(ema.state(i)["weight"], before[i]) for i in range(2))
    assert not torch.equal(before[0], before[1])


def test_a_stored_average_is_reconstructed_exactly():
    ends, stds = [1e6, 1e6, 2e6, 2e6], [0.05, 0.1, 0.05, 0.1]
    np.testing.assert_allclose(posthoc_coefficients(ends, stds, ends, stds), np.eye(4), atol=1e-9)


def test_coefficients_minimise_the_squared_distance_of_profiles():
    ends, stds = [0.5, 0.5, 1.0, 1.0], [0.05, 0.2, 0.05, 0.2]

    def profile(t: Any, end: float, std: float) -> Any:
        g = std_to_exponent(std)
        return np.where(t <= end, (g + 1) * t**g / end ** (g + 1), 0.0)

    def product(a: tuple[float, float], b: tuple[float, float]) -> float:
        return integrate.quad(lambda t: profile(t, *a) * profile(t, *b), 0, 1, points=[0.5])[0]

    stored = list(zip(ends, stds, strict=True))
    gram = np.array([[product(a, b) for b in stored] for a in stored])
    target = np.array([product(a, (1.0, 0.1)) for a in stored])
    expected = np.linalg.solve(gram, target)
    ours = posthoc_coefficients(ends, stds, [1.0], [0.1])[:, 0]
    np.testing.assert_allclose(ours, expected / expected.sum(), rtol=1e-6)


def test_a_length_never_stored_is_reconstructed_closely():
    batch, steps, every = 10, 4000, 500
    net = nn.Linear(40, 1, bias=False).double()
    ema, direct = PowerEMA(net, (0.05, 0.1)), PowerEMA(net, (0.075,))
    g = torch.Generator().manual_seed(0)
    stored, ends, stds = [], [], []
    for i in range(1, steps + 1):
        net.weight.data += torch.randn(1, 40, generator=g, dtype=torch.float64) / steps**0.5
        ema.update(i * batch, batch)
        direct.update(i * batch, batch)
        if i % every == 0:
            for k in range(2):
                stored.append(ema.state(k)["weight"].clone())
                ends.append(i * batch)
                stds.append(ema.stds[k])
    weights = torch.from_numpy(posthoc_coefficients(ends, stds, [steps * batch], [0.075]))[:, 0]
    ours = torch.einsum("s,sij->ij", weights, torch.stack(stored))
    error = (ours - direct.state(0)["weight"]).norm() / (net.weight.data - direct.state(0)["weight"]).norm()
    assert error < 0.02


def test_published_values(golden):
    data = np.load(golden("edm2_phema.npz"), allow_pickle=False)
    ours = [std_to_exponent(s) for s in data["std"]]
    np.testing.assert_allclose(ours, data["std_to_exp"], rtol=1e-9)
    inner = data["exp_in"] > 0
    ours = [profile_std(g) for g in data["exp_in"]]
    np.testing.assert_allclose(ours, data["exp_to_std"], rtol=1e-9)
    assert inner.any()
    for i, std in enumerate(data["std"]):
        for j, (nimg, batch) in enumerate(zip(data["beta_t_next"], data["beta_t_delta"], strict=True)):
            assert power_beta(std, nimg, batch) == pytest.approx(data["beta"][i, j], rel=1e-9, abs=1e-300)
    for case in range(3):
        get = lambda key, case=case: data[f"ph{case}_{key}"]
        ours = posthoc_coefficients(get("in_ofs"), get("in_std"), get("out_ofs"), get("out_std"))
        np.testing.assert_allclose(ours, get("coef"), atol=1e-8)
