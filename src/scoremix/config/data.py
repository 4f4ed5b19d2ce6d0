"""How images are read and how their classes are split."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field, field_validator

from scoremix.config.base import Fraction, Positive, Seed, Slice

if TYPE_CHECKING:
    from scoremix.data.reading import Wanted
    from scoremix.data.source import SourceHints


class Data(Slice):
    """How images are read and classes are split (never which folder: the content itself is hashed)."""

    size: Annotated[int, Field(ge=8, le=512)] = 32
    channels: Literal["auto", 1, 3] = "auto"
    classes: Positive | None = Field(None, description="use a seeded subset of this many classes")
    images_per_class: Positive | None = Field(None, description="use at most this many images of a class")
    fractions: tuple[Fraction, Fraction, Fraction] = Field((0.6, 0.1, 0.3), description="train, validation, test")
    skip_bad: bool = Field(False, description="leave unreadable files out instead of stopping")
    held_out: Annotated[float, Field(ge=0, lt=1)] = Field(
        0.0, description="share of each training class's images kept for closed-set accuracy"
    )
    class_level: Positive | None = Field(
        None, description="classes are the folders so many steps down, below train, val and test; by default found"
    )
    image_column: str | None = Field(None, description="column of a table with images or their paths; by default found")
    label_column: str | None = Field(None, description="column of a table with the classes; by default found")
    seed: Seed = 0

    @property
    def hints(self) -> SourceHints:
        """What the settings say of the layout of a set."""
        from scoremix.data.source import SourceHints

        return SourceHints(self.class_level, self.image_column, self.label_column)

    def wanted(self, split_list: str | None = None, groups: str | None = None) -> Wanted:
        """What of a set is read, with the lists that its experiment names."""
        from scoremix.data.reading import Wanted

        names = ("size", "classes", "images_per_class", "fractions", "skip_bad", "held_out", "seed", "hints")
        channels, listed = None if self.channels == "auto" else self.channels, Path(split_list) if split_list else None
        settings = {name: getattr(self, name) for name in names}
        return Wanted(**settings, channels=channels, split_list=listed, groups=groups)

    @field_validator("fractions")
    @classmethod
    def _sum_to_one(cls, value: tuple[float, float, float]) -> tuple[float, float, float]:
        if abs(sum(value) - 1) > 1e-6:
            raise ValueError(f"must sum to 1, got {sum(value):g}")
        return value
