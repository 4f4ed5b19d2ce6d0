"""Mixing and guidance: laws, refusals, and the mixed denoisers of the reference."""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from scoremix.diffusion.denoisers import Counted, autoguide, condition, mix, mix_conditions, within
from scoremix.diffusion.solvers import heun, heun_path, karras_sigmas
from scoremix.diffusion.unet import EDM2, frozen
from support.toy import gaussians

CLASSES = 6
SIGMA = torch.tensor(0.8, dtype=torch.float64)


@pytest.fixture(scope="module")
def net() -> EDM2:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        net = EDM2(8, 1, CLASSES, model_channels=8, channel_mult=[1, 2], num_blocks=1).double().eval()
    for name, parameter in net.named_parameters():
        if name.endswith("gain"):
            parameter.data.fill_(1.0)
    return net.requires_grad_(False)


@pytest.fixture
def x() -> Tensor:
    return torch.randn(2, 1, 8, 8, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


LABELS = torch.tensor([[0, 3, 5], [4, 1, 2]])


def test_one_class_of_weight_one_is_that_class_alone(net: EDM2, x: Tensor):
    for k in range(3):
        alone = condition(net, LABELS[:, k])(x, SIGMA)
        assert torch.equal(mix(net, LABELS[:, k : k + 1], [1.0])(x, SIGMA), alone)
        unit = [float(j == k) for j in range(3)]
        for space in ("denoised", "score"):
            assert torch.allclose(mix(net, LABELS, unit, space)(x, SIGMA), alone, atol=1e-13)
        assert torch.allclose(mix_conditions(net, LABELS, unit)(x, SIGMA), alone, atol=1e-13)


def test_permuting_classes_with_their_weights_changes_nothing(net: EDM2, x: Tensor):
    weights = torch.tensor([0.2, 0.5, 0.4], dtype=torch.float64)
    order = torch.tensor([2, 0, 1])
    for make in (mix, mix_conditions):
        there, back = make(net, LABELS, weights), make(net, LABELS[:, order], weights[order])
        assert torch.allclose(there(x, SIGMA), back(x, SIGMA), atol=1e-13)


def test_spaces_differ_by_the_missing_weight_times_x(net: EDM2, x: Tensor):
    weights = torch.tensor([[0.5, 0.2, 0.3], [0.7, 0.7, -0.1]], dtype=torch.float64)
    denoised = mix(net, LABELS, weights, "denoised")(x, SIGMA)
    score = mix(net, LABELS, weights, "score")(x, SIGMA)
    missing = (1 - weights.sum(1))[:, None, None, None]
    assert torch.allclose(score, denoised + missing * x, atol=1e-13)
    assert torch.allclose(score[0], denoised[0], atol=1e-13)  # weights of the first row sum to 1
    assert not torch.allclose(score[1], denoised[1], atol=1e-3)


def test_a_mix_is_the_weighted_sum_of_separate_forwards(net: EDM2, x: Tensor):
    weights = torch.tensor([[0.5, 0.2, 0.3], [0.1, 0.2, 0.3]], dtype=torch.float64)
    sigma = torch.tensor([0.3, 2.0], dtype=torch.float64)  # one level per row
    expected = sum(weights[:, k, None, None, None] * condition(net, LABELS[:, k])(x, sigma) for k in range(3))
    assert torch.allclose(mix(net, LABELS, weights)(x, sigma), torch.as_tensor(expected), atol=1e-13)


def test_mixed_condition_is_the_soft_label(net: EDM2, x: Tensor):
    soft = torch.zeros(2, CLASSES, dtype=torch.float64)
    soft[0, [0, 3, 5]] = torch.tensor([0.7, 0.2, 0.4], dtype=torch.float64)
    soft[1, [4, 1, 2]] = torch.tensor([0.7, 0.2, 0.4], dtype=torch.float64)
    mixed = mix_conditions(net, LABELS, [0.7, 0.2, 0.4])
    assert torch.allclose(mixed(x, SIGMA), condition(net, soft)(x, SIGMA), atol=1e-13)
    assert not torch.allclose(mixed(x, SIGMA), mix(net, LABELS, [0.7, 0.2, 0.4])(x, SIGMA), atol=1e-4)


def test_guiding_the_mix_is_mixing_the_guided(net: EDM2, x: Tensor):
    guide = lambda x, sigma, labels: net(x * 0.9, sigma, labels)
    weights = [0.2, 0.2, 0.6]
    whole = autoguide(mix(net, LABELS, weights), mix(guide, LABELS, weights), 2.75)
    each = [autoguide(condition(net, LABELS[:, k]), condition(guide, LABELS[:, k]), 2.75)(x, SIGMA) for k in range(3)]
    expected = torch.stack([w * d for w, d in zip(weights, each, strict=True)]).sum(0)
    assert torch.allclose(whole(x, SIGMA), expected, atol=1e-12)


def test_guidance_one_leaves_the_guide_out(net: EDM2, x: Tensor):
    main = condition(net, LABELS[:, 0])
    assert autoguide(main, condition(net, None), 1.0) is main
    zero = autoguide(main, condition(net, None), 0.0)
    assert torch.allclose(zero(x, SIGMA), net(x, SIGMA, None), atol=1e-13)


def test_every_call_is_counted(net: EDM2, x: Tensor):
    counted, guide = Counted(net), Counted(net)
    denoiser = autoguide(mix(counted, LABELS, [0.2, 0.3, 0.5]), mix_conditions(guide, LABELS, [1, 1, 1]), 1.3)
    heun(denoiser, x * 10, karras_sigmas(3, 0.002, 10))
    assert counted.images + guide.images == 4 * 5 * len(x)
    assert counted.images == 3 * guide.images
    assert counted.label_dim == CLASSES


def test_any_callable_is_a_denoiser(net: EDM2, x: Tensor):
    """Plain functions, the exact toy and a network composed freely, against formulas written out."""
    toy = gaussians(torch.linspace(-1, 1, CLASSES)[:, None].expand(CLASSES, 64), torch.full((CLASSES, 64), 0.5))
    shrink = lambda x, sigma: x / (1 + sigma**2)
    half = lambda x, sigma: (x / 2).float()  # another dtype than the state's
    w = [0.2, 0.5, 0.3]
    by_net = lambda x, s: sum(w[k] * net(x, s, LABELS[:, k]) for k in range(3))
    by_toy = lambda x, s: sum(w[k] * toy(x, s, LABELS[:, k]) for k in range(3))
    guided = autoguide(mix(net, LABELS, w), shrink, 1.3)
    pieces = within((0.5, 2.0), guided, mix(toy, LABELS, w))
    whole = autoguide(pieces, within((0.0, 1.0), toy, half), 2.0)
    around = within((0.1, 5.0), whole, shrink)
    for level in (0.05, 0.3, 0.8, 1.5, 3.0, 20.0):
        s = torch.tensor(level, dtype=torch.float64)
        main = 1.3 * by_net(x, s) - 0.3 * x / (1 + level**2) if 0.5 <= level <= 2 else by_toy(x, s)
        guide = toy(x, s) if level <= 1 else (x / 2).float().double()
        expected = 2 * main - guide if 0.1 <= level <= 5 else x / (1 + level**2)
        assert torch.allclose(around(x, s), expected, atol=1e-12)
        assert around(x, s).dtype == torch.float64
    assert torch.allclose(autoguide(shrink, shrink, 1.3)(x, SIGMA), shrink(x, SIGMA), atol=1e-15)
    assert heun(around, x * 20, karras_sigmas(4, 0.01, 20)).isfinite().all()


def test_output_follows_the_state_not_the_network(net: EDM2):
    single = EDM2(8, 1, CLASSES, model_channels=8, channel_mult=[1], num_blocks=1).eval().requires_grad_(False)
    x = torch.randn(2, 1, 8, 8, dtype=torch.float64)
    for denoiser in (mix(single, LABELS, [0.2, 0.3, 0.5]), condition(single, LABELS[:, 0])):
        assert denoiser(x, SIGMA).dtype == torch.float64


@pytest.mark.parametrize("make", [mix, mix_conditions])
@pytest.mark.parametrize(
    ("labels", "weights", "message"),
    [
        ([[0, 1]], [0.5, math.nan], "nan"),
        ([[0, 1]], [0.5, math.inf], "inf"),
        ([[0, 1]], [1.0], "shape"),
        ([[0, 1]], [[0.5, 0.5], [0.5, 0.5]], "shape"),
        ([[0, 1], [2, 2]], [0.5, 0.5], r"labels \[2, 2\]"),
        ([[0, 6]], [0.5, 0.5], "label 6"),
        ([[0, -1]], [0.5, 0.5], "label -1"),
        ([0, 1], [0.5, 0.5], r"\(2,\)"),
        ([[0.0, 1.0]], [0.5, 0.5], "float"),
    ],
)
def test_senseless_mplets_are_refused_in_one_line(net: EDM2, make: Any, labels: Any, weights: Any, message: str):
    with pytest.raises(ValueError, match=message) as error:
        make(net, torch.tensor(labels), weights)
    assert "\n" not in str(error.value)


def test_other_senseless_values(net: EDM2):
    with pytest.raises(ValueError, match="space='noise'"):
        mix(net, LABELS, [1, 1, 1], "noise")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="scale=nan"):
        autoguide(condition(net, None), condition(net, None), math.nan)
    with pytest.raises(ValueError, match="label 9"):
        condition(net, torch.tensor([1, 9]))


# ---- the reference ----


def load(golden_state: Any, name: str, double: bool) -> EDM2:
    spec, state = golden_state(f"edm2_{name}_state.json")
    net = EDM2(**spec["config"])
    net.load_state_dict(state)
    return frozen(net.double() if double else net)


@pytest.mark.parametrize("double", [True, pytest.param(False, marks=pytest.mark.slow)])
def test_mixing_matches_the_reference_in_both_spaces(double: bool, golden, golden_state):
    data = np.load(golden("scoremix_heun.npz"), allow_pickle=False)
    meta = json.loads(str(data["meta"]))
    main, guide = (load(golden_state, name, double) for name in ("base", "guide"))
    noise = torch.from_numpy(data["noise"]).double()
    sigmas = karras_sigmas(meta["num_steps"], 0.002, 80, 7)
    x0 = noise * sigmas[0]
    for k, case in enumerate(meta["cases"]):
        weights = case["weights"]
        labels = torch.from_numpy(data["classes"][:, : len(weights)])
        space = "denoised" if case["convention"] == "D" else "score"
        denoiser = autoguide(mix(main, labels, weights, space), mix(guide, labels, weights, space), case["guidance"])
        states = torch.stack(list(heun_path(denoiser, x0, sigmas)))
        if double:
            assert (states[-1] - torch.from_numpy(data[f"m{k}_x64"])).abs().max() <= 1e-8
            if f"m{k}_traj64" in data:
                path = torch.from_numpy(data[f"m{k}_traj64"])  # of the first rows
                assert (states[:, : path.shape[1]] - path).abs().max() <= 1e-8
            for x, sigma, expected in zip(data["pt_x"], data["pt_sigma"], data[f"m{k}_pt_D"], strict=True):
                d = denoiser(torch.from_numpy(x).double(), torch.tensor(sigma))
                assert (d - torch.from_numpy(expected)).abs().max() <= 1e-8
        else:
            expected = torch.from_numpy(data[f"m{k}_x64_net32"])
            bound = torch.maximum(torch.tensor(1e-4), 1e-5 * expected.abs().max())
            assert (states[-1] - expected).abs().max() <= bound
