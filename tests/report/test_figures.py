"""Figures are well-formed, the same every time, and put marks where the numbers say."""

from __future__ import annotations

import io
import os
import re
import subprocess
import sys
import xml.etree.ElementTree as ET
from collections.abc import Callable, Iterable
from pathlib import Path

import matplotlib
import numpy as np
import pytest
from matplotlib.axes import Axes
from PIL import Image as PillowImage

from scoremix.data.decode import png
from scoremix.evaluation import metric_table
from scoremix.evaluation.estimate import Estimate
from scoremix.outputs.networks import GateResult
from scoremix.report import charts
from scoremix.report.results import ArmResult, Curve, Roc
from scoremix.report.sections import arms, errors, generator, mixes, pairs, study_tables, training
from scoremix.report.sections.mixes import MixesSection
from scoremix.report.sections.training import GeneratorCurves
from support import fake_report
from support.fake_report import Report

REPORT = fake_report.build(arms=12)
RESULTS = REPORT.results
DRAWN = RESULTS.styles
ROWS = [
    (a.name, [RESULTS.difference(a.name, c, "eer") for c in ("real", "real, equal steps")]) for a in RESULTS.arms[2:]
]


def _needed(report: Report) -> dict[str, Callable[[], str]]:
    gate, losses = report.part(generator.GeneratorSection).gate, report.part(training.TrainingSection).generator
    distances, found = report.part(pairs.PairsSection).distances, report.part(mixes.AgreementSection).agreements
    assert gate is not None and losses is not None and distances is not None
    found_wrong = report.part(errors.ErrorsSection).errors
    assert found_wrong is not None
    groups, all_arms = report.part(MixesSection).similarities, report.results.arms
    return {
        "errors": lambda: errors.similarities("real", found_wrong.arms["real"], 0.42, DRAWN["real"], (-1, 1)),
        "difference": lambda: charts.difference_rows(metric_table.EER, ROWS, DRAWN),
        "roc": lambda: arms.roc(all_arms, DRAWN, 1e-4),
        "gain": lambda: arms.roc_gain(all_arms, all_arms[0], DRAWN, 1e-4),
        "generator": lambda: training.generator_loss(losses),
        "recognizer": lambda: training.recognizer_loss(all_arms, DRAWN),
        "gate": lambda: generator.gate_bars(gate),
        "distances": lambda: pairs.distance_histogram(distances, DRAWN),
        "similarities": lambda: charts.outlines(groups, "similarities", "similarity", "Similarity histograms of"),
        "disagreements": lambda: charts.outlines(
            {"one": found[0].disagreement}, "disagreements", "disagreement", "Disagreement histograms of"
        ),
    }


FIGURES = _needed(REPORT)


@pytest.mark.parametrize("name", FIGURES)
def test_same_bytes_whatever_the_users_settings_and_no_trace_left(name: str) -> None:
    before = dict(matplotlib.rcParams)
    first = FIGURES[name]()
    assert dict(matplotlib.rcParams) == before
    with matplotlib.rc_context({"font.size": 31, "axes.facecolor": "pink", "svg.fonttype": "path"}):
        assert FIGURES[name]() == first
    assert "<metadata" not in first and "<style" not in first and "DejaVu" not in first


@pytest.mark.parametrize("name", FIGURES)
def test_well_formed_with_a_name_and_no_dangling_references(name: str) -> None:
    text = FIGURES[name]()
    root = ET.fromstring(text)
    assert root.attrib["role"] == "img" and len(root.attrib["aria-label"]) > 20
    ids = re.findall(r' id="([^"]+)"', text)
    used = set(re.findall(r'(?:href="|url\()#([^")]+)', text))
    assert len(set(ids)) == len(ids) and set(ids) == used
    left_over = set(re.findall(r"(?<!, )#[0-9a-f]{6}\b", re.sub(r"var\([^)]*\)", "", text)))
    assert not left_over, "every colour follows the scheme"


def test_same_bytes_in_another_process() -> None:
    """Whose order of sets is another."""
    code = "from support import fake_report; print(end=fake_report.build().html)"
    here = str(Path(__file__).parents[1])
    environment = {**os.environ, "PYTHONHASHSEED": "1", "PYTHONPATH": os.pathsep.join([here, *sys.path])}
    told = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, check=True).stdout
    assert told.decode() == fake_report.build().html


def _points(text: str) -> np.ndarray:
    """Where markers stand, (n, 2) in points."""
    return np.array([(float(x), float(y)) for x, y in re.findall(r'<use [^>]*x="([\d.]+)" y="([\d.]+)"', text)])


def _differences(*values: float) -> dict[str, list[Estimate]]:
    return {f"arm {i}": [Estimate(v)] for i, v in enumerate(values)}


def _styles(some: Iterable[ArmResult]) -> dict[str, charts.Style]:
    return charts.styles((arm.name, arm.control) for arm in some)


def test_marks_stand_in_proportion_to_the_values() -> None:
    some = _differences(0.1, 0.2, 0.4)
    drawn = charts.styles((name, False) for name in some)
    text = charts.difference_rows(metric_table.metric_of("rank1"), list(some.items()), drawn)
    colours = [charts.PALETTE[s.colour][0] for s in drawn.values()]
    found = []
    for colour in colours:
        line = next(x for x in text.splitlines() if "<use" in x and colour in x)
        found.append(_points(line)[0])
    x, y = np.array(found).T
    assert (x[2] - x[1]) / (x[1] - x[0]) == pytest.approx(2, rel=1e-4)
    assert y[2] - y[1] == pytest.approx(y[1] - y[0], rel=1e-4) and y[1] > y[0]


def test_names_of_arms_break_after_an_underscore() -> None:
    assert charts._wrapped("averages_three_quarters") == "averages_three_\nquarters"
    assert charts._wrapped("well-known_arm_of_a_study") == "well-known_arm_of_a_\nstudy"
    assert charts._wrapped("coherent_75") == "coherent_75" and charts._wrapped("") == ""


def test_missing_values_leave_no_mark() -> None:
    for value, marks in ((0.2, 1), (np.nan, 0)):
        some = _differences(0.1, value)
        drawn = charts.styles((name, False) for name in some)
        lines = charts.difference_rows(metric_table.metric_of("rank1"), list(some.items()), drawn).splitlines()
        assert sum("<use" in x and f"--{drawn['arm 1'].colour}," in x for x in lines) == marks


def test_arms_are_told_apart_and_keep_their_style() -> None:
    many = fake_report.build(arms=30).results.arms
    drawn = _styles(many)
    assert len(set(drawn.values())) == 30
    assert all(s.colour.startswith("control") == a.control for a, s in zip(many, drawn.values(), strict=True))
    fewer = _styles(many[:5])
    assert all(drawn[name] == style for name, style in fewer.items())


def test_sampled_curves_keep_their_ends_and_values() -> None:
    far = np.concatenate([[0.0], np.geomspace(1e-6, 1, 5000)])
    roc = Roc(far, np.stack([far**0.3, far**0.4]))
    x, tar = arms.sampled(roc)
    assert len(x) <= 160 and x[0] == far[1] and x[-1] == 1
    assert np.allclose(tar[1], x**0.4)


def test_thinned_curves_keep_the_mean() -> None:
    seen = np.arange(1200.0)
    x, y = training.thinned(Curve("a", seen, np.stack([seen**2, 3 * seen])))
    assert x.shape == (120,) and y.shape == (2, 120)
    assert x.mean() == pytest.approx(seen.mean()) and y[0].mean() == pytest.approx((seen**2).mean())


def test_difficult_inputs_still_draw() -> None:
    one = Curve("loss", np.array(128.0), np.array([3.0]))
    ET.fromstring(training.generator_loss(GeneratorCurves((one,), 64)))
    flat = Curve("loss", np.array([1.0, 2.0]), np.array([np.nan, -1.0]))
    ET.fromstring(training.generator_loss(GeneratorCurves((flat,))))
    ET.fromstring(generator.gate_bars(GateResult(0.1, 0.3, 1.0, 1.0, 0.5, 10, 100)))
    ET.fromstring(
        charts.outlines({"none": np.array([]), "one": np.array([0.5])}, "outlines", "similarity", "Histograms of")
    )
    odd = "$x_1$ <b>&"
    text = charts.difference_rows(metric_table.EER, [(odd, [Estimate(0.1)])], {odd: charts.Style("arm-1")})
    assert "$x_1$ &lt;b&gt;&amp;" in text and ET.fromstring(text) is not None


@pytest.mark.parametrize("shape", [(16, 16), (9, 7, 1), (8, 12, 3)])
def test_png_keeps_every_pixel(shape: tuple[int, ...]) -> None:
    image = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
    back = np.asarray(PillowImage.open(io.BytesIO(png(image))))
    assert np.array_equal(back, image.squeeze())


@pytest.mark.parametrize("image", [np.zeros((4, 4)), np.zeros((4, 4, 4), np.uint8), np.zeros(4, np.uint8)])
def test_png_refuses_what_it_cannot_show(image: np.ndarray) -> None:
    with pytest.raises(ValueError, match="image: must be uint8"):
        png(image)


@pytest.mark.timeout(20)
def test_names_of_crowded_points_stand_above_each_other_whatever_rounds() -> None:
    for place in np.random.default_rng(0).uniform(0, 1, 20):
        axes = charts.new_axes(300)
        axes.plot([0, 1], [0, 1])
        study_tables._name_points(axes, [(f"arm {i}", 0.5, place) for i in range(14)])
        heights = np.sort([text.xyann[1] for text in axes.texts])  # type: ignore[attr-defined]
        assert np.diff(heights) == pytest.approx(np.full(13, 9))


def test_an_arm_has_one_colour_in_every_chart_and_nothing_else_has_it() -> None:
    drawn = charts.styles([("real", True), ("scoremix", False), ("coherent_first", False)])
    for names in (["coherent_first", "scoremix"], ["training classes", "reproductions", "coherent_first"], ["new"]):
        found = charts.styled(names, drawn)
        assert list(found) == names and len(set(found.values())) == len(names)
        assert all(found[name] == drawn[name] for name in names if name in drawn)
    same_images = charts.styled(["scoremix, scoremix_soft"], drawn)
    assert same_images["scoremix, scoremix_soft"] == drawn["scoremix"]


def test_a_figure_that_cannot_be_drawn_is_left_out_and_says_why() -> None:
    @charts.figure
    def broken(what: str) -> tuple[Axes, str, str]:
        raise ValueError(f"{what} <b>")

    before = dict(matplotlib.rcParams)
    assert broken("no points") == '<p class="small muted">left out: ValueError: no points &lt;b&gt;</p>'
    assert dict(matplotlib.rcParams) == before
    assert "left out: ValueError: image" in charts.picture(np.zeros(4, np.uint8), "flat")
