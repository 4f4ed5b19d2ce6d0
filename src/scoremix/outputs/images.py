"""Sets of images that stages hand over: real ones, mixed ones with what they were made of, how training treats these."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Annotated, Any

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from scoremix.data import images as imagesets
from scoremix.data.images import LabeledImages
from scoremix.execution.artifacts import Artifact
from scoremix.execution.work import Work
from scoremix.outputs.record import Entry, Record

BLOCK = 8192  # images copied at a time


def real_images(real: Artifact, part: str = "train") -> LabeledImages:
    """The real images of one part of the classes."""
    return LabeledImages.load(real.folder).of_classes(part)


class Split(Entry):
    """A part of the classes: how many they are, how many images they have, how many of them have one."""

    name: str
    classes: int
    images: int
    single_image_classes: Annotated[int, Field(default=0)]  # older ones lack it


class ImagesSummary(Record):
    """Real images as they were read: parts of the classes, (height, width, channels), files left out as (path, reason)."""

    FILE = "summary.json"
    splits: Sequence[Split]
    image_shape: Sequence[int]
    skipped: Sequence[tuple[str, str]]
    note: str

    @property
    def classes(self) -> dict[str, int]:
        """The number of classes of every part."""
        return {split.name: split.classes for split in self.splits}

    def part(self, name: str) -> Split:
        """The part of that name."""
        return next(split for split in self.splits if split.name == name)


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


def write_part(work: Work, mixed: MixedImages, rows: NDArray[np.int64]) -> NDArray[np.int64]:
    """Writes some rows of mixed images, in order, as `write_mixed` does; returns the m-plets of which some are left."""
    used, counts = np.unique(mixed.images.labels_of(rows), return_counts=True)
    write_mixed(
        work,
        (mixed.images.take(rows[start : start + BLOCK])[0] for start in range(0, len(rows), BLOCK)),
        mixed.images.shape[1:],
        [mixed.images.class_names[k] for k in used],
        mixed.mplets[used],
        mixed.weights[rows],
        *(None if log is None else log[rows] for log in (mixed.log_weight, mixed.disagreement)),
        counts=counts,
    )
    return used


class MixedTraining(Record):
    """How training treats what was mixed, where not as real images: these are the first `images`, of the first `classes`.

    The rest are the fields of `config.Mixing` of the same names.
    """

    FILE = "recipe.json"
    SOURCES = "mixed_sources.npy"  # (mixed classes, m), beside it where there is a source_margin
    images: int
    classes: int
    finish: float = 0.0
    ramp: float = 0.0
    weight: float = 1.0
    margin: bool = True
    negatives: bool = False
    source_margin: float = 0.0
