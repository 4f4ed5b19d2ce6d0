"""What stages hand over: the files of each kind of artifact, read and written in one place."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import MISSING, dataclass, fields
from typing import Any, ClassVar, Self, TypedDict

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from scoremix.data import images as imagesets
from scoremix.data.images import LabeledImages
from scoremix.execution.artifacts import Artifact, Work

ROC_POINTS = np.logspace(-5, 0, 101)  # false accept rates of the rows of roc.npy
CHECKPOINT = "recognizer.safetensors"
ADOPTED = "model"  # folder of a model of diffusers, of a generator that is one


class Summary:
    """A JSON file that a stage writes and others read; fields at their default are left out of it."""

    FILE: ClassVar[str]

    @classmethod
    def load(cls, artifact: Artifact) -> Self:
        return cls(**artifact.json(cls.FILE))

    def write(self, work: Work) -> None:
        given = {f.name: (getattr(self, f.name), f.default) for f in fields(self)}  # type: ignore[arg-type]
        work.write_json(
            self.FILE,
            {name: value for name, (value, default) in given.items() if default is MISSING or value != default},
        )


@dataclass(frozen=True)
class RecognizerSummary(Summary):
    """A trained recognizer: the head's classes, how many images and steps it was trained on."""

    FILE = "recognizer.json"
    classes: int
    images: int
    steps: int
    class_names: list[str]
    parameters: int
    loss: float
    started: str | None = None  # SHA-256 of the file that training started from


class GateCurve(TypedDict):
    """The gate while a generator was trained: unguided, cheap reproductions, so lower than the one that is judged."""

    images_seen: list[int]
    gate: list[float]  # share recognized as their own class
    images: int  # reproductions of a measurement
    chance: float
    longest: int  # images that training may have seen
    reason: str | None  # why it ended before: "levelled" or "at chance"


@dataclass(frozen=True)
class GeneratorSummary(Summary):
    """A trained generator: its classes, its snapshots by EMA length and the guide's, its condition matrices."""

    FILE = "generator.json"
    images_seen: int
    snapshots: dict[str, str]  # EMA length of three decimals -> file
    guides: dict[str, str]
    guide_at: int  # images the guide has seen
    conditions: list[dict[str, Any]]  # images_seen, ema, file
    classes: list[str]
    median_class_size: int
    parameters: int
    loss: float | None  # None where it was not trained here
    alignment_loss: float | None = None
    border: dict[str, str | float] | None = (
        None  # how shifts pad: padding, colour in [-1, 1], share of edge pixels with it
    )
    guide_folder: str = "."
    gate: GateCurve | None = None  # of a generator that was trained until its gate rose no more
    labels: list[int] | None = None  # of a model of diffusers: its own label of every class


@dataclass(frozen=True)
class GateResult(Summary):
    """Shares of reproductions, and of real images, whose own class center is the nearest or among the five nearest."""

    FILE = "gate.json"
    top1: float
    top5: float
    real_top1: float
    real_top5: float
    floor: float
    classes: int
    images: int

    @property
    def passed(self) -> bool:
        return self.top1 >= self.floor


@dataclass(frozen=True)
class MPletsSummary(Summary):
    """A selection: how it was made, its values, and how often each class is used."""

    FILE = "mplets.json"
    strategy: str
    metrics: dict[str, str]  # space -> metric, the one that decides first
    objective: str
    m: int
    count: int
    values: list[float]
    certificate: dict[str, Any] | None
    verification: dict[str, Any] | None
    classes: int
    classes_used: int
    most_uses_of_a_class: int
    uses: list[int]
    mean_value_without_constraint: float | None
    cost_of_constraint: float | None


@dataclass(frozen=True)
class SearchSummary(Summary):
    """The weights with the largest m_s + m_d, and these."""

    FILE = "search.json"
    weights: list[float]
    m_s: float
    m_d: float
    images: int


@dataclass(frozen=True)
class ScreeningSummary(Summary):
    """How many of the images drawn were kept, and their coherence before and after."""

    FILE = "screening.json"
    by: str
    drawn: int
    kept: int
    rejected_share: float
    coherence_before: float
    coherence_after: float


@dataclass(frozen=True)
class LeakSummary(Summary):
    """Images dropped for being nearer to a training image than all but a share `rate` of unseen real images."""

    FILE = "leaks.json"
    rate: float
    threshold: float  # cosine to the nearest training image
    unseen: str  # part of the real images that the threshold is of
    unseen_images: int
    images: int
    dropped: int
    mplets_dropped: int  # of which no image stayed


@dataclass(frozen=True)
class MixedTraining(Summary):
    """How training treats what was mixed, where not as real images: these are the first `images`, of the first `classes`.

    The rest are the fields of `config.Mixing` of the same names.
    """

    FILE = "recipe.json"
    images: int
    classes: int
    finish: float = 0.0
    ramp: float = 0.0
    weight: float = 1.0
    margin: bool = True
    negatives: bool = False


@dataclass(frozen=True)
class SpacesSummary(Summary):
    """The spaces of a run: name, kind (condition, head, mean), recognizer, file and dims of each."""

    FILE = "spaces.json"
    classes: list[str]
    spaces: list[dict[str, Any]]
    left_out: list[str]  # recognizers that know none of these classes


@dataclass(frozen=True)
class MixedImages:
    """Images of m-plets, one class each, and what they were made of and with."""

    images: LabeledImages
    mplets: NDArray[np.int64]  # (K, m) training classes
    weights: NDArray[np.float32]  # (N, m)
    log_weight: NDArray[np.float64] | None = None  # (N,) of sampled images only
    disagreement: NDArray[np.float64] | None = None

    @classmethod
    def load(cls, artifact: Artifact) -> MixedImages:
        logs = [artifact / "log_weight.npy", artifact / "disagreement.npy"]
        return cls(
            LabeledImages.load(artifact.folder),
            np.load(artifact / "mplets.npy"),
            np.load(artifact / "weights.npy"),
            *(np.load(file) if file.exists() else None for file in logs),
        )

    @property
    def sources(self) -> NDArray[np.int64]:
        """Training classes (N, m) of every image."""
        sources: NDArray[np.int64] = self.mplets[self.images.labels]
        return sources


def has_sources(artifact: Artifact) -> bool:
    """Whether a set of images says which classes its images were made of."""
    return (artifact / "mplets.npy").exists()


def write_mixed(
    work: Work,
    blocks: Iterable[NDArray[np.uint8]],
    shape: tuple[int, int, int],
    names: Sequence[str],
    mplets: NDArray[np.int64],
    weights: NDArray[np.floating[Any]],
    log_weight: NDArray[np.float64] | None = None,
    disagreement: NDArray[np.float64] | None = None,
    *,
    counts: NDArray[np.int64] | None = None,
) -> None:
    """Writes what `MixedImages` loads: blocks of images of that shape, in the order of the m-plets.

    `counts` of each m-plet, by default as many of each.
    """
    imagesets.write(
        work.folder,
        shape=(len(weights), *shape),
        blocks=blocks,
        counts=np.full(len(mplets), len(weights) // len(mplets)) if counts is None else counts,
        class_names=names,
        splits={"train": np.arange(len(mplets))},
    )
    work.write_array("mplets.npy", mplets)
    work.write_array("weights.npy", weights.astype(np.float32))
    if log_weight is not None and disagreement is not None:
        work.write_array("log_weight.npy", log_weight)
        work.write_array("disagreement.npy", disagreement)


def real_images(real: Artifact, part: str = "train") -> LabeledImages:
    """The real images of one part of the classes."""
    return LabeledImages.load(real.folder).of_classes(part)


def chosen_classes(mplets: Artifact) -> NDArray[np.int64]:
    """The classes (K, m) of a selection."""
    classes: NDArray[np.int64] = np.load(mplets / "classes.npy")
    return classes


def centers_of(recognizer: Artifact) -> Tensor:
    """A recognizer's class centers (classes, D), unit rows."""
    return torch.from_numpy(np.load(recognizer / "centers.npy"))


def load_spaces(spaces: Artifact, kinds: Sequence[str] = ("condition", "head", "mean")) -> dict[str, Tensor]:
    """Name -> rows (classes, d) of the spaces of those kinds, in their order."""
    listed = SpacesSummary.load(spaces).spaces
    return {s["name"]: torch.from_numpy(np.load(spaces / s["file"])) for s in listed if s["kind"] in kinds}


def conditions_over_training(generator: Artifact) -> Iterator[tuple[float, int, Tensor]]:
    """(EMA length, images seen, condition matrix) of every kept time, ascending, one at a time."""
    for kept in sorted(GeneratorSummary.load(generator).conditions, key=lambda c: (c["ema"], c["images_seen"])):
        yield kept["ema"], kept["images_seen"], without_padding(torch.from_numpy(np.load(generator / kept["file"])))


def without_padding(conditions: Tensor) -> Tensor:
    """The columns that are not zero throughout, which fill fixed conditions up to the network's width."""
    return conditions[:, (conditions != 0).any(0)]
