"""The page of the quality of images, and the same table as CSV and terminal text."""

from collections.abc import Sequence

from scoremix.report import numbers, page
from scoremix.report.page import Section
from scoremix.report.sections.measures import (
    MeasuresSection,
    NearestSection,
    QualityResults,
    Rows,
    cell,
    measures,
    sizes,
)

SECTIONS: tuple[type[Section], ...] = (MeasuresSection, NearestSection)


def render(quality: QualityResults) -> str:
    """The page, as HTML."""
    return page.render(MeasuresSection.title, page.load(SECTIONS, quality), quality, "narrow")


def to_csv(sets: Rows) -> str:
    """A line per set, a column per number; empty where not measured."""
    keys = dict.fromkeys(key for values in sets.values() for key in values)
    return numbers.table_csv(["set", *keys], ({"set": name, **values} for name, values in sets.items()))


def text(sets: Rows, notes: Sequence[str]) -> str:
    """The table for a terminal, a line per measure and a column per set."""
    return "\n".join([table(sets), "", sizes(sets), *notes]) + "\n"


def table(sets: Rows) -> str:
    """The numbers alone."""
    lines = [[f"{m.label} {m.better}".strip(), *(cell(values, m) for values in sets.values())] for m in measures(sets)]
    return numbers.terminal([["", *sets], *lines], right=True)
