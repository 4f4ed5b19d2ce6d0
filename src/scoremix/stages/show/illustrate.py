"""Pictures of the mixes: sources, reproductions and mixes side by side (Fig. 3), and the alpha/beta grid (Fig. 2)."""

import itertools
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from scoremix.config import Sampling
from scoremix.data.images import LabeledImages
from scoremix.execution.artifacts import Artifact
from scoremix.execution.work import Work
from scoremix.outputs.images import real_images
from scoremix.outputs.mplets import chosen_classes
from scoremix.stages.mix.sample import Sampler
from scoremix.stages.mix.weights import weights_for
from scoremix.stages.show.trajectory import follow

ROWS, MIXES = 10, 8
TICKS = (0.0, 0.2, 0.5, 0.8, 1.0)  # the paper's


class Pictures(NamedTuple):
    """Images, grey where one could not be made, and for each of those a line that says which and why."""

    images: NDArray[np.uint8]
    left_out: tuple[str, ...]


def illustrate(
    config: Sampling,
    real: Artifact,
    generator: Artifact,
    mplets: Artifact,
    synthetic: Artifact,
    *,
    work: Work,
) -> None:
    """Writes sheet.npz (rows, classes, originals, reproductions, mixes), grid.npz (images over alpha x beta) and path.npz
    (estimates over noise levels of the first m-plet's mix, then of each of its classes).

    A picture that cannot be made is grey there, and `left_out` of the same file says why: no verdict depends on one.
    """
    train = real_images(real)
    mixed = LabeledImages.load(synthetic.folder)
    every = chosen_classes(mplets)
    rows = np.unique(np.linspace(0, len(every) - 1, ROWS).round().astype(int))
    classes = every[rows]
    sampler = Sampler(config, generator, work)
    seeds = sampler.seeds(rows)
    alone = reproductions(sampler, classes, seeds)
    mixes = min(MIXES, int(mixed.counts.min()))
    work.write_arrays(
        "sheet.npz",
        rows=rows,
        classes=classes,
        originals=np.stack([[train.of_class(k)[0] for k in row] for row in classes]),
        reproductions=alone.images,
        mixes=np.stack([mixed.of_class(k)[:mixes] for k in rows]),
        left_out=np.array(alone.left_out, np.str_),
    )
    cells = grid(sampler, classes[0], seeds[0])
    work.write_arrays(
        "grid.npz",
        classes=classes[0],
        ticks=np.array(TICKS),
        images=cells.images,
        left_out=np.array(cells.left_out, np.str_),
    )
    work.write_arrays("path.npz", **paths(sampler, classes[0], weights_for(config, classes.shape[1]), seeds[0]))


def paths(
    sampler: Sampler, classes: NDArray[np.int64], weights: Sequence[float], seed: int
) -> dict[str, NDArray[np.generic]]:
    """From one noise to the mix of some classes and to each of them: sigmas (L,), images (1 + m, L, H, W, C).

    None, and why, where they cannot be made.
    """
    try:
        mixed = follow(sampler, classes[None], np.array([weights], np.float64), [seed])
        alone = follow(sampler, classes[:, None], np.ones((len(classes), 1)), [seed] * len(classes))
    except (ValueError, ArithmeticError) as error:
        nothing, why = np.zeros((0, 0, *sampler.shape), np.uint8), [f"the way from noise to a mix: {error}"]
        return {"classes": classes, "sigmas": np.zeros(0), "images": nothing, "left_out": np.array(why, np.str_)}
    images = np.concatenate([mixed.estimates, alone.estimates])
    return {"classes": classes, "sigmas": mixed.sigmas, "images": images, "left_out": np.zeros(0, np.str_)}


def made(
    draw: Callable[..., NDArray[np.uint8]],
    shape: tuple[int, int, int],
    labels: NDArray[np.int64],
    weights: NDArray[np.float64],
    seeds: Sequence[int],
    names: Sequence[str],
) -> Pictures:
    """draw(labels (n, m), weights (n, m), seeds (n,)), by halves where that fails, so that one image spoils no other."""
    try:
        return Pictures(draw(labels, weights, seeds), ())
    except (ValueError, ArithmeticError) as error:
        if len(labels) == 1:
            return Pictures(np.full((1, *shape), 128, np.uint8), (f"{names[0]}: {error}",))
    half = len(labels) // 2
    first, second = (
        made(draw, shape, labels[part], weights[part], seeds[part], names[part])
        for part in (slice(half), slice(half, None))
    )
    return Pictures(np.concatenate([first.images, second.images]), first.left_out + second.left_out)


def reproductions(sampler: Sampler, classes: NDArray[np.int64], seeds: Sequence[int]) -> Pictures:
    """Every class of the m-plets (rows, m) alone, all of a row from its seed: (rows, m, H, W, C)."""
    m = classes.shape[1]
    labels = classes.reshape(-1, 1)
    names = [f"reproduction of {name_of(sampler, k)}" for k in labels[:, 0]]
    alone = made(sampler.images, sampler.shape, labels, np.ones(labels.shape), np.repeat(seeds, m).tolist(), names)
    return Pictures(alone.images.reshape(len(classes), m, *sampler.shape), alone.left_out)


def grid(sampler: Sampler, classes: NDArray[np.int64], seed: int, ticks: Sequence[float] = TICKS) -> Pictures:
    """One noise under every pair of weights: (alpha, beta, H, W, C); other than two classes give an empty grid."""
    if len(classes) != 2:
        return Pictures(np.zeros((0, 0, *sampler.shape), np.uint8), ())
    weights = np.array(list(itertools.product(ticks, ticks)))
    labels, names = np.tile(classes, (len(weights), 1)), [f"alpha {a:g}, beta {b:g}" for a, b in weights]
    cells = made(sampler.images, sampler.shape, labels, weights, [seed] * len(weights), names)
    return Pictures(cells.images.reshape(len(ticks), len(ticks), *sampler.shape), cells.left_out)


def comparison(
    sampler: Sampler, train: LabeledImages, classes: NDArray[np.int64], weights: NDArray[np.float64], seeds: list[int]
) -> Pictures:
    """One m-plet as Fig. 3 shows it, a row per seed: original and reproduction of the first class, the mix,
    reproduction and original of the second; the mix comes last for other m. (rows, 2 m + 1, H, W, C).
    """
    m, rows = len(classes), len(seeds)
    labels, name = np.tile(classes, (rows, 1)), " x ".join(name_of(sampler, k) for k in classes)
    mixes = made(
        lambda *asked: sampler.weighed(*asked)[0],
        sampler.shape,
        labels,
        np.tile(weights, (rows, 1)),
        seeds,
        [f"mix of {name}"] * rows,
    )
    alone = reproductions(sampler, labels, seeds)
    columns: list[NDArray[np.uint8]] = []
    for k in range(m):
        of_class = train.of_class(classes[k])
        originals = of_class[np.arange(rows) % len(of_class)]
        pair = [originals, alone.images[:, k]]
        columns += pair if (m, k) != (2, 1) else [mixes.images, *reversed(pair)]
    images = np.stack(columns if m == 2 else [*columns, mixes.images], axis=1)
    return Pictures(images, mixes.left_out + alone.left_out)


def name_of(sampler: Sampler, k: int) -> str:
    """The name of the sampler's class k, or its number."""
    return str(k) if sampler.class_names is None else sampler.class_names[k]
