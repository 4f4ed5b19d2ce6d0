"""The page of the geometry: its sections, and the same numbers as CSV, JSON and terminal text."""

from collections.abc import Sequence

from scoremix.report import numbers, page
from scoremix.report.geometry import Geometry
from scoremix.report.page import Part, Section
from scoremix.report.sections.about import FoundSection, OriginSection
from scoremix.report.sections.alignment import AlignmentSection, OverTrainingSection, RecognizersSection
from scoremix.report.sections.order import OrderSection, TransferSection
from scoremix.report.sections.paths import PathsSection
from scoremix.report.sections.spaces import SpacesSection

SECTIONS: tuple[type[Section], ...] = (
    FoundSection,
    AlignmentSection,
    OverTrainingSection,
    RecognizersSection,
    OrderSection,
    TransferSection,
    SpacesSection,
    PathsSection,
    OriginSection,
)
COLUMNS = ("section", "x", "y", "name", "value", "low", "high", "chance", "p_value", "note")


def render(geometry: Geometry, parts: Sequence[Part]) -> str:
    """The page, as HTML."""
    return page.render(geometry.title, parts, geometry)


def findings(geometry: Geometry, parts: Sequence[Part]) -> list[str]:
    """What was found, one sentence each, chance level beside every number."""
    return [line for part in page.loaded(parts) for line in part.findings(geometry)]


def to_csv(geometry: Geometry, parts: Sequence[Part]) -> str:
    """Every number in long form."""
    return numbers.table_csv(COLUMNS, (row for part in page.loaded(parts) for row in part.rows(geometry)))


def to_json(geometry: Geometry, parts: Sequence[Part]) -> str:
    """The same as nested JSON, arrays that are only drawn left out."""
    shared = {key: getattr(geometry, key) for key in ("title", "run", "classes", "spaces", "evaluations")}
    return numbers.json_text({**shared, "findings": findings(geometry, parts), **page.json_of(parts)})


def text_summary(geometry: Geometry, parts: Sequence[Part]) -> str:
    """For a terminal: the title and what was found."""
    return "\n".join([geometry.title, *(f"  {line}" for line in findings(geometry, parts))]) + "\n"
