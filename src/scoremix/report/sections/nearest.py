"""The generated images most similar to a training image, each beside it (Appendix D.6)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from scoremix.report.charts import Image
from scoremix.report.page import Section

if TYPE_CHECKING:
    from scoremix.report.sections.measures import Quality


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
class Nearest(Section):
    title = "Nearest training images"
    bare = True
    pairs: Mapping[str, Sequence[Pair]]

    @classmethod
    def load(cls, source: Quality) -> Nearest:
        return cls(source.pairs)
