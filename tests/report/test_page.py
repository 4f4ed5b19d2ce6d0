"""The page needs nothing from outside, shows all pixels and numbers, and is safe against class names."""

from __future__ import annotations

import base64
import io
import math
import re
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import replace
from functools import cache, partial
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image as PillowImage

from scoremix.evaluation.estimate import Estimate
from scoremix.outputs.comparison import Verdict
from scoremix.report import numbers
from scoremix.report.sections import mixes, verdict
from scoremix.report.sections.about import GlossarySection, SettingsSection
from scoremix.report.sections.arms import ArmsSection
from scoremix.report.sections.cost import CostSection
from scoremix.report.sections.data import DataSection
from scoremix.report.sections.groups import GroupsSection
from scoremix.report.sections.images import Grid, ImagesSection, SheetRow
from scoremix.report.sections.mixes import AgreementSection
from scoremix.report.sections.screening import ScreeningSection
from scoremix.report.sections.training import TrainingSection
from support import fake_report
from support.fake_report import Report

CASES: dict[str, Callable[[], Report]] = {
    "helps": partial(fake_report.build, "helps"),
    "one seed in colour": partial(fake_report.build, seeds=1, rgb=True, size=24),
    "one arm": partial(fake_report.build, arms=1),
    "thirty arms": lambda: fake_report.build(arms=30).only(
        verdict.VerdictSection, ArmsSection, DataSection, TrainingSection, CostSection, GlossarySection
    ),
    "a weak generator's 3-plets": partial(fake_report.build, "generator too weak", m=3),
    "bare": lambda: fake_report.bare(fake_report.build()),
}
FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--hide-scrollbars",
    "--dump-dom",
)
VOID = {"meta", "img", "br", "link", "input", "hr"}


class _Reader(HTMLParser):
    """Collects links, ids, images and text, and checks that tags close in order."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[str] = []
        self.links: list[str] = []
        self.ids: list[str] = []
        self.images: list[tuple[np.ndarray, str]] = []
        self.text = ""
        self.feed(text)
        assert not self.open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        self.tags.append(tag)
        self.links += [v or "" for k, v in attrs if k in ("src", "href", "xlink:href", "srcset", "action")]
        self.ids += [v or "" for k, v in attrs if k == "id"]
        if tag == "img":
            head, data = (given["src"] or "").split(",")
            assert head == "data:image/png;base64"
            pixels = np.asarray(PillowImage.open(io.BytesIO(base64.b64decode(data))))
            self.images.append((pixels, given["alt"] or ""))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self.open.pop()

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if "style" not in self.open:
            self.text += data


@cache
def case(name: str) -> Report:
    return CASES[name]()


@cache
def page(name: str) -> str:
    return case(name).html


@cache
def read(name: str) -> _Reader:
    return _Reader(page(name))


@pytest.mark.parametrize("name", CASES)
def test_needs_nothing_from_outside(name: str) -> None:
    text, found = page(name), read(name)
    for link in found.links:
        assert link.startswith(("#", "data:image/png;base64,")) or link in ("report.csv", "report.json")
    assert not re.search(r"""(?:src|href)\s*=\s*["']?\s*(?:https?:)?//""", text)
    assert not re.search(r"@import|url\((?!#)", text)
    assert not {"script", "link", "iframe"} & set(found.tags)


@pytest.mark.parametrize("name", CASES)
def test_references_lead_somewhere_and_ids_are_unique(name: str) -> None:
    found = read(name)
    assert len(set(found.ids)) == len(found.ids)
    assert {link[1:] for link in found.links if link.startswith("#")} <= set(found.ids)
    assert all(alt for _, alt in found.images)


@pytest.mark.parametrize("name", CASES)
def test_every_number_is_on_the_page(name: str) -> None:
    report, text = case(name), read(name).text
    assert report.sentence in text and f"Verdict: {report.results.verdict.kind}" in text
    for arm in report.results.arms:
        for metric in report.results.supported:
            if metric.key in arm.metrics:
                e, places = arm.metrics[metric.key], report.results.places(metric)
                assert numbers.mean(e, metric, False, places) in text
                assert numbers.interval(e, metric, False, places) in text
    for caveat in verdict.caveats(report.results.evaluation):
        assert caveat in text


def test_disagreement_is_told_for_every_arm_that_has_one() -> None:
    report, text = case("helps"), read("helps").text
    assert "Do the classes agree on a mix?" in text and "Do the classes agree" not in read("bare").text
    agreements = report.part(AgreementSection).agreements
    for found in agreements:
        low, middle, high = found.quantiles
        assert np.quantile(found.disagreement, 0.95) == high
        row = f"{found.arm}{middle:.4g}{low:.4g} to {high:.4g}{found.each}{found.effective:.2f}"
        assert row in re.sub(r"\n", "", text)
        assert f"agreement,{found.arm},,disagreement,,{middle}" in report.csv
    many = tuple(replace(agreements[1], arm=f"arm {i}") for i in range(9))
    legend = report.only(AgreementSection).having(AgreementSection((*many, agreements[0]))).html
    assert legend.count('class="key"') == mixes.OUTLINES


def test_pictures_stand_in_the_papers_order_with_their_own_pixels() -> None:
    report = case("one seed in colour")
    shown = [pixels for pixels, _ in _Reader(report.only(ImagesSection, ScreeningSection).html).images]
    sheet, grid = report.part(ImagesSection).sheet, report.part(ImagesSection).grid
    row = sheet[0]
    wanted = [row.originals[0], row.reproductions[0], row.mixes[0], row.reproductions[1], row.originals[1]]
    assert all(np.array_equal(a, b) for a, b in zip(shown[:5], wanted, strict=True))
    after_sheet = 5 * len(sheet)
    assert all(np.array_equal(a, b) for a, b in zip(shown[after_sheet:], row.mixes, strict=False))
    assert grid is not None
    cells = [cell for line in grid.images for cell in line]
    after = after_sheet + sum(len(r.mixes) for r in sheet)
    assert all(np.array_equal(a, b) for a, b in zip(shown[after:], cells, strict=False))
    examples = report.part(ScreeningSection).examples["coherent"]
    screened = sum(len(kept) + len(rejected) for kept, rejected in examples)
    way = report.part(ImagesSection).way
    assert way is not None and len(shown) == after + len(cells) + sum(map(len, way.images)) + screened


def test_three_plets_show_every_source_and_the_mix_last() -> None:
    report = case("a weak generator's 3-plets")
    row, shown = report.part(ImagesSection).sheet[0], _Reader(report.only(ImagesSection).html).images[:7]
    wanted = [x for pair in zip(row.originals, row.reproductions, strict=True) for x in pair] + [row.mixes[0]]
    assert all(np.array_equal(a, b) for (a, _), b in zip(shown, wanted, strict=True))


def test_the_antidiagonal_of_the_grid_is_marked() -> None:
    cells = re.findall(r'<div( class="sum1")?><img [^>]*alt="α ([\d.]+), β ([\d.]+)"', page("helps"))
    assert len(cells) == 25
    assert all(bool(mark) == math.isclose(float(a) + float(b), 1) for mark, a, b in cells)


def test_markup_in_names_is_harmless() -> None:
    evil = {
        where: f"<script>alert('{where}')</script>\"&{{{{ 7*7 }}}}"
        for where in ("class", "arm", "group", "data", "skipped", "config", "reason")
    }
    report = fake_report.build(rows=1)
    arm, *others = report.results.arms
    sheet, data = report.part(ImagesSection).sheet, report.part(DataSection).data
    by_group = report.part(GroupsSection).by_group
    assert by_group is not None
    groups = (replace(by_group.groups[0], name=evil["group"]),)
    changed = report.having(
        ImagesSection((replace(sheet[0], classes=(evil["class"], "b")),)),
        GroupsSection(),
        DataSection(replace(data, name=evil["data"], skipped=({**data.skipped[0], "path": evil["skipped"]},))),
        SettingsSection({evil["config"]: evil["config"]}),
        title=evil["data"],
        arms=(replace(arm, name=evil["arm"], metrics={"eer": Estimate(math.nan, reason=evil["reason"])}), *others),
        verdict=replace(report.results.verdict, controls=(evil["arm"], "real, equal steps")),
    )
    grouped = report.only(GroupsSection).having(GroupsSection(replace(by_group, groups=groups)))
    text = changed.html + grouped.html
    found = _Reader(text)
    assert "script" not in found.tags and "49" not in re.findall(r"\b49\b(?= *})", text)
    for where in evil:
        assert f"<script>alert('{where}')</script>" in found.text, where


def test_what_is_absent_is_left_out() -> None:
    full, bare = read("helps").ids, read("bare").ids
    sections = {
        "verdict",
        "arms",
        "images",
        "generator",
        "pairs",
        "training",
        "cost",
        "data",
        "settings",
        "glossary",
    }
    assert sections <= set(full)
    assert sections & set(bare) == {"verdict", "arms", "data", "glossary"}


def test_a_missing_metric_is_a_dash_with_its_reason() -> None:
    report = fake_report.build()
    gone = Estimate(math.nan, reason="no class with two images")
    first, *others = report.results.arms
    arms = (replace(first, metrics={**first.metrics, "rank1": gone}), *others)
    text = report.only(ArmsSection).having(arms=arms).html
    assert '<span class="mean">–</span><span class="why">no class with two images</span>' in text
    assert "nan" not in _Reader(text).text.lower().replace("scanning", "")


def test_levels_that_the_pairs_do_not_support_are_listed() -> None:
    assert "TAR at FAR\u00a010⁻⁶ (needs 10 million impostor pairs, there are 1,203,004)" in read("helps").text


def test_one_seed_is_said() -> None:
    assert "One recognizer seed (0)" in read("one seed in colour").text


def test_the_whole_configuration_is_there_and_comes_back() -> None:
    told = re.search(r"Full configuration</summary><pre>(.*?)</pre>", page("helps"), re.S)
    assert told is not None
    assert yaml.safe_load(told[1].replace("&#39;", "'")) == numbers.plain(case("helps").part(SettingsSection).config)


def test_wrong_input_is_named() -> None:
    report = fake_report.build()
    with pytest.raises(ValueError, match="verdict: arm 'none' is not one of real"):
        report.having(verdict=Verdict("helps", "none", ()))
    with pytest.raises(ValueError, match="metric: 'none' is not one of"):
        report.having(evaluation=replace(report.results.evaluation, headline="none"))
    with pytest.raises(ValueError, match="arms: needs at least one"):
        report.having(arms=report.results.arms + report.results.arms)
    with pytest.raises(ValueError, match="interval: 2 is above 1"):
        Estimate(1.5, 2, 1)
    with pytest.raises(ValueError, match="interval: needs both ends"):
        Estimate(1.5, 2)
    image = np.zeros((4, 4), np.uint8)
    with pytest.raises(ValueError, match=r"sheet: .* 2, 1, 2 and 1 mixes"):
        SheetRow(("a", "b"), (image,), (image, image), (image,))
    with pytest.raises(ValueError, match="grid: images must be 2 rows of 1"):
        Grid(("a", "b"), (0.0, 1.0), (0.0,), ((image,),))
    sheet = report.part(ImagesSection).sheet
    text = report.only(ImagesSection).having(ImagesSection((replace(sheet[0], mixes=(image.astype(float),)),))).html
    assert "left out: ValueError: image: must be uint8" in text


@pytest.mark.browser
@pytest.mark.parametrize("width", [500, 1280])
def test_nothing_sticks_out_sideways_in_a_browser(width: int, tmp_path: Path) -> None:
    browser = shutil.which("chromium")
    if browser is None:
        pytest.skip("chromium is not installed")
    script = "<script>document.title = [innerWidth, document.documentElement.scrollWidth].join(' ')</script>"
    (tmp_path / "page.html").write_text(page("thirty arms").replace("</body>", script + "</body>"))
    run = subprocess.run(
        [browser, *FLAGS, f"--user-data-dir={tmp_path / 'profile'}", f"--window-size={width},900",
         (tmp_path / "page.html").as_uri()],
        capture_output=True, text=True, check=True, timeout=60,
    )  # fmt: skip
    told = re.search(r"<title>(\d+) (\d+)</title>", run.stdout)
    assert told is not None and int(told[2]) <= int(told[1]) == width
