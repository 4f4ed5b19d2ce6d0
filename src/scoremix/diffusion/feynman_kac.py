"""Log-weights that turn samples of mixed scores into samples of the product density (Skreta et al. 2025).

Following sum_k w_k grad log p_k at every level does not end in prod_k p_k^w_k: mixing does not commute with noise.
The difference is a weight per image that costs no evaluation. Along the path it changes by
    d log W = -sigma (sum_k w_k |s_k|^2 - |sum_k w_k s_k|^2) |d sigma| = -spread / sigma^3 |d sigma|,
where s_k = (D_k - x) / sigma^2 are the scores already at hand, the guide's included, and sum_k w_k = 1. For two
unguided classes it is -lambda (1 - lambda) |s_1 - s_2|^2 sigma |d sigma|: how much the classes disagreed.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import torch
from jaxtyping import Float, Int
from torch import Tensor

from scoremix.diffusion.denoisers import Denoiser, Guided, Mixture, Single, Within
from scoremix.diffusion.solvers import heun_path


class Weighing:
    """A denoiser that keeps what the weights need while a solver calls it; `log_weight()`, `disagreement()` afterwards.

    ValueError for weights that depend on sigma or do not sum to 1, as no product density is defined then, and for a
    denoiser that is not made by `condition`, `mix`, `mix_conditions` and `autoguide`, whose classes are unknown.
    """

    def __init__(self, denoiser: Denoiser) -> None:
        total = torch.as_tensor(total_weight(denoiser), dtype=torch.float64)
        if ((total - 1).abs() > 1e-5).any():
            worst = float(total.flatten()[(total - 1).abs().argmax()])
            raise ValueError(f"the weights sum to {worst:g}: a log-weight needs a sum of 1, the guide included")
        self.denoiser = denoiser
        self.calls: list[tuple[Tensor, Tensor]] = []  # sigma, spreads

    def __call__(self, x: Tensor, sigma: Tensor) -> Tensor:
        estimate, spread = spreads(self.denoiser, x, sigma)
        self.calls.append((sigma, spread))
        return estimate

    def log_weight(self) -> Float[Tensor, " b"]:
        """Log-weight of each row, float64, guide included."""
        return self._integral()[:, 0]

    def disagreement(self) -> Float[Tensor, " b"]:
        """What the classes of the main network alone take from the log-weight, float64, at least 0 for weights of at
        least 0: the integral of sum_k w_k |s_k - mixed score|^2 sigma.
        """
        return -self._integral()[:, 1]

    def _integral(self) -> Float[Tensor, "b 2"]:
        """Trapezoids between the levels of the solver, and to 0 at sigma = 0.

        A corrector's call comes before the call at the state it leads to, so the last one at a level counts.
        """
        nodes = {float(sigma): spread for sigma, spread in self.calls}
        sigmas = torch.tensor([*nodes, 0.0], dtype=torch.float64)
        spreads = torch.stack([*nodes.values(), torch.zeros_like(self.calls[0][1])]).cpu()
        growth = spreads / sigmas.clamp(min=1e-90)[:, None, None] ** 3  # spread ~ sigma^4 near 0
        growth[-1] = 0
        return torch.trapezoid(growth, sigmas, dim=0)  # sigmas fall: negative where spreads are positive


def spreads(denoiser: Denoiser, x: Tensor, sigma: Tensor) -> tuple[Tensor, Float[Tensor, "b 2"]]:
    """The estimate sum_k w_k D_k, and by what the weights grow, float64: sum_k w_k |D_k - estimate|^2 over all
    evaluations D_k, the guide's included, and over those of the main network's classes alone.
    """
    match denoiser:
        case Mixture():
            estimate, each, w = denoiser.parts(x, sigma)
            spread = (w.double() * _size(each - estimate, 2)).sum(0)
            return estimate, torch.stack([spread, spread], dim=1)
        case Guided(main, guide, scale):
            (d0, spread0), (d1, spread1) = spreads(guide, x, sigma), spreads(main, x, sigma)
            between = scale * (1 - scale) * _size(d1 - d0, 1)
            whole = scale * spread1[:, 0] + (1 - scale) * spread0[:, 0] + between
            return torch.lerp(d0, d1, scale), torch.stack([whole, spread1[:, 1]], dim=1)
        case _:
            return denoiser(x, sigma), torch.zeros(len(x), 2, dtype=torch.float64, device=x.device)


def total_weight(denoiser: Denoiser) -> float | Float[Tensor, " b"]:
    """Sum of the weights of all evaluations, one for all rows or one each; ValueError as for `Weighing`."""
    match denoiser:
        case Single():
            return 1.0
        case Mixture(total=Tensor() as total):
            return total
        case Guided(main, guide, scale):
            return scale * total_weight(main) + (1 - scale) * total_weight(guide)
        case Mixture() | Within():
            raise ValueError("the weights depend on sigma: a log-weight needs the same ones at every level")
        case _:
            name = getattr(denoiser, "__name__", type(denoiser).__name__)
            raise ValueError(
                f"{name} is a plain function: a log-weight needs a denoiser made by condition, mix, mix_conditions or "
                "autoguide, which say what they evaluate"
            )


def _size(x: Tensor, batch_dims: int) -> Tensor:
    """Squared Euclidean norms over all but the first dimensions, float64."""
    return x.flatten(batch_dims).square().sum(-1, dtype=torch.float64)


def effective_sample_size(log_weight: Float[Tensor, "*g n"]) -> Float[Tensor, "*g"]:
    """(sum W)^2 / sum W^2 over the last dimension, between 1 and n: how many equal weights are worth as much."""
    log_weight = log_weight.double()
    return (2 * log_weight.logsumexp(-1) - (2 * log_weight).logsumexp(-1)).exp()


@torch.no_grad()
def resampled(
    denoiser: Denoiser,
    x: Float[Tensor, "b ..."],
    sigmas: Float[Tensor, " n+1"],
    groups: Int[Tensor, " b"],
    noise: Callable[[Tensor], Tensor],
    uniform: Callable[[], float],
    churn: float = 10.0,
    threshold: float = 0.5,
) -> tuple[Float[Tensor, "b ..."], Int[Tensor, " b"], Float[Tensor, " b"]]:
    """Ends of stochastic Heun paths that are chosen anew within each group on the way (Skreta et al. 2025, section 4).

    After a step, a group whose effective sample size is below `threshold` of its rows is drawn again by its weights
    (systematic resampling by one number `uniform()` of [0, 1)), and its weights start afresh; `churn` makes copies of
    one row differ from there on. A step of noise upwards and the same way down change no weight. Returns the images,
    the row each started as, and log-weights (float64) since the last draw. Rows of group -1 are left alone.
    ValueError without churn, and as for `Weighing` and `heun`.
    """
    if not churn > 0:
        raise ValueError(f"churn={churn}: must be above 0, or the copies of a row stay copies")
    weighing = Weighing(denoiser)
    log_weight = torch.zeros(len(x), dtype=torch.float64, device=x.device)
    ancestors = torch.arange(len(x), device=x.device)
    levels = sigmas.tolist()
    path = heun_path(weighing, x.clone(), sigmas, churn, noise)
    state = next(path)
    for (t, t_next), state in zip(pairwise(levels), path, strict=True):
        growth = [spread[:, 0] / sigma.double() ** 3 for sigma, spread in weighing.calls]
        weighing.calls.clear()
        log_weight -= (t - t_next) * (growth[0] if len(growth) == 1 else growth[0] + growth[1]) / 2
        if t_next == 0:
            break
        for group in sorted(set(groups.tolist()) - {-1}):
            rows = (groups == group).nonzero()[:, 0]
            if float(effective_sample_size(log_weight[rows])) < threshold * len(rows):
                chosen = rows[systematic(log_weight[rows], uniform())]
                state[rows], ancestors[rows] = state[chosen], ancestors[chosen]  # the solver goes on from here
                log_weight[rows] = 0
    return state, ancestors, log_weight


def systematic(log_weight: Float[Tensor, " n"], start: float) -> Int[Tensor, " n"]:
    """n rows, each floor or ceil of n times its share of the weight often, ascending; `start` in [0, 1)."""
    n = len(log_weight)
    edges = log_weight.double().softmax(0).cumsum(0)
    points = (torch.arange(n, dtype=torch.float64, device=log_weight.device) + start) / n
    return torch.searchsorted(edges, points, right=True).clamp(max=n - 1)
