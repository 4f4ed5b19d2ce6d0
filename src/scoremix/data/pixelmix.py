"""Mixes of real images without a generator: the cheap counterparts of class mixing."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, UInt8


def averaged(images: UInt8[np.ndarray, "b m h w c"], weights: Float[np.ndarray, "b m"]) -> UInt8[np.ndarray, "b h w c"]:
    """Pixel by pixel the weighted sum of m images, rounded and cut to 0 .. 255."""
    mixed = np.einsum("bm,bmhwc->bhwc", weights.astype(np.float32), images.astype(np.float32))
    rounded: UInt8[np.ndarray, "b h w c"] = np.clip(np.rint(mixed), 0, 255).astype(np.uint8)
    return rounded


def patched(
    images: UInt8[np.ndarray, "b m h w c"], weights: Float[np.ndarray, "b m"], corners: Float[np.ndarray, "b 2"]
) -> UInt8[np.ndarray, "b h w c"]:
    """The first image with a box of the second, of the image's proportions and of area weights[:, 1] (CutMix).

    `corners` in [0, 1) place the box uniformly where it fits. ValueError unless m = 2.
    """
    m, h, w = images.shape[1:4]
    if m != 2:
        raise ValueError(f"cutmixes need two classes, got m-plets of {m}")
    side = np.sqrt(np.clip(weights[:, 1] / weights.sum(1), 0, 1))
    inside = []
    for length, at in ((h, corners[:, 0]), (w, corners[:, 1])):
        size = np.rint(side * length).astype(int)
        first = np.floor(at * (length - size + 1)).astype(int)[:, None]
        place = np.arange(length)
        inside.append((place >= first) & (place < first + size[:, None]))
    box = inside[0][:, :, None] & inside[1][:, None, :]
    return np.where(box[..., None], images[:, 1], images[:, 0])
