"""The tutorials' commands and Python, typed as they stand, at a tiny size; the reference page names all that is public."""

from __future__ import annotations

import argparse
import io
import re
import shlex
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import pytest
import yaml
from PIL import Image

import scoremix
from scoremix import commands
from scoremix.config.presets import experiment
from scoremix.data import export, verification
from support.faces import PEOPLE, face, make_ijb

matplotlib.use("Agg")
DOCS = Path(__file__).parents[1] / "docs"
OURS = ("source=", "name=", "data.size", "recognizer.epochs", "generator.images_seen")
MORE = [
    "data.size=8",
    "recognizer.epochs=1",
    "generator.images_seen=64",
    "recognizer.network=small",
    "recognizer.augment=characters",
]
CPU = ("run", "plan", "embed", "benchmark", "study")  # verbs that compute


def test_the_reference_names_every_public_name() -> None:
    named = set(re.findall(r":: scoremix\.(\w+)$", (DOCS / "reference" / "scoremix.md").read_text(), re.MULTILINE))
    assert named == set(scoremix.__all__)
    for page in (DOCS / "reference").glob("*.md"):
        for module in re.findall(r"automodule:: scoremix\.(.+)", page.read_text()):
            assert (DOCS.parent / "src" / "scoremix" / f"{module.replace('.', '/')}.py").is_file(), module


def test_every_page_is_on_the_site() -> None:
    listed = set(re.findall(r"^([a-z_*/]+)$", (DOCS / "index.md").read_text(), re.MULTILINE))
    pages = {page.relative_to(DOCS).with_suffix("").as_posix() for page in DOCS.rglob("*.md")} - {"index"}
    assert {page for page in pages if not page.startswith("studies/")} | {"studies/*"} == listed


def asked(page: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """Each command of a page that plans or trains, and settings in a sentence, with what `experiment` is to make of it."""
    text = re.sub(r" \\\n +", " ", page.read_text())
    for found in re.finditer(
        r"^ {4,}.*?(scoremix (?:run|rehearse) .*)$|`((?:scoremix (?:run|rehearse)|--set|--arms) [^`\n]+)`",
        text,
        re.MULTILINE,
    ):
        line = found[1] or found[2]
        if "..." in line or "--config" in line or re.search(r"\b[A-Z]{5,}\b|=VALUE", line.replace("FOLDER", "folder")):
            continue  # with a word that stands for another
        words = shlex.split(line, comments=True)
        parser = argparse.ArgumentParser(exit_on_error=False)
        parser.add_argument("preset", nargs="?")
        for option in ("--data", "--arms", "--time", "--until", "--out", "--workers", "--device", "--max-hours"):
            parser.add_argument(option)
        parser.add_argument("--set", action="append", default=[])
        parser.add_argument("--quick", action="store_true")
        of, _ = parser.parse_known_args(words[2:] if words[0] == "scoremix" else words)
        yield (
            line,
            {
                "preset": of.preset,
                "data": of.data or (None if of.preset else "x"),
                "arms": of.arms,
                "settings": of.set,
                "quick": of.quick,
            },
        )


@pytest.mark.parametrize(
    "page", [DOCS.parent / "README.md", *DOCS.glob("*.md"), *DOCS.glob("tutorial/*.md")], ids=lambda page: page.stem
)
def test_what_a_page_asks_for_is_allowed(page: Path) -> None:
    refused: dict[str, str] = {}
    for line, given in asked(page):
        try:
            experiment(**given)
        except ValueError as error:
            refused[line] = str(error)
    assert refused == {}


def test_the_commands_of_the_front_page_are_found() -> None:
    lines = [line for line, _ in asked(DOCS.parent / "README.md")]
    assert {"scoremix run demo", "--set selection.strategy=close"} <= {line.split("  ")[0] for line in lines}


def blocks(page: Path) -> Iterator[tuple[str, str]]:
    """("sh", command), ("python", text) and ("NAME.yaml", text) of a page, in their order."""
    text, before = page.read_text(), ""
    for part in re.split(r"(^```\w*\n.*?^```\n)", text, flags=re.DOTALL | re.MULTILINE):
        if part.startswith("```python"):
            yield "python", part.removeprefix("```python\n").removesuffix("```\n")
        elif part.startswith("```yaml"):
            yield re.findall(r"`(\w+\.yaml)`", before)[-1], part.removeprefix("```yaml\n").removesuffix("```\n")
        elif not part.startswith("```"):
            lines = re.sub(r" \\\n +", " ", part).splitlines()
            yield from (("sh", line.strip()) for line in lines if re.match(r"    \w", line))
        before = part


def typed(line: str, tiny: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """A command at a tiny size; a benchmark of what is not here is left out."""
    program, verb, *words = shlex.split(line.replace("--classes 1000", "--classes 20"), comments=True)
    assert program == "scoremix", line
    own = [word.partition("=")[0] for word in words if word.startswith("selection.")]
    kept = [setting for setting in tiny if setting.partition("=")[0] not in own]
    smaller = [word for setting in kept for word in ("--set", setting)] if verb in ("run", "plan") else []
    device = ["--device", "cpu"] if verb in CPU and verb != "plan" else []
    monkeypatch.setattr(sys, "argv", ["scoremix", verb, *words, *smaller, *device])
    with pytest.raises(SystemExit) as ended:
        commands.main()
    assert not ended.value.code, line


@pytest.fixture
def place(tmp_path: Path, tiny_npz: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with what the pages speak of."""
    export.convert(tiny_npz, tmp_path / "my_images", "folders")
    for k in range(20):
        (tmp_path / "people" / f"{k:02d}").mkdir(parents=True)
        for i in range(6):
            face(k, i).save(tmp_path / "people" / f"{k:02d}" / f"{i}.jpg", quality=95)
    export.convert(tmp_path / "people", tmp_path / "casia_rec", "recordio")
    make_ijb(tmp_path / "FACES")
    pairs = [face(p % PEOPLE, i + p) for p in range(20) for i in (40, 60 if p % 2 else 61)]
    encoded = []
    for image in pairs:
        image.save(buffer := io.BytesIO(), "PNG")
        encoded.append(buffer.getvalue())
    (tmp_path / "FACES" / "lfw.bin").write_bytes(verification.packed(encoded, np.arange(20) % 2 == 1))
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.slow
@pytest.mark.parametrize(
    "pages", [["tutorial/first_run", "trainers"], ["tutorial/own_study"], ["tutorial/faces"]], ids=lambda p: p[0]
)
def test_what_a_page_says_is_typed_as_it_stands(
    pages: list[str], place: Path, tiny_settings: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    tiny = [*(setting for setting in tiny_settings if not setting.startswith(OURS)), *MORE]
    left_out = []
    for page in pages:
        if (
            page == "trainers"
        ):  # the sets of a choice on folds are those of what was chosen: the page says how to have others
            typed("scoremix run --data ./my_images --arms real,equal_steps,scoremix", tiny, monkeypatch)
        names: dict[str, object] = {}
        for kind, text in blocks(DOCS / f"{page}.md"):
            if kind == "python":
                exec(text, names)
            elif kind == "sh" and ("backbone.pth" in text or "--push" in text):
                left_out.append(text)
            elif kind == "sh":
                typed(text, tiny, monkeypatch)
            else:
                tree = yaml.safe_load(text)
                nested: dict[str, object] = {}
                for setting in tiny:
                    path, _, value = setting.partition("=")
                    where = nested
                    *parents, last = path.split(".")
                    for parent in parents:
                        where = where.setdefault(parent, {})  # type: ignore[assignment]
                    where[last] = yaml.safe_load(value)
                nested.pop("seeds")
                tree["data"]["mine"]["settings"]["data"]["size"] = 8
                nested["evaluation"] |= tree["settings"]["evaluation"]  # type: ignore[operator]
                (place / kind).write_text(yaml.safe_dump({**tree, "settings": nested}))
    assert len(left_out) <= 1
    if pages[0] == "tutorial/first_run":
        assert Image.open("mixes.png").size == (32, 8)
        assert (place / "scoremix_runs" / "my_images" / "report.html").exists()
    if pages[0] == "tutorial/own_study":
        assert "three" in (place / "scoremix_runs" / "three" / "study.html").read_text()
    if pages[0] == "tutorial/faces":
        assert (place / "casia_mixed" / "train.rec").exists()


@pytest.mark.slow
def test_the_site_is_made_without_a_warning(tmp_path: Path) -> None:
    sphinx = pytest.importorskip("sphinx.cmd.build")
    assert sphinx.main(["-W", "--keep-going", "-q", str(DOCS), str(tmp_path / "site")]) == 0
    pages = [page.read_text() for page in (tmp_path / "site").rglob("*.html")]
    assert len(pages) > 40
    loaded = {
        found for page in pages for found in re.findall(r'<(?:script|link|img)[^>]*(?:src|href)="(https?:[^"]+)"', page)
    }
    assert not loaded, "the site loads nothing from elsewhere"
    equations = (tmp_path / "site" / "equations.html").read_text()
    assert equations.count("<math") > 20 and "pending_xref" not in equations
