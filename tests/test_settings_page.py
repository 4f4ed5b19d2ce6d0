"""docs/settings.md is what the config gives, and every setting of it can be set."""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType

import pytest


@pytest.fixture(scope="module")
def settings(script: Callable[[str], ModuleType]) -> ModuleType:
    return script("scripts/settings.py")


def test_the_page_is_up_to_date(settings: ModuleType) -> None:
    assert settings.page() == settings.PAGE.read_text(), "run `make results`"


def test_every_group_of_settings_is_on_the_page(settings: ModuleType) -> None:
    page = settings.page()
    for known in (
        "| `source` |",
        "| `sampling.guidance` | number ≥ 0 | `1.3` |",
        "| `generator.align.weight` |",
        "| `arms.NAME.steps_of` | text or `null` | `null` |",
        "| `analysis.paths.images` |",
        "| `evaluation.headline` | number > 0, < 1 | `0.01` | the verdict is on TAR at this FAR |",
    ):
        assert known in page
    for name in settings.Experiment.model_json_schema()["$defs"]:
        assert f"## {name}: `" in page
