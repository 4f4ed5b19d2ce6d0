"""The network: laws, an independent one-hot, published outputs, restarts."""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from scoremix.diffusion.layers import MPConv, compiled, normalize
from scoremix.diffusion.training import weighted_error
from scoremix.diffusion.unet import EDM2, ResidualBlock, condition_matrix, frozen

TINY: dict[str, Any] = {"model_channels": 16, "channel_mult": [1, 2], "num_blocks": 1}


def make(resolution: int = 8, channels: int = 1, classes: int = 6, seed: int = 0, **options: Any) -> EDM2:
    """A small network whose every path contributes: gains away from their initial 0."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        net = EDM2(resolution, channels, classes, **{**TINY, **options})
    for name, parameter in net.named_parameters():
        if name.endswith("gain"):
            parameter.data.fill_(0.5)
    return net.eval()


def inputs(net: EDM2, rows: int = 3, seed: int = 1) -> tuple[Tensor, Tensor, Tensor]:
    g = torch.Generator().manual_seed(seed)
    x = torch.randn(rows, net.img_channels, net.img_resolution, net.img_resolution, generator=g)
    sigma = torch.rand(rows, generator=g) * 2 + 0.05
    labels = torch.randint(max(net.label_dim, 1), (rows,), generator=g)
    return x, sigma, labels


def attention_names(net: EDM2) -> set[str]:
    return {n.split(".")[-3] for n, _ in net.named_parameters() if n.endswith("attn_qkv.weight")}


# ---- laws ----


def test_untrained_network_is_the_prior_mean_of_the_preconditioning():
    net = EDM2(8, 1, 4, **TINY).eval()  # out_gain = 0: the body gives nothing
    x, sigma, labels = inputs(net)
    skip = 0.25 / (sigma**2 + 0.25)
    assert torch.allclose(net(x, sigma, labels), skip[:, None, None, None] * x)


def test_integer_labels_equal_one_hot_labels():
    net = make().double()
    x, sigma, labels = inputs(net)
    dense = torch.nn.functional.one_hot(labels, net.label_dim).double()
    assert torch.allclose(net(x, sigma, labels), net(x, sigma, dense), atol=1e-12)


def test_weighted_integer_labels_equal_soft_labels():
    net = make().double()
    x, sigma, _ = inputs(net, rows=2)
    labels, weights = torch.tensor([[0, 4], [3, 1]]), torch.tensor([[0.3, 0.7], [1.5, -0.2]])
    dense = torch.zeros(2, net.label_dim, dtype=torch.float64).scatter_(1, labels, weights.double())
    assert torch.allclose(net(x, sigma[:2], labels, label_weights=weights), net(x, sigma[:2], dense), atol=1e-7)


def test_condition_matrix_is_what_the_label_path_adds():
    net = make(classes=5)
    c = condition_matrix(net)
    assert c.shape == (5, 32)
    assert torch.allclose(c.square().mean(0), torch.ones(32), atol=1e-3)  # unit RMS of each feature over classes
    one_hot = torch.eye(5) * math.sqrt(5)
    label_layer = net.unet.emb_label
    assert isinstance(label_layer, MPConv)
    assert torch.allclose(c, label_layer(one_hot), atol=1e-5)


def test_rows_do_not_see_each_other():
    net = make().double()
    x, sigma, labels = inputs(net)
    alone = torch.cat([net(x[i : i + 1], sigma[i : i + 1], labels[i : i + 1]) for i in range(3)])
    assert torch.allclose(net(x, sigma, labels), alone, atol=1e-12)


def test_scalar_sigma_is_that_sigma_for_every_row():
    net = make().double()
    x, _, labels = inputs(net)
    assert torch.allclose(net(x, 0.7, labels), net(x, torch.full((3,), 0.7), labels), atol=1e-7)
    assert net(x, 0.7, labels, return_logvar=True)[1].shape == (1, 1, 1, 1)


def test_train_mode_normalises_weights_and_does_not_change_the_map():
    net = make()
    x, sigma, labels = inputs(net)
    before = net(x, sigma, labels)
    scaled = {n: p * 3 for n, p in net.state_dict().items() if n.endswith("weight")}
    net.load_state_dict(net.state_dict() | scaled)
    after = net.train()(x, sigma, labels)
    assert torch.allclose(before, after, atol=2e-3)  # up to the 1e-4 added to the RMS
    for module in net.modules():
        if isinstance(module, MPConv) and module is not net.logvar_linear:  # the loss's own layer was not called
            rms = module.weight.flatten(1).square().mean(1).sqrt()
            assert torch.allclose(rms, torch.ones_like(rms), atol=2e-4)


@pytest.mark.parametrize("training", [True, False])
def test_torch_compile_takes_the_network_in_one_piece(training: bool):
    net = make().train(training)
    x, sigma, labels = inputs(net)
    torch._dynamo.reset()
    with torch.no_grad():
        expected = net(x, sigma, labels, return_logvar=True)
        traced = torch.compile(net, fullgraph=True, backend="eager")(x, sigma, labels, return_logvar=True)
        for found, value in zip(traced, expected, strict=True):
            assert torch.allclose(found, value, atol=2e-3 if training else 1e-6)  # weights were rewritten once more


def test_what_is_compiled_rewrites_its_weights_in_training_as_it_is_does(monkeypatch: pytest.MonkeyPatch):
    compile = torch.compile
    monkeypatch.setattr(torch, "compile", lambda net: compile(net, fullgraph=True, backend="aot_eager"))
    one, other = MPConv(4, 8, 3, 3).train(), MPConv(4, 8, 3, 3).train()
    other.load_state_dict(one.state_dict())
    x = torch.randn(2, 4, 5, 5)
    for net in (one, compiled(other)):
        net(x).square().sum().backward()
    assert torch.allclose(one.weight, other.weight) and torch.allclose(one.weight.grad, other.weight.grad, rtol=1e-4)


def test_magnitudes_are_preserved():
    z = torch.randn(4000, 64, generator=torch.Generator().manual_seed(0))
    layer = MPConv(64, 32).train()
    assert layer(z).detach().square().mean().sqrt() == pytest.approx(1, abs=0.05)
    assert normalize(z * 7).square().mean(1).sqrt().allclose(torch.ones(4000), atol=1e-3)


@pytest.mark.parametrize("rows", [1, 5])
def test_frozen_copy_is_bit_for_bit_the_network(rows: int):
    for dtype in ("float32", "bfloat16"):
        net = make(dtype=dtype)
        x, sigma, labels = inputs(net, rows)
        copy = frozen(net)
        assert torch.equal(copy(x, sigma, labels), net(x, sigma, labels))
        assert torch.equal(condition_matrix(copy), condition_matrix(net))
    assert torch.equal(frozen(make(), "bfloat16")(x, sigma, labels), copy(x, sigma, labels))
    with pytest.raises(RuntimeError, match="Unexpected key"):
        copy.load_state_dict(net.state_dict())  # a frozen copy cannot silently go stale


def test_bfloat16_body_is_close_and_its_output_float32():
    net = make(dtype="float32")
    x, sigma, labels = inputs(net, 8)
    exact, rough = net(x, sigma, labels), frozen(net, "bfloat16")(x, sigma, labels)
    assert rough.dtype == torch.float32
    error = (rough - exact).square().mean().sqrt() / exact.square().mean().sqrt()
    assert 1e-6 < error < 0.02


# ---- layouts ----


def test_attention_sits_at_the_two_deepest_levels_of_any_resolution():
    net = EDM2(24, 3, 4, model_channels=8, channel_mult=[1, 1, 2], num_blocks=1)
    assert attention_names(net) == {
        "12x12_block0", "6x6_block0", "6x6_in0", "6x6_block1", "12x12_block1",
    }  # fmt: skip
    assert net(torch.randn(2, 3, 24, 24), 1.0, torch.tensor([0, 3])).shape == (2, 3, 24, 24)


def test_published_layouts():
    official = EDM2(112, 3, 4, model_channels=8, channel_mult=[1, 1, 1, 1], num_blocks=1, attn_resolutions=[])
    assert attention_names(official) == {"14x14_in0"}
    assert attention_names(make(attention=False)) == set()


def test_edm2_s_has_the_published_size():
    with torch.device("meta"):
        net = EDM2(64, 3, 1000, attn_resolutions=[16, 8])
    millions = sum(p.numel() for p in net.parameters()) / 1e6
    assert millions == pytest.approx(280, abs=1)
    assert sum(n.endswith("attn_qkv.weight") for n, _ in net.named_parameters()) == 15


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"img_resolution": 10, "channel_mult": [1, 2, 2]}, "img_resolution=10"),
        ({"channels_per_head": 64}, "channels_per_head=64"),
        ({"channels_per_head": 3}, "channels_per_head=3"),
        ({"attn_resolutions": [16]}, r"attn_resolutions=\[16\]"),
        ({"dtype": "int8"}, "dtype='int8'"),
        ({"dtype": "bfloat16", "use_fp16": True}, "use_fp16"),
    ],
)
def test_configurations_that_would_lose_something_are_refused(options: dict[str, Any], message: str):
    with pytest.raises(ValueError, match=message):
        EDM2(**{"img_resolution": 8, "img_channels": 1, "label_dim": 3, **TINY, **options})


def test_unknown_options_are_refused_by_name():
    with pytest.raises(TypeError, match="attn_layers"):
        EDM2(8, 1, 3, attn_layers=2)


def test_networks_without_classes():
    net = make(classes=0)
    x, sigma, labels = inputs(net)
    assert torch.equal(net(x, sigma, labels), net(x, sigma))  # labels are ignored
    with pytest.raises(ValueError, match="label_dim=0"):
        condition_matrix(net)


def test_in_training_a_label_can_be_none():
    net = make().train()
    x, sigma, labels = inputs(net)
    some = labels.clone()
    some[::2] = -1
    found = net(x, sigma, some)
    torch.testing.assert_close(found[::2], net(x, sigma)[::2])
    torch.testing.assert_close(found[1::2], net(x, sigma, labels)[1::2])


def test_without_classes_it_is_the_same_network_asked_for_none():
    net = make(classless=True)
    x, sigma, labels = inputs(net)
    none = net.without_classes()
    assert none.label_dim == 0 and net.label_dim > 0
    assert torch.equal(none(x, sigma), net(x, sigma)) and not torch.equal(none(x, sigma), net(x, sigma, labels))
    assert none.unet is net.unet
    with pytest.raises(ValueError, match="was not trained without classes"):
        make().without_classes()


# ---- published outputs ----


def golden_net(spec_and_state: tuple[dict[str, Any], dict[str, Tensor]], double: bool) -> EDM2:
    spec, state = spec_and_state
    net = EDM2(**spec["config"])
    net.load_state_dict(state, strict=True)
    return net.double().eval() if double else net.eval()


@pytest.mark.parametrize("double", [False, True])
@pytest.mark.parametrize("name", ["base", "knobs", "uncond", "guide"])
def test_outputs(name: str, double: bool, golden, golden_state):
    net = golden_net(golden_state(f"edm2_{name}_state.json"), double)
    data = np.load(golden(f"edm2_{name}_precond.npz"), allow_pickle=False)
    tolerance, infix = (1e-9, "64") if double else (2e-5, "")
    get = lambda key: torch.from_numpy(data[key])
    for kind in ("onehot", "zero", "soft", "none"):
        if f"D_{kind}" not in data:
            continue
        labels = None if kind == "none" else get(f"labels_{kind}")
        denoised, logvar = net(get("x"), get("sigma"), labels, return_logvar=True)
        assert (denoised - get(f"D{infix}_{kind}")).abs().max() <= tolerance
        assert (logvar - get(f"logvar{infix}")).abs().max() <= tolerance
        if kind == "onehot":
            assert (net(get("x"), get("sigma"), labels.argmax(1)) - denoised).abs().max() <= tolerance
            if not double:
                one_sigma = net(get("x"), torch.tensor(1.7), labels)
                assert (one_sigma - get("D_scalar_sigma")).abs().max() <= tolerance


@pytest.mark.parametrize("name", ["base", "knobs"])
def test_train_mode(name: str, golden, golden_state):
    net = golden_net(golden_state(f"edm2_{name}_state.json"), double=False).train()
    for block in (m for m in net.modules() if isinstance(m, ResidualBlock)):
        block.dropout = 0.0  # off in the reference's run
    data = np.load(golden(f"edm2_{name}_trainmode.npz"), allow_pickle=False)
    get = lambda key: torch.from_numpy(data[key])
    call = (get("x"), get("sigma"), get("labels"))
    denoised, logvar = net(*call, return_logvar=True)
    parameters = dict(net.named_parameters())
    for i, key in enumerate(data["post_names"]):
        value = parameters[str(key)].detach().double().flatten()
        assert float(value.norm()) == pytest.approx(data["post_norm"][i], rel=1e-5)
        first = data["post_first8"][i]
        first = first[~np.isnan(first)]
        assert np.abs(value[: len(first)].numpy() - first).max() <= 2e-5
    assert (logvar - get("logvar")).abs().max() <= 2e-5
    assert (denoised - get("D")).abs().max() <= 2e-5
    assert (net(*call, return_logvar=True)[0] - get("D_second_forward")).abs().max() <= 2e-5
    for key in (k for k in data.files if k.startswith("post:")):  # these were stored after the second forward
        assert (parameters[key.removeprefix("post:")] - get(key)).abs().max() <= 2e-5


@pytest.mark.parametrize("double", [False, True])
@pytest.mark.parametrize("name", ["base", "knobs"])
def test_loss_and_gradients(name: str, double: bool, golden, golden_state):
    data = np.load(golden(f"edm2_{name}_loss.npz"), allow_pickle=False)
    options = json.loads(str(data["meta"]))["EDM2Loss"]
    suffix = "64" if double else ""
    work = torch.float64 if double else torch.float32
    get = lambda key: torch.from_numpy(data[key]).to(work)
    for mode in ("eval", "train"):
        net = golden_net(golden_state(f"edm2_{name}_state.json"), double).train(mode == "train")
        for block in (m for m in net.modules() if isinstance(m, ResidualBlock)):
            block.dropout = 0.0
        sigma = (get("rnd_normal") * options["P_std"] + options["P_mean"]).exp().flatten()
        noise = get("noise_unit") * sigma[:, None, None, None]
        denoised, u = net(get("images") + noise, sigma, get("labels"), return_logvar=True)
        loss = weighted_error(denoised, u, get("images"), sigma, options["sigma_data"])
        (loss.sum() / len(loss)).backward()
        if mode == "eval":
            expected = data[f"loss{suffix}"]
            np.testing.assert_allclose(
                loss.detach().numpy(), expected, rtol=1e-8 if double else 2e-5, atol=1e-8 if double else 1e-5
            )
            assert float(loss.detach().mean()) == pytest.approx(float(data[f"loss_mean{suffix}"]), rel=1e-5)
        parameters = dict(net.named_parameters())
        for i, key in enumerate(data["grad_names"]):
            gradient = parameters[str(key)].grad
            assert gradient is not None
            flat = gradient.double().flatten()
            norm = data[f"grad_norm_{mode}{suffix}"][i]
            assert float(flat.norm()) == pytest.approx(norm, rel=1e-8 if double else 1e-4, abs=1e-8)
            first = data[f"grad_first8_{mode}{suffix}"][i]
            first = first[~np.isnan(first)]
            scale = max(1.0, float(norm))
            assert np.abs(flat[: len(first)].numpy() - first).max() <= (1e-8 if double else 1e-4) * scale
