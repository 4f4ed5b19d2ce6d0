"""The candidates: how one of them was chosen, on validation classes alone."""

from collections.abc import Iterator, Mapping
from typing import Any, Self

from scoremix.evaluation.estimate import Estimate
from scoremix.outputs.choice import Choosing
from scoremix.report import words
from scoremix.report.numbers import Row, estimate_rows
from scoremix.report.page import Section
from scoremix.report.results import ReportedRun, Results


class CandidatesSection(Section):
    title = "How the recipe was chosen"
    choosing: Choosing | None = None
    generated: bool = False  # whether a generator made images of some of them

    @classmethod
    def load(cls, run: ReportedRun) -> Self:
        return cls(Choosing.load(run.chain["choice"]), "generator" in run.chain) if "choice" in run.chain else cls()

    @property
    def where(self) -> str:
        """The classes that chose."""
        return words.where(self.choosing) if self.choosing else ""

    @property
    def too_few(self) -> str:
        """That no other candidate than a control could be chosen, where the classes were too few; else nothing."""
        return words.too_few(self.choosing.classes) if self.choosing and self.choosing.too_few else ""

    @property
    def plain(self) -> Mapping[str, str]:
        """What the candidates train on, in words, where they have some."""
        return words.PLAIN

    @property
    def leads(self) -> list[tuple[str, list[Estimate]]]:
        """Every candidate's lead over the better of the controls, the largest first."""
        leads = self.choosing.choice.leads if self.choosing else {}
        return [(name, [e]) for name, e in sorted(leads.items(), key=lambda item: -item[1].value)]

    def rows(self, shared: Results) -> Iterator[Row]:
        if (of := self.choosing) is None:
            return
        names, key = shared.evaluation.recognizer_seeds, of.metric.key
        for arm, e in of.choice.means.items():
            yield from estimate_rows(e, names, table="candidates", arm=arm, metric=key)
        for arm, e in of.choice.leads.items():
            yield from estimate_rows(e, names, table="candidates", arm=arm, control=of.choice.safe, metric=key)

    def json(self) -> dict[str, Any]:
        if (of := self.choosing) is None:
            return {"choice": None}
        return {
            "choice": {
                **of.choice.as_json(),
                "metric": of.metric.key,
                "classes": of.classes,
                "images": of.images,
                "folds": of.folds,
            }
        }
