"""What tells a generated image from a real one but its content: frame, contrast, noise, spectrum, a linear probe.

A recognizer can learn any such cue in place of classes, since only mixed classes have it.
"""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor

FOLDS = 5  # of the probe
RIDGE = 0.1  # of the mean variance of the probe's inputs, added to each
PROBED = 2000  # images of each kind that the probe sees at most
LEAST = 10  # images of each kind it needs

Pixels = UInt8[np.ndarray, "n h w c"]


def statistics(images: Pixels) -> dict[str, Float[Tensor, " n"]]:
    """Of each image in [-1, 1]: brightness (mean), contrast (standard deviation), frame, noise.

    Frame is the difference between the means of the outermost pixels and of the next ones; noise the median absolute
    value of the Laplacian, which edges hardly move.
    """
    x = _grey(images)
    inner = x[:, 1:-1, 1:-1]
    laplacian = 4 * inner - x[:, :-2, 1:-1] - x[:, 2:, 1:-1] - x[:, 1:-1, :-2] - x[:, 1:-1, 2:]
    return {
        "brightness": x.mean((1, 2)),
        "contrast": x.std((1, 2), correction=0),
        "frame": (_ring(x).mean(1) - _ring(inner).mean(1)).abs(),
        "noise": laplacian.abs().flatten(1).median(1).values,
    }


def spectrum(images: Pixels) -> Float[Tensor, "n r"]:
    """Log of the mean power at whole radial frequencies 1 .. side // 2 (cycles per image)."""
    x = _grey(images)
    h, w = x.shape[1:]
    power = torch.fft.fft2(x - x.mean((1, 2), keepdim=True)).abs().square() / (h * w)
    radius = torch.hypot(torch.fft.fftfreq(h)[:, None] * h, torch.fft.fftfreq(w)[None] * w).round().long().flatten()
    rings = torch.zeros(len(x), int(radius.max()) + 1, dtype=x.dtype).index_add_(1, radius, power.flatten(1))
    return (rings / radius.bincount())[:, 1 : min(h, w) // 2 + 1].clamp(min=1e-9).log()


def of_appearance(real: Pixels, generated: Pixels, seed: int = 0) -> dict[str, float]:
    """Means of `statistics` over the generated images, how far their spectrum is from the real ones', and `told_apart`.

    `spectrum` is the mean absolute difference of mean log power over frequencies, in nats.
    """
    values = {name: float(value.mean()) for name, value in statistics(generated).items()}
    values["spectrum"] = float((spectrum(generated).mean(0) - spectrum(real).mean(0)).abs().mean())
    values["told_apart"] = told_apart(real, generated, seed)
    return values


def told_apart(real: Pixels, generated: Pixels, seed: int = 0) -> float:
    """`separable` of real and generated images by their pixels, statistics and spectrum."""
    n = min(len(real), len(generated), PROBED)
    if n < LEAST:
        return float("nan")
    rng = np.random.default_rng(seed)
    rows, others = (_inputs(images[np.sort(rng.permutation(len(images))[:n])]) for images in (real, generated))
    return separable(rows, others, seed)


def separable(real: Float[Tensor, "n d"], generated: Float[Tensor, "k d"], seed: int = 0) -> float:
    """Accuracy of a linear classifier of real against generated rows it was not fitted on; 0.5 where it cannot tell.

    Ridge regression in five folds with as many rows of either kind. NaN for fewer than ten of a kind.
    """
    n = min(len(real), len(generated), PROBED)
    if n < LEAST:
        return float("nan")
    rng = np.random.default_rng(seed)
    x = torch.cat([rows[np.sort(rng.permutation(len(rows))[:n])] for rows in (real, generated)])
    y = torch.cat([-torch.ones(n), torch.ones(n)]).to(x)
    fold = torch.from_numpy(np.concatenate([rng.permutation(n) % FOLDS for _ in range(2)]))
    right = 0
    for k in range(FOLDS):
        seen, rest = fold != k, fold == k
        mean, std = x[seen].mean(0), x[seen].std(0).clamp(min=1e-6)
        rows, others = (x[seen] - mean) / std, (x[rest] - mean) / std
        gram = rows.T @ rows / len(rows) + RIDGE * torch.eye(rows.shape[1], dtype=rows.dtype)
        weights = torch.linalg.solve(gram, rows.T @ y[seen] / len(rows))
        right += int(((others @ weights > 0) == (y[rest] > 0)).sum())
    return right / (2 * n)


def _inputs(images: Pixels) -> Float[Tensor, "n d"]:
    columns = [value[:, None] for value in statistics(images).values()]
    return torch.cat([_unit(images).flatten(1), *columns, spectrum(images)], dim=1)


def _unit(images: Pixels) -> Float[Tensor, "n h w c"]:
    return torch.from_numpy(images).double() / 127.5 - 1


def _grey(images: Pixels) -> Float[Tensor, "n h w"]:
    return _unit(images).mean(3)


def _ring(x: Float[Tensor, "n h w"]) -> Float[Tensor, "n k"]:
    """The outermost pixels."""
    return torch.cat([x[:, 0], x[:, -1], x[:, 1:-1, 0], x[:, 1:-1, -1]], dim=1)
