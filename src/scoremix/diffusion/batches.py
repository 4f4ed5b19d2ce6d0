"""The batches that generators train on: scaled to sigma_data, shifted, mirrored and moved about."""

import functools
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from scoremix.data.augment import Augment, Part, augment, to_unit
from scoremix.data.image_order import batch_indices, stream_seed
from scoremix.data.images import LabeledImages
from scoremix.diffusion.checkpoints import Pixels
from scoremix.diffusion.moves import moved

BLOCK = 1024  # images read at a time
BORDER_LEVELS = 2  # of 255: pixels this near to a colour have it
BORDER_SHARE = 0.9  # of all pixels on the images' edges: then the images end in one colour


def scaling(images: LabeledImages, sigma_data: float) -> Pixels:
    """Magnitude normalisation: mean 0 and standard deviation sigma_data over all training pixels, from exact counts."""
    counts = np.zeros(256, np.int64)
    for rows in images.blocks(BLOCK):
        counts += np.bincount(images.take(rows)[0].reshape(-1), minlength=256)
    values = np.arange(256) / 127.5 - 1
    mean = float((counts * values).sum() / counts.sum())
    std = float(np.sqrt((counts * (values - mean) ** 2).sum() / counts.sum()))
    if std == 0:
        raise ValueError("the training images are all of one colour: there is nothing to learn")
    return Pixels(mean, sigma_data / std)


@dataclass(frozen=True)
class Border:
    """The commonest grey on the edges of the images, in [-1, 1], and the share of edge pixels that have it."""

    colour: float
    share: float

    @property
    def fill(self) -> float | None:
        """What a shift uncovers: that grey where the images end in it, else None, the image mirrored at its edge.

        A constant beside a photograph would teach the generator a frame that no real image has.
        """
        return self.colour if self.share >= BORDER_SHARE else None

    def described(self) -> dict[str, str | float]:
        """How shifts pad, as generator.json has it."""
        return {"padding": "mirror" if self.fill is None else "constant", "colour": self.colour, "share": self.share}


@functools.lru_cache(maxsize=1)  # batches and generator.json ask for the same images
def border_of(images: LabeledImages) -> Border:
    """What the training images end in, from exact counts over the outermost pixels of all of them, each channel alike."""
    counts = np.zeros(256, np.int64)
    for rows in images.blocks(BLOCK):
        pixels = images.take(rows)[0]
        for edge in (pixels[:, 0], pixels[:, -1], pixels[:, 1:-1, 0], pixels[:, 1:-1, -1]):
            counts += np.bincount(edge.reshape(-1), minlength=256)
    value = int(counts.argmax())
    near = counts[max(value - BORDER_LEVELS, 0) : value + BORDER_LEVELS + 1].sum()
    return Border(value / 127.5 - 1, float(near / counts.sum()))


def image_order(images: LabeledImages, seed: int, batch: int, nimg: int) -> NDArray[np.int64]:
    """The images of a batch: all of them once before any comes again."""
    return batch_indices(len(images), stream_seed(seed, "order"), nimg, batch)


def class_order(images: LabeledImages, seed: int, batch: int, nimg: int) -> NDArray[np.int64]:
    """The images of a batch: all classes once before any comes again, each time with any of its images."""
    counts = images.counts
    first = np.cumsum(counts) - counts  # images are grouped by class
    classes = batch_indices(len(counts), stream_seed(seed, "class order"), nimg, batch)
    within = np.random.default_rng(stream_seed(seed, nimg, "image of a class")).integers(counts[classes])
    rows: NDArray[np.int64] = first[classes] + within
    return rows


def batches(
    images: LabeledImages,
    pixels: Pixels,
    *,
    batch: int,
    part: slice,
    seed: int,
    shift: int,
    flip: bool,
    device: torch.device,
    augment_share: float = 0.0,
    label_dropout: float = 0.0,
    balanced: bool = False,
) -> Callable[[int], tuple[Tensor, ...]]:
    """That `part` of scaled batches of `batch` images, shifted by up to `shift` pixels and flipped, as a function of the images seen.

    With `augment_share` also moved about in a way that the network is told: a third tensor. Labels are -1 for the share
    `label_dropout` of the images. `balanced`: classes take turns, else images do.
    """
    settings = Augment(flip=0.5 if flip else 0.0)
    fill = border_of(images).fill if shift or augment_share else None
    if shift:
        settings = replace(settings, shift=1.0, shift_pixels=shift, fill=fill)

    order = functools.partial(class_order if balanced else image_order, images, seed, batch)

    def next_batch(nimg: int) -> tuple[Tensor, ...]:
        rows = order(nimg)[part]
        taken, labels = images.take(rows)
        generator = torch.Generator().manual_seed(stream_seed(seed, nimg, "augment"))
        mine = Part(part.start, len(rows), batch)
        x = augment(to_unit(taken, device), generator, settings, mine)
        classes = torch.from_numpy(labels).to(device)
        if label_dropout:
            drawn = np.random.default_rng(stream_seed(seed, nimg, "label dropout")).random(batch)
            classes.masked_fill_(torch.from_numpy(drawn[part] < label_dropout).to(device), -1)
        if not augment_share:
            return pixels.encode(x), classes
        x, moves = moved(x, generator, augment_share, mine, fill)
        return pixels.encode(x), classes, moves

    return next_batch
