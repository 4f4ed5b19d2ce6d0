"""Control images: the same m-plets and counts as a mixed arm, made from real images without a generator."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from scoremix.config import Sampling
from scoremix.data import images as imagesets
from scoremix.data.order import stream_seed
from scoremix.data.pixelmix import averaged, patched
from scoremix.stages.mix.sample import images_of_each, mixed_names, weights_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from scoremix.config import PixelMixing
    from scoremix.execution.artifacts import Artifact, Work

BLOCK = 4096  # images made at a time


def mix_pixels(config: PixelMixing, real: Artifact, mplets: Artifact, *, work: Work) -> None:
    """Writes a set of images with one class per m-plet; each image blends one random image of every source."""
    train = imagesets.LabeledImages.load(real.folder).of_classes("train")
    classes = np.load(mplets / "classes.npy")
    each = images_of_each(config, int(np.median(train.counts)))
    total, m = len(classes) * each, classes.shape[1]
    shared = {name: getattr(config, name) for name in ("weights", "draw", "concentration", "seed")}
    weights = weights_of(Sampling(convex=False, **shared), len(classes), m, each)  # those of the mixes, image by image
    first = np.cumsum(train.counts) - train.counts
    rng = np.random.default_rng(stream_seed(config.seed, "pixels"))

    def blocks() -> Iterator[NDArray[np.uint8]]:
        with work.bar(total, "images") as advance:
            for start in range(0, total, BLOCK):
                made = np.arange(start, min(start + BLOCK, total))
                sources, shares = classes[made // each], weights[made]
                place = rng.random(sources.shape)
                rows = first[sources] + (place * train.counts[sources]).astype(np.int64)
                found = train.take(rows.reshape(-1))[0].reshape(*rows.shape, *train.shape[1:])
                corners = rng.random((len(rows), 2))
                match config.kind:
                    case "averages":
                        yield averaged(found, shares)
                    case "cutmixes":
                        yield patched(found, shares, corners)
                advance(start + len(rows))

    imagesets.write(
        work.folder,
        shape=(total, *train.shape[1:]),
        blocks=blocks(),
        counts=np.full(len(classes), each),
        class_names=mixed_names(classes, train.class_names),
        splits={"train": np.arange(len(classes))},
    )
    work.write_array("mplets.npy", classes)
    work.write_array("weights.npy", weights.astype(np.float32))
    work.count("images", total)
