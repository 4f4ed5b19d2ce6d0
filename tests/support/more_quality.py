"""Further published measures of generated images, to compare with: radii, realism, Vendi score."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from scoremix.analysis.spaces import Numbers, as_rows, centred, check_neighbours, unit_rows
from scoremix.evaluation.quality import distance_blocks, radii, together


def neighbour_radii(x: Float[Numbers, "_ _"], k: int) -> Float[Tensor, " n"]:
    """Distance of each row to its k-th nearest other row; ValueError unless 1 <= k < n."""
    rows = as_rows(x)
    check_neighbours(k, len(rows))
    return radii(centred(rows), k)


def realism(real: Float[Numbers, "_ _"], fake: Float[Numbers, "_ _"], k: int = 3) -> Float[Tensor, " m"]:
    """Realism of each fake: its largest ratio of a real row's radius to the distance from that row.

    At least 1 inside a ball. Only real rows with a radius below the median count (Kynkäänniemi et al. 2019,
    whose reason is that large balls sit at outliers). A fake equal to a real row has infinite realism.
    """
    one, two = together(real, fake)
    check_neighbours(k, len(one))
    reach = radii(one, k)
    middle = reach.sort().values[[(len(reach) - 1) // 2, len(reach) // 2]].mean()
    keep = reach < middle
    if not bool(keep.any()):
        raise ValueError("real: all radii are equal, realism has no rows to measure by")
    parts = [(reach[keep] / distances).amax(1) for _, distances in distance_blocks(two, one[keep])]
    return torch.cat(parts)


def vendi(x: Float[Numbers, "_ _"], order: float = 1.0) -> float:
    """Vendi score (Friedman and Dieng 2023): effective number of different rows, in [1, n].

    exp of the entropy (Rényi's of the given order, 1 being Shannon's) of the eigenvalues of K/n, K holding
    the cosines of all rows.
    """
    rows = unit_rows(as_rows(x))
    n, d = rows.shape
    p = torch.linalg.eigvalsh((rows.T @ rows if d < n else rows @ rows.T) / n)
    p = p[p > 0]
    entropy = -(p * p.log()).sum() if order == 1 else p.pow(order).sum().log() / (1 - order)
    return float(entropy.exp())
