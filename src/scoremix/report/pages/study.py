"""The page of a study, and the same tables as CSV, JSON and terminal text."""

from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

from scoremix.report import numbers, page
from scoremix.report.numbers import DASH, Row
from scoremix.report.page import Section
from scoremix.report.sections.about import AboutStudySection
from scoremix.report.sections.study_tables import BesidePaperSection, StudyTablesSection
from scoremix.report.study import Study, Table

SECTIONS: tuple[type[Section], ...] = (AboutStudySection, StudyTablesSection, BesidePaperSection)
COLUMNS = ("data", "arm", "control", "metric", "value", "low", "high", "spread", "p", "holm", "generators", "runs")


def render(study: Study) -> str:
    """The page, as HTML."""
    return page.render(f"Study {study.name}", page.load(SECTIONS, study), study, "wide")


def text(study: Study) -> str:
    """For a terminal: per data set its sentence, the headline of every arm, and its differences."""
    lines = []
    for table in study.tables:
        metric = table.metric(table.headline)
        lines += ["", f"{table.data} ({table.classes} classes): {table.sentence()}", ""]
        rows = [["arm", f"{metric.label} %", *(f"minus {control}" for control in table.controls)]]
        for row in table.rows:
            cells = [row.differences.get((control, table.headline)) for control in table.controls]
            mean = row.metrics.get(table.headline)
            differences = [numbers.difference(cell.estimate, metric) if cell else DASH for cell in cells]
            rows.append([row.arm, f"{100 * mean.value:.1f}" if mean else DASH, *differences])
        lines.append(numbers.terminal(rows, indent=2))
        for arm, other, by_metric in table.pairs:
            if table.headline in by_metric:
                lines.append(f"  {arm} minus {other}: {numbers.difference(by_metric[table.headline].estimate, metric)}")
    if study.missing:
        lines += ["", *(f"not run in {run}: {', '.join(arms)}" for run, arms in study.not_run().items())]
    return "\n".join(lines)


def to_csv(study: Study) -> str:
    """One line per data set, arm and metric, and per difference."""
    return numbers.table_csv(COLUMNS, (row for table in study.tables for row in _rows(table)))


def _rows(table: Table) -> Iterator[Row]:
    def row_of(cell: Any, **keys: Any) -> Row:
        tree = {key: getattr(cell, key) for key in ("value", "low", "high", "spread")}
        return {"data": table.data, **tree, "runs": " ".join(map(repr, cell.runs)), **keys}

    for row in table.rows:
        base = {"arm": row.arm, "generators": " ".join(map(str, row.generator_seeds))}
        for key, cell in row.metrics.items():
            yield row_of(cell, metric=key, **base)
        for (control, key), cell in row.differences.items():
            holm = row.adjusted.get(control, "") if key == table.headline else ""
            yield row_of(cell, control=control, metric=key, p=cell.p, holm=holm, **base)
    for arm, other, differences in table.pairs:
        for key, cell in differences.items():
            yield row_of(cell, arm=arm, control=other, metric=key, p=cell.p)


def to_json(study: Study, settings: dict[str, Any]) -> str:
    """Everything, with the study's settings."""
    tables = []
    for table in study.tables:
        tree = asdict(table)
        for row, of in zip(tree["rows"], table.rows, strict=True):
            row["differences"] = [
                {"control": control, "metric": key, **asdict(cell)} for (control, key), cell in of.differences.items()
            ]
        tables.append({**tree, "sentence": table.sentence(), "passed": table.passed})
    return numbers.json_text({"name": study.name, "study": settings, "tables": tables, "missing": study.missing})
