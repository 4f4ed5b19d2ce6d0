"""How m-plets become images, which of these are kept, and how they join the real ones."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from scoremix.config.base import (
    UNHASHED,
    AutoPrecision,
    Batch,
    EmaLength,
    Fraction,
    Interval,
    KeepBy,
    Positive,
    Seed,
    Slice,
)


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

    @property
    def named(self) -> tuple[float, ...]:
        """The weights of every image; none where they are drawn, or equal by default."""
        return (self.weights or ()) if self.draw == "fixed" else ()

    def check_weights(self, m: int) -> None:
        """ValueError where the weights given are not one per class of an m-plet."""
        for name in ("weights", "weights_end"):
            given = getattr(self, name, None)
            if given is not None and len(given) != m:
                raise ValueError(f"{name} {list(given)}: {m} classes are mixed, give one weight for each")


class SamplingPlan(Slice):
    """How noise becomes an image; the defaults are the paper's (3.2): Heun, every class of main and guide at every call."""

    mixture: Literal["scores", "conditions", "turns", "balanced"] = Field(
        "scores",
        description="conditions: one evaluation of the weighted sum of the classes' conditions (AugGen); turns: no "
        "mix, each image is of one class, the classes take turns; balanced: scores, on ancestral paths (solver ddim, "
        "eta 1) that stay equally likely under every class (the AND of Skreta et al. 2024)",
    )
    weights_end: tuple[float, ...] | None = Field(
        None, description="weights at sigma_min, reached linearly in log sigma; by default they stay"
    )
    mixing_interval: Interval | None = Field(
        None, description="sigmas between which scores are mixed, conditions elsewhere; by default everywhere"
    )
    space: Literal["denoised", "score"] = "denoised"
    solver: Literal["heun", "euler", "ddim", "dpm2m"] = Field("heun", description="ddim with eta 0 is euler")
    steps: Annotated[int, Field(ge=2, le=10_000)] = 32
    sigma_min: Annotated[float, Field(gt=0)] = 0.002
    sigma_max: Annotated[float, Field(gt=0)] = 80.0
    rho: Annotated[float, Field(ge=0.1)] = 7.0
    churn: Annotated[float, Field(ge=0)] = 0.0
    eta: Annotated[float, Field(ge=0, le=1)] = Field(
        0.0, description="noise that ddim adds at every step; 1: ancestral"
    )
    guidance: Annotated[float, Field(ge=0)] = 1.3
    guide: Literal["each", "condition", "unconditional"] = Field(
        "each", description="asked for every class, once for the mixed condition (approximate), or without a class"
    )
    guide_interval: Interval | None = Field(None, description="sigmas between which the guide works")
    resample: Fraction | None = Field(
        None,
        description="share of a mix's images (of one chunk) that their Feynman-Kac weights must be worth on the way; "
        "below it they are drawn again by these weights; for solver heun with churn",
    )

    @property
    def alone(self) -> Self:
        """The plan of an image by itself, under weights of its own: not in turns, not balanced, nor drawn again among others."""
        mixture = "conditions" if self.mixture == "conditions" else "scores"
        return self.model_copy(update={"resample": None, "mixture": mixture})

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
        if self.mixture == "balanced":
            if self.solver != "ddim" or self.eta != 1:
                raise ValueError(f"mixture 'balanced' with solver {self.solver}, eta {self.eta:g}: needs ddim, eta 1")
            if self.weights_end or self.mixing_interval:
                raise ValueError("mixture 'balanced' sets the weights itself: no weights_end, no mixing_interval")
        if self.resample is not None:
            if self.solver != "heun" or not self.churn:
                raise ValueError(
                    f"resample {self.resample:g} with solver {self.solver}, churn {self.churn:g}: needs heun, churn above 0"
                )
            if self.mixture != "scores" or self.weights_end or self.mixing_interval or self.guide_interval:
                raise ValueError(
                    f"resample {self.resample:g}: needs mixture 'scores' with the same weights and guide at every sigma"
                )
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
        sums_to_one = not self.named or abs(sum(self.named) - 1) <= 1e-6
        for name in ("weights", "weights_end"):
            if (given := getattr(self, name)) is not None and not any(given):
                raise ValueError(f"{name} {list(given)}: a mix of no class")
        end = self.weights_end
        if end is not None and self.convex and (abs(sum(end) - 1) > 1e-6 or min(end, default=0) < 0):
            raise ValueError(f"weights_end {list(end)} must be >= 0 and sum to 1 (or say convex: false)")
        uneven = len(set(self.named)) > 1 or not sums_to_one
        if self.mixture == "balanced" and (self.draw != "fixed" or uneven):
            raise ValueError(
                "mixture 'balanced': every class counts the same, leave weights and draw at their defaults"
            )
        if self.resample is not None and self.draw == "image":
            raise ValueError(
                f"resample {self.resample:g} with draw 'image': images are drawn again among those of the same weights; "
                "leave draw at 'fixed' or 'mplet'"
            )
        if self.resample is not None and not sums_to_one:
            raise ValueError(f"resample {self.resample:g} with weights {list(self.named)}: they must sum to 1")
        if self.keep_by in ("hardest", "easiest") and min(self.named, default=0) < 0:
            raise ValueError(
                f"keep_by {self.keep_by!r} with weights {list(self.named)}: its labels are the weights, which must be >= 0"
            )
        changing = [n for n in ("weights_end", "mixing_interval", "guide_interval") if getattr(self, n) is not None]
        if self.keep_by in ("log_weight", "agreement") and (changing or self.churn or self.eta):
            raise ValueError(
                f"keep_by {self.keep_by!r} with {(changing or ['churn' if self.churn else 'eta'])[0]}: a log-weight needs the same weights at every "
                "sigma and no churn or eta"
            )
        if self.keeps_by_log_weight and self.draw == "fixed" and abs(sum(self.weights or (1.0,)) - 1) > 1e-5:
            raise ValueError(
                f"keep_by {self.keep_by!r} with weights {list(self.weights or ())}: a log-weight needs weights that sum to 1"
            )
        return self

    @property
    def drawn(self) -> Self:
        """What decides which images are drawn: all but what is kept of them."""
        return self.model_copy(update={"keep_by": "coherence"})

    @property
    def keeps_by_log_weight(self) -> bool:
        """Whether images are kept by what mixed scores alone have, a log-weight or a disagreement."""
        return self.candidates > 1 and self.mixture == "scores" and self.keep_by in ("log_weight", "agreement")


PixelKind = Literal["averages", "cutmixes", "repeated"]


class PixelMixing(Weighting):
    """Mixes of real images: what `Sampling` says of weights and numbers, without a generator."""

    kind: PixelKind


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


class Screening(Slice):
    """Which of the images drawn for an m-plet are kept: the densest in the recognizer's space, those of largest
    Feynman-Kac log-weight, those about which its classes agreed most, or the hardest or easiest for the recognizer.
    """

    candidates: Annotated[float, Field(ge=1)] = Field(2.5, description="images drawn per image kept")
    by: KeepBy = "coherence"


class LeakGate(Slice):
    """Which generated images are dropped for being nearer to a training image than unseen real images are."""

    rate: Fraction = Field(0.01, description="share of unseen real images that would be dropped, too")


OF_MIXED_CLASSES = ("weight", "margin", "negatives", "source_margin")  # settings of `Mixing`


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
    source_margin: Annotated[float, Field(ge=0, lt=1)] = Field(
        0.0, description="a mix's cosine with its sources is taken for so much larger, which pushes it away from both"
    )

    @property
    def recipe(self) -> dict[str, Any]:
        """What of the recipe differs from treating mixed classes as real ones throughout."""
        given = {name: getattr(self, name) for name in ("finish", "ramp", *OF_MIXED_CLASSES)}
        return {name: value for name, value in given.items() if value != Mixing.model_fields[name].default}

    @property
    def of_classes(self) -> list[str]:
        """Which settings treat mixed classes in the loss differently from real ones."""
        return [name for name in OF_MIXED_CLASSES if name in self.recipe]

    @model_validator(mode="after")
    def _recipe_possible(self) -> Mixing:
        if self.finish and not self.real:
            raise ValueError(f"finish {self.finish:g} with real false: there are no real images to end on")
        if self.ramp and not self.real:
            raise ValueError(f"ramp {self.ramp:g} with real false: there are no real images to go over to")
        if self.finish + self.ramp > 1:
            raise ValueError(f"finish {self.finish:g} and ramp {self.ramp:g} are longer than the training")
        if (of_classes := self.of_classes) and (self.labels != "new_class" or not self.real):
            wrong = f"labels {self.labels!r}" if self.labels != "new_class" else "real false"
            raise ValueError(f"{of_classes[0]} with {wrong}: it is for mixes as new classes beside real ones")
        if self.negatives and self.source_margin:
            raise ValueError("source_margin with negatives: the images of mixes train the network, or they do not")
        return self
