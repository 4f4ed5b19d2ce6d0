"""The settings of `scoremix analyze` (paper 4.3, Appendices D to G)."""

from typing import Annotated, Any, Literal

from pydantic import Field, field_validator

from scoremix.config.base import EmaLength, Positive, Seed, Share, Slice
from scoremix.config.sampling import Sampling


class Spaces(Slice):
    """Which representations of a class are compared."""

    ema: tuple[EmaLength, ...] = Field(
        (), description="EMA lengths of conditions besides the kept ones, reconstructed from the generator's snapshots"
    )

    centers: tuple[Literal["head", "mean"], ...] = Field(
        ("head",), description="head weights, mean embeddings, or both"
    )

    @field_validator("centers")
    @classmethod
    def _some(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if not value or len(set(value)) < len(value):
            raise ValueError("must name head, mean or both, each once")
        return value


class Measures(Slice):
    """How alike two spaces are, against chance (paper 4.3, Appendix F)."""

    k: Annotated[int, Field(ge=2)] | None = Field(None, description="neighbours; by default 10, fewer below 40 classes")
    tau: Annotated[float, Field(gt=0)] = Field(0.1, description="temperature of soft_cknna")
    permutations: Annotated[int, Field(ge=2)] | None = Field(
        None, description="shufflings of the classes; by default 999 up to 300 classes, 100 beyond"
    )
    random_spaces: Annotated[int, Field(ge=2)] = 20
    bootstrap: Annotated[int, Field(ge=20)] = 200
    level: Annotated[float, Field(gt=0.5, lt=1)] = 0.95
    seed: Seed = 0


class Order(Slice):
    """Whether comparisons and selections of one space hold in another (Appendix G)."""

    pairs: Positive | None = Field(None, description="K of the top-K sets; by default as many as m-plets were selected")
    comparisons: Positive = 100_000
    rhos: tuple[Share, ...] = Field((0.0, 0.25, 0.5, 0.75, 0.9, 0.99), description="CKA of simulated misalignments")
    draws: Annotated[int, Field(ge=2)] = Field(50, description="simulated spaces per rho")
    classes: Annotated[int, Field(ge=4)] = Field(500, description="at most this many classes are simulated")
    seed: Seed = 0


class Paths(Slice):
    """Where mixes lie between their sources, and how good reproductions are over training."""

    pairs: Positive = 16
    weights: tuple[float, ...] = Field((0.0, 0.125, 0.25, 0.375, 0.5, 0.625, 0.75, 0.875, 1.0), description="lambdas")
    images: Positive = Field(4, description="noises per pair and weight")
    classes: Positive = Field(50, description="classes reproduced by every snapshot")
    images_per_class: Annotated[int, Field(ge=2)] = 4
    map: Literal["pca", "umap"] = Field("pca", description="axes of the embedding map; umap needs the extra")
    sampling: Sampling | None = Field(None, description="by default the run's")
    seed: Seed = 0

    @field_validator("weights")
    @classmethod
    def _both_ends(cls, value: tuple[float, ...]) -> tuple[float, ...]:
        if sorted(set(value)) != list(value) or len(value) < 3 or (value[0], value[-1]) != (0.0, 1.0):
            raise ValueError(f"must rise from 0 to 1 in at least two steps, got {list(value)}")
        return value


class Analysis(Slice):
    """The geometry of a finished run, done by `scoremix analyze`."""

    recognizers: dict[str, dict[str, Any]] = Field(
        {}, description="more recognizers of the real images: name -> changes to the run's recognizer"
    )
    spaces: Spaces = Spaces()
    measures: Measures = Measures()
    order: Order = Order()
    paths: Paths = Paths()
