"""Recognition of the training classes: held-out images named among those classes."""

from collections.abc import Iterator
from typing import Any, Self

from scoremix.outputs.comparison import ClosedSet
from scoremix.report.numbers import Row, estimate_rows
from scoremix.report.page import Section
from scoremix.report.results import ReportedRun, Results


class ClosedSection(Section):
    title = "Recognition of the training classes"
    closed: ClosedSet | None = None

    @classmethod
    def load(cls, run: ReportedRun) -> Self:
        return cls(run.results.closed)

    def json(self) -> dict[str, Any]:
        return {"closed": {**vars(self.closed), "files": self.closed.files} if self.closed else None}

    def rows(self, shared: Results) -> Iterator[Row]:
        names, table = shared.evaluation.recognizer_seeds, "held-out images by group"
        for group in self.closed.groups if self.closed else ():
            for arm, e in group.arms.items():
                yield from estimate_rows(e, names, table=table, arm=arm, control=group.name, metric="accuracy")
