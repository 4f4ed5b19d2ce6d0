"""Faces brought to 112 x 112 by five points: the least-squares similarity (Umeyama 1991), one bilinear warp."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, UInt8
from PIL import Image, ImageOps

SIZE = 112
# eyes, nose tip, corners of the mouth, as (x, y) of pixel centres: the template of the ArcFace family
TEMPLATE = np.array(
    [(38.2946, 51.6963), (73.5318, 51.5014), (56.0252, 71.7366), (41.5493, 92.3655), (70.7299, 92.2041)]
)


def similarity_transform(
    points: Float[np.ndarray, "n p 2"], target: Float[np.ndarray, "p 2"] = TEMPLATE
) -> Float[np.ndarray, "n 2 3"]:
    """For each set of points the rotation, scale and shift that brings it nearest to `target`, never mirrored.

    The closed form in the plane: points as complex numbers, the factor is their covariance over their variance. ValueError
    for points that coincide or are not finite.
    """
    z = points[..., 0] + 1j * points[..., 1]
    t = target[:, 0] + 1j * target[:, 1]
    centre = z.mean(1, keepdims=True)
    spread = np.square(np.abs(z - centre)).sum(1)
    if wrong := np.flatnonzero(~(np.isfinite(spread) & (spread > 1e-6))).tolist():
        raise ValueError(f"points of face {wrong[0]} coincide or are not finite ({len(wrong)} such faces)")
    factor = (np.conj(z - centre) * (t - t.mean())).sum(1) / spread
    shift = t.mean() - factor * centre[:, 0]
    a, b = factor.real, factor.imag
    return np.stack([np.stack([a, -b, shift.real], -1), np.stack([b, a, shift.imag], -1)], 1)


def warped(image: Image.Image, matrix: Float[np.ndarray, "2 3"], size: int = SIZE) -> UInt8[np.ndarray, "size size 3"]:
    """`image` (RGB) under a map of pixel centres to pixel centres, bilinear and rounded, black outside."""
    inverse = np.linalg.inv(np.vstack([matrix, [0, 0, 1]]))[:2]
    # Pillow's coordinates have pixel centres at halves; the black frame makes edges blend into black
    linear, shift = inverse[:, :2], inverse[:, 2] + 1.5 - inverse[:, :2] @ (0.5, 0.5)
    coefficients = (*linear[0], shift[0], *linear[1], shift[1])
    bands = ImageOps.expand(image, 1).convert("RGB").split()
    affine = (size, size), Image.Transform.AFFINE, coefficients, Image.Resampling.BILINEAR
    # in float: Pillow cuts the fraction of 8-bit results off, half a grey level on average
    return np.stack([np.rint(np.asarray(b.convert("F").transform(*affine))) for b in bands], -1).astype(np.uint8)
