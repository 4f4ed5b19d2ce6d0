"""Solvers of the probability-flow ODE: Karras levels, Heun, Euler, DDIM, DPM-Solver++ 2M (EDM sections 3, 4)."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import pairwise

import torch
from jaxtyping import Float
from torch import Tensor

Denoise = Callable[[Tensor, Tensor], Tensor]  # (x (b, ...), sigma ()) -> estimate of the clean x
Solver = Callable[[Denoise, Tensor, Tensor], Tensor]  # (denoiser, noise * sigmas[0], sigmas) -> x at the last level, 0


def karras_sigmas(
    steps: int, sigma_min: float = 0.002, sigma_max: float = 80.0, rho: float = 7.0
) -> Float[Tensor, " steps+1"]:
    """Levels from sigma_max to sigma_min, evenly spaced in sigma^(1/rho), then 0; float64 (EDM eq. 5)."""
    if steps < 1:
        raise ValueError(f"steps={steps}: must be at least 1")
    if not 0 < sigma_min <= sigma_max < math.inf or not 0 < rho < math.inf:
        raise ValueError(
            f"sigma_min={sigma_min}, sigma_max={sigma_max}, rho={rho}: "
            "must be positive and finite, sigma_min <= sigma_max"
        )
    share = torch.arange(steps, dtype=torch.float64) / max(steps - 1, 1)
    high, low = sigma_max ** (1 / rho), sigma_min ** (1 / rho)
    return torch.cat([(high + share * (low - high)) ** rho, torch.zeros(1, dtype=torch.float64)])


class UnitNoise:
    """Standard normal noise, one generator per image: image i's depends on seeds[i] and the call only.

    Numbers come from the CPU's float32 generator whatever the device and dtype; seeds are taken mod 2^32.
    Call it for the starting noise, then pass it to `heun` as `noise`.
    """

    def __init__(self, seeds: Sequence[int], shape: Sequence[int], device: torch.device | str = "cpu") -> None:
        self.shape, self.device = tuple(shape), device
        self.generators = [torch.Generator().manual_seed(int(seed) % 2**32) for seed in seeds]

    def __call__(self, like: Tensor | None = None) -> Float[Tensor, "b ..."]:
        """The next noise, (seeds, *shape), in the dtype of `like` (default float32)."""
        noise = torch.stack([torch.randn(self.shape, generator=g) for g in self.generators])
        return noise.to(self.device, torch.float32 if like is None else like.dtype)


@torch.no_grad()
def heun_path(
    denoiser: Denoise,
    x: Float[Tensor, "b ..."],
    sigmas: Float[Tensor, " n+1"],
    churn: float = 0.0,
    noise: Callable[[Tensor], Tensor] | None = None,
    s_min: float = 0.0,
    s_max: float = math.inf,
    s_noise: float = 1.0,
) -> Iterator[Float[Tensor, "b ..."]]:
    """x, then the state after each step of EDM's algorithm 2; arguments as for `heun`."""
    levels = _levels(sigmas)
    if churn and noise is None:
        raise ValueError(f"churn={churn} needs `noise`, a callable as torch.randn_like")
    gamma = min(churn / (len(levels) - 1), math.sqrt(2) - 1)
    yield x
    for t, t_next in pairwise(levels):
        if gamma > 0 and s_min <= t <= s_max:
            assert noise is not None
            t_hat = t + gamma * t
            x = x + math.sqrt(t_hat**2 - t**2) * s_noise * noise(x)
            t = t_hat
        slope = _slope(denoiser, x, t)
        euler = x + (t_next - t) * slope
        x = euler if t_next == 0 else x + (t_next - t) * (slope + _slope(denoiser, euler, t_next)) / 2
        yield x


def heun(
    denoiser: Denoise,
    x: Float[Tensor, "b ..."],
    sigmas: Float[Tensor, " n+1"],
    churn: float = 0.0,
    noise: Callable[[Tensor], Tensor] | None = None,
    s_min: float = 0.0,
    s_max: float = math.inf,
    s_noise: float = 1.0,
) -> Float[Tensor, "b ..."]:
    """End of the ODE from x = noise * sigmas[0], second order, 2 n - 1 denoiser calls; dtype follows x.

    With `churn`, steps from s_min <= sigma <= s_max first add noise(x), scaled (EDM algorithm 2). No
    gradients are kept.
    ValueError for levels that do not decrease to a last 0, or churn without noise.
    """
    for x in heun_path(denoiser, x, sigmas, churn, noise, s_min, s_max, s_noise):  # noqa: B007, B020
        pass
    return x


@torch.no_grad()
def euler(denoiser: Denoise, x: Float[Tensor, "b ..."], sigmas: Float[Tensor, " n+1"]) -> Float[Tensor, "b ..."]:
    """End of the ODE from x = noise * sigmas[0] by n Euler steps: deterministic DDIM in its sigma form."""
    levels = _levels(sigmas)
    for t, t_next in pairwise(levels):
        x = x + (t_next - t) * _slope(denoiser, x, t)
    return x


@torch.no_grad()
def ddim(
    denoiser: Denoise,
    x: Float[Tensor, "b ..."],
    sigmas: Float[Tensor, " n+1"],
    eta: float = 0.0,
    noise: Callable[[Tensor], Tensor] | None = None,
) -> Float[Tensor, "b ..."]:
    """End of the path from x = noise * sigmas[0] by DDIM (Song et al. 2021, eq. 12 and 16, in sigma form), n denoiser calls.

    A step from s to t adds noise(x) of deviation eta t sqrt(1 - t^2 / s^2), and goes so much farther down before: eta 0 is
    `euler`, eta 1 ancestral sampling. ValueError for eta outside 0 to 1, or above 0 without `noise`.
    """
    if not 0 <= eta <= 1:
        raise ValueError(f"eta={eta:g}: must be from 0 to 1")
    if eta == 0:
        return euler(denoiser, x, sigmas)
    if noise is None:
        raise ValueError(f"eta={eta:g} needs `noise`, a callable as torch.randn_like")
    for t, t_next in pairwise(_levels(sigmas)):
        estimate = denoiser(x, torch.tensor(t, dtype=x.dtype, device=x.device)).to(x.dtype)
        if t_next == 0:
            return estimate
        up = eta * t_next * math.sqrt(1 - (t_next / t) ** 2)
        x = estimate + math.sqrt(t_next**2 - up**2) / t * (x - estimate) + up * noise(x)
    return x


@torch.no_grad()
def balanced(
    by_class: Callable[[Tensor, Tensor], Float[Tensor, "m b ..."]],
    x: Float[Tensor, "b ..."],
    sigmas: Float[Tensor, " n+1"],
    noise: Callable[[Tensor], Tensor],
) -> Float[Tensor, "b ..."]:
    """End of ancestral paths from x = noise * sigmas[0] that stay equally likely under all m classes, n calls.

    The AND of Skreta et al. 2024 (superposition of diffusion models): the weights of the classes' scores are solved for at every step,
    so that the classes' log-densities rise alike. Down from s to t class k goes to N(mean_k, t^2 (1 - t^2 / s^2)), mean_k = D_k + t^2 / s^2
    (x - D_k). Its log-density rises by that of the step, less what all classes share: they rise alike where the step ends as far from all
    means. For two classes that is the equal mix, whose noise leans to neither. Exact for classes of one spread, from starts far out.
    """
    for t, t_next in pairwise(_levels(sigmas)):
        each = by_class(x, torch.tensor(t, dtype=x.dtype, device=x.device)).to(x.dtype)
        if t_next == 0:
            return each.mean(0)
        kept = (t_next / t) ** 2
        means = torch.lerp(each, x, kept)
        x = equidistant(means.mean(0) + t_next * math.sqrt(1 - kept) * noise(x), means)
    return x


def equidistant(x: Float[Tensor, "b ..."], points: Float[Tensor, "m b ..."]) -> Float[Tensor, "b ..."]:
    """The nearest point to x that is as far from all m points; of points nearly in a line, nearly so."""
    if len(points) == 1:
        return x
    sides = (points[1:] - points[0]).flatten(2).transpose(0, 1).double()  # (b, m - 1, n)
    lack = sides.square().sum(-1) / 2 - (sides @ (x - points[0]).flatten(1).double()[:, :, None])[:, :, 0]
    inverse = torch.linalg.pinv(sides @ sides.mT, rtol=1e-6, hermitian=True)
    way: Tensor = (inverse @ lack[:, :, None]).mT @ sides
    return x + way.reshape(x.shape).to(x.dtype)


@torch.no_grad()
def dpm2m(denoiser: Denoise, x: Float[Tensor, "b ..."], sigmas: Float[Tensor, " n+1"]) -> Float[Tensor, "b ..."]:
    """End of the ODE from x = noise * sigmas[0] by DPM-Solver++ 2M (Lu et al. 2022, algorithm 2), n denoiser calls.

    Second order: each step extrapolates the last two estimates linearly in log sigma; the first step, and the last (to
    0, where log sigma ends), use one.
    """
    levels = _levels(sigmas)
    before: tuple[Tensor, float] | None = None  # last estimate, length of its step in log sigma
    for t, t_next in pairwise(levels):
        estimate = denoiser(x, torch.tensor(t, dtype=x.dtype, device=x.device)).to(x.dtype)
        if t_next == 0:
            return estimate
        step = math.log(t / t_next)
        ahead = estimate if before is None else torch.lerp(before[0], estimate, 1 + step / (2 * before[1]))
        x = torch.lerp(ahead, x, t_next / t)
        before = estimate, step
    return x


def by_name(churn: float, eta: float, noise: Callable[[Tensor], Tensor]) -> dict[str, Solver]:
    """The solvers by the names a config chooses them by; heun draws `churn` of the noise, ddim `eta`, the others none."""
    return {
        "heun": partial(heun, churn=churn, noise=noise),
        "euler": euler,
        "ddim": partial(ddim, eta=eta, noise=noise),
        "dpm2m": dpm2m,
    }


def _levels(sigmas: Tensor) -> list[float]:
    levels: list[float] = sigmas.tolist()
    if len(levels) < 2 or levels[-1] != 0 or any(not a > b for a, b in pairwise(levels)):
        raise ValueError("sigmas: must decrease and end with 0")
    return levels


def _slope(denoiser: Denoise, x: Tensor, t: float) -> Tensor:
    """dx/dsigma = (x - D(x; sigma)) / sigma of the probability-flow ODE."""
    return (x - denoiser(x, torch.tensor(t, dtype=x.dtype, device=x.device)).to(x.dtype)) / t
