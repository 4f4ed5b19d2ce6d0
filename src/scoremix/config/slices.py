"""The settings of every stage; each field is hashed into the key of the stage that reads it."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field, field_validator, model_validator

from scoremix.config.base import (
    UNHASHED,
    AnyNetwork,
    AutoPrecision,
    Batch,
    EmaLength,
    Fraction,
    Interval,
    KeepBy,
    Positive,
    Precision,
    Rate,
    Seed,
    Share,
    Slice,
    Width,
)

if TYPE_CHECKING:
    from scoremix.data.source import Told


class Data(Slice):
    """How images are read and classes are split (never which folder: the content itself is hashed)."""

    size: Annotated[int, Field(ge=8, le=512)] = 32
    channels: Literal["auto", 1, 3] = "auto"
    classes: Positive | None = Field(None, description="use a seeded subset of this many classes")
    images_per_class: Positive | None = Field(None, description="use at most this many images of a class")
    fractions: tuple[Fraction, Fraction, Fraction] = Field((0.6, 0.1, 0.3), description="train, validation, test")
    skip_bad: bool = Field(False, description="leave unreadable files out instead of stopping")
    held_out: Annotated[float, Field(ge=0, lt=1)] = Field(
        0.0, description="share of each training class's images kept for closed-set accuracy"
    )
    class_level: Positive | None = Field(
        None, description="classes are the folders so many steps down, below train, val and test; by default found"
    )
    image_column: str | None = Field(None, description="column of a table with images or their paths; by default found")
    label_column: str | None = Field(None, description="column of a table with the classes; by default found")
    seed: Seed = 0

    @property
    def told(self) -> Told:
        """What the settings say of the layout of a set."""
        from scoremix.data.source import Told

        return Told(self.class_level, self.image_column, self.label_column)

    @field_validator("fractions")
    @classmethod
    def _sum_to_one(cls, value: tuple[float, float, float]) -> tuple[float, float, float]:
        if abs(sum(value) - 1) > 1e-6:
            raise ValueError(f"must sum to 1, got {sum(value):g}")
        return value


class Recognizer(Slice):
    """The discriminator of the paper: an IR-type network under an angular-margin head."""

    network: AnyNetwork = Field(
        "small",
        description="small: widths, units, embedding below; timm/NAME: that network of timm, of any side and colours; "
        "others: 112 px RGB faces",
    )
    widths: tuple[Width, ...] = Field((32, 64, 128), min_length=1)
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


class Selection(Slice):
    """Which classes are mixed (paper 4.2 to 4.4); far and close are exact, of every m-plet there is."""

    strategy: Literal["far", "close", "random", "window", "joint_top", "joint_worst", "each", "list"] = Field(
        "far",
        description="far, close: largest or smallest objective; window: random ones whose distances lie in `window`; "
        "joint_top, joint_worst: close conditions with far embeddings, and the reverse; each: every class alone; "
        "list: those in `file`",
    )
    m: Annotated[int, Field(ge=1, le=6)] = Field(2, description="classes of a mix; 5 and 6 only for few classes")
    count: Positive | None = Field(None, description="m-plets; by default as many as there are training classes")
    space: Literal["embedding", "condition"] = Field(
        "embedding", description="whose distances: the recognizer's class centers or the generator's condition matrix"
    )
    metric: Literal["cosine", "l2", "sqeuclidean"] = "cosine"
    condition_metric: Literal["cosine", "l2", "sqeuclidean"] = Field("cosine", description="of the joint strategies")
    ema: EmaLength = Field(0.05, description="EMA length of the condition matrix")
    objective: Literal["sum", "mean", "min", "max", "range", "std"] = Field(
        "sum", description="of the distances of an m-plet's pairs; range and std only for few classes"
    )
    window: tuple[Share, Share] = Field((0.05, 0.25), description="quantiles of all pairs' distances")
    groups: str | None = Field(
        None, description="'name' (what stands before '/' in a class name), 'data', or a CSV or JSON file"
    )
    across: bool = Field(True, description="the classes of an m-plet are of different groups; false: of one group")
    file: str | None = Field(None, description="CSV or JSON file with the class names of an m-plet per row")
    max_degree: Positive | None = Field(
        None, description="m-plets a class may be in; taken greedily, without a certificate"
    )
    min_degree: Positive | None = Field(
        None, description="m-plets every class is in at least; taken greedily, without a certificate"
    )
    seed: Seed = 0

    @property
    def mixed(self) -> int:
        """How many classes a mix has."""
        return 1 if self.strategy == "each" else self.m

    @property
    def needs_conditions(self) -> bool:
        """Whether the generator's condition matrix is read."""
        return self.strategy != "each" and (self.space == "condition" or self.strategy.startswith("joint"))

    @model_validator(mode="after")
    def _possible(self) -> Selection:
        ordered = self.strategy not in ("random", "window", "each", "list")
        if self.m == 1 and self.strategy != "each":
            raise ValueError(f"m 1 with strategy {self.strategy!r}: a mix has at least 2 classes (each: one alone)")
        if self.space == "condition" and self.strategy.startswith("joint"):
            raise ValueError(f"strategy {self.strategy!r} compares both spaces: leave space at 'embedding'")
        degenerate = "max" if self.strategy in ("far", "joint_top") else "min"
        if self.m > 2 and ordered and self.objective == degenerate:
            raise ValueError(
                f"objective {self.objective!r} with strategy {self.strategy!r} is degenerate: one extreme pair with "
                f"any {self.m - 2} others; take {'min' if degenerate == 'max' else 'max'!r}, sum or mean"
            )
        if self.m == 2 and self.objective in ("range", "std"):
            raise ValueError(f"objective {self.objective!r} is 0 for every pair, it needs m of at least 3")
        if self.window[0] >= self.window[1]:
            raise ValueError(f"window {list(self.window)} must be two quantiles, the lower one first")
        if self.groups is None and not self.across:
            raise ValueError("across false needs groups")
        if (self.strategy == "list") != (self.file is not None):
            raise ValueError("strategy 'list' and a `file` of m-plets go together")
        if self.max_degree is not None and self.min_degree is not None:
            raise ValueError("max_degree and min_degree exclude each other")
        if self.min_degree is not None and not (ordered and self.objective in ("sum", "mean")):
            raise ValueError(
                "min_degree needs strategy far, close, joint_top or joint_worst with objective sum or mean"
            )
        return self


class Weighting(Slice):
    """Which weights a mix has, and how many images are made of it."""

    weights: tuple[float, ...] | None = Field(None, description="one per class of the m-plet; by default 1/m each")
    draw: Literal["fixed", "mplet", "image"] = Field(
        "fixed", description="`weights` for all, or drawn at random for every m-plet, or for every image"
    )
    concentration: Annotated[float, Field(gt=0)] = Field(1.0, description="of the Dirichlet draw; 1 is uniform")
    images_per_mplet: Positive | None = Field(None, description="by default the median class size times `share`")
    share: Annotated[float, Field(gt=0)] = Field(1.0, description="images of an m-plet over the median class size")
    candidates: Annotated[float, Field(ge=1)] = Field(
        1.0, description="images drawn per image kept; above 1 the best ones of an m-plet are kept"
    )
    seed: Seed = 0

    def check_weights(self, m: int) -> None:
        """ValueError where the weights given are not one per class of an m-plet."""
        for name in ("weights", "weights_end"):
            given = getattr(self, name, None)
            if given is not None and len(given) != m:
                raise ValueError(f"{name} {list(given)}: {m} classes are mixed, give one weight for each")


class SamplingPlan(Slice):
    """How noise becomes an image; the defaults are the paper's (3.2): Heun, every class of main and guide at every call."""

    mixture: Literal["scores", "conditions", "turns"] = Field(
        "scores",
        description="conditions: one evaluation of the weighted sum of the classes' conditions (AugGen); turns: no "
        "mix, each image is of one class, the classes take turns",
    )
    weights_end: tuple[float, ...] | None = Field(
        None, description="weights at sigma_min, reached linearly in log sigma; by default they stay"
    )
    mixing_interval: Interval | None = Field(
        None, description="sigmas between which scores are mixed, conditions elsewhere; by default everywhere"
    )
    space: Literal["denoised", "score"] = "denoised"
    solver: Literal["heun", "euler", "ddim", "dpm2m"] = Field("heun", description="ddim with eta 0 is euler")
    steps: Annotated[int, Field(ge=2)] = 32
    sigma_min: Annotated[float, Field(gt=0)] = 0.002
    sigma_max: Annotated[float, Field(gt=0)] = 80.0
    rho: Annotated[float, Field(gt=0)] = 7.0
    churn: Annotated[float, Field(ge=0)] = 0.0
    eta: Annotated[float, Field(ge=0, le=1)] = Field(
        0.0, description="noise that ddim adds at every step; 1: ancestral"
    )
    guidance: Annotated[float, Field(ge=0)] = 1.3
    guide: Literal["each", "condition", "unconditional"] = Field(
        "each", description="asked for every class, once for the mixed condition (approximate), or without a class"
    )
    guide_interval: Interval | None = Field(None, description="sigmas between which the guide works")

    @model_validator(mode="after")
    def _solvable(self) -> SamplingPlan:
        if self.sigma_min >= self.sigma_max:
            raise ValueError(f"sigma_min {self.sigma_min:g} must be below sigma_max {self.sigma_max:g}")
        for name in ("guide_interval", "mixing_interval"):
            interval = getattr(self, name)
            if interval is not None and interval[0] >= interval[1]:
                raise ValueError(f"{name} {list(interval)}: give the lower sigma first, then the higher")
        if self.churn and self.solver != "heun":
            raise ValueError(f"churn {self.churn:g} is for the heun solver, not {self.solver}")
        if self.eta and self.solver != "ddim":
            raise ValueError(f"eta {self.eta:g} is for the ddim solver, not {self.solver}")
        if self.mixture == "conditions" and self.mixing_interval is not None:
            raise ValueError("mixing_interval is for mixture 'scores': 'conditions' mixes no scores anywhere")
        return self


class Sampling(SamplingPlan, Weighting):
    """How an m-plet becomes images (paper 3.1, 3.2)."""

    convex: bool = Field(True, description="false allows weights that do not sum to 1")
    keep_by: KeepBy = Field(
        "coherence",
        description="densest in the recognizer's space, of largest Feynman-Kac log-weight, of least disagreement, or of "
        "largest or smallest loss of the recognizer under labels that follow the weights",
    )
    ema: EmaLength = 0.05
    guide_ema: EmaLength = 0.10
    leak_gate: Fraction | None = Field(
        None,
        description="images nearer to a training image than all but this share of unseen real images are dropped",
        json_schema_extra=UNHASHED,
    )
    chunk: Batch = Field(64, description="images per forward: part of the result, floating point depends on it")
    precision: AutoPrecision = Field(
        "auto", description="auto: bfloat16 where the device computes in it, else float32; what it was is recorded"
    )

    @model_validator(mode="after")
    def _weights_make_sense(self) -> Sampling:
        if self.weights is not None:
            if len(self.weights) < 1:
                raise ValueError("weights must name at least one class")
            if self.convex and (abs(sum(self.weights) - 1) > 1e-6 or min(self.weights) < 0):
                raise ValueError(
                    f"weights {list(self.weights)} sum to {sum(self.weights):g}; a convex mix needs weights >= 0 "
                    "with sum 1 (or say convex: false)"
                )
        end = self.weights_end
        if end is not None and self.convex and (abs(sum(end) - 1) > 1e-6 or min(end, default=0) < 0):
            raise ValueError(f"weights_end {list(end)} must be >= 0 and sum to 1 (or say convex: false)")
        changing = [n for n in ("weights_end", "mixing_interval", "guide_interval") if getattr(self, n) is not None]
        if self.keep_by in ("log_weight", "agreement") and (changing or self.churn or self.eta):
            raise ValueError(
                f"keep_by {self.keep_by!r} with {(changing or ['churn' if self.churn else 'eta'])[0]}: a log-weight needs the same weights at every "
                "sigma and no churn or eta"
            )
        return self


class PixelMixing(Weighting):
    """Mixes of real images: what `Sampling` says of weights and numbers, without a generator."""

    kind: Literal["averages", "cutmixes"]


class Screening(Slice):
    """Which of the images drawn for an m-plet are kept: the densest in the recognizer's space, those of largest
    Feynman-Kac log-weight, those about which its classes agreed most, or the hardest or easiest for the recognizer.
    """

    candidates: Annotated[float, Field(ge=1)] = Field(2.5, description="images drawn per image kept")
    by: KeepBy = "coherence"


class LeakGate(Slice):
    """Which generated images are dropped for being nearer to a training image than unseen real images are."""

    rate: Fraction = Field(0.01, description="share of unseen real images that would be dropped, too")


class MixDiagnostics(Slice):
    """What a mix is, measured with the baseline recognizer."""


class Mixing(Slice):
    """How real and synthetic images become one training set."""

    labels: Literal["new_class", "soft", "both"] = Field(
        "new_class", description="a mix is a new class, its sources in the proportion of the weights, or both"
    )
    soft_share: Fraction = Field(0.5, description="weight of the sources where labels are 'both'")
    real: bool = Field(True, description="false: recognizers see the synthetic images alone (FR_syn)")
    finish: Annotated[float, Field(ge=0, lt=1)] = Field(
        0.0, description="share of the training, its end, that sees real images alone"
    )

    ramp: Annotated[float, Field(ge=0, lt=1)] = Field(
        0.0, description="share of the training, before `finish`, over which mixes become fewer and fewer"
    )
    weight: Annotated[float, Field(gt=0, le=1)] = Field(1.0, description="of the loss of mixed images")
    margin: bool = Field(True, description="false: mixed classes have no margin")
    negatives: bool = Field(
        False, description="mixed classes only push real images away, their own images do not train the network"
    )

    @property
    def recipe(self) -> dict[str, Any]:
        """What of the recipe differs from treating mixed classes as real ones throughout."""
        given = {name: getattr(self, name) for name in ("finish", "ramp", "weight", "margin", "negatives")}
        return {name: value for name, value in given.items() if value != Mixing.model_fields[name].default}

    @model_validator(mode="after")
    def _recipe_possible(self) -> Mixing:
        if self.finish and not self.real:
            raise ValueError(f"finish {self.finish:g} with real false: there are no real images to end on")
        if self.ramp and not self.real:
            raise ValueError(f"ramp {self.ramp:g} with real false: there are no real images to go over to")
        if self.finish + self.ramp > 1:
            raise ValueError(f"finish {self.finish:g} and ramp {self.ramp:g} are longer than the training")
        of_classes = [name for name in ("weight", "margin", "negatives") if name in self.recipe]
        if of_classes and (self.labels != "new_class" or not self.real):
            wrong = f"labels {self.labels!r}" if self.labels != "new_class" else "real false"
            raise ValueError(f"{of_classes[0]} with {wrong}: it is for mixes as new classes beside real ones")
        return self


class OpenSet(Slice):
    """What is measured of a recognizer on classes it has not seen, in every draw of those classes."""

    classes: Literal["test", "validation"] = "test"
    fars: tuple[Annotated[float, Field(gt=0, lt=1)], ...] = (1e-4, 1e-3, 1e-2)
    headline: Annotated[float, Field(gt=0, lt=1)] = Field(1e-2, description="the verdict is on TAR at this FAR")
    ranks: tuple[Positive, ...] = Field((1, 5), min_length=1)
    images: Annotated[int, Field(ge=100)] = Field(
        6000,
        description="at most this many images, evenly by class and at least two of each: memory goes with its square",
    )
    draws: Positive = Field(20, description="draws of the enrolled image in identification")
    morphs: Annotated[int, Field(ge=0)] = Field(
        0, description="morphing attacks per pair of classes (pixel averages); 0: not measured"
    )
    bootstrap: Annotated[int, Field(ge=100)] = 1000
    seed: Seed = 0


class Evaluation(OpenSet):
    """What is measured, and the arms and controls that are judged by it."""

    task: Literal["open", "closed"] = Field("open", description="closed: the verdict is on held-out images' accuracy")
    treatment: str = Field("scoremix", description="the arm that is judged")
    controls: tuple[str, ...] = Field(
        ("real", "equal_steps"), min_length=1, description="the arms it is judged against"
    )
    level: Annotated[float, Field(gt=0.5, lt=1)] = 0.95

    @property
    def open_set(self) -> OpenSet:
        """What is measured of each recognizer by itself, whatever it is then compared with."""
        return OpenSet(**{name: getattr(self, name) for name in OpenSet.model_fields})


class Choice(Slice):
    """How one of the arms is chosen on validation classes, before test classes are looked at (docs/choose.md).

    Every arm is a candidate; the verdict's controls are the safe ones.
    """

    level: Annotated[float, Field(gt=0.5, lt=1)] = Field(
        0.95, description="of the interval within which the lead over the better control is noise"
    )
    enough: Positive = Field(
        20, description="validation classes; with fewer the choice is made on folds of training and validation classes"
    )
    folds: Positive = Field(
        3,
        description="parts of the training and validation classes, each measured by recognizers of the others; 1: none",
    )
    evaluation: Evaluation | None = Field(None, description="filled in by the run: what is measured, and the controls")


class Fold(Slice):
    """One of the parts that training and validation classes are divided into, from 1 on."""

    number: Positive
    of: Positive
    seed: Seed = 0


class Quality(Slice):
    """How generated images are measured against real ones (Appendix D.6)."""

    features: Literal["recognizer", "dinov2", "inception"] = Field(
        "recognizer", description="whose features; dinov2 and inception need --weights, a file of published weights"
    )
    neighbours: Positive = Field(5, description="k of precision, recall, density, coverage")
    images: Annotated[int, Field(ge=10)] = Field(10_000, description="at most this many of a set, evenly spaced")
    fmrs: tuple[Fraction, ...] = Field((1e-2, 1e-3), description="false match rates of the leak rates")
    pictures: Positive = Field(24, description="nearest-neighbour pictures of a set")


class Search(Slice):
    """AugGen's search of the two weights on conditions: the grid's best m_s + m_d (AugGen, Algorithm 1)."""

    low: Annotated[float, Field(gt=0)] = 0.1
    high: Annotated[float, Field(gt=0)] = 1.1
    points: Annotated[int, Field(ge=2)] = 11
    pairs: Positive = Field(16, description="random pairs of training classes, the same in every cell")
    images_per_pair: Annotated[int, Field(ge=2)] = 4
    seed: Seed = 0
    sampling: Sampling | None = Field(None, description="filled in by the run: how the images are sampled")

    @model_validator(mode="after")
    def _ordered(self) -> Search:
        if self.low >= self.high:
            raise ValueError(f"low {self.low:g} must be below high {self.high:g}")
        return self
