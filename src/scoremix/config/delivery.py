"""What is delivered of a finished run."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from scoremix.config.base import Seed, Slice
from scoremix.config.experiment import Experiment

FARS = (1e-1, 1e-2, 1e-3, 1e-4, 1e-5, 1e-6)


class AllClasses(Slice):
    """Every class of a run's images in training: there is nothing to set."""


class Operating(Slice):
    """At which false accept rates thresholds are measured, and how their intervals are drawn."""

    fars: tuple[Annotated[float, Field(gt=0, lt=1)], ...] = FARS
    headline: Annotated[float, Field(gt=0, lt=1)] = 1e-2
    ensemble: bool = Field(False, description="of the mean of all seeds' unit embeddings")
    level: Annotated[float, Field(gt=0.5, lt=1)] = 0.95
    bootstrap: Annotated[int, Field(ge=100)] = 1000
    seed: Seed = 0

    @classmethod
    def of(cls, exp: Experiment, ensemble: bool) -> Operating:
        """Powers of ten and the rates of the run."""
        e = exp.evaluation
        fars = tuple(sorted({*FARS, *e.fars}, reverse=True))
        drawn = {"level": e.level, "bootstrap": e.bootstrap, "seed": e.seed}
        return cls(fars=fars, headline=e.headline, ensemble=ensemble, **drawn)


class Delivery(Slice):
    """The recipe that a model is made by, and what its card says of it."""

    experiment: Experiment = Field(description="of the run, its places by their last names alone")
    recipe: str = Field(description="the arm whose recipe it is")
    why: str = Field(description="a sentence on why this one")
    seeds: tuple[Seed, ...] = Field(description="of the recognizers; of several the mean of their embeddings is taken")
    retrained: bool = Field(False, description="the generator, too, is trained on all classes")
    licence: str = "other"
