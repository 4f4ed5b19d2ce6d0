"""Control images: the same m-plets and counts as a mixed arm, made from real images without a generator."""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from scoremix.config import PixelMixing
from scoremix.data.image_order import stream_seed
from scoremix.data.pixelmix import averaged, patched
from scoremix.execution.artifacts import Artifact
from scoremix.execution.work import Work
from scoremix.outputs.images import real_images, write_mixed
from scoremix.outputs.mplets import chosen_classes
from scoremix.stages.mix.weights import images_of_each, mixed_names, turns_of, weights_of

BLOCK = 4096  # images made at a time


def mix_pixels(config: PixelMixing, real: Artifact, mplets: Artifact, *, work: Work) -> None:
    """Writes a set of images with one class per m-plet; each image blends one random image of every source, or is one."""
    train, classes = real_images(real), chosen_classes(mplets)
    each = images_of_each(config, int(np.median(train.counts)))
    total, m = len(classes) * each, classes.shape[1]
    alone = config.kind == "repeated"
    weights = (
        turns_of(len(classes), m, each) if alone else weights_of(config, len(classes), m, each)
    )  # as the mixes have
    first = np.cumsum(train.counts) - train.counts
    rng = np.random.default_rng(stream_seed(config.seed, "pixels"))

    def blocks() -> Iterator[NDArray[np.uint8]]:
        with work.bar(total, "images") as advance:
            for start in range(0, total, BLOCK):
                numbers = np.arange(start, min(start + BLOCK, total))
                sources, shares = classes[numbers // each], weights[numbers]
                place = rng.random(sources.shape)
                rows = first[sources] + (place * train.counts[sources]).astype(np.int64)
                taken = train.take(rows.reshape(-1))[0].reshape(*rows.shape, *train.shape[1:])
                corners = rng.random((len(rows), 2))
                match config.kind:
                    case "averages" | "repeated":
                        yield averaged(taken, shares)
                    case "cutmixes":
                        yield patched(taken, shares, corners)
                advance(start + len(rows))

    write_mixed(work, blocks(), train.shape[1:], mixed_names(classes, train.class_names), classes, weights)
    work.count("images", total)
