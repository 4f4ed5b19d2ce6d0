"""Figures are well-formed, the same every time, and put marks where the numbers say."""

from __future__ import annotations

import io
import os
import re
import subprocess
import sys
import xml.etree.ElementTree as ET
from collections.abc import Callable
from pathlib import Path

import matplotlib
import numpy as np
import pytest
from PIL import Image as PillowImage

from scoremix.evaluation import metric_table
from scoremix.evaluation.estimate import Estimate
from scoremix.report import drawing, figures
from scoremix.report.content import Arm, Curve, Gate, Generator, Report, Roc
from support import fake_report

REPORT = fake_report.build(arms=12)
DRAWN = drawing.styles(REPORT.arms)
ROWS = [(a.name, [REPORT.difference(a.name, c, "eer") for c in ("real", "real, equal steps")]) for a in REPORT.arms[2:]]


def _needed(report: Report) -> dict[str, Callable[[], str]]:
    gate, generator, distances = report.gate, report.generator, report.distances
    assert gate is not None and generator is not None and distances is not None
    return {
        "metric": lambda: figures.metric_rows(metric_table.EER, report.arms, DRAWN),
        "difference": lambda: figures.difference_rows(metric_table.EER, ROWS, DRAWN),
        "roc": lambda: figures.roc(report.arms, DRAWN, 1e-4),
        "gain": lambda: figures.roc_gain(report.arms, report.arms[0], DRAWN, 1e-4),
        "generator": lambda: figures.generator_loss(generator),
        "recognizer": lambda: figures.recognizer_loss(report.arms, DRAWN),
        "gate": lambda: figures.gate_bars(gate),
        "distances": lambda: figures.distance_histogram(distances, DRAWN),
        "similarities": lambda: figures.similarity_histogram(report.similarities),
        "disagreements": lambda: figures.disagreement_histogram({"one": report.agreements[0].disagreement}),
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
    code = (
        "import hashlib; from support import fake_report as f; from scoremix.report import page; "
        "print(hashlib.sha256(page.render(f.build()).encode()).hexdigest())"
    )
    here = str(Path(__file__).parents[1])
    told = {
        subprocess.run(
            [sys.executable, "-c", code],
            env={**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": os.pathsep.join([here, *sys.path])},
            capture_output=True, text=True, check=True,
        ).stdout
        for seed in ("1", "2")
    }  # fmt: skip
    assert len(told) == 1


def _points(text: str) -> np.ndarray:
    """Where markers stand, (n, 2) in points."""
    return np.array([(float(x), float(y)) for x, y in re.findall(r'<use [^>]*x="([\d.]+)" y="([\d.]+)"', text)])


def _arms(*values: float) -> tuple[Arm, ...]:
    return tuple(Arm(f"arm {i}", metrics={"rank1": Estimate(v)}) for i, v in enumerate(values))


def test_marks_stand_in_proportion_to_the_values() -> None:
    arms = _arms(0.1, 0.2, 0.4)
    text = figures.metric_rows(metric_table.metric_of("rank1"), arms, drawing.styles(arms))
    colours = [drawing.PALETTE[s.colour][0] for s in drawing.styles(arms).values()]
    found = []
    for colour in colours:
        line = next(x for x in text.splitlines() if "<use" in x and colour in x)
        found.append(_points(line)[0])
    x, y = np.array(found).T
    assert (x[2] - x[1]) / (x[1] - x[0]) == pytest.approx(2, rel=1e-4)
    assert y[2] - y[1] == pytest.approx(y[1] - y[0], rel=1e-4) and y[1] > y[0]


def test_missing_values_leave_no_mark() -> None:
    for value, marks in ((0.2, 1), (np.nan, 0)):
        arms = _arms(0.1, value)
        drawn = drawing.styles(arms)
        lines = figures.metric_rows(metric_table.metric_of("rank1"), arms, drawn).splitlines()
        assert sum("<use" in x and f"--{drawn['arm 1'].colour}," in x for x in lines) == marks


def test_arms_are_told_apart_and_keep_their_style() -> None:
    arms = fake_report.build(arms=30).arms
    drawn = drawing.styles(arms)
    assert len(set(drawn.values())) == 30
    assert all(s.colour.startswith("control") == a.control for a, s in zip(arms, drawn.values(), strict=True))
    fewer = drawing.styles(arms[:5])
    assert all(drawn[name] == style for name, style in fewer.items())


def test_sampled_curves_keep_their_ends_and_values() -> None:
    far = np.concatenate([[0.0], np.geomspace(1e-6, 1, 5000)])
    roc = Roc(far, np.stack([far**0.3, far**0.4]))
    x, tar = figures._sampled(roc)
    assert len(x) <= 160 and x[0] == far[1] and x[-1] == 1
    assert np.allclose(tar[1], x**0.4)


def test_thinned_curves_keep_the_mean() -> None:
    seen = np.arange(1200.0)
    x, y = figures._thinned(Curve("a", seen, np.stack([seen**2, 3 * seen])))
    assert x.shape == (120,) and y.shape == (2, 120)
    assert x.mean() == pytest.approx(seen.mean()) and y[0].mean() == pytest.approx((seen**2).mean())


def test_difficult_inputs_still_draw() -> None:
    one = Curve("loss", np.array(128.0), np.array([3.0]))
    ET.fromstring(figures.generator_loss(Generator((one,), 64)))
    flat = Curve("loss", np.array([1.0, 2.0]), np.array([np.nan, -1.0]))
    ET.fromstring(figures.generator_loss(Generator((flat,))))
    ET.fromstring(figures.gate_bars(Gate(0.1, 0.5, 10, 100)))
    ET.fromstring(figures.similarity_histogram({"none": np.array([]), "one": np.array([0.5])}))
    odd = (Arm("$x_1$ <b>&", metrics={"eer": Estimate(0.1)}),)
    text = figures.metric_rows(metric_table.EER, odd, drawing.styles(odd))
    assert "$x_1$ &lt;b&gt;&amp;" in text and ET.fromstring(text) is not None


@pytest.mark.parametrize("shape", [(16, 16), (9, 7, 1), (8, 12, 3)])
def test_png_keeps_every_pixel(shape: tuple[int, ...]) -> None:
    image = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
    back = np.asarray(PillowImage.open(io.BytesIO(figures.png(image))))
    assert np.array_equal(back, image.squeeze())


@pytest.mark.parametrize("image", [np.zeros((4, 4)), np.zeros((4, 4, 4), np.uint8), np.zeros(4, np.uint8)])
def test_png_refuses_what_it_cannot_show(image: np.ndarray) -> None:
    with pytest.raises(ValueError, match="image: must be uint8"):
        figures.png(image)
