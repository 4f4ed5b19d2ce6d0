"""Pictures of the mixes: sources, reproductions and mixes side by side (Fig. 3), and the alpha/beta grid (Fig. 2)."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

import numpy as np

from scoremix.data.images import LabeledImages
from scoremix.stages.mix.sample import Sampler
from scoremix.stages.outputs import chosen_classes, real_images

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from scoremix.config import Sampling
    from scoremix.execution.artifacts import Artifact, Work

ROWS, MIXES = 10, 8
TICKS = (0.0, 0.2, 0.5, 0.8, 1.0)  # the paper's


def illustrate(
    config: Sampling,
    real: Artifact,
    generator: Artifact,
    mplets: Artifact,
    synthetic: Artifact,
    *,
    work: Work,
) -> None:
    """Writes sheet.npz (rows, classes, originals, reproductions, mixes) and grid.npz (images over alpha x beta)."""
    train = real_images(real)
    mixed = LabeledImages.load(synthetic.folder)
    every = chosen_classes(mplets)
    rows = np.unique(np.linspace(0, len(every) - 1, ROWS).round().astype(int))
    classes = every[rows]
    sampler = Sampler(config, generator, work)
    seeds = sampler.seeds(rows)
    m = classes.shape[1]
    alone = sampler.images(classes.reshape(-1, 1), (1.0,), np.repeat(seeds, m).tolist())
    mixes = min(MIXES, int(mixed.counts.min()))
    work.write_arrays(
        "sheet.npz",
        rows=rows,
        classes=classes,
        originals=np.stack([[train.of_class(k)[0] for k in row] for row in classes]),
        reproductions=alone.reshape(len(rows), m, *sampler.shape),
        mixes=np.stack([mixed.of_class(k)[:mixes] for k in rows]),
    )
    work.write_arrays("grid.npz", classes=classes[0], ticks=np.array(TICKS), images=grid(sampler, classes[0], seeds[0]))


def grid(sampler: Sampler, classes: NDArray[np.int64], seed: int) -> NDArray[np.uint8]:
    """One noise under every pair of weights: (alpha, beta, H, W, C); other than two classes give an empty grid."""
    if len(classes) != 2:
        return np.zeros((0, 0, *sampler.shape), np.uint8)
    cells = np.array(list(itertools.product(TICKS, TICKS)))
    images = sampler.images(np.tile(classes, (len(cells), 1)), cells, [seed] * len(cells))
    return images.reshape(len(TICKS), len(TICKS), *sampler.shape)


def comparison(
    sampler: Sampler, train: LabeledImages, classes: NDArray[np.int64], weights: NDArray[np.float64], seeds: list[int]
) -> NDArray[np.uint8]:
    """One m-plet as Fig. 3 shows it, a row per seed: original and reproduction of the first class, the mix,
    reproduction and original of the second; the mix comes last for other m. (rows, 2 m + 1, H, W, C).
    """
    m, rows = len(classes), len(seeds)
    mixes, _ = sampler.weighed(np.tile(classes, (rows, 1)), weights, seeds)
    alone = sampler.images(np.tile(classes, rows)[:, None], (1.0,), np.repeat(seeds, m).tolist())
    columns: list[NDArray[np.uint8]] = []
    for k in range(m):
        own = train.of_class(classes[k])
        originals = own[np.arange(rows) % len(own)]
        pair = [originals, alone.reshape(rows, m, *sampler.shape)[:, k]]
        columns += pair if (m, k) != (2, 1) else [mixes, *reversed(pair)]
    return np.stack(columns if m == 2 else [*columns, mixes], axis=1)
