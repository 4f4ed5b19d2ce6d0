"""Enrolled images as embeddings and names, and what is found among them."""

from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from scoremix.data.files import whole

UNKNOWN = "unknown"
Unit = NDArray[np.float32]
Source = str | Path


class Match(NamedTuple):
    """An enrolled class, its image that is most alike, and their similarity."""

    name: str
    similarity: float
    image: str


class Identified(NamedTuple):
    """A probe and the enrolled classes most alike, the best first; `name` is "unknown" below the threshold."""

    probe: str
    name: str
    matches: tuple[Match, ...]


@dataclass(frozen=True)
class Gallery:
    """Enrolled images: unit embeddings, ordered by class."""

    embeddings: Unit  # (n, d)
    names: tuple[str, ...]  # of the images, below `place`
    labels: NDArray[np.int64]  # (n,) ascending
    class_names: tuple[str, ...]
    model: str  # SHA-256 of the model's file
    place: str

    def __len__(self) -> int:
        return len(self.names)

    def save(self, file: Source) -> None:
        """Writes an .npz, whole or not at all."""
        file = Path(file)
        if file.suffix != ".npz":
            raise ValueError(f"{file}: must end in .npz")
        with whole(file) as partial, open(partial, "wb") as handle:
            np.savez(
                handle,
                embeddings=self.embeddings,
                labels=self.labels,
                names=np.array(self.names),
                class_names=np.array(self.class_names),
                model=np.array(self.model),
                place=np.array(self.place),
            )

    @classmethod
    def load(cls, file: Source) -> Self:
        """What `save` wrote; ValueError, one line, for anything else."""
        try:
            with np.load(file, allow_pickle=False) as found:
                gallery = cls(
                    found["embeddings"],
                    tuple(found["names"].tolist()),
                    found["labels"],
                    tuple(found["class_names"].tolist()),
                    str(found["model"]),
                    str(found["place"]),
                )
        except OSError as error:
            raise ValueError(f"gallery {file}: {error.strerror or 'not an .npz of `scoremix enroll`'}") from None
        except Exception:  # damaged archives raise almost anything
            raise ValueError(f"gallery {file}: not an .npz of `scoremix enroll`") from None
        if wrong := gallery.wrong():
            raise ValueError(f"gallery {file}: damaged, {wrong}")
        return gallery

    def wrong(self) -> str:
        """What does not fit together, nothing where all does."""
        n, unit, labels = len(self), self.embeddings, self.labels
        if unit.dtype != np.float32 or unit.ndim != 2 or not len(unit) == n > 0 or not np.isfinite(unit).all():
            return f"{n} names for embeddings {unit.dtype} {unit.shape}, must be as many and finite"
        if labels.dtype.kind != "i" or labels.shape != (n,) or (np.diff(labels) < 0).any():
            return f"labels {labels.dtype} {labels.shape} must be {n} that do not descend"
        if labels[0] < 0 or labels[-1] >= len(self.class_names):
            return f"labels {labels[0]} to {labels[-1]} for {len(self.class_names)} classes"
        return ""
