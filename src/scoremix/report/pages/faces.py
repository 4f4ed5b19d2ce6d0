"""The page of public face benchmarks over seeds and arms, and the same as CSV, JSON and terminal text."""

from collections.abc import Sequence

from scoremix.report import numbers, page
from scoremix.report.sections.face_tables import FaceTable, FaceTablesSection, as_json, as_rows

CSV = ("protocol", "arm", "against", "column", "value", "spread", "low", "high")


def render(tables: Sequence[FaceTable]) -> str:
    """The page, as HTML."""
    return page.render(FaceTablesSection.title, page.load((FaceTablesSection,), tuple(tables)), None, "wide")


def to_csv(tables: Sequence[FaceTable]) -> str:
    """The tables, a number a row."""
    return numbers.table_csv(CSV, as_rows(tables))


def to_json(tables: Sequence[FaceTable]) -> str:
    """The tables as JSON."""
    return numbers.json_text({"tables": as_json(tables)})


def text(tables: Sequence[FaceTable]) -> str:
    """A table per protocol for a terminal: an arm or a difference a line, a column each."""
    said = []
    for table in tables:
        lines = [[f"protocol {table.protocol}" if table.protocol else "", *table.columns]]
        for arm, of in table.arms.items():
            cells = [numbers.mean(of[c], table.metric(c)) if c in of else "–" for c in table.columns]
            lines.append([f"{arm}, {numbers.noun(len(table.seeds), 'seed')}", *cells])
        for arm, others in table.differences.items():
            for other, of in others.items():
                named = [(of[c], table.metric(c)) if c in of else None for c in table.columns]
                cells = [f"{numbers.mean(*e, True)} ({numbers.interval(*e, True)})" if e else "–" for e in named]
                lines.append([f"{arm} minus {other}", *cells])
        said.append(numbers.terminal(lines, right=True))
    return "\n\n".join(said) + "\n"
