"""The toy against autograd, quadrature and closed forms; solvers and mixing against the toy."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy import integrate, stats
from torch import Tensor

from scoremix.diffusion.denoisers import autoguide, condition, mix
from scoremix.diffusion.solvers import dpm2m, euler, heun, karras_sigmas
from support.toy import GaussianMixture, gaussians, mixed_flow

SIGMAS = (0.01, 0.3, 1.0, 5.0, 80.0)


@pytest.fixture(scope="module")
def toy() -> GaussianMixture:
    """Three classes of two components in four dimensions."""
    g = torch.Generator().manual_seed(0)
    means = torch.randn(3, 2, 4, generator=g, dtype=torch.float64)
    stds = torch.rand(3, 2, 4, generator=g, dtype=torch.float64) + 0.1
    return GaussianMixture(means, stds, torch.tensor([[0.3, 0.7], [0.5, 0.5], [1.0, 0.0]], dtype=torch.float64))


def points(n: int = 5, d: int = 4, seed: int = 1) -> Tensor:
    return torch.randn(n, d, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.mark.parametrize("sigma", SIGMAS)
def test_score_is_the_gradient_of_the_log_density(toy: GaussianMixture, sigma: float):
    labels = torch.tensor([0, 1, 2, 0, 1])
    for condition_labels in (labels, None):
        x = (points() * (1 + sigma)).requires_grad_()
        (gradient,) = torch.autograd.grad(toy.log_density(x, sigma, condition_labels).sum(), x)
        score = toy.score(x.detach(), sigma, condition_labels)
        assert torch.allclose(score, gradient, rtol=1e-8, atol=1e-10)


def test_density_is_the_clean_one_with_noise_added(toy: GaussianMixture):
    """Convolution by quadrature in one dimension."""
    one = GaussianMixture(toy.means[:, :, :1], toy.stds[:, :, :1], toy.weights)
    clean = lambda u: float(one.log_density(torch.tensor([[u]]), 0.0, torch.tensor([1])).exp())
    for x, sigma in ((0.3, 0.5), (-2.0, 1.5)):
        noisy, _ = integrate.quad(lambda u, x=x, sigma=sigma: clean(u) * stats.norm.pdf(x - u, scale=sigma), -20, 20)
        ours = one.log_density(torch.tensor([[x]]), sigma, torch.tensor([1])).exp()
        assert float(ours) == pytest.approx(noisy, rel=1e-6)


def test_denoiser_is_the_mean_of_the_clean_points_that_explain_x(toy: GaussianMixture):
    g = torch.Generator().manual_seed(0)
    clean = toy.sample(torch.full((200_000,), 1), g)
    x, sigma = points(1)[0] / 2, 1.2
    weights = (-(clean - x).square().sum(1) / (2 * sigma**2)).softmax(0)
    expected = (weights[:, None] * clean).sum(0)
    assert torch.allclose(toy(x[None], sigma, torch.tensor([1]))[0], expected, atol=0.02)


def test_rows_have_any_shape_and_their_own_sigma(toy: GaussianMixture):
    x, labels = points(3), torch.tensor([2, 0, 1])
    sigma = torch.tensor([0.1, 1.0, 9.0], dtype=torch.float64)
    images = toy(x.reshape(3, 1, 2, 2), sigma, labels)
    assert images.shape == (3, 1, 2, 2)
    for i in range(3):
        assert torch.allclose(images[i].flatten(), toy(x[i : i + 1], sigma[i], labels[i : i + 1])[0])


def test_senseless_mixtures_are_refused(toy: GaussianMixture):
    with pytest.raises(ValueError, match="weights"):
        GaussianMixture(toy.means, toy.stds, toy.weights[:2])
    with pytest.raises(ValueError, match="sum to 1"):
        GaussianMixture(toy.means, toy.stds, toy.weights * 2)


# ---- exact flows ----


def test_flow_of_one_gaussian_keeps_every_quantile():
    mean, std = points(1, 3, 2), points(1, 3, 3).abs() + 0.1
    x = points(6, 3) * 10
    ours = mixed_flow(x, mean, std, torch.ones(1), 10.0, 0.5)
    ratio = ((std**2 + 0.25) / (std**2 + 100)).sqrt()
    assert torch.allclose(ours, mean + ratio * (x - mean), atol=1e-11)


@pytest.mark.parametrize("weights", [(0.5, 0.5), (0.3, 0.7), (0.7, 0.7), (1.4, -0.4)])
def test_mixed_flow_solves_its_equation(weights: tuple[float, float]):
    """Against a general integrator on the summed scores, at every coordinate."""
    means, stds = points(2, 3, 2) * 2, points(2, 3, 3).abs() + 0.1
    w = np.array(weights)
    x = points(1, 3)[0].numpy() * 80
    m, s = means.numpy(), stds.numpy()

    def slope(sigma: float, x: np.ndarray) -> np.ndarray:
        return sigma * (w[:, None] * (x - m) / (s**2 + sigma**2)).sum(0)

    expected = integrate.solve_ivp(slope, (80, 0), x, method="DOP853", rtol=1e-12, atol=1e-12).y[:, -1]
    ours = mixed_flow(torch.from_numpy(x)[None], means, stds, torch.from_numpy(w), 80, 0)[0]
    np.testing.assert_allclose(ours.numpy(), expected, rtol=1e-8, atol=1e-8)


def test_equal_stds_mix_to_the_gaussian_around_the_mean_of_means():
    means, std = points(2, 3, 2), torch.full((2, 3), 0.4, dtype=torch.float64)
    x = points(5, 3) * 80
    middle = means.mean(0, keepdim=True)
    ours = mixed_flow(x, means, std, torch.tensor([0.5, 0.5]), 80, 0)
    assert torch.allclose(ours, mixed_flow(x, middle, std[:1], torch.ones(1), 80, 0), atol=1e-11)


def test_mixed_spread_is_the_geometric_mean_of_the_spreads():
    stds = torch.tensor([[0.2], [1.8]], dtype=torch.float64)
    x = torch.tensor([[1e6], [-1e6]], dtype=torch.float64)
    ends = mixed_flow(x, torch.zeros(2, 1), stds, torch.tensor([0.5, 0.5]), 1e6, 0)
    assert ends[0, 0] == pytest.approx(math.sqrt(0.2 * 1.8), rel=1e-6)


# ---- solvers and mixing on exact scores ----


def order(errors: list[float], steps: list[int]) -> float:
    """Slope of -log error over log steps."""
    return -float(np.polyfit(np.log(steps), np.log(errors), 1)[0])


@pytest.mark.parametrize(("solver", "expected"), [(heun, 2.0), (euler, 1.0), (dpm2m, 2.0)])
@pytest.mark.parametrize("m", [1, 2])
def test_order_of_convergence(solver, expected: float, m: int):
    """On the exact flow of one Gaussian, and of two mixed."""
    means, stds = points(2, 3, 2)[:m], points(2, 3, 3)[:m].abs() + 0.5
    toy, weights = gaussians(means, stds), torch.tensor([0.3, 0.7] if m == 2 else [1.0], dtype=torch.float64)
    x = points(4, 3) * 10
    denoiser = mix(toy, torch.arange(m).expand(4, m), weights)
    exact = mixed_flow(x, means, stds, weights, 10, 0)
    steps = [32, 64, 128, 256]
    # a large rho spends its steps at small sigma, where the last, uncorrected step to 0 is then of high order
    errors = [float((solver(denoiser, x, karras_sigmas(n, 10 / n**4, 10, 3)) - exact).norm()) for n in steps]
    assert order(errors, steps) == pytest.approx(expected, abs=0.15)


def test_default_sampler_is_close_to_the_exact_mix():
    """The paper's far pair in miniature: two distant Gaussians, half and half, 32 steps from 80 to 0.002."""
    means = torch.tensor([[-0.5, 0.4, 0.0], [0.5, -0.1, 0.3]], dtype=torch.float64)
    stds = torch.tensor([[0.1, 0.3, 0.2], [0.2, 0.3, 0.1]], dtype=torch.float64)
    toy = gaussians(means, stds)
    x = points(16, 3) * 80
    labels = torch.tensor([[0, 1]]).expand(16, 2)
    ends = heun(mix(toy, labels, [0.5, 0.5]), x, karras_sigmas(32))
    exact = mixed_flow(x, means, stds, torch.tensor([0.5, 0.5]), 80, 0)
    assert (ends - exact).abs().max() < 0.02  # of spreads up to .3
    # the mix is neither class, nor the even mixture of both
    alone = [heun(condition(toy, labels[:, k]), x, karras_sigmas(32)) for k in range(2)]
    assert all((ends - end).norm(dim=1).min() > 0.1 for end in alone)


def test_spaces_mix_scores_and_denoised_images(toy: GaussianMixture):
    labels, sigma = torch.tensor([[0, 2], [1, 0]]), torch.tensor(0.7, dtype=torch.float64)
    x, weights = points(2), torch.tensor([0.7, 0.7], dtype=torch.float64)
    mixed = (mix(toy, labels, weights, "score")(x, sigma) - x) / sigma**2
    expected = 0.7 * toy.score(x, sigma, labels[:, 0]) + 0.7 * toy.score(x, sigma, labels[:, 1])
    assert torch.allclose(mixed, expected, atol=1e-12)
    summed = mix(toy, labels, weights, "denoised")(x, sigma)
    assert torch.allclose(summed, 0.7 * (toy(x, sigma, labels[:, 0]) + toy(x, sigma, labels[:, 1])), atol=1e-12)


def test_guidance_by_a_broader_model_sharpens():
    """Main N(0, 1), guide N(0, 2^2): the guided flow ends with std 1^g 2^(1-g), below the main's."""
    main, guide = (gaussians(torch.zeros(1, 1), torch.full((1, 1), s)) for s in (1.0, 2.0))
    x = torch.tensor([[2000.0]], dtype=torch.float64)
    labels = torch.zeros(1, dtype=torch.int64)
    denoiser = autoguide(condition(main, labels), condition(guide, labels), 2.0)
    end = heun(denoiser, x, karras_sigmas(200, 1e-4, 2000))
    assert float(end) == pytest.approx(1**2 * 2**-1, rel=5e-3)
