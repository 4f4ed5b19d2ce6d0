"""The spaces of a run that its geometry compares: conditions and class centers, rows in the order of the classes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from scoremix.execution.artifacts import Artifact
from scoremix.outputs.record import Entry, Record


class StoredSpace(Entry):
    """A row for each class, in a file; of a recognizer's centers also whose they are."""

    name: str
    kind: str  # condition, head or mean
    recognizer: str
    file: str
    dims: int


class SpacesSummary(Record):
    """The spaces of a run."""

    FILE = "spaces.json"
    classes: list[str]
    spaces: Sequence[StoredSpace]
    left_out: list[str]  # recognizers that know none of these classes


def load_spaces(spaces: Artifact, kinds: Sequence[str] = ("condition", "head", "mean")) -> dict[str, Tensor]:
    """Name -> rows (classes, d) of the spaces of those kinds, in their order."""
    listed = SpacesSummary.load(spaces).spaces
    return {s.name: torch.from_numpy(np.load(spaces / s.file)) for s in listed if s.kind in kinds}
