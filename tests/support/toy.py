"""Class-conditional Gaussian mixtures with exact denoisers, scores and flows (EDM section 2, appendix B)."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor


@dataclass(frozen=True)
class GaussianMixture:
    """Each class is a mixture of Gaussians with independent coordinates; called like a network, it is exact.

    `means` and `stds` (classes, components, dimensions), `weights` (classes, components), rows summing to 1;
    float64 throughout. Any sigma > 0, rows of x of any shape with `dimensions` numbers.
    """

    means: Float[Tensor, "l k d"]
    stds: Float[Tensor, "l k d"]
    weights: Float[Tensor, "l k"]

    def __post_init__(self) -> None:
        if self.means.shape != self.stds.shape or self.weights.shape != self.means.shape[:2]:
            raise ValueError(
                f"means {tuple(self.means.shape)}, stds {tuple(self.stds.shape)}, weights "
                f"{tuple(self.weights.shape)}: must be (l, k, d), (l, k, d) and (l, k)"
            )
        if (self.stds < 0).any() or not torch.allclose(self.weights.sum(1), torch.ones_like(self.weights[:, 0])):
            raise ValueError("stds must not be negative, weights of each class must sum to 1")

    @property
    def label_dim(self) -> int:
        return len(self.means)

    def __call__(
        self, x: Float[Tensor, "b ..."], sigma: Tensor | float, labels: Int[Tensor, " b"] | None = None
    ) -> Float[Tensor, "b ..."]:
        """E[clean | clean + sigma noise = x] in the class of each row (None: all classes equally likely)."""
        flat, means, stds, weights, s = self._terms(x, sigma, labels)
        total = stds.square() + s.square()
        each = means + stds.square() / total * (flat[:, None] - means)  # (b, k, d)
        share = (weights.log() + _log_normal(flat[:, None] - means, total)).softmax(1)
        return (share[:, :, None] * each).sum(1).reshape_as(x).to(x.dtype)

    def score(
        self, x: Float[Tensor, "b ..."], sigma: Tensor | float, labels: Int[Tensor, " b"] | None = None
    ) -> Float[Tensor, "b ..."]:
        """Gradient of `log_density` at x, (D - x) / sigma^2."""
        s = torch.as_tensor(sigma, dtype=torch.float64).reshape(-1, *[1] * (x.ndim - 1))
        return (self(x.double(), sigma, labels) - x) / s.square()

    def log_density(
        self, x: Float[Tensor, "b ..."], sigma: Tensor | float, labels: Int[Tensor, " b"] | None = None
    ) -> Float[Tensor, " b"]:
        """log p(x; sigma) of the class of each row: the mixture with variances std^2 + sigma^2."""
        flat, means, stds, weights, s = self._terms(x, sigma, labels)
        logs = weights.log() + _log_normal(flat[:, None] - means, stds.square() + s.square())
        return logs.logsumexp(1)

    def sample(self, labels: Int[Tensor, " b"], generator: torch.Generator) -> Float[Tensor, "b d"]:
        """One clean point of the class of each row."""
        component = torch.multinomial(self.weights[labels], 1, generator=generator)[:, 0]
        mean = self.means[labels, component]
        return mean + self.stds[labels, component] * torch.randn(mean.shape, generator=generator, dtype=torch.float64)

    def _terms(
        self, x: Tensor, sigma: Tensor | float, labels: Tensor | None
    ) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
        """Rows as vectors, their mixtures (b or 1, k, d) and (b or 1, k), and sigma as (b or 1, 1, 1)."""
        s = torch.as_tensor(sigma, dtype=torch.float64).reshape(-1, 1, 1)
        flat = x.reshape(len(x), -1).double()
        if labels is None:
            means, stds = (t.flatten(0, 1)[None] for t in (self.means, self.stds))
            return flat, means, stds, self.weights.flatten()[None] / self.label_dim, s
        return flat, self.means[labels], self.stds[labels], self.weights[labels], s


def _log_normal(x: Float[Tensor, "b k d"], variances: Float[Tensor, "b k d"]) -> Float[Tensor, "b k"]:
    """Log density of independent normal coordinates of mean 0."""
    return -(x.square() / variances + variances.log() + math.log(2 * math.pi)).sum(-1) / 2


def gaussians(means: Float[Tensor, "l d"], stds: Float[Tensor, "l d"]) -> GaussianMixture:
    """One Gaussian per class."""
    means, stds = means.double()[:, None], stds.double()[:, None]
    return GaussianMixture(means, stds, torch.ones_like(means[:, :, 0]))


def mixed_flow(
    x: Float[Tensor, "b d"],
    means: Float[Tensor, "m d"],
    stds: Float[Tensor, "m d"],
    weights: Float[Tensor, " m"],
    sigma_from: float,
    sigma_to: float,
    nodes: int = 400,
) -> Float[Tensor, "b d"]:
    """Exact end of dx/dsigma = -sigma sum_k w_k s_k(x; sigma), the mixed scores of m Gaussians; float64.

    The equation is linear in each coordinate. With H(sigma) = prod_k (std_k^2 + sigma^2)^(w_k / 2),
    x(sigma) / H(sigma) = x_0 / H(sigma_0)
        + integral from sigma to sigma_0 of s sum_k w_k mean_k / (std_k^2 + s^2) / H(s) ds.
    So with sum w = 1, noise of sigma_0 -> infinity ends with the geometric mean of the stds; and where these
    are equal, around the weighted mean of the means. For m = 1, w = 1 this is the flow of one Gaussian,
    mean + sqrt((std^2 + sigma^2) / (std^2 + sigma_0^2)) (x_0 - mean).
    Gauss-Legendre in log(s^2 + smallest std^2), `nodes` nodes; stds must be positive where sigma_to is 0.
    """
    means, stds, weights = means.double(), stds.double(), weights.double()
    floor = float(stds.square().min())
    low, high = (math.log(s**2 + floor) for s in (sigma_to, sigma_from))
    t, dt = (torch.from_numpy(a) for a in np.polynomial.legendre.leggauss(nodes))
    shifted = ((high - low) * t + high + low).div(2).exp()  # sigma^2 + floor at the nodes

    def log_h(square: Tensor) -> Tensor:  # (n,) -> (n, d)
        return torch.einsum("m,nmd->nd", weights, (stds.square() + square[:, None, None]).log()) / 2

    square = shifted - floor
    pull = torch.einsum("m,md,nmd->nd", weights, means, 1 / (stds.square() + square[:, None, None]))
    # sigma dsigma = d(sigma^2) / 2 = (sigma^2 + floor) d(log) / 2
    end = log_h(torch.tensor([sigma_to**2], dtype=torch.float64))
    begin = log_h(torch.tensor([sigma_from**2], dtype=torch.float64))
    integrand = pull * (end - log_h(square)).exp() * shifted[:, None] / 2
    drift = torch.einsum("n,nd->d", dt, integrand) * (high - low) / 2
    return (end - begin).exp() * x.double() + drift
