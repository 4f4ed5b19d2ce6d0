"""Alignment of a generator with a recognizer: loss, noise weighting, ramp (Appendix D); conditions from it (4.3)."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional as F

Kind = Literal["raw", "rms", "orthogonal"]


def alignment_loss(features: Float[Tensor, "b d"], centers: Float[Tensor, "b d"]) -> Float[Tensor, " b"]:
    """1 - cosine of each image's features and its class's center, in [0, 2] (eq. 7)."""
    return 1 - F.cosine_similarity(features, centers)


def snr_weight(sigma: Float[Tensor, " b"], decay: float) -> Float[Tensor, " b"]:
    """exp(-decay sigma^2): an estimate at a high noise level says little about its class (eq. 8)."""
    return torch.exp(-decay * sigma.square())


def ramp(nimg: float, start: float, length: float) -> float:
    """0 until `start` images were seen, 1 from `start + length` on, linear between (eq. 9); length 0 is a step."""
    if nimg < start or (nimg == start and length > 0):
        return 0.0
    return min((nimg - start) / length, 1.0) if length > 0 else 1.0


@dataclass
class AlignmentLoss:
    """The term lambda w_ramp w_snr L_align of the loss of a batch (eq. 10).

    `features` maps clean images in the generator's scale to embeddings; its parameters must be frozen, so that
    gradients pass through it to the images and stop at the generator. `centers` (L, d) are constants.
    """

    features: Callable[[Tensor], Tensor]
    centers: Float[Tensor, "l d"]
    weight: float  # lambda
    decay: float  # k
    start: float  # images seen
    length: float  # images of the ramp
    mean: Callable[[Tensor], Tensor] = lambda value: value  # over the ranks that share a batch
    sums: list[Tensor] = field(default_factory=list)  # (w_snr-weighted loss, weights) of each step, not yet read
    at: int = -1  # images seen at the last of these

    def __call__(
        self, denoised: Float[Tensor, "b c h w"], labels: Int[Tensor, " b"], sigma: Float[Tensor, " b"], nimg: int
    ) -> Float[Tensor, " b"] | None:
        """The term of each image in the step after `nimg` images; None, and nothing computed, before the start.

        Images without a class (label -1) have none.
        """
        strength = self.weight * ramp(nimg, self.start, self.length)
        if strength == 0:
            return None
        loss = alignment_loss(self.features(denoised), self.centers[labels.clamp(min=0)])
        reliable = snr_weight(sigma, self.decay) * (labels >= 0)
        sums = self.mean(torch.stack([(loss.detach() * reliable).sum(), reliable.sum()]))
        self.sums, self.at = [*self.sums[:-1], self.sums[-1] + sums] if nimg == self.at else [*self.sums, sums], nimg
        return strength * reliable * loss

    def take_losses(self) -> list[float]:
        """The mean losses of the steps since the last call, oldest first; waits for the device."""
        sums = torch.stack(self.sums) if self.sums else torch.zeros(0, 2)
        self.sums.clear()
        losses: list[float] = (sums[:, 0] / sums[:, 1].clamp(min=1e-12)).tolist()
        return losses


def fixed_conditions(centers: Float[Tensor, "l d"], dims: int, kind: Kind, seed: int = 0) -> Float[Tensor, "l e"]:
    """Conditions (L, dims) made of class centers, one row per class (4.3), float32.

    raw: unit rows, zeros added; their RMS is dims^-1/2. rms: times sqrt(dims), so that every row has the unit
    RMS that learned conditions have on average. orthogonal: those turned by one random rotation drawn from
    `seed`, which spreads them over all dimensions. All cosines between classes are those of the centers.
    ValueError where the centers do not fit into `dims`.
    """
    classes, d = centers.shape
    if d > dims:
        raise ValueError(f"conditions of {dims} dimensions cannot hold class centers of {d}")
    padded = torch.zeros(classes, dims, dtype=torch.float64)
    padded[:, :d] = F.normalize(centers.double())
    match kind:
        case "raw":
            pass
        case "rms":
            padded *= math.sqrt(dims)
        case "orthogonal":
            generator = torch.Generator().manual_seed(seed)
            noise = torch.randn(dims, dims, generator=generator, dtype=torch.float64)
            q, r = torch.linalg.qr(noise)
            padded = math.sqrt(dims) * padded @ (q * r.diagonal().sign())  # Haar: without the signs it is not uniform
    return padded.float()
