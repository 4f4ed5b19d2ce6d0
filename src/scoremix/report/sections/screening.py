"""What of the drawn images was kept: coherent sampling, and the leak gate."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import field
from typing import Any, Self

from scoremix.outputs.mplets import LeakSummary, ScreeningSummary
from scoremix.report.charts import Image
from scoremix.report.numbers import Row
from scoremix.report.page import Section
from scoremix.report.results import ReportedRun

SHOWN = 4  # m-plets whose rejected images are on the page
Examples = Sequence[tuple[Sequence[Image], Sequence[Image]]]  # per m-plet: images kept, rejected
NUMBERS = ("drawn", "kept", "coherence_before", "coherence_after")


class ScreeningSection(Section):
    title = "Coherent sampling"
    screened: Mapping[str, ScreeningSummary] = field(default_factory=dict)  # by arm
    examples: Mapping[str, Examples] = field(default_factory=dict)

    @classmethod
    def load(cls, run: ReportedRun) -> Self:
        screened = {arm: of for arm, of in run.added.items() if (of / ScreeningSummary.FILE).exists()}
        pictures = {arm: of.arrays("rejected.npz") for arm, of in screened.items()}
        examples = {arm: list(zip(of["kept"], of["rejected"], strict=True))[:SHOWN] for arm, of in pictures.items()}
        return cls({arm: ScreeningSummary.load(of) for arm, of in screened.items()}, examples)

    def json(self) -> dict[str, Any]:
        numbers = {arm: {key: getattr(of, key) for key in (*NUMBERS, "by")} for arm, of in self.screened.items()}
        return {"screened": [{"arm": arm, **of} for arm, of in numbers.items()]}

    def rows(self, shared: Any) -> Iterator[Row]:
        for arm, of in self.screened.items():
            for key in NUMBERS:
                yield {"table": "screened", "arm": arm, "metric": key, "value": getattr(of, key)}


LEAKED = ("images", "dropped", "mplets_dropped", "threshold")
UNSEEN = {"validation": "of the validation classes", "held_out": "of the training classes that were set apart"}


class LeaksSection(Section):
    title = "Images too near to real ones"
    name = "leaks"
    found: Mapping[str, LeakSummary] = field(default_factory=dict)  # by arm

    @classmethod
    def load(cls, run: ReportedRun) -> Self:
        return cls({arm: LeakSummary.load(a) for arm, a in run.added.items() if (a / LeakSummary.FILE).exists()})

    def shown(self, shared: Any) -> bool:
        return bool(self.found)

    def rows(self, shared: Any) -> Iterator[Row]:
        for arm, leaks in self.found.items():
            for key in LEAKED:
                yield {"table": "leaks", "arm": arm, "metric": key, "value": getattr(leaks, key)}
