"""The batches that recognizers train on: in which order images are seen, and how they are augmented and blended."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from jaxtyping import Int64

from scoremix.data.augment import Augment, Part, augment, to_unit
from scoremix.data.image_order import batch_indices, stream_seed
from scoremix.data.images import LabeledImages, Targets
from scoremix.recognition import blending
from scoremix.recognition.training import Labels, NextBatch

Blend = Literal["none", "mixup", "cutmix", "feature_mixup"]


@dataclass(frozen=True)
class ImageOrder:
    """In which order images are seen: all of them until `turn` images were seen, then the first `last` alone.

    Over the `ramp` images before the turn more and more of a batch are of the first `last` ones.
    """

    seed: int
    images: int
    last: int
    turn: int
    ramp: int = 0

    def rows(self, seen: int, count: int) -> Int64[np.ndarray, " count"]:
        if seen < self.turn - self.ramp:
            return batch_indices(self.images, stream_seed(self.seed, "order"), seen, count)
        real = batch_indices(self.last, stream_seed(self.seed, "finish"), seen, count)
        if seen >= self.turn:
            return real
        every = batch_indices(self.images, stream_seed(self.seed, "order"), seen, count)
        drawn = np.random.default_rng(stream_seed(self.seed, seen, "ramp")).random(count)
        return np.where(drawn < (self.turn - seen) / self.ramp, every, real)


def batches(
    images: LabeledImages,
    targets: Targets | None,
    order: ImageOrder,
    *,
    batch: int,
    part: slice,
    augmentation: Augment,
    blend: Blend,
    blend_alpha: float,
    device: torch.device,
) -> NextBatch:
    """That `part` of augmented batches of `batch` images, in [-1, 1], as a function of the images seen.

    Blending is within a part, its shares from Beta(blend_alpha, blend_alpha). Labels are (b,), or (labels, weights) (b, m) each where
    `targets` or blending give images several classes. The order's seed is that of all draws.
    """
    stream = ["blend", part.start] if part.start else ["blend"]

    def next_batch(nimg: int) -> tuple[torch.Tensor, Labels]:
        rows = order.rows(nimg, batch)[part]
        pixels, labels = images.take(rows)
        generator = torch.Generator().manual_seed(stream_seed(order.seed, nimg, "augment"))
        x = augment(to_unit(pixels, device), generator, augmentation, Part(part.start, len(rows), batch))
        if targets is None and blend == "none":
            return x.contiguous(memory_format=torch.channels_last), torch.from_numpy(labels).to(device)
        y, weights = targets.take(rows) if targets else (labels[:, None], np.ones((len(rows), 1), np.float32))
        several = torch.from_numpy(y), torch.from_numpy(weights)
        if blend != "none":
            generator = torch.Generator().manual_seed(stream_seed(order.seed, nimg, *stream))
            share = blending.shares(len(rows), blend_alpha, generator)
            if blend == "mixup":
                x = blending.mixup(x, share)
            elif blend == "cutmix":
                x, share = blending.cutmix(x, share, generator)
            several = blending.partnered(*several, share)
        return x.contiguous(memory_format=torch.channels_last), (several[0].to(device), several[1].to(device))

    return next_batch
