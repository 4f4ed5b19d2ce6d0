"""Enrolled images as embeddings and names, and the classes of them that are most alike to a probe."""

import importlib.util
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from scoremix.data import limits
from scoremix.data.files import whole

UNKNOWN = "unknown"
NAME = 4096  # characters of a name or path, as systems have it
ARRAYS = ("embeddings", "labels", "names", "class_names", "model", "place")  # of a gallery's file
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
        """What `save` wrote; ValueError, one line, for anything else. It takes as much memory as the file has bytes."""
        try:
            with zipfile.ZipFile(file) as archive:
                for name in ARRAYS:
                    limits.refuse_unstored(archive, name, Path(file).stat().st_size)
            with np.load(file, allow_pickle=False) as content:
                gallery = cls(
                    content["embeddings"],
                    tuple(content["names"].tolist()),
                    content["labels"],
                    tuple(content["class_names"].tolist()),
                    str(content["model"]),
                    str(content["place"]),
                )
        except OSError as error:
            raise ValueError(f"gallery {file}: {error.strerror or 'not an .npz of `scoremix enroll`'}") from None
        except ValueError as error:
            raise ValueError(f"gallery {file}: {' '.join(str(error).split())}") from None
        except Exception:  # damaged archives raise almost anything
            raise ValueError(f"gallery {file}: not an .npz of `scoremix enroll`") from None
        if wrong := gallery.wrong():
            raise ValueError(f"gallery {file}: {wrong}")
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
        if not all(isinstance(name, str) for name in (*self.names, *self.class_names)):
            return "names must be text"
        if (longest := max(map(len, (*self.names, *self.class_names, self.place)))) > NAME:
            return f"a name of {longest:,} characters, the limit is {NAME:,}"
        if "\0" in self.place:
            return f"place {self.place!r}: no path has a null in it"
        if not np.allclose(np.linalg.norm(unit, axis=1), 1, atol=1e-3):
            return "embeddings must be of length 1"
        if UNKNOWN in self.class_names:
            return f"a class is named {UNKNOWN!r}, which is the word for strangers: name it otherwise"
        return ""


BLOCK_VALUES = 1 << 24  # similarities held at a time

Found = tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float32]]


def nearest(gallery: NDArray[np.float32], labels: NDArray[np.int64], probes: NDArray[np.float32], k: int) -> Found:
    """(classes, rows, similarities), each (p, k): the k classes whose best image is most alike to a probe, the best first.

    `labels` (n,) of the gallery (n, d) ascend; all rows are of unit length; k is at most the number of classes.
    """
    if importlib.util.find_spec("faiss") is not None:
        return by_faiss(gallery, labels, probes, k)
    return in_blocks(gallery, labels, probes, k)


def in_blocks(gallery: NDArray[np.float32], labels: NDArray[np.int64], probes: NDArray[np.float32], k: int) -> Found:
    """`nearest` by numpy; of equally similar ones the first."""
    classes, starts = np.unique(labels, return_index=True)
    ends = np.append(starts[1:], len(labels))
    step = max(1, BLOCK_VALUES // len(gallery))
    chosen = np.zeros((len(probes), k), np.int64)
    rows, values = np.zeros_like(chosen), np.zeros(chosen.shape, np.float32)
    for first in range(0, len(probes), step):
        similarity = probes[first : first + step] @ gallery.T
        best = np.maximum.reduceat(similarity, starts, axis=1)  # [probe, class]
        order = np.argsort(-best, axis=1, kind="stable")[:, :k]
        for i, places in enumerate(order):
            chosen[first + i] = classes[places]
            rows[first + i] = [starts[c] + similarity[i, starts[c] : ends[c]].argmax() for c in places]
            values[first + i] = best[i, places]
    return chosen, rows, values


def by_faiss(gallery: NDArray[np.float32], labels: NDArray[np.int64], probes: NDArray[np.float32], k: int) -> Found:
    """`nearest` by an exact index of inner products."""
    import faiss

    index = faiss.IndexFlatIP(gallery.shape[1])
    index.add(np.ascontiguousarray(gallery))
    most = int(np.unique(labels, return_counts=True)[1].max())
    deep = min(len(gallery), (k - 1) * most + 1)  # that many images are of at least k classes
    values, rows = index.search(np.ascontiguousarray(probes), deep)
    places = [np.sort(np.unique(labels[of], return_index=True)[1])[:k] for of in rows]  # the first image of each class
    at = np.stack(places)
    rows, values = np.take_along_axis(rows, at, 1), np.take_along_axis(values, at, 1)
    return labels[rows], rows, values
