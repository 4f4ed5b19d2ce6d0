"""Plans: what they mix, and that their price is known before."""

from __future__ import annotations

from itertools import product

import pytest
import torch

from scoremix.diffusion.denoisers import Counted
from scoremix.diffusion.plans import Plan, sample
from scoremix.diffusion.unet import EDM2

LABELS = torch.tensor([[0, 3, 5], [4, 1, 2]])


@pytest.fixture(scope="module")
def nets() -> tuple[EDM2, EDM2]:
    made = []
    for seed in (0, 1):
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            net = EDM2(8, 1, 6, model_channels=8, channel_mult=[1, 2], num_blocks=1).eval()
        for name, parameter in net.named_parameters():
            if name.endswith("gain"):
                parameter.data.fill_(1.0)
        made.append(net.requires_grad_(False))
    return made[0], made[1]


def test_mixing_conditions_of_one_class_is_that_class(nets: tuple[EDM2, EDM2]):
    scores, conditions = (
        sample(*nets, LABELS[:, :1], [1.0], [0, 1], Plan(steps=3, mixture=mixture))  # type: ignore[arg-type]
        for mixture in ("scores", "conditions")
    )
    assert torch.allclose(scores, conditions, atol=1e-4)
    mixes = [
        sample(*nets, LABELS, [0.2, 0.3, 0.5], [0, 1], Plan(steps=3, mixture=mixture))  # type: ignore[arg-type]
        for mixture in ("scores", "conditions")
    ]
    assert (mixes[0] - mixes[1]).abs().max() > 0.01


def test_each_row_has_its_own_weights(nets: tuple[EDM2, EDM2]):
    """Image by image as with one m-plet at a time; the noise follows the seed."""
    weights = torch.tensor([[0.2, 0.3, 0.5], [0.8, 0.1, 0.1]])
    together = sample(*nets, LABELS, weights, [7, 8], Plan(steps=3))
    for row in range(2):
        alone = sample(*nets, LABELS[row : row + 1], weights[row], [7 + row], Plan(steps=3))
        assert torch.allclose(together[row], alone[0], atol=2e-3)


@pytest.mark.parametrize(("mixture", "guidance"), list(product(["scores", "conditions"], [1.0, 1.3])))
def test_the_price_of_a_plan_is_what_its_networks_are_asked(nets: tuple[EDM2, EDM2], mixture: str, guidance: float):
    plan = Plan(steps=3, mixture=mixture, guidance=guidance)  # type: ignore[arg-type]
    main, guide = Counted(nets[0]), Counted(nets[1])
    sample(main, guide, LABELS, [0.2, 0.3, 0.5], [0, 1], plan)  # type: ignore[arg-type]
    assert main.images + guide.images == 2 * plan.evaluations(3)
    assert guide.images == (0 if guidance == 1 else main.images)
