"""What every image of a training set is an example of, where that is more than one class or not the class it lies in."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float32, Int32, Int64, Integer


@dataclass(frozen=True, eq=False)
class Targets:
    """Row i of `labels` and `weights` belongs to image i; weights are >= 0, of any sum; weight 0 fills up."""

    labels: Int32[np.ndarray, "n k"]
    weights: Float32[np.ndarray, "n k"]
    class_names: tuple[str, ...]  # of the head

    @classmethod
    def load(cls, folder: Path) -> Targets | None:
        """The targets in a packed set's folder, memory-mapped, or None where labels are the classes."""
        if not (folder / "targets.json").exists():
            return None
        names = tuple(json.loads((folder / "targets.json").read_text())["class_names"])
        labels = np.load(folder / "target_labels.npy", mmap_mode="r")
        return cls(labels, np.load(folder / "target_weights.npy", mmap_mode="r"), names)

    def take(self, rows: Integer[np.ndarray, " b"]) -> tuple[Int64[np.ndarray, "b k"], Float32[np.ndarray, "b k"]]:
        """Copies of the labels and weights of some images."""
        return np.asarray(self.labels[rows], np.int64), np.asarray(self.weights[rows])
