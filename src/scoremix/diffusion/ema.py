"""Power-function averages of parameters and their post-hoc reconstruction (EDM2 section 3)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn


def std_to_exponent(std: float) -> float:
    """Exponent gamma of the profile t^gamma on [0, 1] whose standard deviation is `std`.

    The largest real root of g^3 + 7 g^2 + (16 - std^-2) g + (12 - std^-2).
    ValueError unless 0 < std < 1/sqrt(12), the uniform profile.
    """
    if not 0 < std < 12**-0.5:
        raise ValueError(f"std={std}: a relative EMA length must lie between 0 and {12**-0.5:.4f}")
    t = std**-2.0
    roots = np.roots([1, 7, 16 - t, 12 - t])
    return float(roots[np.isreal(roots)].real.max())


def power_beta(std: float, nimg: float, batch: float) -> float:
    """Weight of the old average once `nimg` images, the last `batch` included, have been seen.

    (1 - batch / nimg)^(gamma + 1), 0 at the first step. ValueError unless 0 < batch <= nimg.
    """
    if not 0 < batch <= nimg:
        raise ValueError(f"batch={batch}, nimg={nimg}: images seen include the batch, 0 < batch <= nimg")
    return float((1 - batch / nimg) ** (std_to_exponent(std) + 1))


class PowerEMA:
    """Averages of a network's parameters, one per relative length; buffers are the network's.

    Starts as copies of the network, and the first update (nimg == batch, power_beta 0) copies it again.
    """

    def __init__(self, net: nn.Module, stds: Sequence[float]) -> None:
        for std in stds:
            std_to_exponent(std)
        self.stds = tuple(stds)
        self.net = net
        self.parameters = [{n: p.detach().clone() for n, p in net.named_parameters()} for _ in self.stds]

    @torch.no_grad()
    def update(self, nimg: int, batch: int) -> None:
        """Moves every average towards the network's parameters after `nimg` images."""
        current = [p.detach() for p in self.net.parameters()]
        for std, average in zip(self.stds, self.parameters, strict=True):
            torch._foreach_lerp_(list(average.values()), current, 1 - power_beta(std, nimg, batch))

    def state(self, index: int) -> dict[str, Tensor]:
        """The averaged network of stds[index], parameters and buffers under the network's names; live."""
        return {n: self.parameters[index].get(n, t) for n, t in self.net.state_dict().items()}

    @torch.no_grad()
    def restore(self, index: int, tensors: Mapping[str, Tensor]) -> None:
        """Continues from what `state(index)` returned; KeyError for a missing parameter."""
        for name, average in self.parameters[index].items():
            average.copy_(tensors[name])


def posthoc_coefficients(
    in_nimg: Sequence[float], in_std: Sequence[float], out_nimg: Sequence[float], out_std: Sequence[float]
) -> Float[np.ndarray, "in out"]:
    """Weights of stored snapshots that best reconstruct averages of other lengths; columns sum to 1.

    Least squares between power functions: X = A^-1 B of their inner products, float64. The weights
    may be large and of both signs: combine snapshots in float32 at least.
    """
    sides = {"in": (in_nimg, in_std), "out": (out_nimg, out_std)}
    for side, (nimg, std) in sides.items():
        if len(nimg) != len(std) or len(nimg) == 0 or min(nimg) <= 0:
            raise ValueError(f"{side}_nimg, {side}_std: must be equally long, not empty, with positive images seen")
    t_in, t_out = np.asarray(in_nimg, np.float64), np.asarray(out_nimg, np.float64)
    g_in, g_out = (np.array([std_to_exponent(s) for s in std]) for std in (in_std, out_std))
    gram = _inner_products(t_in[:, None], g_in[:, None], t_in, g_in)
    target = _inner_products(t_in[:, None], g_in[:, None], t_out, g_out)
    weights: np.ndarray = np.linalg.solve(gram, target)
    weights /= weights.sum(0)
    return weights


def posthoc_fit(
    in_nimg: Sequence[float], in_std: Sequence[float], out_nimg: float, out_std: float
) -> tuple[Float[np.ndarray, " in"], float]:
    """Coefficients for one target, and |target - fit| / |target| in the norm of the profiles."""
    weights = posthoc_coefficients(in_nimg, in_std, [out_nimg], [out_std])[:, 0]
    times, gammas = (np.array([*values]) for values in ([*in_nimg, out_nimg], [*map(std_to_exponent, in_std), 0.0]))
    gammas[-1] = std_to_exponent(out_std)
    gram = _inner_products(times[:, None], gammas[:, None], times, gammas)
    difference = np.append(weights, -1.0)
    square = difference @ gram @ difference
    return weights, float(np.sqrt(max(square, 0.0) / gram[-1, -1]))


def _inner_products(
    ta: Float[np.ndarray, "a 1"], ga: Float[np.ndarray, "a 1"], tb: Float[np.ndarray, " b"], gb: Float[np.ndarray, " b"]
) -> Float[np.ndarray, "a b"]:
    """Integrals of products of two profiles (g + 1) t^g / t_end^(g + 1) on [0, t_end]."""
    ratio = np.minimum(ta / tb, tb / ta)  # to the exponent of the profile that ends later
    later = np.where(ta < tb, gb, ga)
    products: np.ndarray = (ga + 1) * (gb + 1) * ratio**later / ((ga + gb + 1) * np.maximum(ta, tb))
    return products
