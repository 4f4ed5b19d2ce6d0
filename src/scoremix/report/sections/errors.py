"""Which pairs are judged wrongly: histograms of similarities, each arm's worst errors, what the judged arm mended."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Self

import numpy as np
from matplotlib.axes import Axes

from scoremix.evaluation.errors import EDGES
from scoremix.outputs.errors import ErrorsSummary, WrongPair
from scoremix.report.charts import Image, Style, figure, light, new_axes, slug
from scoremix.report.numbers import Row
from scoremix.report.page import Section
from scoremix.report.results import Run

COUNTS = ("rejects_mended", "rejects_broken", "accepts_mended", "accepts_broken")


@dataclass(frozen=True)
class Pair:
    """Two images of unseen classes, and their similarity to an arm."""

    images: tuple[Image, Image]
    classes: tuple[str, str]
    similarity: float

    @property
    def words(self) -> str:
        first, second = self.classes
        return first if first == second else f"{first} and {second}"


@dataclass(frozen=True)
class ArmErrors:
    """What the first seed of an arm gets wrong at the threshold; pairs between `EDGES` of similarity."""

    threshold: float
    accepted: int  # impostor pairs
    refused: int  # genuine pairs
    genuine: tuple[int, ...]
    impostor: tuple[int, ...]
    false_accepts: tuple[Pair, ...]
    false_rejects: tuple[Pair, ...]


@dataclass(frozen=True)
class Mended:
    """What a control gets wrong and the judged arm does not, and the reverse, by numbers; the plainest of the first."""

    rejects_mended: int
    rejects_broken: int
    accepts_mended: int
    accepts_broken: int
    genuine: tuple[Pair, ...] = ()
    impostor: tuple[Pair, ...] = ()


class Errors(Section):
    title = "Pairs that are judged wrongly"
    far: float = 0.0
    error_arms: Mapping[str, ArmErrors] = field(default_factory=dict)
    mended: Mapping[str, Mended] = field(default_factory=dict)  # by control

    @classmethod
    def load(cls, run: Run) -> Self:
        if (artifact := run.chain.get("errors")) is None:
            return cls()  # of an older scoremix
        told, images = ErrorsSummary.load(artifact), np.load(artifact / "images.npy")
        at = told.fars.index(told.far)

        def pairs(rows: Sequence[WrongPair]) -> tuple[Pair, ...]:
            return tuple(Pair((images[a], images[b]), of.classes, of.similarity) for of in rows for a, b in [of.images])

        arms = {
            name: ArmErrors(
                arm.thresholds[at],
                arm.accepted,
                arm.refused,
                tuple(arm.genuine),
                tuple(arm.impostor),
                pairs(arm.false_accepts),
                pairs(arm.false_rejects),
            )
            for name, arm in told.arms.items()
        }
        mended = {
            control: Mended(**{**vars(found), "genuine": pairs(found.genuine), "impostor": pairs(found.impostor)})
            for control, found in told.mended.items()
        }
        return cls(told.far, arms, mended)

    def shown(self, shared: Any) -> bool:
        return bool(self.error_arms)

    def rows(self, shared: Any) -> Iterator[Row]:
        for name, arm in self.error_arms.items():
            for key in ("threshold", "accepted", "refused"):
                yield {"table": "errors", "arm": name, "metric": key, "value": getattr(arm, key)}
        for control, found in self.mended.items():
            for key in COUNTS:
                yield {"table": "mended", "control": control, "metric": key, "value": getattr(found, key)}


@figure
def similarities(name: str, arm: ArmErrors, style: Style, span: tuple[float, float]) -> tuple[Axes, str, str]:
    """Shares of genuine and impostor pairs over similarity, and the threshold."""
    axes = new_axes(170, left=48, x=f"cosine similarity, {name}", y="share of pairs (%)")
    for counts, colour, label in ((arm.impostor, "control-2", "impostor"), (arm.genuine, style.colour, "genuine")):
        shares = 100 * np.array(counts) / max(1, sum(counts))
        axes.stairs(shares, EDGES, fill=True, color=light(colour), alpha=0.25)
        axes.stairs(shares, EDGES, color=light(colour), linewidth=1.6, label=label)
    axes.axvline(arm.threshold, color=light("ink"), linewidth=1.0, linestyle=(0, (3, 2)))
    axes.set_xlim(*span)
    return axes, f"pairs-{slug(name)}", f"Similarities of genuine and impostor pairs to {name}, and its threshold."


def span_of(arms: Mapping[str, ArmErrors]) -> tuple[float, float]:
    """The similarities that any arm gives, the same axis for all."""
    counts = np.sum([np.add(arm.genuine, arm.impostor) for arm in arms.values()], axis=0)
    filled = np.flatnonzero(counts)
    return float(EDGES[filled[0]]), float(EDGES[filled[-1] + 1])
