"""Alignment loss against autograd and closed forms; what is frozen stays frozen; restarts bit for bit."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from scoremix.diffusion import training
from scoremix.diffusion.alignment_loss import AlignmentLoss, alignment_loss, fixed_conditions, ramp, snr_weight
from scoremix.diffusion.layers import FixedConditions
from scoremix.diffusion.unet import EDM2, condition_matrix, frozen

BATCH, CLASSES = 8, 4


def make(**options: Any) -> EDM2:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return EDM2(8, 1, CLASSES, model_channels=8, channel_mult=[1, 2], num_blocks=1, attention=False, **options)


def teacher(**options: Any) -> tuple[nn.Module, AlignmentLoss]:
    with torch.random.fork_rng():
        torch.manual_seed(1)
        net = nn.Sequential(nn.Flatten(), nn.Linear(64, 6)).requires_grad_(False)
        centers = torch.randn(CLASSES, 6)
    settings: dict[str, Any] = {"weight": 1.0, "decay": 1.0, "start": 0.0, "length": 0.0} | options
    return net, AlignmentLoss(net, centers, **settings)


def batches(nimg: int) -> tuple[Tensor, Tensor]:
    g = torch.Generator().manual_seed(nimg)
    return torch.randn(BATCH, 1, 8, 8, generator=g) * 0.5, torch.randint(CLASSES, (BATCH,), generator=g)


def run(
    total: int, extra: AlignmentLoss | None = None, state: training.GeneratorTraining | None = None
) -> training.GeneratorTraining:
    state = state or training.start(make(), [0.1])
    for _ in training.train(
        state, batches, batch=BATCH, total=total * BATCH, seed=0, rate=lambda nimg: 1e-2, extra=extra
    ):
        pass
    return state


def equal(a: training.GeneratorTraining, b: training.GeneratorTraining) -> bool:
    left, right = a.tensors(), b.tensors()
    return left.keys() == right.keys() and all(torch.equal(left[k], right[k]) for k in left)


def test_loss_weight_and_ramp_are_equations_7_to_9() -> None:
    x, c = torch.tensor([[3.0, 4.0], [0.0, 2.0]]), torch.tensor([[6.0, 8.0], [0.0, -1.0]])
    assert alignment_loss(x, c).tolist() == pytest.approx([0, 2], abs=1e-6)
    assert snr_weight(torch.tensor([0.0, 0.5, 2.0]), 2.0).tolist() == pytest.approx([1, math.exp(-0.5), math.exp(-8)])
    assert [ramp(n, 100, 50) for n in (0, 100, 110, 150, 900)] == [0, 0, 0.2, 1, 1]
    assert [ramp(n, 100, 0) for n in (99, 100, 101)] == [0, 1, 1]


def test_gradient_is_that_of_equation_10() -> None:
    """The gradient of one step is that of the sum over elements of L_diff + lambda w_ramp w_snr L_align."""
    images, labels = batches(0)
    sigma, noise = torch.linspace(0.1, 2, BATCH), torch.randn(images.shape, generator=torch.Generator().manual_seed(9))
    features, extra = teacher(weight=0.3, decay=0.7, start=100, length=200)
    by_hand = make().train()
    denoised, u = by_hand(images + noise, sigma, labels, return_logvar=True)
    cosine = (nn.functional.normalize(features(denoised)) * nn.functional.normalize(extra.centers[labels])).sum(1)
    pull = 0.3 * 0.25 * torch.exp(-0.7 * sigma**2) * (1 - cosine)
    elements = training.weighted_error(denoised, u, images, sigma, 0.5) + pull[:, None, None, None]
    (elements.sum() / BATCH).backward()
    expected = {n: p.grad for n, p in by_hand.named_parameters() if p.grad is not None}

    state = training.start(make(), [0.1])
    state.nimg = 150
    found: dict[str, Tensor] = {}

    def backward(loss: Tensor) -> None:
        loss.backward()
        found.update({n: p.grad.clone() for n, p in state.net.named_parameters() if p.grad is not None})

    training.step(state, images, labels, sigma, noise, batch=BATCH, rate=0.0, extra=extra, backward=backward)
    assert found.keys() == expected.keys()
    for name, gradient in expected.items():
        torch.testing.assert_close(found[name], gradient, rtol=1e-4, atol=1e-5)
    plain = training.weighted_error(denoised, u, images, sigma, 0.5).detach().mean()
    assert float(state.losses[-1]) == pytest.approx(float(plain), rel=1e-5)  # the stored loss is the plain one


def test_images_without_a_class_are_not_pulled() -> None:
    images, labels = batches(0)
    _, extra = teacher()
    sigma = torch.full((BATCH,), 0.1)
    every, some = (
        extra(images, labels, sigma, 10**6),
        extra(images, labels.index_fill(0, torch.tensor([1]), -1), sigma, 10**6),
    )
    assert every is not None and some is not None
    assert some[1] == 0 and every[1] > 0 and torch.equal(some[2:], every[2:])


def test_gradients_reach_the_generator_only() -> None:
    net, extra = teacher()
    before = {n: p.clone() for n, p in net.named_parameters()}
    centers = extra.centers.clone()
    state = run(3, extra)
    assert all(p.grad is None for p in net.parameters()) and extra.centers.grad is None
    assert all(torch.equal(p, before[n]) for n, p in net.named_parameters()) and torch.equal(extra.centers, centers)
    assert not equal(state, run(3))


def test_before_its_start_an_aligned_run_is_the_plain_one_bit_for_bit() -> None:
    _, extra = teacher(start=4 * BATCH, length=4 * BATCH)
    assert equal(run(5, extra), run(5))  # the step from the start itself has a ramp of 0
    assert extra.take_losses() == []
    assert not equal(run(6, extra), run(6))
    assert len(extra.take_losses()) == 1


def test_restart_in_the_ramp_is_bit_exact() -> None:
    whole = run(10, teacher(start=2 * BATCH, length=5 * BATCH)[1])
    half = run(5, teacher(start=2 * BATCH, length=5 * BATCH)[1])
    resumed = training.start(make(), [0.1])
    resumed.restore({n: t.clone() for n, t in half.tensors().items()}, half.info())
    assert equal(run(10, teacher(start=2 * BATCH, length=5 * BATCH)[1], resumed), whole)


def test_alignment_pulls_images_towards_their_centers() -> None:
    weak, strong = teacher(weight=1e-6)[1], teacher(weight=5.0)[1]
    run(60, weak)
    run(60, strong)
    assert sum(strong.take_losses()[-10:]) < sum(weak.take_losses()[-10:]) - 2


# ---- fixed conditions (4.3) ----


@pytest.mark.parametrize("kind", ["raw", "rms", "orthogonal"])
def test_conditions_keep_the_geometry_of_the_centers(kind: Any) -> None:
    centers = torch.randn(9, 6, generator=torch.Generator().manual_seed(0)) * 3
    conditions = fixed_conditions(centers, 16, kind, seed=2).double()
    unit = nn.functional.normalize(centers.double())
    size = 1 if kind == "raw" else 16
    torch.testing.assert_close(conditions @ conditions.T, size * unit @ unit.T, rtol=1e-5, atol=1e-5)
    spread = conditions[:, 6:].abs().max()
    assert spread > 0.1 if kind == "orthogonal" else spread == 0
    assert torch.equal(fixed_conditions(centers, 16, kind, seed=2), conditions.float())
    with pytest.raises(ValueError, match="4 dimensions cannot hold class centers of 6"):
        fixed_conditions(centers, 4, kind)


def test_fixed_conditions_survive_training_and_snapshots_bit_for_bit() -> None:
    net = make(fixed_conditions=True)
    assert isinstance(net.unet.emb_label, FixedConditions)
    centers = fixed_conditions(torch.randn(CLASSES, 6, generator=torch.Generator().manual_seed(0)), 16, "raw")
    net.unet.emb_label.weight.copy_(centers.t())
    state = run(5, state=training.start(net, [0.1]))
    assert torch.equal(condition_matrix(state.net), centers)
    other = make(fixed_conditions=True)
    other.load_state_dict(state.ema.state(0))
    assert torch.equal(condition_matrix(other), centers)
    assert "unet.emb_label.weight" not in dict(net.named_parameters())


def test_one_hot_labels_select_a_condition_and_mixed_ones_its_mean() -> None:
    net = make(fixed_conditions=True).eval()
    assert isinstance(net.unet.emb_label, FixedConditions)
    with torch.no_grad():
        net.unet.emb_label.weight.copy_(torch.randn(16, CLASSES, generator=torch.Generator().manual_seed(4)))
        net.unet.out_gain.fill_(1)
        x, sigma, labels = torch.randn(3, 1, 8, 8), torch.tensor([0.3, 1.0, 4.0]), torch.tensor([2, 0, 3])
        one_hot = nn.functional.one_hot(labels, CLASSES).float()
        torch.testing.assert_close(net(x, sigma, labels), net(x, sigma, one_hot))
        torch.testing.assert_close(frozen(net)(x, sigma, labels), net(x, sigma, labels), rtol=0, atol=0)
        row = net.unet._condition(torch.tensor([[0, 1]]), torch.tensor([[0.25, 0.75]]))
    weight = net.unet.emb_label.weight
    torch.testing.assert_close(row, (0.25 * weight[:, 0] + 0.75 * weight[:, 1])[None])
