"""The pages of results hold the stored numbers, and their links lead somewhere."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest

DOCS = Path(__file__).parents[1] / "docs"


@pytest.fixture(scope="module")
def results(script: Callable[[str], ModuleType]) -> ModuleType:
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(DOCS.parent / "scripts"))
        return script("scripts/results.py")


def test_every_page_is_as_the_stored_numbers_make_it(results: ModuleType) -> None:
    pages = results.pages(results.load())
    assert DOCS / "results.md" in pages and DOCS / "studies" / "first_test.md" in pages
    for page, text in pages.items():
        assert page.read_text() == text, (
            f"{page.name} is made of its template in docs/results/pages: edit that, then `make results`"
        )


def test_a_sentence_quotes_what_a_run_wrote(results: ModuleType) -> None:
    stored = json.loads((DOCS / "results" / "people" / "study_test.json").read_text())
    found = stored["differences"]["coherent_first - equal_steps"]["rank1"]
    expected = f"{found['mean']:+.1f} ({found['low']:+.1f} to {found['high']:+.1f})"
    assert results.quoted(results.load(), "people", "test", "coherent_first-equal_steps", "rank1") == expected
    with pytest.raises(KeyError, match="people/test/nobody/rank1: not stored"):
        results.quoted(results.load(), "people", "test", "nobody", "rank1")


@pytest.mark.parametrize("page", [*sorted(DOCS.glob("*/*.md")), *sorted(DOCS.glob("*.md"))], ids=lambda p: p.stem)
def test_links_and_pictures_are_there(page: Path) -> None:
    targets = re.findall(r"\]\(([^)#:]+)\)", page.read_text())
    for target in targets:
        assert (page.parent / target).exists(), target
