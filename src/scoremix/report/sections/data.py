"""Data: how the classes were split, and which files were left out."""

from dataclasses import dataclass
from typing import Self

from scoremix.outputs.images import ImagesSummary
from scoremix.report.numbers import Row
from scoremix.report.page import Section
from scoremix.report.results import ReportedRun


@dataclass(frozen=True)
class ImageSetSplits:
    """Disjoint sets of classes (name, classes, images, single_image_classes) and files left out (path, reason)."""

    name: str
    splits: tuple[Row, ...]
    image_shape: tuple[int, int, int]  # height, width, channels
    skipped: tuple[Row, ...] = ()
    note: str = ""


class DataSection(Section):
    title = "Data"
    data: ImageSetSplits

    @classmethod
    def load(cls, run: ReportedRun) -> Self:
        info = ImagesSummary.load(run.chain["real"])
        splits = tuple(split.as_json() for split in info.splits)
        skipped = tuple({"path": path, "reason": reason} for path, reason in info.skipped)
        height, width, channels = info.image_shape
        return cls(ImageSetSplits(run.config.source, splits, (height, width, channels), skipped, info.note))
