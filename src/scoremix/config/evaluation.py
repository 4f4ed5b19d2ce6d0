"""What is measured of recognizers and of images, and how an arm is judged or chosen by it."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from scoremix.config.base import Fraction, Positive, Seed, Slice


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


class MixDiagnostics(Slice):
    """What a mix is, measured with the baseline recognizer."""


class Quality(Slice):
    """How generated images are measured against real ones (Appendix D.6)."""

    features: Literal["recognizer", "dinov2", "inception"] = Field(
        "recognizer", description="whose features; dinov2 and inception need --weights, a file of published weights"
    )
    neighbours: Positive = Field(5, description="k of precision, recall, density, coverage")
    images: Annotated[int, Field(ge=10)] = Field(10_000, description="at most this many of a set, evenly spaced")
    fmrs: tuple[Fraction, ...] = Field((1e-2, 1e-3), description="false match rates of the leak rates")
    pictures: Positive = Field(24, description="nearest-neighbour pictures of a set")
