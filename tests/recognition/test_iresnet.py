"""IR networks: published weights' outputs and names, and the small network's shapes."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from scoremix.recognition import iresnet

State = Callable[[str], tuple[dict[str, Any], dict[str, Tensor]]]


def filled(backbone: str, name: str, state: State) -> nn.Module:
    spec, tensors = state(f"{name}_state.json")
    net = iresnet.build(backbone).eval()
    net.load_state_dict(tensors, strict=True)
    assert sum(p.numel() for p in net.parameters()) == spec["n_params"]
    return net


@pytest.mark.parametrize(
    ("backbone", "precision"),
    [
        ("iresnet18", torch.float32),
        ("iresnet18", torch.float64),
        ("iresnet50", torch.float32),
        ("adaface_ir50", torch.float32),
        pytest.param("iresnet50", torch.float64, marks=pytest.mark.slow),
        pytest.param("adaface_ir50", torch.float64, marks=pytest.mark.slow),
    ],
)
def test_published_networks_match(
    golden: Callable[[str], Path], golden_state: State, backbone: str, precision: torch.dtype
) -> None:
    """AdaFace's code returns the unit vector and the norm of our raw embedding."""
    data = np.load(golden(f"{backbone}_embed.npz"), allow_pickle=False)
    net = filled(backbone, backbone, golden_state).to(precision)
    x = (torch.from_numpy(data["images_u8"]).float() / 255 - 0.5) / 0.5
    with torch.inference_mode():
        ours = net(x.to(precision)).double()
    if precision == torch.float64:
        expected = torch.from_numpy(data["embedding64"] * data.get("norm64", 1.0))
        torch.testing.assert_close(ours, expected, rtol=0, atol=1e-8)
        return
    expected = torch.from_numpy(data["embedding"]).double()
    assert torch.cosine_similarity(ours, expected).min() >= 1 - 1e-6
    if "norm" in data:
        norm = torch.from_numpy(data["norm"]).double()
        torch.testing.assert_close(ours / ours.norm(dim=1, keepdim=True), expected, rtol=0, atol=1e-5)
        torch.testing.assert_close(ours.norm(dim=1, keepdim=True), norm, rtol=1e-4, atol=0)
    else:
        torch.testing.assert_close(ours, expected, rtol=0, atol=1e-4 * max(1.0, float(expected.std())))


@pytest.mark.parametrize(
    ("name", "entries", "parameters"),
    [
        ("iresnet18", 187, 24_025_600),
        ("iresnet34", 331, 34_139_328),
        ("iresnet50", 475, 43_590_848),
        ("iresnet100", 925, 65_156_160),
        ("iresnet200", 1807, 118_833_920),
        ("adaface_ir18", 179, 24_020_352),
        ("adaface_ir34", 323, 34_134_080),
        ("adaface_ir50", 467, 43_585_600),
        ("adaface_ir101", 917, 65_150_912),
        ("adaface_irse50", 515, 43_808_320),
    ],
)
def test_sizes_of_the_published_families(name: str, entries: int, parameters: int) -> None:
    with torch.device("meta"):
        net = iresnet.build(name)
    assert len(net.state_dict()) == entries
    assert sum(p.numel() for p in net.parameters()) == parameters
    if name == "adaface_irse50":
        assert net.state_dict()["body.0.res_layer.se_block.fc1.weight"].shape == (4, 64, 1, 1)


def test_the_first_skip_tells_the_families_apart() -> None:
    with torch.device("meta"):
        ours, other = iresnet.build("iresnet18").state_dict(), iresnet.build("adaface_ir18").state_dict()
    assert "layer1.0.downsample.0.weight" in ours
    assert not any(name.startswith("body.0.shortcut_layer") for name in other)
    assert "body.2.shortcut_layer.0.weight" in other


@pytest.mark.parametrize("name", ["iresnet19", "adaface_ir200", "adaface_irse20", "resnet50", ""])
def test_unknown_names_are_refused(name: str) -> None:
    with pytest.raises(ValueError, match="backbone: "):
        iresnet.build(name)


@pytest.mark.parametrize("size", [8, 9, 16, 27, 224])
@pytest.mark.parametrize("channels", [1, 3])
def test_any_size_and_channels(size: int, channels: int) -> None:
    net = iresnet.IRNet(size, channels, widths=(4, 8, 8), units=(1, 2, 1), embedding=5).eval()
    assert net(torch.zeros(2, channels, size, size)).shape == (2, 5)
    halved = math.ceil(size / 8)
    assert net.fc.in_features == 8 * halved**2


def test_last_normalisation_has_no_trainable_scale() -> None:
    net = iresnet.IRNet(8, 1, (4,), (1,), 6)
    assert not net.features.weight.requires_grad
    y = net(torch.randn(64, 1, 8, 8))
    torch.testing.assert_close(y.std(0, correction=0), torch.ones(6), rtol=0, atol=1e-3)


def test_published_start_values() -> None:
    torch.manual_seed(0)
    net = iresnet.IRNet(16, 1, (64, 64), (1, 1), 8)
    assert net.layer2[0].conv1.weight.std().item() == pytest.approx(0.1, rel=0.02)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"size": 7}, "size: 7 px"),
        ({"size": 225}, "size: 225 px"),
        ({"units": (1,)}, r"units: \[1\] must name"),
    ],
)
def test_wrong_settings_are_named(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        iresnet.IRNet(**{"size": 16, **change})
