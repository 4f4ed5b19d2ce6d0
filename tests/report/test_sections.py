"""A section is two files; what cannot be loaded or drawn is left out, and the page says why."""

from __future__ import annotations

import importlib
import json
import re
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from scoremix.config import Measures
from scoremix.outputs.geometry import ChanceLevel, MeasuredPair
from scoremix.report import page
from scoremix.report.pages import geometry, quality, report, study
from scoremix.report.sections.about import GlossarySection
from scoremix.report.sections.alignment import AlignmentSection
from scoremix.report.sections.arms import ArmsSection
from scoremix.stages.geometry.alignment import permutations
from support import fake_report

SECTION = """

from scoremix.report.charts import figure, new_axes
from scoremix.report.page import Section


class SpokenWordsSection(Section):
    title = "Words of a run"
    words: tuple[str, ...] = ()

    @classmethod
    def load(cls, source):
        return cls(tuple(source.words))

    def rows(self, shared):
        yield from ({"table": "words", "metric": word, "value": len(word)} for word in self.words)


@figure
def lengths(words):
    axes = new_axes(100)
    axes.plot([len(word) for word in words])
    return axes, "lengths", "Lengths of words."


@figure
def broken(words):
    raise ValueError("no letters")
"""
TEXT = """<p>{{ r.title }}: {{ s.words | join(", ") }}</p>
<figure>{{ draw.lengths(s.words) }}</figure>
<figure>{{ draw.broken(s.words) }}</figure>
"""


@pytest.fixture
def words(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> type[page.Section]:
    """The section of two files in a folder, as docs/contributing.md says."""
    (tmp_path / "spoken_words.py").write_text(SECTION)
    (tmp_path / "spoken_words.html").write_text(TEXT)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "spoken_words", raising=False)
    section: type[page.Section] = importlib.import_module("spoken_words").SpokenWordsSection
    return section


def test_a_section_of_two_files_is_on_the_page(words: type[page.Section]) -> None:
    made = fake_report.build(rows=1).only(GlossarySection)
    added = page.load([words], SimpleNamespace(words=["a", "<b>"]))
    parts = [*made.parts, *added]
    text = report.render(made.results, parts)
    assert '<section id="spoken_words">' in text and '<a href="#spoken_words">Words of a run</a>' in text
    assert "scoremix run demo: a, &lt;b&gt;" in text and 'aria-label="Lengths of words."' in text
    assert text.count("left out: ValueError: no letters") == 1
    assert "words,,,<b>,,3,,," in report.to_csv(made.results, parts)
    assert json.loads(report.to_json(made.results, parts))["words"] == ["a", "<b>"]


def test_a_section_without_its_input_is_left_out(words: type[page.Section]) -> None:
    made = fake_report.build(rows=1).only(ArmsSection, GlossarySection)
    parts = [*made.parts, *page.load([words], SimpleNamespace())]
    text = report.render(made.results, parts)
    assert "left out: AttributeError: " in text and "Words of a run" in text and "Glossary" in text
    assert report.to_csv(made.results, parts) == made.csv
    assert json.loads(report.to_json(made.results, parts))["words"] is None


def test_a_template_that_fails_leaves_its_section_out(words: type[page.Section], tmp_path: Path) -> None:
    (tmp_path / "spoken_words.html").write_text("{{ s.nothing }}")
    made = fake_report.build(rows=1).only(GlossarySection)
    text = report.render(made.results, [*made.parts, *page.load([words], SimpleNamespace(words=["a"]))])
    assert re.search("left out: UndefinedError: .*nothing", text) and "Glossary" in text


@pytest.mark.parametrize("sections", [report.SECTIONS, geometry.SECTIONS, quality.SECTIONS, study.SECTIONS])
def test_every_section_has_both_files(sections: tuple[type[page.Section], ...]) -> None:
    for section in sections:
        file = importlib.import_module(section.__module__).__file__
        assert file is not None and Path(file).with_name(f"{section.name}.html").exists() and section.title
        assert section.__name__ == f"{section.name.title().replace('_', '')}Section"


@pytest.mark.parametrize(("low", "p", "beyond"), [(0.02, 0.001, True), (-0.05, 0.048, False), (0.02, 0.2, False)])
def test_aligned_beyond_chance_needs_interval_and_p_alike(low: float, p: float, beyond: bool) -> None:
    null = {"permutation": ChanceLevel(0.0, 0.04, 0.06, p)}
    measures = ("cka", "cka_debiased")
    pairs = [MeasuredPair("conditions", "centers", measure, 0.08, low, 0.23, null) for measure in measures]
    section = AlignmentSection(SimpleNamespace(pairs=pairs))  # type: ignore[arg-type]
    (said,) = section.findings(SimpleNamespace(condition="conditions", reference="centers"))  # type: ignore[arg-type]
    assert ("are aligned beyond chance" in said) == beyond


def test_fixed_conditions_are_no_finding_of_alignment() -> None:
    shared = SimpleNamespace(condition="conditions", reference="baseline")
    (said,) = AlignmentSection({"pairs": []}, "rms").findings(shared)  # type: ignore[arg-type]
    assert "class centers of baseline, kept fixed" in said and "no finding" in said


def test_few_classes_are_shuffled_999_times() -> None:
    assert [permutations(Measures(), n) for n in (8, 300, 301)] == [999, 999, 100]
    assert permutations(Measures(permutations=20), 8) == 20
