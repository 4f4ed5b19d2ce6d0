"""A page is a list of sections: one HTML file that opens from disk, with no network, no scripts, everything inside."""

import dataclasses
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any, ClassVar, Literal, Self, TypeVar, dataclass_transform

import jinja2
import yaml
from markupsafe import Markup

from scoremix.evaluation import metric_table
from scoremix.evaluation.estimate import Estimate
from scoremix.evaluation.metric_table import Metric
from scoremix.execution.artifacts import Artifact
from scoremix.report import charts, numbers
from scoremix.report.charts import Style
from scoremix.report.numbers import Row

HERE = Path(__file__)
Layout = Literal["contents", "wide", "narrow"]


@dataclass_transform(frozen_default=True)
class Section:
    """A part of a page: a child of this, which is a frozen dataclass with what it loads, and an .html file beside it.

    The template finds the section as `s`, what all sections of the page share as `r`, the functions of its module as
    `draw`, those of charts under `charts`, numbers as text under `t`, and the page's sections by name under `sections`.
    """

    name: ClassVar[str]  # of its template and of its element; by default the module's
    title: ClassVar[str]  # in the table of contents, and as heading unless the template is `bare`
    bare: ClassVar[bool] = False  # whether the template writes its elements and headings itself

    def __init_subclass__(cls) -> None:
        cls.name = cls.__dict__.get("name") or cls.__module__.rpartition(".")[2]
        dataclasses.dataclass(frozen=True)(cls)

    @classmethod
    def load(cls, source: Any) -> Self:
        """From what the page is about, by default its parts of the fields' names; an error leaves the section out."""
        names = [field.name for field in dataclasses.fields(cls)]  # type: ignore[arg-type]
        return cls(**{name: getattr(source, name) for name in names if hasattr(source, name)})

    def shown(self, shared: Any) -> bool:
        """Whether there is anything to show."""
        fields = dataclasses.fields(self)  # type: ignore[arg-type]
        return not fields or any(bool(getattr(self, field.name)) for field in fields)

    def rows(self, shared: Any) -> Iterator[Row]:
        """Its rows of the page's CSV file."""
        yield from ()

    def findings(self, shared: Any) -> Iterator[str]:
        """What it found, one sentence each."""
        yield from ()

    def json(self) -> dict[str, Any]:
        """Its entries of the page's JSON file: its fields."""
        return {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}  # type: ignore[arg-type]


@dataclasses.dataclass(frozen=True)
class Manifest:
    """Where an artifact behind a page lies."""

    stage: str
    key: str
    path: str = ""

    @classmethod
    def of(cls, artifact: Artifact) -> Self:
        return cls(artifact.stage, artifact.key, f"store/{artifact.stage}/{artifact.key[:12]}")


@dataclasses.dataclass(frozen=True)
class LeftOut:
    """A section that could not be loaded, and the error that says why."""

    section: type[Section]
    error: Exception


Part = Section | LeftOut
S = TypeVar("S", bound=Section)


def load(sections: Sequence[type[Section]], source: Any) -> list[Part]:
    """Every section of a page, in order; those whose input is missing or damaged are left out."""
    parts: list[Part] = []
    for section in sections:
        try:
            parts.append(section.load(source))
        except Exception as error:
            parts.append(LeftOut(section, error))
    return parts


def part(sections: Sequence[Section], kind: type[S]) -> S | None:
    """The section of that kind, if it is there."""
    return next((section for section in sections if isinstance(section, kind)), None)


def loaded(parts: Sequence[Part]) -> list[Section]:
    """The sections that could be loaded."""
    return [part for part in parts if isinstance(part, Section)]


def json_of(parts: Sequence[Part]) -> dict[str, Any]:
    """The entries of all sections; null for those that are left out."""
    tree: dict[str, Any] = {}
    for part in parts:
        if isinstance(part, LeftOut):
            for field in dataclasses.fields(part.section):  # type: ignore[arg-type]
                tree.setdefault(field.name, None)
        else:
            tree |= part.json()
    return tree


def render(title: str, parts: Sequence[Part], shared: Any, layout: Layout = "contents") -> str:
    """The whole page, with a table of contents beside it, or wide or narrow without. Same content, same text."""
    shown = [part for part in parts if isinstance(part, LeftOut) or part.shown(shared)]
    sections = {part.name: part for part in loaded(shown)}
    drawn = [_drawn(part, shared, sections) for part in shown]
    page = environment().from_string(HERE.with_suffix(".html").read_text())
    css = Markup(HERE.with_suffix(".css").read_text())
    return page.render(title=title, css=css, palette=charts.PALETTE, drawn=drawn, layout=layout)


def _drawn(part: Part, shared: Any, sections: Mapping[str, Section]) -> dict[str, Any]:
    """A section's name, title and text; one that cannot be drawn is left out as well."""
    section = part.section if isinstance(part, LeftOut) else type(part)
    element = {"name": section.name, "title": section.title, "bare": section.bare}
    try:
        if isinstance(part, LeftOut):
            raise part.error
        module = sys.modules[section.__module__]
        template = environment().from_string(Path(str(module.__file__)).with_name(f"{section.name}.html").read_text())
        return {**element, "text": Markup(template.render(s=part, r=shared, draw=module, sections=sections))}
    except Exception as error:
        return {**element, "bare": False, "text": charts.left_out(error)}


@cache
def environment() -> jinja2.Environment:
    """What templates know: numbers as text, charts, metrics."""
    templates = jinja2.Environment(
        autoescape=True, trim_blocks=True, lstrip_blocks=True, undefined=jinja2.StrictUndefined
    )
    templates.globals.update(
        t=numbers,
        metric_table=metric_table,
        charts=charts,
        picture=charts.picture,
        yaml=_yaml,
        key=_key,
        legend=_legend,
        marks=_marks,
        estimate=_estimate,
        tabular=_table,
        labels=_labels,
    )
    return templates


# ---- what templates call


def _yaml(value: Any) -> str:
    return yaml.safe_dump(numbers.plain(value), sort_keys=False, allow_unicode=True)


def _key(style: Style) -> Markup:
    """A short piece of an arm's line."""
    dash = Markup(' stroke-dasharray="{}"').format(style.dash) if style.dash else ""
    return Markup(
        '<svg class="key" viewBox="0 0 26 12" aria-hidden="true"><line x1="0" y1="6" x2="26" y2="6" '
        'stroke="var(--{})" stroke-width="2.2"{}/></svg>'
    ).format(style.colour, dash)


def _legend(styles: Mapping[str, Style]) -> Markup:
    items = (Markup("<li>{} {}</li>\n").format(_key(style), name) for name, style in styles.items())
    return Markup('<ul class="legend">\n{}</ul>').format(Markup("").join(items))


def _table(kind: str, texts: Sequence[str], numbers: Sequence[str] = (), *, caller: Callable[[], Markup]) -> Markup:
    """A table that scrolls: its columns of text and those of numbers, over the rows that are called; classes in `kind`."""
    cells = [(Markup(""), name) for name in texts] + [(Markup(' class="n"'), name) for name in numbers]
    head = Markup("").join(Markup('<th scope="col"{}>{}</th>').format(*cell) for cell in cells)
    classes = Markup(' class="{}"').format(kind) if kind else ""
    return Markup(
        '<div class="scroll"><table{}>\n<thead><tr>{}</tr></thead>\n<tbody>\n{}</tbody>\n</table></div>\n'
    ).format(classes, head, caller())


def _labels(metrics: Iterable[Metric]) -> list[str]:
    """Heads of the columns of some metrics."""
    return [metric.label + (" ↓" if not metric.higher_is_better else "") for metric in metrics]


def _marks(controls: Sequence[str]) -> str:
    """Which mark of a chart of differences means which control."""
    signs = "●○□◇△▽"
    return ", ".join(f"{signs[min(i, 5)]} against {control}" for i, control in enumerate(controls))


def _estimate(e: Estimate, metric: Metric, signed: bool = False, places: int | None = None) -> Markup:
    """The content of a cell: mean, interval and seeds, or why there is none; with the decimals of its column."""
    if e.missing:
        return Markup('<span class="mean">–</span><span class="why">{}</span>').format(e.reason or "not measured")
    way = numbers.direction(e, metric) if signed else ""
    mean = numbers.mean(e, metric, signed, places)
    interval = numbers.interval(e, metric, signed, places) or "no interval"
    cell = Markup('<span class="mean {}">{}</span>\n<span class="range">{}</span>\n').format(way, mean, interval)
    seeds = " ".join(numbers.seeds(e, metric, signed, places)) if len(e.seeds) > 1 else ""
    return cell + (Markup('<span class="seeds">{}</span>').format(seeds) if seeds else "")
