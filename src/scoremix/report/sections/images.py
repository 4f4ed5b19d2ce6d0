"""The mixed images: beside their sources (Fig. 3), one noise under all weights (Fig. 2), the way from noise (Fig. 1)."""

from dataclasses import dataclass
from typing import Self

from scoremix.outputs.mplets import MPletsSummary
from scoremix.outputs.networks import GeneratorSummary
from scoremix.report.charts import Image
from scoremix.report.page import Section
from scoremix.report.results import ReportedRun


@dataclass(frozen=True)
class SheetRow:
    """An m-plet in pictures: an original and a reproduction per source, and images of the mixed class."""

    classes: tuple[str, ...]
    originals: tuple[Image, ...]
    reproductions: tuple[Image, ...]
    mixes: tuple[Image, ...]  # the first stands in the main sheet, all of them in the second
    distance: float | None = None

    def __post_init__(self) -> None:
        counts = (len(self.classes), len(self.originals), len(self.reproductions))
        if len(set(counts)) > 1 or not self.mixes:
            raise ValueError(
                f"sheet: classes, originals, reproductions must be equally many and mixes not empty, got "
                f"{', '.join(map(str, counts))} and {len(self.mixes)} mixes"
            )

    @property
    def cells(self) -> list[tuple[str, Image, str]]:
        """(kind, image, of what): A, reproduction, mix, reproduction, B; for other m the mix comes last."""
        pairs = [
            (("original", original, name), ("reproduction", reproduction, name))
            for name, original, reproduction in zip(self.classes, self.originals, self.reproductions, strict=True)
        ]
        mix = ("mix", self.mixes[0], " × ".join(self.classes))
        if len(pairs) == 2:
            return [*pairs[0], mix, *reversed(pairs[1])]
        return [*(cell for pair in pairs for cell in pair), mix]


@dataclass(frozen=True)
class Grid:
    """One noise, all weights: images[i][j] has alphas[i] on the first class and betas[j] on the second."""

    classes: tuple[str, str]
    alphas: tuple[float, ...]
    betas: tuple[float, ...]
    images: tuple[tuple[Image, ...], ...]

    def __post_init__(self) -> None:
        if len(self.images) != len(self.alphas) or any(len(row) != len(self.betas) for row in self.images):
            raise ValueError(f"grid: images must be {len(self.alphas)} rows of {len(self.betas)}")


@dataclass(frozen=True)
class PicturedPath:
    """From one noise to a mix and to each of its classes: estimates of the image at noise levels that fall to 0."""

    classes: tuple[str, ...]
    sigmas: tuple[float, ...]
    images: tuple[tuple[Image, ...], ...]  # of the mix, then of each class alone

    @property
    def named(self) -> list[tuple[str, tuple[Image, ...]]]:
        """The mix stands between the two classes of a pair, else first (Fig. 1)."""
        rows = list(zip((" × ".join(self.classes), *self.classes), self.images, strict=True))
        return [rows[1], rows[0], rows[2]] if len(self.classes) == 2 else rows


class ImagesSection(Section):
    title = "The mixed images"
    sheet: tuple[SheetRow, ...] = ()
    grid: Grid | None = None
    left_out: tuple[str, ...] = ()  # pictures that could not be made, and why
    way: PicturedPath | None = None

    @classmethod
    def load(cls, run: ReportedRun) -> Self:
        if "pictures" not in run.chain:
            return cls()
        names = GeneratorSummary.load(run.chain["generator"]).classes
        distances = MPletsSummary.load(run.chain["mplets"]).values
        sheet, grid = (run.chain["pictures"].arrays(f"{name}.npz") for name in ("sheet", "grid"))
        rows = tuple(
            SheetRow(
                tuple(names[c] for c in sheet["classes"][i]),
                tuple(sheet["originals"][i]),
                tuple(sheet["reproductions"][i]),
                tuple(sheet["mixes"][i]),
                distances[row],
            )
            for i, row in enumerate(sheet["rows"])
        )
        path = run.chain["pictures"].arrays("path.npz")
        left_out = tuple(line for file in (sheet, grid, path) for line in file["left_out"].tolist())
        of = tuple(names[c] for c in path["classes"])
        way = (
            PicturedPath(of, tuple(path["sigmas"]), tuple(map(tuple, path["images"]))) if len(path["sigmas"]) else None
        )
        if len(grid["classes"]) != 2:
            return cls(rows, None, left_out, way)
        (a, b), ticks = grid["classes"], tuple(grid["ticks"])
        return cls(rows, Grid((names[a], names[b]), ticks, ticks, tuple(map(tuple, grid["images"]))), left_out, way)
