"""A stage's key follows the code that makes its bytes and no other: what an edit of a file makes stale."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

import scoremix
from scoremix.execution import code
from scoremix.execution.code import code_hash
from scoremix.stages.judge.compare import compare
from scoremix.stages.judge.diagnose import diagnose_mixes
from scoremix.stages.judge.evaluate import evaluate
from scoremix.stages.judge.quality import measure_quality
from scoremix.stages.mix.combine import combine
from scoremix.stages.mix.describe import describe_mplets
from scoremix.stages.mix.pixels import mix_pixels
from scoremix.stages.mix.sample import sample_mixtures
from scoremix.stages.mix.screen import screen
from scoremix.stages.mix.search import search_weights
from scoremix.stages.mix.select import select_mplets
from scoremix.stages.show.analyze import analyze
from scoremix.stages.show.report import report
from scoremix.stages.train.check import check_generator
from scoremix.stages.train.generator import train_generator
from scoremix.stages.train.ingest import ingest
from scoremix.stages.train.recognizer import train_recognizer

PACKAGE = Path(scoremix.__file__).parent
TRAINING = (train_recognizer, train_generator)
MIXING = (select_mplets, sample_mixtures, mix_pixels, search_weights, screen, combine)
JUDGING = (check_generator, evaluate, compare, diagnose_mixes)
STAGES = (ingest, *TRAINING, *MIXING, *JUDGING, report, analyze, measure_quality, describe_mplets)

Stale = Callable[..., set[str]]


@pytest.fixture
def stale(monkeypatch: pytest.MonkeyPatch) -> Stale:
    """Names of the stages whose code hash changes when some files of the package change."""
    parsed = code.parsed

    def changed(*edited: Path) -> set[str]:
        assert all(file.is_file() for file in edited)
        modules = {file: ".".join(file.relative_to(PACKAGE.parent).with_suffix("").parts) for file in edited}
        names = {module + file.suffix.removesuffix(".py") for file, module in modules.items()}

        def after_the_edit(module: str) -> tuple[dict[str, str], tuple[str, ...]]:
            hashes, imports = parsed(module)
            return {name: "edited" if name in names else of for name, of in hashes.items()}, imports

        before = {stage.__name__: code_hash(stage) for stage in STAGES}
        with monkeypatch.context() as patched:
            patched.setattr(code, "parsed", after_the_edit)
            return {stage.__name__ for stage in STAGES if code_hash(stage) != before[stage.__name__]}

    return changed


def test_an_edit_of_the_page_or_of_a_command_makes_no_training_sampling_or_evaluation_stale(stale: Stale) -> None:
    pages = [*(PACKAGE / "report").rglob("*.py"), *(PACKAGE / "report").rglob("*.html")]
    others = [*(PACKAGE / "commands").glob("*.py"), PACKAGE / "pipeline.py", *(PACKAGE / "stages/show").glob("*.py")]
    assert len(pages) > 5
    assert stale(*pages, *others) == {"report", "analyze", "measure_quality", "describe_mplets"}


def test_a_sections_text_makes_its_page_alone_stale(stale: Stale) -> None:
    report_html, geometry_html, named, frame = (
        PACKAGE / "report" / name
        for name in ("sections/cost.html", "sections/paths.html", "sections/transfer.html", "page.css")
    )
    assert stale(report_html) == {"report"} and stale(geometry_html) == stale(named) == {"analyze"}
    assert stale(frame) == {"report", "analyze", "measure_quality"}


@pytest.mark.parametrize(
    ("file", "wanted"),
    [
        ("recognition/heads.py", {"train_recognizer"}),
        ("stages/train/generator.py", {"train_generator"}),
        ("stages/judge/compare.py", {"compare"}),
        ("stages/judge/groups.py", {"compare"}),
        ("stages/judge/closed.py", {"compare"}),
        ("stages/judge/evaluate.py", {"evaluate"}),
        ("stages/mix/search.py", {"search_weights"}),
        ("stages/mix/screen.py", {"screen"}),
        ("diffusion/solvers.py", {"sample_mixtures", "search_weights", "train_generator"}),  # which may watch its gate
        ("execution/runner.py", set()),
        ("execution/timing.py", set()),
    ],
)
def test_an_edit_makes_stale_what_the_file_decides(stale: Stale, file: str, wanted: set[str]) -> None:
    pages = {"report", "analyze", "measure_quality", "describe_mplets"}
    assert stale(PACKAGE / file) - pages == wanted


def test_what_stages_hand_over_is_part_of_all_that_hand_it_over(stale: Stale) -> None:
    assert {"train_recognizer", "train_generator", "sample_mixtures", "evaluate"} <= stale(
        PACKAGE / "outputs/record.py"
    )
