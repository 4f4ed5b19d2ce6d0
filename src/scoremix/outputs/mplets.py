"""What choosing hands over: m-plets, the weights that were searched, images that were screened or dropped as leaks."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from scoremix.execution.artifacts import Artifact
from scoremix.outputs.record import Record


class MPletsSummary(Record):
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


def chosen_classes(mplets: Artifact) -> NDArray[np.int64]:
    """The classes (K, m) of a selection."""
    classes: NDArray[np.int64] = np.load(mplets / "classes.npy")
    return classes


class SearchSummary(Record):
    """The weights with the largest m_s + m_d, and these."""

    FILE = "search.json"
    weights: list[float]
    m_s: float
    m_d: float
    images: int


class ScreeningSummary(Record):
    """How many of the images drawn were kept, and their coherence before and after."""

    FILE = "screening.json"
    by: str
    drawn: int
    kept: int
    rejected_share: float
    coherence_before: float
    coherence_after: float


class LeakSummary(Record):
    """Images dropped for being nearer to a training image than all but a share `rate` of unseen real images."""

    FILE = "leaks.json"
    rate: float
    threshold: float  # cosine to the nearest training image
    unseen: str  # part of the real images that the threshold is of
    unseen_images: int
    images: int
    dropped: int
    mplets_dropped: int  # of which no image stayed
