"""A run in plain words: a number only where it means something."""

from __future__ import annotations

import pytest

from scoremix.config import Evaluation
from scoremix.evaluation.estimate import ChosenCandidate, Estimate
from scoremix.evaluation.metric_table import AUC, tar
from scoremix.outputs.choice import Choosing
from scoremix.outputs.comparison import Difference
from scoremix.report import words
from scoremix.stages.judge.compare import verdict

SURE, UNSURE, WORSE = (
    Estimate(0.021, 0.010, 0.032, (0.02, 0.022)),
    Estimate(0.021, -0.01, 0.05, (0.02, 0.022)),
    Estimate(-0.05, -0.08, -0.02, (-0.05, -0.05)),
)
OWN = Estimate(0.912, 0.88, 0.94, (0.91, 0.914))


def told(chosen: str, best: str, lead: Estimate | None, classes: int = 30) -> str:
    leads = {} if lead is None else {best: lead}
    choice = ChosenCandidate(chosen, best, "equal_steps", dict.fromkeys(("real", "equal_steps", "mixed"), OWN), leads)
    return words.chosen(Choosing(choice, tar(0.01), 0.95, classes, 600), {"mixed": "mixes of two classes"})


def test_what_was_chosen_and_why() -> None:
    assert told("mixed", "mixed", SURE) == (
        "Chosen among 3 candidates: mixes of two classes (mixed). It led real images alone, trained longer (equal_steps) by "
        "2.1 of 100 pairs (95\u202f% interval +1.0 to +3.2) on the 30 validation classes."
    )
    assert told("equal_steps", "mixed", UNSURE).endswith("on the 30 validation classes: that may be chance.")
    assert "No other candidate did better" in told("equal_steps", "equal_steps", None)


@pytest.mark.parametrize(("best", "lead"), [("mixed", SURE), ("equal_steps", None)])
def test_on_too_few_classes_it_is_said_that_nothing_else_could_be_chosen(best: str, lead: Estimate | None) -> None:
    """Neither that none did better nor by how much one led: no lead of so few classes counts."""
    assert told("equal_steps", best, lead, 2) == (
        "Chosen among 3 candidates: real images alone, trained longer (equal_steps). 2 validation classes are too few to tell a "
        "lead from chance: with fewer than 5 only a control, real images alone, can be chosen."
    )
    assert "1 validation class is too few" in told("equal_steps", best, lead, 1)
    assert "too few" not in told("equal_steps", best, lead, 5)


def gained(kind: str, *against: Estimate) -> str:
    controls = dict(zip(("real", "equal_steps"), against, strict=False))
    return words.gained(kind, tar(0.01), OWN, controls, 45, 0.95)


def test_a_gain_has_its_numbers_and_chance_has_none() -> None:
    assert gained("helps", SURE, SURE).startswith(
        "On 45 classes it never saw in training, it recognizes better in every seed: 2.1 of 100"
    )
    unsure = gained("does not help here", SURE, UNSURE)
    assert (
        unsure
        == "On 45 classes it never saw in training, no gain over real images alone, trained longer (equal_steps) can be told from chance."
    )
    assert gained("does not help here", SURE, WORSE).endswith(
        "it recognizes worse than real images alone, trained longer (equal_steps): do not use it."
    )
    assert "91.2 of 100 pairs are recognized" in gained("real images were chosen", UNSURE)


def test_no_gain_is_told_on_fewer_classes_than_an_interval_needs() -> None:
    """Draws of two classes that have a pair of each kind are all alike: an interval without width."""
    told = words.gained("does not help here", tar(0.01), OWN, {"real": SURE}, 2, 0.95)
    assert (
        told
        == "On 2 classes it never saw in training, too few to tell a gain from chance: at least 5 classes are needed."
    )
    sure = [Difference("mixed", "real", "auc", SURE)]
    kinds = [verdict(sure, Evaluation(treatment="mixed"), "auc", True, enough) for enough in (True, False)]
    assert kinds == ["helps", "does not help here"]


def test_a_weak_generator_and_the_cost() -> None:
    assert "31.0\u202f% of the reproductions" in words.weak(
        0.31, 0.5
    ) and "at least 50.0\u202f% are needed" in words.too_weak(0.31, 0.5)
    spent = words.spent({"generator": 150, "recognizers": 320, "the rest": 0.5}, 1.4)
    assert (
        spent
        == "It took 7 min 50 s of computing here: recognizers 5 min 20 s, generator 2 min 30 s. The recipe trains on 1.4 times the images."
    )


@pytest.mark.parametrize(("metric", "said"), [(tar(0.01), "1 in 100 pairs"), (AUC, "Judged by AUC")])
def test_what_a_pair_is(metric: object, said: str) -> None:
    assert said in words.explained(metric)  # type: ignore[arg-type]
