"""Plans: what they mix, and that their price is known before."""

from __future__ import annotations

import copy
from itertools import product
from typing import Any

import pytest
import torch
from torch import Tensor

from scoremix.config import Sampling
from scoremix.config import SamplingPlan as Plan
from scoremix.diffusion import training
from scoremix.diffusion.denoisers import condition, mix, mix_conditions, preserving
from scoremix.diffusion.solvers import karras_sigmas
from scoremix.diffusion.unet import EDM2
from scoremix.stages.mix.plan import alike, denoiser_of, evaluations, evaluations_of, sample

LABELS = torch.tensor([[0, 3, 5], [4, 1, 2]])


def replace(plan: Plan, **changes: Any) -> Plan:
    return plan.model_copy(update=changes)


@pytest.fixture(scope="module")
def nets() -> tuple[EDM2, EDM2]:
    made = []
    for seed in (0, 1):
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            net = EDM2(8, 1, 6, model_channels=8, channel_mult=[1], num_blocks=1).eval()
        for name, parameter in net.named_parameters():
            if name.endswith("gain"):
                parameter.data.fill_(1.0)
        made.append(net.requires_grad_(False))
    return made[0], made[1]


def images(nets: tuple[EDM2, EDM2], labels: Tensor, weights: Any, plan: Plan, first: int = 7) -> Tensor:
    return sample(*nets, labels, weights, range(first, first + len(labels)), plan).images


def test_mixing_conditions_of_one_class_is_that_class(nets: tuple[EDM2, EDM2]):
    scores, conditions = Plan(steps=3), Plan(steps=3, mixture="conditions")
    one = LABELS[:, :1]
    assert torch.allclose(images(nets, one, [1.0], scores), images(nets, one, [1.0], conditions), atol=1e-4)
    weights = [0.2, 0.3, 0.5]
    assert (images(nets, LABELS, weights, scores) - images(nets, LABELS, weights, conditions)).abs().max() > 0.01


def test_each_row_has_its_own_weights(nets: tuple[EDM2, EDM2]):
    """Image by image as with one m-plet at a time; the noise follows the seed."""
    weights = torch.tensor([[0.2, 0.3, 0.5], [0.8, 0.1, 0.1]])
    together = images(nets, LABELS, weights, Plan(steps=3))
    for row in range(2):
        alone = images(nets, LABELS[row : row + 1], weights[row], Plan(steps=3), 7 + row)
        assert torch.allclose(together[row], alone[0], atol=2e-3)


CHOICES: dict[str, list[Any]] = {
    "solver": ["heun", "ddim", "dpm2m"],
    "mixture": ["scores", "conditions"],
    "guidance": [1.0, 1.3],
    "guide": ["each", "condition"],
    "guide_interval": [None, (0.1, 5.0)],
    "mixing_interval": [None, (0.0, 1.0)],
    "churn": [0.0, 3.0],
}


def sensible(choice: dict[str, Any]) -> bool:
    """Whether no setting is without effect beside the others."""
    unguided = choice["guidance"] == 1.0 and (choice["guide"] != "each" or choice["guide_interval"])
    single = choice["mixture"] == "conditions" and choice["mixing_interval"]
    return not (unguided or single or (choice["churn"] and choice["solver"] != "heun"))


PLANS = [values for values in product(*CHOICES.values()) if sensible(dict(zip(CHOICES, values, strict=True)))]


@pytest.mark.parametrize("values", PLANS, ids=str)
def test_the_price_of_a_plan_is_what_its_networks_are_asked(nets: tuple[EDM2, EDM2], values: tuple[Any, ...]):
    plan = replace(Plan(steps=4), **dict(zip(CHOICES, values, strict=True)))
    made = sample(*nets, LABELS, [0.2, 0.3, 0.5], [0, 1], plan)
    assert made.evaluations == evaluations(plan, 3)


def test_balanced_mixes_take_no_more_evaluations_and_lean_to_no_class(nets: tuple[EDM2, EDM2]):
    third = [1 / 3] * 3
    for guide, price in (("each", 24), ("condition", 16)):
        plan = Plan(steps=4, solver="ddim", eta=1.0, mixture="balanced", guide=guide)
        made = sample(*nets, LABELS, third, [0, 1], plan)
        assert made.evaluations == evaluations(plan, 3) == price and made.log_weight is None
        assert not torch.allclose(made.images, images(nets, LABELS, third, plan.alone, 0), atol=0.01)
    one = images(nets, LABELS[:, :1], [1.0], plan)
    assert torch.allclose(one, images(nets, LABELS[:, :1], [1.0], plan.alone), atol=1e-4)


def test_mixes_are_drawn_again_among_those_of_their_classes_and_weights(nets: tuple[EDM2, EDM2]):
    labels = LABELS[[0, 0, 0, 0, 1, 1, 1, 1, 1]]
    weights, seeds = torch.full((9, 3), 1 / 3), [0, 1, 2, 3, 4, 5, 6, 7, 7]
    assert alike(labels, weights, seeds).tolist() == [0] * 4 + [1] * 4 + [-1]
    plan = Plan(steps=6, churn=4.0, resample=0.99)
    made = sample(*nets, labels, weights, seeds, plan)
    assert made.evaluations == evaluations(plan, 3) == evaluations(plan.alone, 3)
    assert torch.equal(made.images, sample(*nets, labels, weights, seeds, plan).images)
    rare = sample(*nets, labels, weights, seeds, replace(plan, resample=1e-9)).images
    assert torch.allclose(rare, sample(*nets, labels, weights, seeds, plan.alone).images)
    assert not torch.allclose(made.images, rare) and torch.allclose(made.images[-1], rare[-1])
    reproductions = (images(nets, labels[:4, :1], [1.0], each) for each in (plan, plan.alone))
    assert torch.equal(*reproductions)  # of one class nothing is mixed


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"mixture": "balanced"}, "'balanced' with solver heun, eta 0: needs ddim, eta 1"),
        ({"mixture": "balanced", "solver": "ddim", "eta": 1.0, "weights": (0.3, 0.7)}, "every class counts the same"),
        ({"mixture": "balanced", "solver": "ddim", "eta": 1.0, "mixing_interval": (0.1, 1.0)}, "no mixing_interval"),
        (
            {"mixture": "balanced", "solver": "ddim", "eta": 1.0, "weights": (3, 3), "convex": False},
            "every class counts the same",
        ),
        ({"weights": (0, 0), "convex": False}, r"weights \[0.0, 0.0\]: a mix of no class"),
        ({"weights_end": (0, 0), "convex": False}, "weights_end .* a mix of no class"),
        ({"keep_by": "hardest", "weights": (1.5, -0.5), "convex": False}, "its labels are the weights"),
        ({"resample": 0.5}, "resample 0.5 with solver heun, churn 0: needs heun, churn above 0"),
        ({"resample": 0.5, "churn": 3.0, "mixture": "conditions"}, "needs mixture 'scores'"),
        ({"resample": 0.5, "churn": 3.0, "weights": (0.7, 0.7), "convex": False}, "must sum to 1"),
        ({"resample": 0.5, "churn": 3.0, "draw": "image"}, "among those of the same weights"),
    ],
)
def test_plans_that_cannot_be_followed_are_refused(settings: dict[str, Any], message: str):
    with pytest.raises(ValueError, match=message):
        Sampling(**settings)


def test_prices_of_known_plans():
    faithful = Plan()
    assert evaluations(faithful, 2) == 252
    assert evaluations(replace(faithful, guidance=1.0), 2) == 126
    assert evaluations(replace(faithful, guide="unconditional"), 2) == 189
    assert evaluations_of(replace(faithful, guide="condition"), 2) == (126, 63)
    assert evaluations(replace(faithful, mixture="conditions"), 2) == 126  # AugGen
    assert evaluations(replace(faithful, mixture="conditions", guidance=1.0), 2) == 63
    assert evaluations(replace(faithful, solver="dpm2m"), 3) == 32 * 6
    assert evaluations(replace(faithful, weights_end=(0.1, 0.9)), 2) == 252
    inside = sum(0.3 <= s <= 1.6 for s in karras_sigmas(32).tolist())
    interval = replace(faithful, guide="condition", mixing_interval=(0.3, 1.6))
    assert evaluations(interval, 2) == 63 * 2 + 2 * inside  # both calls at a level are one more each


def test_intervals_choose_the_denoiser(nets: tuple[EDM2, EDM2]):
    main, guide = (net.double() for net in (copy.deepcopy(nets[0]), copy.deepcopy(nets[1])))
    plan = Plan(guidance=2.0, guide="condition", guide_interval=(0.2, 1.0), mixing_interval=(0.5, 4.0))
    weights = [0.2, 0.3, 0.5]
    denoiser = denoiser_of(plan, main, guide, LABELS, weights)
    x = torch.randn(2, 1, 8, 8, dtype=torch.float64)
    scores, single = mix(main, LABELS, weights), mix_conditions(main, LABELS, preserving(weights))
    asked = mix_conditions(guide, LABELS, preserving(weights))
    for sigma, mixed, guided in ((0.1, single, False), (0.2, single, True), (0.7, scores, True), (4, scores, False)):
        s = torch.tensor(sigma, dtype=torch.float64)
        expected = 2 * mixed(x, s) - asked(x, s) if guided else mixed(x, s)
        assert torch.allclose(denoiser(x, s), expected, atol=1e-12)


def test_weights_move_with_log_sigma(nets: tuple[EDM2, EDM2]):
    plan = Plan(guidance=1.0, sigma_min=0.01, sigma_max=100.0, weights_end=(0.0, 1.0, 0.0))
    denoiser = denoiser_of(plan, nets[0], None, LABELS, [1.0, 0.0, 0.0])
    x = torch.randn(2, 1, 8, 8)
    for sigma, share in ((100.0, 0.0), (1.0, 0.5), (0.01, 1.0), (10.0, 0.25)):
        s = torch.tensor(sigma)
        expected = mix(nets[0], LABELS, [1 - share, share, 0.0])(x, s)
        assert torch.allclose(denoiser(x, s), expected, atol=1e-5)
    assert torch.allclose(
        images(nets, LABELS[:, :1], [1.0], plan), images(nets, LABELS[:, :1], [1.0], replace(plan, weights_end=None))
    )


def test_conditions_keep_their_size():
    assert torch.allclose(preserving([0.5, 0.5]), torch.tensor([0.5, 0.5], dtype=torch.float64).sqrt())  # type: ignore[arg-type]
    assert torch.allclose(preserving([1.0, 0.0]), torch.tensor([1.0, 0.0], dtype=torch.float64))  # type: ignore[arg-type]


def test_log_weights_come_with_plans_that_define_them(nets: tuple[EDM2, EDM2]):
    def log_weight(weights: Any = (0.5, 0.5), **options: Any) -> Tensor | None:
        return sample(*nets, LABELS[:, :2], weights, [0, 1], Plan(steps=3, **options)).log_weight

    usual = log_weight()
    assert usual is not None and usual.dtype == torch.float64 and usual.shape == (2,)
    assert (
        log_weight(guide="condition") is not None and log_weight(mixture="conditions", weights=(0.7, 0.7)) is not None
    )
    assert log_weight(space="score", guidance=1.0) is not None
    for options in ({"weights": (0.7, 0.7)}, {"mixing_interval": (0.1, 1.0)}, {"guide_interval": (0.1, 1.0)}):
        assert log_weight(**options) is None  # type: ignore[arg-type]
    assert log_weight(churn=5.0) is None and log_weight(weights_end=(0.2, 0.8)) is None


def test_guides_that_do_not_fit_are_refused(nets: tuple[EDM2, EDM2]):
    none, fewer = (EDM2(8, 1, k, model_channels=8, channel_mult=[1], num_blocks=1) for k in (0, 5))
    for guide, plan, message in (
        (none, Plan(), "guide 'each'.* 0 classes"),
        (nets[1], Plan(guide="unconditional"), "6 classes"),
        (fewer, Plan(), "knows 5 classes, the main network 6"),
        (None, Plan(), "needs a guide"),
        (
            EDM2(16, 1, 6, model_channels=8, channel_mult=[1]),
            Plan(),
            "guide makes images of 16 px .* main network of 8",
        ),
        (
            EDM2(8, 3, 6, model_channels=8, channel_mult=[1]),
            Plan(),
            "8 px in 3 channels, the main network of 8 px in 1",
        ),
    ):
        with pytest.raises(ValueError, match=message) as error:
            sample(nets[0], guide, LABELS, [0.2, 0.3, 0.5], [0, 1], plan)
        assert "\n" not in str(error.value)
    for field in ("guide_interval", "mixing_interval"):
        with pytest.raises(ValueError, match=r"interval \(2, 1\)"):
            images(nets, LABELS, [0.2, 0.3, 0.5], replace(Plan(), **{field: (2.0, 1.0)}))
    with pytest.raises(ValueError, match="weights_end"):
        images(nets, LABELS, [0.2, 0.3, 0.5], Plan(weights_end=(0.5, 0.5)))
    assert images((nets[0], none), LABELS, [0.2, 0.3, 0.5], Plan(steps=2, guide="unconditional")).shape == (2, 1, 8, 8)


def test_a_broken_network_is_named_by_level_and_class(nets: tuple[EDM2, EDM2]):
    class Broken(EDM2):
        def forward(self, x: Tensor, sigma: Any, labels: Any = None, **options: Any) -> Any:
            out = super().forward(x, sigma, labels, **options)
            broken = (labels == 5).reshape(len(x), -1).any(1) & (torch.as_tensor(sigma) < 1)
            return torch.where(broken[:, None, None, None], torch.nan, out)

    net = Broken(8, 1, 6, model_channels=8, channel_mult=[1, 2], num_blocks=1).eval()
    with pytest.raises(FloatingPointError, match=r"sigma 0\.\d+ for class 5"):
        images((net, nets[1]), LABELS, [0.2, 0.3, 0.5], Plan(steps=6))
    for mixture, which in (("scores", "'f'"), ("conditions", "'[a-f]' with '[a-f]' with '[a-f]'")):
        plan = Plan(steps=6, mixture=mixture)
        with pytest.raises(FloatingPointError, match=rf"sigma 0\.\d+ for class {which}$"):
            sample(net, nets[1], LABELS, torch.full((3,), 1 / 3), [0, 1], plan, "abcdef")
    with pytest.raises(FloatingPointError, match="overflows"):
        images(nets, LABELS, [3e38, 3e38, 3e38], Plan(steps=3))


def test_one_class_is_its_condition(nets: tuple[EDM2, EDM2]):
    x, s = torch.randn(2, 1, 8, 8), torch.tensor(0.5)
    denoiser = denoiser_of(Plan(guidance=1.0), nets[0], None, LABELS[:, :1], [1.0])
    assert torch.equal(denoiser(x, s), condition(nets[0], LABELS[:, 0])(x, s))


def test_an_autoencoder_is_two_calls_around_training_and_sampling():
    """Space to depth in place of a learnt one: 8 px grey images as 4 px of four channels."""
    encode, decode = torch.nn.PixelUnshuffle(2), torch.nn.PixelShuffle(2)

    def batches(seen: int) -> tuple[Tensor, Tensor]:
        g = torch.Generator().manual_seed(seen)
        labels = torch.randint(6, (8,), generator=g)
        return encode(labels[:, None, None, None] / 6 - 0.5 + torch.zeros(8, 1, 8, 8)), labels

    net = EDM2(4, 4, 6, model_channels=8, channel_mult=[1], num_blocks=1)
    state = training.start(net, [0.1])
    for _ in training.train(state, batches, batch=8, total=320, seed=0, rate=lambda seen: 1e-2):
        pass
    made = decode(sample(net.eval(), None, LABELS, [0.2, 0.3, 0.5], [0, 1], Plan(steps=4, guidance=1.0)).images)
    assert made.shape == (2, 1, 8, 8) and made.isfinite().all()
