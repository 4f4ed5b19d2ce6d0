"""What the page of the quality of images is about (Appendix D.6)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from scoremix.report.charts import Image

Rows = Mapping[str, Mapping[str, float]]


class Pair(NamedTuple):
    """A generated image and the training image nearest to it."""

    image: int
    name: str
    pixels: Image
    train: int
    train_name: str
    train_pixels: Image
    cosine: float


@dataclass(frozen=True)
class Quality:
    """What the page is about: numbers by set of images, notes, and each set's images most similar to real ones."""

    sets: Rows
    notes: Sequence[str]
    pairs: Mapping[str, Sequence[Pair]]
