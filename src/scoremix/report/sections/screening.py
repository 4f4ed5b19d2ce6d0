"""What of the drawn images was kept: coherent sampling, and the leak gate."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Self

from scoremix.outputs.mplets import LeakSummary, ScreeningSummary
from scoremix.report.charts import Image
from scoremix.report.numbers import Row
from scoremix.report.page import Section
from scoremix.report.results import Run

SHOWN = 4  # m-plets whose rejected images are on the page
NUMBERS = ("drawn", "kept", "coherence_before", "coherence_after")


@dataclass(frozen=True)
class Screened:
    """Coherent sampling of one arm: what was drawn, kept, and what that did; images kept (k, ...) and rejected."""

    arm: str
    drawn: int
    kept: int
    coherence_before: float
    coherence_after: float
    by: str = "coherence"
    examples: tuple[tuple[tuple[Image, ...], tuple[Image, ...]], ...] = ()  # per m-plet: kept, rejected


class Screening(Section):
    title = "Coherent sampling"
    screened: tuple[Screened, ...] = ()

    @classmethod
    def load(cls, run: Run) -> Self:
        found = []
        for arm, artifact in run.added.items():
            if (artifact / ScreeningSummary.FILE).exists():
                info, images = ScreeningSummary.load(artifact), artifact.arrays("rejected.npz")
                pairs = zip(images["kept"][:SHOWN], images["rejected"][:SHOWN], strict=True)
                examples = tuple((tuple(kept), tuple(rejected)) for kept, rejected in pairs)
                found.append(Screened(arm, **{k: getattr(info, k) for k in ("by", *NUMBERS)}, examples=examples))
        return cls(tuple(found))

    def rows(self, shared: Any) -> Iterator[Row]:
        for screened in self.screened:
            for key in NUMBERS:
                yield {"table": "screened", "arm": screened.arm, "metric": key, "value": getattr(screened, key)}


LEAKED = ("images", "dropped", "mplets_dropped", "threshold")
UNSEEN = {"validation": "of the validation classes", "held_out": "of the training classes that were set apart"}


class Leaks(Section):
    title = "Images too near to real ones"
    name = "leaks"
    found: Mapping[str, LeakSummary] = field(default_factory=dict)  # by arm

    @classmethod
    def load(cls, run: Run) -> Self:
        return cls({arm: LeakSummary.load(a) for arm, a in run.added.items() if (a / LeakSummary.FILE).exists()})

    def shown(self, shared: Any) -> bool:
        return bool(self.found)

    def rows(self, shared: Any) -> Iterator[Row]:
        for arm, leaks in self.found.items():
            for key in LEAKED:
                yield {"table": "leaks", "arm": arm, "metric": key, "value": getattr(leaks, key)}
