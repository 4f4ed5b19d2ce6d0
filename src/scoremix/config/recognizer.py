"""The recognizer and its training; how it embeds the images of a public benchmark."""

from __future__ import annotations

import math
from typing import Annotated, Literal

from pydantic import Field, model_validator

from scoremix.config.base import AnyNetwork, Batch, Positive, Precision, Rate, Seed, Share, Slice, Width


class Recognizer(Slice):
    """The discriminator of the paper: an IR-type network under an angular-margin head."""

    network: AnyNetwork = Field(
        "small",
        description="small: widths, units, embedding below; timm/NAME: that network of timm, of any side and colours; "
        "others: 112 px RGB faces",
    )
    widths: tuple[Annotated[int, Field(ge=8, le=2**16)], ...] = Field(
        (32, 64, 128),
        min_length=1,
        description="channels of every level; 8 or more, as torch 2.13 writes beside its memory on CPUs where a shortcut has 2 to 6",
    )
    units: tuple[Width, ...] = (1, 1, 1)
    depth: Width = Field(1, description="times as many units in every level; 2 of a published network: the next one")
    embedding: Width = Field(
        256, description="dimensions of the embedding of the small network and of timm's; published ones have 512"
    )
    head: Literal["arcface", "cosface", "adaface", "combined", "softmax"] = "arcface"
    scale: Annotated[float, Field(gt=0)] = 32.0
    margin: Annotated[float, Field(ge=0, lt=math.pi / 2)] = Field(
        0.3, description="the head's margin: of the angle (arcface, combined), of the cosine (cosface), adaface's m"
    )
    additive: Annotated[float, Field(ge=0, lt=1)] = Field(0.0, description="margin of the cosine of head combined")
    gradient: Literal["exact", "straight_through"] = "exact"
    epochs: Annotated[float, Field(gt=0)] = 20.0
    batch: Annotated[int, Field(ge=2, le=2**20)] = Field(128, description="images; its statistics need two")
    microbatch: Positive | Literal["auto"] | None = Field(
        None,
        description="images whose gradients are made at a time, with batch statistics of their own; by default all; "
        "auto takes the largest half, quarter ... of the batch that the device's memory holds, and is recorded as that",
    )
    lr: Rate = 0.1
    momentum: Share = 0.9
    weight_decay: Annotated[float, Field(ge=0)] = 5e-3
    warmup: Share = Field(0.1, description="share of the steps over which the rate rises")
    schedule: Literal["polynomial", "steps"] = "polynomial"
    decay_power: Annotated[float, Field(gt=0)] = Field(1.0, description="of the polynomial schedule")
    milestones: tuple[Annotated[float, Field(gt=0)], ...] = Field(
        (), description="of the steps schedule: the epochs after which the rate falls to a tenth"
    )
    clip: Annotated[float, Field(gt=0)] | None = Field(5.0, description="largest gradient norm of the network")
    augment: Literal["characters", "face", "strong", "flip", "none"] = "characters"
    blend: Literal["none", "mixup", "cutmix", "feature_mixup"] = Field("none", description="soft labels in training")
    blend_alpha: Annotated[float, Field(gt=0)] = Field(1.0, description="Beta(a, a) of the share of the first image")
    precision: Precision = "float32"
    centers: Literal["head", "mean"] = Field("head", description="class centers: head weights or mean embeddings")
    start: str | None = Field(
        None,
        description="file of a recognizer that training starts from, ours or of arcface_torch, AdaFace or CVLFace, which "
        "decides the network, or of weights for network timm/NAME; a lower lr, such as 0.01, keeps what it knows",
    )
    start_colour: Literal["rgb", "bgr"] | None = Field(None, description="where that file does not say its colours")
    seed: Seed = 0

    @model_validator(mode="after")
    def _stages_match(self) -> Recognizer:
        if self.start_colour and self.start is None:
            raise ValueError(f"start_colour {self.start_colour!r} goes with start")
        if isinstance(self.microbatch, int) and (self.microbatch == 1 or self.batch % self.microbatch == 1):
            raise ValueError(
                f"microbatch {self.microbatch} of batch {self.batch}: an image is left by itself, batch statistics need two"
            )
        if len(self.widths) != len(self.units):
            raise ValueError(f"widths and units need the same length, got {len(self.widths)} and {len(self.units)}")
        if (self.schedule == "steps") != bool(self.milestones):
            raise ValueError(
                f"milestones {list(self.milestones)} and schedule {self.schedule!r} do not fit: steps needs milestones, "
                "polynomial has none"
            )
        if list(self.milestones) != sorted(set(self.milestones)):
            raise ValueError(f"milestones {list(self.milestones)} must rise")
        return self


class Embedding(Slice):
    """How images of a public benchmark become embeddings."""

    flip: bool = Field(True, description="the mirrored image's embedding is added")
    batch: Batch = Field(64, description="images per forward: floating point depends on it (by some 1e-6)")
    precision: Precision = "float32"


class RealClasses(Slice):
    """A recognizer's real classes alone: there is nothing to set."""
