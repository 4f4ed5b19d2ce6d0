"""The generator, its training, and the gate that says whether it is good enough."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from scoremix.config.base import UNHASHED, AutoPrecision, Batch, EmaLength, Positive, Rate, Seed, Share, Slice, Width


class Alignment(Slice):
    """How the generator is pulled towards the baseline recognizer's class centers (Appendix D)."""

    weight: Annotated[float, Field(gt=0)] = Field(0.1, description="lambda of eq. 10")
    decay: Annotated[float, Field(ge=0)] = Field(1.0, description="k of exp(-k sigma^2), with sigma_data 0.5")
    start: Share = Field(0.5, description="share of the run after which the pull begins")
    ramp: Share = Field(0.1, description="share of the run over which it grows to its full weight")


IMAGES_PER_CLASS = 800  # of a training whose length is auto: docs/need.md
LEAST_IMAGES = 40_000
LEAST_SNAPSHOTS = 4  # measurements of the gate, without which no curve can be called level


class Generator(Slice):
    """The class-conditional EDM2 network and its training, or a model that exists."""

    diffusers: str | None = Field(
        None,
        description="folder of a class-conditional model of diffusers (UNet2DModel, DiT), which then takes the place of "
        "a network that is trained; classes are matched by name (docs/adapters.md)",
    )
    model_channels: Width = 32
    channel_mult: tuple[Width, ...] = Field((1, 2), min_length=1)
    num_blocks: Width = 1
    attention: bool = False
    attn_resolutions: tuple[Positive, ...] | None = Field(
        None, description="sides of the levels that attend; by default the two deepest"
    )
    conditional: bool = Field(True, description="false trains without classes: an unconditional guide")
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0
    images_seen: Positive | Literal["auto"] = Field(
        250_000,
        description="length of training, the longest one with until: gate; auto: 800 for each class, but at least 40,000",
    )
    until: Literal["images", "gate"] = Field(
        "images",
        description="images: to the end; gate: while more of its images are recognized as their own class, measured at "
        "every snapshot by the baseline recognizer",
    )
    batch: Batch = 128
    microbatch: Positive | Literal["auto"] = Field(
        "auto",
        description="images whose gradients are made at a time: auto takes the largest half, quarter ... of the batch "
        "that fits the device's memory; results agree within rounding",
        json_schema_extra=UNHASHED,
    )
    checkpointing: bool = Field(
        False,
        description="blocks keep their inputs alone and compute again in the backward pass: less memory, more time",
        json_schema_extra=UNHASHED,
    )
    lr: Rate = 1e-2
    rampup: Share = Field(0.05, description="share of the run over which the rate rises (at most 10M images)")
    decay_start: Annotated[float, Field(gt=0)] = Field(0.25, description="share of the run after which the rate falls")
    noise_mean: float = -0.8
    noise_std: Annotated[float, Field(gt=0)] = 1.2
    sigma_data: Annotated[float, Field(gt=0)] = 0.5
    ema: tuple[EmaLength, ...] = Field((0.05, 0.10), min_length=1, description="EMA lengths kept")
    guide_at: Share = Field(
        0.125, description="share of the run at which the guide's snapshot is taken, but not before the end of rampup"
    )
    snapshots: Annotated[int, Field(ge=0)] = Field(
        8, description="times at which averages and conditions are kept: disk use is this many networks per EMA length"
    )
    shift: Annotated[int, Field(ge=0)] = Field(
        1,
        description="random shifts of up to this many pixels; beyond the edge lies the images' border colour, or their mirror image",
    )
    flip: bool = False
    balanced: bool = Field(False, description="every class equally often in a batch, whatever the number of its images")
    label_dropout: Annotated[float, Field(ge=0, lt=1)] = Field(
        0.0,
        description="share of the images that are trained without their class, so that the generator without a class "
        "can guide itself (classifier-free guidance: sampling.guide=unconditional)",
    )
    label_balance: Annotated[float, Field(gt=0, lt=1)] = Field(
        0.5, description="weight of the class beside the noise level in what conditions the network"
    )
    augment: Share = Field(
        0.0,
        description="share of the images that are scaled, rotated, stretched and moved, each by chance; the network is told how "
        "(augmentation that does not leak, for small sets)",
    )
    align: Alignment | None = Field(None, description="pull towards the recognizer's class centers")
    conditions: Literal["learned", "raw", "rms", "orthogonal"] = Field(
        "learned", description="learned, or the recognizer's class centers kept fixed: as they are, scaled, turned"
    )
    precision: AutoPrecision = Field(
        "auto", description="auto: bfloat16 where the device computes in it, else float32; what it was is recorded"
    )
    seed: Seed = 0

    @model_validator(mode="after")
    def _classes_to_align(self) -> Generator:
        if self.needs_recognizer and not self.conditional:
            raise ValueError(
                "align, fixed conditions and until: gate need classes: they do not go with conditional: false"
            )
        if self.label_dropout and not self.conditional:
            raise ValueError(f"label_dropout {self.label_dropout:g} with conditional: false: there is no class to drop")
        if self.until == "gate" and self.snapshots < LEAST_SNAPSHOTS:
            raise ValueError(
                f"snapshots {self.snapshots}: until: gate measures at each of them and needs at least {LEAST_SNAPSHOTS}"
            )
        return self

    @property
    def taught(self) -> bool:
        """Whether the recognizer has a part in what the network learns."""
        return self.align is not None or self.conditions != "learned"

    @property
    def guides(self) -> tuple[str, ...]:
        """The kinds of guide (sampling.guide) that it can be."""
        return (*(("each", "condition") if self.conditional else ()), *(("unconditional",) if self.classless else ()))

    @property
    def classless(self) -> bool:
        """Whether it was trained without classes, too, or alone."""
        return not self.conditional or self.label_dropout > 0

    @property
    def length(self) -> int:
        """The images that training sees, at most; not known for `auto` but of `for_classes`."""
        assert self.images_seen != "auto"
        return self.images_seen

    def for_classes(self, classes: int) -> Generator:
        """The same with a number of images where the length is `auto`."""
        if self.images_seen != "auto":
            return self
        return self.model_copy(update={"images_seen": max(LEAST_IMAGES, IMAGES_PER_CLASS * classes)})

    @property
    def needs_recognizer(self) -> bool:
        return self.taught or self.until == "gate"

    def check_side(self, size: int) -> None:
        """ValueError for images of a side that the levels cannot halve."""
        if self.diffusers is not None:
            return
        levels, least = len(self.channel_mult), 2 ** (len(self.channel_mult) - 1)
        if size % least:
            raise ValueError(
                f"data.size {size}: the {levels} levels of channel_mult {list(self.channel_mult)} need a multiple of {least}"
            )


class Gate(Slice):
    """Whether the generator is good enough to judge mixing: reproductions named by the baseline recognizer."""

    floor: Share = Field(0.5, description="least share of reproductions recognized as their own class")
    classes: Positive = Field(200, description="at most this many classes are reproduced")
    images_per_class: Positive = 4
