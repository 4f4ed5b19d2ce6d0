"""How mixed classes count in training: weights, margins and gradients, and which images are seen when."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from scoremix.config import Mixing
from scoremix.outputs.images import MixedTraining
from scoremix.recognition.heads import ArcFace
from scoremix.recognition.mixed import MixedClasses, loss
from scoremix.stages.train.recognizer import order_of, recipe_of

LABELS = torch.tensor([0, 2, 1, 4, 3, 3])  # classes 0 to 2 are real
MIXED = LABELS >= 3


def embedded(seed: int = 0) -> tuple[torch.Tensor, ArcFace]:
    torch.manual_seed(seed)
    return torch.randn(6, 8, requires_grad=True), ArcFace(8, 5, scale=16.0, margin=0.3)


def test_a_recipe_of_defaults_is_the_heads_own_loss():
    x, head = embedded()
    assert torch.allclose(loss(x, LABELS, head, MixedClasses(3)), head(x, LABELS))


def test_the_weight_is_of_mixed_images_alone():
    x, head = embedded()
    plain, weighed = head(x, LABELS), loss(x, LABELS, head, MixedClasses(3, weight=0.25))
    assert torch.allclose(weighed[MIXED], plain[MIXED] / 4) and torch.allclose(weighed[~MIXED], plain[~MIXED])


def test_without_a_margin_mixed_images_have_the_loss_of_a_cosine_classifier():
    x, head = embedded()
    bare = F.cross_entropy(16 * head.cosine(x), LABELS, reduction="none")
    found = loss(x, LABELS, head, MixedClasses(3, margin=False))
    assert torch.allclose(found[MIXED], bare[MIXED]) and torch.allclose(found[~MIXED], head(x, LABELS)[~MIXED])


def test_negatives_move_centers_but_not_the_network():
    x, head = embedded()
    loss(x, LABELS, head, MixedClasses(3, negatives=True)).sum().backward()
    assert x.grad is not None and head.weight.grad is not None
    assert (x.grad[MIXED] == 0).all() and (x.grad[~MIXED] != 0).any(1).all()
    negative = head.weight.grad.clone()
    again, other = embedded()
    other(again, LABELS).sum().backward()
    assert other.weight.grad is not None and again.grad is not None
    assert torch.allclose(negative, other.weight.grad) and torch.allclose(x.grad[~MIXED], again.grad[~MIXED])


def test_a_margin_on_the_sources_pushes_mixes_away_from_both():
    sources = torch.tensor([[0, 2], [1, 2]])  # of classes 3 and 4
    recipe = MixedClasses(3, margin=False, source_margin=4.0, sources=sources)
    x, head = embedded()
    logits = 16 * head.cosine(x)
    for row in MIXED.nonzero().flatten():
        logits[row, sources[LABELS[row] - 3]] += 4.0
    expected = F.cross_entropy(logits, LABELS, reduction="none")
    found = loss(x, LABELS, head, recipe)
    assert torch.allclose(found[MIXED], expected[MIXED]) and torch.allclose(found[~MIXED], head(x, LABELS)[~MIXED])

    def pull_to_sources(recipe: MixedClasses) -> torch.Tensor:
        x, head = embedded()
        loss(x, LABELS, head, recipe)[3].backward()  # an image of class 4
        assert x.grad is not None
        return x.grad[3] @ head.centers()[sources[1]].sum(0)

    assert pull_to_sources(recipe) > pull_to_sources(MixedClasses(3, margin=False))  # descent leads away from them


def test_mixes_come_to_an_end_at_once_or_by_and_by():
    at_once = order_of(MixedTraining(40, 4, finish=0.5), 0, 100, 1000)
    assert at_once.rows(490, 10).max() >= 40 and max(at_once.rows(s, 10).max() for s in range(500, 1000, 10)) < 40
    ramp = order_of(MixedTraining(40, 4, finish=0.25, ramp=0.5), 0, 100, 100_000)
    share = [(ramp.rows(seen, 10_000) >= 40).mean() for seen in (0, 15_000, 25_000, 50_000, 70_000, 75_000)]
    assert share[0] == pytest.approx(0.6, abs=0.03) and share[2] == pytest.approx(0.6, abs=0.03)
    assert share[3] == pytest.approx(0.3, abs=0.03) and share[4] < 0.1 and share[5] == 0
    np.testing.assert_array_equal(ramp.rows(50_000, 64), ramp.rows(50_000, 64))


def test_only_what_differs_is_a_recipe():
    assert Mixing().recipe == {} and recipe_of(None, 16.0) is None
    given = Mixing(weight=0.5, margin=False, finish=0.5).recipe
    assert given == {"finish": 0.5, "weight": 0.5, "margin": False}
    assert recipe_of(MixedTraining(9, 3, **given), 16.0) == MixedClasses(3, weight=0.5, margin=False)
    assert recipe_of(MixedTraining(9, 3, finish=0.5), 16.0) is None
    assert recipe_of(MixedTraining(9, 3, source_margin=0.25), 16.0) == MixedClasses(3, source_margin=4.0)


@pytest.mark.parametrize(
    "wrong, message",
    [
        ({"weight": 0.5, "labels": "soft"}, "mixes as new classes"),
        ({"negatives": True, "real": False}, "mixes as new classes"),
        ({"source_margin": 0.1, "labels": "both"}, "source_margin with labels"),
        ({"source_margin": 0.1, "negatives": True}, "source_margin with negatives"),
        ({"ramp": 0.5, "real": False}, "no real images"),
        ({"ramp": 0.6, "finish": 0.5}, "longer than the training"),
    ],
)
def test_impossible_recipes_are_refused(wrong: dict[str, object], message: str):
    with pytest.raises(ValueError, match=message):
        Mixing(**wrong)  # type: ignore[arg-type]
