"""How many images an m-plet gets, with which mixing weights, and what the new classes are called."""

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from scoremix.config import Weighting
from scoremix.data.image_order import stream_seed


def images_of_each(config: Weighting, class_size: int) -> int:
    """Images drawn for an m-plet, those included that are not kept."""
    kept = config.images_per_mplet or max(1, round(config.share * class_size))
    return math.ceil(kept * config.candidates - 1e-9)


def kept_of_each(drawn: int, candidates: float) -> int:
    """Images kept of an m-plet's: the number of which `images_of_each` drew so many, at least 1."""
    return max(1, math.floor(drawn / candidates + 1e-9))


def mixed_names(classes: NDArray[np.int64], names: Sequence[str]) -> list[str]:
    """Names of the new classes: the sources', or that of the class that is reproduced."""
    if classes.shape[1] == 1:
        return [f"{names[k]} (reproduced)" for k in classes[:, 0]]
    return [" + ".join(names[k] for k in row) for row in classes]


def weights_for(config: Weighting, m: int) -> tuple[float, ...]:
    """One weight per class of an m-plet, the same for all where none are given; ValueError for another number of them."""
    config.check_weights(m)
    return config.weights or (1 / m,) * m


def turns_of(mplets: int, m: int, each: int) -> NDArray[np.float64]:
    """Weights of every image (mplets * each, m) where each is of one class, the classes of an m-plet taking turns."""
    return np.tile(np.eye(m)[np.arange(each) % m], (mplets, 1))


def weights_of(config: Weighting, mplets: int, m: int, each: int) -> NDArray[np.float64]:
    """Mixing weights of every image (mplets * each, m): the given ones, or Dirichlet draws."""
    given = weights_for(config, m)
    if config.draw == "fixed":
        return np.tile(np.array(given), (mplets * each, 1))
    rng = np.random.default_rng(stream_seed(config.seed, "weights"))
    drawn = rng.dirichlet([config.concentration] * m, mplets if config.draw == "mplet" else mplets * each)
    return np.repeat(drawn, each, axis=0) if config.draw == "mplet" else drawn
