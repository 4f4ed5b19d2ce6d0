"""Feynman-Kac weights against the moments of products of Gaussians, where everything is known."""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import pairwise

import pytest
import torch
from torch import Tensor

from scoremix.diffusion.denoisers import autoguide, condition, mix, mix_conditions, within
from scoremix.diffusion.feynman_kac import Weighing, effective_sample_size, resampled, systematic
from scoremix.diffusion.solvers import dpm2m, euler, heun, karras_sigmas
from support.toy import GaussianMixture, gaussians

MEANS = torch.tensor([[-0.7], [0.6], [0.1]], dtype=torch.float64)
STDS = torch.tensor([[0.4], [0.7], [0.3]], dtype=torch.float64)
GUIDE = gaussians(MEANS * 0.8, STDS * 1.5)
MAIN = gaussians(MEANS, STDS)


def product(means: Tensor, stds: Tensor, weights: Tensor) -> tuple[float, float]:
    """Mean and standard deviation of the normalised product of Gaussian densities to signed powers."""
    precision = weights / stds**2
    assert precision.sum() > 0
    return float((precision * means).sum() / precision.sum()), float(precision.sum() ** -0.5)


def ends(denoiser: object, start: tuple[float, float], solver: object = heun, steps: int = 60) -> tuple[float, float]:
    """Weighted mean and standard deviation of the ends of paths from a grid that stands for a Gaussian."""
    z = torch.linspace(-7, 7, 2001, dtype=torch.float64)
    weighing = Weighing(denoiser)  # type: ignore[arg-type]
    x = solver(weighing, (start[0] + start[1] * z)[:, None], karras_sigmas(steps, 0.002, 20))[:, 0]  # type: ignore[operator]
    w = (-z.square() / 2 + weighing.log_weight()).softmax(0)
    mean = (w * x).sum()
    return float(mean), float((w * (x - mean).square()).sum().sqrt())


@pytest.mark.parametrize("weights", [(0.5, 0.5), (0.3, 0.7), (0.2, 0.3, 0.5), (1.4, -0.4)])
@pytest.mark.parametrize("solver", [heun, dpm2m])
def test_weighted_ends_are_the_product_of_the_classes(weights: tuple[float, ...], solver: object):
    m, w = len(weights), torch.tensor(weights, dtype=torch.float64)
    labels = torch.arange(m).expand(2001, m)
    noisy = (STDS[:m, 0] ** 2 + 20**2).sqrt()
    mean, std = ends(mix(MAIN, labels, w), product(MEANS[:m, 0], noisy, w), solver)
    expected = product(MEANS[:m, 0], STDS[:m, 0], w)
    assert (mean, std) == pytest.approx(expected, abs=4e-3)
    plain = math.exp(float((w * STDS[:m, 0].log()).sum()))  # unweighted: the geometric mean
    assert abs(plain - expected[1]) > 0.01


@pytest.mark.parametrize("kind", ["each", "shared"])
def test_the_guide_belongs_to_the_product(kind: str):
    w, g = torch.tensor([0.4, 0.6], dtype=torch.float64), 1.5
    labels = torch.tensor([[0, 1]]).expand(2001, 2)
    if kind == "each":
        guide, part = mix(GUIDE, labels, w), (1 - g) * w
        means, stds = torch.cat([MEANS[:2, 0], GUIDE.means[:2, 0, 0]]), torch.cat([STDS[:2, 0], GUIDE.stds[:2, 0, 0]])
    else:
        guide, part = condition(GUIDE, labels[:, 0]), torch.tensor([1 - g], dtype=torch.float64)
        means, stds = torch.cat([MEANS[:2, 0], GUIDE.means[0, 0]]), torch.cat([STDS[:2, 0], GUIDE.stds[0, 0]])
    signed = torch.cat([g * w, part])
    assert float(signed.sum()) == pytest.approx(1)
    start = product(means, (stds**2 + 400).sqrt(), signed)
    assert ends(autoguide(mix(MAIN, labels, w), guide, g), start) == pytest.approx(
        product(means, stds, signed), abs=4e-3
    )


def test_growth_is_the_formula_at_the_nodes():
    """-sigma (sum w |s|^2 - |sum w s|^2), trapezoids over Euler's nodes, from independently computed scores."""
    w = torch.tensor([0.3, 0.7], dtype=torch.float64)
    labels = torch.tensor([[0, 1]])
    sigmas = karras_sigmas(5, 0.1, 3)
    weighing = Weighing(mix(MAIN, labels, w))
    x, values = torch.tensor([[2.5]], dtype=torch.float64), []
    for sigma, after in pairwise(sigmas):
        s = torch.stack([MAIN.score(x, sigma, labels[:, k])[0] for k in range(2)])
        mixed = (w[:, None] * s).sum(0)
        values.append(float(-sigma * ((w[:, None] * s**2).sum() - (mixed**2).sum())))
        x = x - (after - sigma) * sigma * mixed
    euler(weighing, torch.tensor([[2.5]], dtype=torch.float64), sigmas)
    expected = torch.trapezoid(torch.tensor([*values, 0.0], dtype=torch.float64), -sigmas)
    assert float(weighing.log_weight()) == pytest.approx(float(expected), rel=1e-9)
    assert float(weighing.disagreement()) == pytest.approx(-float(expected), rel=1e-9)  # no guide: all of it
    # for two classes: -lambda (1 - lambda) |s_1 - s_2|^2 sigma
    assert values[-1] == pytest.approx(float(-sigmas[-2] * 0.21 * (s[0] - s[1]).square().sum()), rel=1e-9)


def test_one_class_and_equal_classes_weigh_nothing():
    same = GaussianMixture(MAIN.means[[0, 0]], MAIN.stds[[0, 0]], MAIN.weights[:2])
    x = torch.randn(4, 1, dtype=torch.float64) * 20
    for denoiser in (
        condition(MAIN, torch.zeros(4, dtype=torch.int64)),
        mix(same, torch.tensor([[0, 1]] * 4), [0.5, 0.5]),
    ):
        weighing = Weighing(denoiser)
        heun(weighing, x, karras_sigmas(6, 0.002, 20))
        assert weighing.log_weight().abs().max() < 1e-12


def test_weights_without_a_product_are_refused():
    labels = torch.tensor([[0, 1]])
    good = mix(MAIN, labels, [0.5, 0.5])
    for weights in ([0.7, 0.7], [[0.5, 0.6]]):
        with pytest.raises(ValueError, match="sum of 1"):
            Weighing(mix(MAIN, labels, torch.tensor(weights)))
    with pytest.raises(ValueError, match=r"sum to 1\.12"):  # 1.3 and -0.3 * 0.6
        Weighing(autoguide(mix(MAIN, labels, [0.5, 0.5]), mix(GUIDE, labels, [0.3, 0.3]), 1.3))
    for changing in (
        within((0.1, 1.0), good, mix_conditions(MAIN, labels, [0.5, 0.5])),
        mix(MAIN, labels, lambda sigma: torch.tensor([0.5, 0.5])),
        autoguide(within((0.1, 1.0), good, good), good, 1.3),
    ):
        with pytest.raises(ValueError, match="depend on sigma"):
            Weighing(changing)


def test_a_plain_function_has_no_log_weight():
    good, plain = mix(MAIN, torch.tensor([[0, 1]]), [0.5, 0.5]), lambda x, sigma: x
    for denoiser in (plain, MAIN, autoguide(good, plain, 1.3), autoguide(plain, good, 1.3)):
        with pytest.raises(ValueError, match="is a plain function: a log-weight needs") as error:
            Weighing(denoiser)
        assert "\n" not in str(error.value)


def test_effective_sample_size():
    assert float(effective_sample_size(torch.zeros(7))) == pytest.approx(7)
    assert float(effective_sample_size(torch.tensor([0.0, -800.0, -900.0]))) == pytest.approx(1)
    w = torch.rand(3, 5, dtype=torch.float64)
    expected = w.sum(1) ** 2 / w.square().sum(1)
    assert torch.allclose(effective_sample_size(w.log() + 300), expected)


def test_disagreement_is_of_the_classes_alone():
    """The guide's part is left out: the integral of lambda (1 - lambda) |s_1 - s_2|^2 sigma along the guided path."""
    w, labels = torch.tensor([0.4, 0.6], dtype=torch.float64), torch.tensor([[0, 1]])
    sigmas = karras_sigmas(7, 0.05, 10)
    weighing = Weighing(autoguide(mix(MAIN, labels, w), mix(GUIDE, labels, w), 1.5))
    seen: list[tuple[Tensor, Tensor]] = []

    def spy(x: Tensor, sigma: Tensor) -> Tensor:
        seen.append((x, sigma))
        return weighing(x, sigma)

    euler(spy, torch.tensor([[4.0]], dtype=torch.float64), sigmas)
    values = [
        0.24 * s * (MAIN.score(x, s, labels[:, 0]) - MAIN.score(x, s, labels[:, 1])).square().sum() for x, s in seen
    ]
    expected = torch.trapezoid(torch.tensor([*values, 0.0], dtype=torch.float64), -sigmas)
    assert float(weighing.disagreement()) == pytest.approx(float(expected), rel=1e-9)
    assert float(weighing.log_weight()) != pytest.approx(-float(expected), rel=0.1)


def unit_normals(seed: int) -> tuple[Callable[[Tensor], Tensor], Callable[[], float]]:
    g = torch.Generator().manual_seed(seed)
    return lambda x: torch.randn(x.shape, generator=g, dtype=x.dtype), lambda: float(torch.rand((), generator=g))


@pytest.mark.parametrize("weights", [(0.5, 0.5), (0.3, 0.7)])
def test_resampled_paths_end_as_the_product_of_the_classes(weights: tuple[float, ...]):
    n, w = 6000, torch.tensor(weights, dtype=torch.float64)
    labels = torch.arange(2).expand(n, 2)
    noise, uniform = unit_normals(0)
    noisy = (STDS[:2, 0] ** 2 + 20**2).sqrt()
    mean, std = product(MEANS[:2, 0], noisy, w)
    x = mean + std * noise(torch.zeros(n, 1, dtype=torch.float64))
    groups = torch.arange(n) // (n // 2)
    found, ancestors, log_weight = resampled(
        mix(MAIN, labels, w), x, karras_sigmas(40, 0.002, 20), groups, noise, uniform, churn=20.0, threshold=0.98
    )
    share = log_weight.softmax(0)
    ended = float((share * found[:, 0]).sum())
    spread = float((share * (found[:, 0] - ended).square()).sum().sqrt())
    expected = product(MEANS[:2, 0], STDS[:2, 0], w)
    assert (ended, spread) == pytest.approx(expected, abs=0.04)
    assert len(ancestors.unique()) < n and (groups[ancestors] == groups).all()


def test_rows_outside_groups_and_small_differences_are_left_alone():
    labels = torch.arange(2).expand(6, 2)
    noise, uniform = unit_normals(1)
    x = 20 * noise(torch.zeros(6, 1, dtype=torch.float64))
    sigmas, w = karras_sigmas(10, 0.002, 20), torch.tensor([0.5, 0.5], dtype=torch.float64)
    _, alone, _ = resampled(mix(MAIN, labels, w), x, sigmas, torch.full((6,), -1), noise, uniform, threshold=1.0)
    _, lenient, log_weight = resampled(
        mix(MAIN, labels, w), x, sigmas, torch.zeros(6).long(), noise, uniform, threshold=0.0
    )
    assert alone.tolist() == lenient.tolist() == list(range(6)) and (log_weight < 0).all()
    with pytest.raises(ValueError, match="stay copies"):
        resampled(mix(MAIN, labels, w), x, sigmas, torch.zeros(6).long(), noise, uniform, churn=0.0)


def test_systematic_resampling_gives_every_row_its_share():
    log_weight = torch.tensor([0.5, 0.3, 0.2, 1e-9]).log()
    counts = torch.stack(
        [torch.bincount(systematic(log_weight, (s + 0.5) / 50), minlength=4) for s in range(50)]
    ).double()
    assert (counts[:, 0] == 2).all() and (counts[:, 3] == 0).all()
    assert counts.mean(0).tolist() == pytest.approx([2.0, 1.2, 0.8, 0.0], abs=0.05)
