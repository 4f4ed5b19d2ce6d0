"""Each rule of thumb is said where its conditions are met, and nowhere else."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

from scoremix.config import load
from scoremix.config.arms import named
from scoremix.config.presets import PRESETS
from scoremix.outputs.diagnosis import Group
from scoremix.outputs.networks import GateResult
from scoremix.report import words
from scoremix.report.sections.generator import GeneratorSection
from scoremix.report.sections.verdict import VerdictSection, advice
from support import fake_report

GATE = GateResult(0.46, 0.8, 1.0, 1.0, floor=0.5, classes=10, images=40)
REAL = Group("training classes", 100, 0.9)
LOOSE, TIGHT = (Group("scoremix", 100, alike) for alike in (0.4, 0.6))
ARMS = ("real", "equal_steps", "scoremix")
DOCS = Path(__file__).parents[2] / "docs"


def test_a_weak_generator_comes_first() -> None:
    first, second, *_ = advice("generator too weak", "scoremix", ARMS, [REAL, LOOSE], GATE)
    assert "46 % of its reproductions" in second and "50 % are needed" in second
    settings = re.findall(r"--set ([^\s)]+)", first)
    found = load(PRESETS["folder"](), (), settings)
    assert found.generator.conditions == "rms" and found.generator.batch == 32 and found.sampling.guidance == 2
    assert second == advice("generator too weak", "scoremix", ARMS, [], GATE, conditions="rms")[0]


def test_a_recognizer_that_does_not_know_real_images_comes_before_the_generator() -> None:
    weak = replace(GATE, top1=0.1, real_top1=0.18)
    (only,) = advice("generator too weak", "scoremix", ARMS, [], weak)
    assert "recognizer.epochs" in only and "18 % right" in only
    assert words.too_weak(0.1, 0.5, 0.18).startswith("The recognizer is too weak")


def test_the_gate_of_an_aligned_generator_is_called_no_proof() -> None:
    report = fake_report.build(arms=3)
    aligned = report.having(replace(report.part(GeneratorSection), aligned=True))
    assert "is no proof" in aligned.html and "is no proof" not in report.html


def test_without_a_gate_nothing_is_said_to_have_passed_it() -> None:
    report = fake_report.build(arms=3)
    weak = replace(GATE, top1=0.1, floor=0.0)
    parts = (replace(report.part(VerdictSection), gate=weak), replace(report.part(GeneratorSection), gate=weak))
    ungated = report.having(*parts)
    assert words.ungated(0.1) in ungated.text() and "No share is needed" in ungated.html
    assert "No gate" not in report.text() and "No share is needed" not in report.html


def test_incoherent_mixes_are_to_be_screened() -> None:
    def says(group: Group, screened: tuple[str, ...] = ()) -> bool:
        return any(
            "coherent mixes" in line for line in advice("helps", "scoremix", ARMS, [REAL, group], GATE, screened)
        )

    assert says(LOOSE) and not says(TIGHT) and not says(LOOSE, ("scoremix",))
    assert not any("coherent" in line for line in advice("helps", "scoremix", ARMS, [], GATE))


def test_pixel_averages_are_the_cheap_control() -> None:
    assert "hold the mixes against pixel averages" in advice("helps", "scoremix", ARMS, [REAL, TIGHT], GATE)[0]
    for mixes, averages in (("coherent_first", "averages_first"), ("coherent_75", "averages_75")):
        assert f"(arm {averages})" in advice("helps", mixes, ARMS, [REAL, TIGHT], GATE)[0]
    assert not advice("helps", "cutmixes", ARMS, [REAL, TIGHT], GATE, generated=False)
    with_averages = (*ARMS, "averages")

    def told(averages: float) -> tuple[str, ...]:
        gains = {"scoremix": 0.02, "averages": averages}
        return advice("helps", "scoremix", with_averages, [REAL, TIGHT], GATE, (), gains)

    assert told(0.01) == () and "take pixel averages instead" in told(0.03)[0]
    assert "mix other classes" in advice("does not help here", "scoremix", with_averages, [REAL, TIGHT], GATE)[-1]


def test_too_short_a_training_is_named_before_other_classes() -> None:
    def told(real: float) -> tuple[str, ...]:
        return advice("does not help here", "scoremix", (*ARMS, "averages"), [], GATE, (), {"real": real})

    first, *_, last = told(-0.043)
    assert "train the recognizer longer first" in first and "4.3 points" in first and "mix other classes" in last
    assert len(told(-0.005)) == len(told(0.02)) == len(told(-0.043)) - 1


def test_mixes_that_do_harm_are_to_come_first() -> None:
    def says(*arms: str) -> bool:
        return any("come first" in line for line in advice("does not help here", "scoremix", arms, [], GATE))

    assert says(*ARMS) and not says(*ARMS, "coherent_first")
    assert not any("come first" in line for line in advice("helps", "scoremix", ARMS, [], GATE))


def runs(text: str) -> list[str]:
    """The arms of every command in the text, each held to be an experiment with the settings beside it."""
    found = re.findall(r"--arms ([\w.,]*\w)((?: --set [^\s`):]+)*)", text)
    for arms, settings in found:
        load(PRESETS["folder"](), (), [f"arms={arms}", *settings.split(" --set ")[1:]], named)
    return [arms for arms, _ in found]


def test_every_command_of_advice_is_an_experiment() -> None:
    kinds = ("generator too weak", "helps", "does not help here")
    said = [advice(kind, "scoremix", ARMS, [REAL, LOOSE], GATE, (), {"real": -0.04}) for kind in kinds]
    lines = [line for of_kind in said for line in of_kind]
    assert len(runs("\n".join(lines))) == sum(line.count("--arms") for line in lines) > 1


def test_every_list_of_arms_in_the_docs_is_an_experiment() -> None:
    for page in (DOCS.parent / "README.md", *DOCS.glob("*.md")):
        lines = [line for line in page.read_text().splitlines() if " --sets " not in line and "--arms " in line]
        assert len(runs("\n".join(lines))) == sum(line.count("--arms ") for line in lines), page
