"""DINOv2 and Inception: against torch's own transformer, shapes and names of the published files, refusals."""

from __future__ import annotations

import pickle
from pathlib import Path

import pytest
import safetensors.torch
import torch
from torch import nn

from scoremix.evaluation.backbones import DinoV2, Inception, load, network_input


def randomised(net: nn.Module, seed: int = 0) -> nn.Module:
    g = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for p in net.parameters():
            p.copy_(torch.randn(p.shape, generator=g) * (0.3 if p.ndim < 2 else p[0].numel() ** -0.5))
    return net.eval()


def by_torch(net: DinoV2, x: torch.Tensor) -> torch.Tensor:
    """The class token by nn.TransformerEncoderLayer, layer scales folded into the last linear maps."""
    tokens = nn.functional.conv2d(x, net.patch_embed.proj.weight, net.patch_embed.proj.bias, stride=14)
    tokens = torch.cat([net.cls_token.expand(len(x), -1, -1), tokens.flatten(2).transpose(1, 2)], 1) + net.pos_embed
    dim = tokens.shape[2]
    for block in net.blocks:
        layer = nn.TransformerEncoderLayer(
            dim, dim // 64, 4 * dim, 0.0, "gelu", 1e-6, batch_first=True, norm_first=True
        ).eval()
        scale = (block.ls1.gamma, block.ls2.gamma)
        layer.load_state_dict(
            {
                "self_attn.in_proj_weight": block.attn.qkv.weight,
                "self_attn.in_proj_bias": block.attn.qkv.bias,
                "self_attn.out_proj.weight": scale[0][:, None] * block.attn.proj.weight,
                "self_attn.out_proj.bias": scale[0] * block.attn.proj.bias,
                "linear1.weight": block.mlp.fc1.weight,
                "linear1.bias": block.mlp.fc1.bias,
                "linear2.weight": scale[1][:, None] * block.mlp.fc2.weight,
                "linear2.bias": scale[1] * block.mlp.fc2.bias,
                "norm1.weight": block.norm1.weight,
                "norm1.bias": block.norm1.bias,
                "norm2.weight": block.norm2.weight,
                "norm2.bias": block.norm2.bias,
            }
        )
        tokens = layer(tokens)
    return net.norm(tokens)[:, 0]


@torch.no_grad()
def test_dinov2_is_a_pre_norm_transformer() -> None:
    net = randomised(DinoV2(128, 3, 4))
    x = torch.randn(2, 3, 28, 28, generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(net(x), by_torch(net, x), rtol=1e-4, atol=1e-5)


@torch.no_grad()
@pytest.mark.parametrize("registers", [0, 4])
def test_dinov2_loads_by_name_with_or_without_registers_and_resamples_positions(registers: int, tmp_path: Path) -> None:
    made = randomised(DinoV2(64, 2, 37 * 37, registers))
    torch.save(made.state_dict(), tmp_path / "dino.pth")
    safetensors.torch.save_file(made.state_dict(), tmp_path / "dino.safetensors")
    x = torch.randn(2, 3, 224, 224, generator=torch.Generator().manual_seed(1))
    one, two = (load("dinov2", tmp_path / f"dino.{end}")(x) for end in ("pth", "safetensors"))
    assert torch.equal(one, made(x)) and torch.equal(one, two) and one.shape == (2, 64)
    assert made._positions(16).shape == (1, 257, 64) and made._positions(37) is made.pos_embed


@torch.no_grad()
def test_inception_has_the_published_shapes(tmp_path: Path) -> None:
    net = Inception().eval()
    assert sum(p.numel() for p in net.parameters()) == 21_785_568  # the published network without its classifier
    state = net.state_dict()
    assert state["Mixed_6b.branch7x7_2.conv.weight"].shape == (128, 128, 1, 7)
    assert state["Mixed_7c.branch3x3dbl_3b.conv.weight"].shape == (384, 384, 3, 1)
    torch.save({**state, "fc.weight": torch.zeros(1008, 2048), "fc.bias": torch.zeros(1008)}, tmp_path / "i.pth")
    x = network_input("inception", torch.randint(0, 256, (1, 16, 16, 1), dtype=torch.uint8))
    assert x.shape == (1, 3, 299, 299) and torch.equal(load("inception", tmp_path / "i.pth")(x), net(x))
    maps = []
    for block in (net.Mixed_5d, net.Mixed_6e, net.Mixed_7c):
        block.register_forward_hook(lambda module, args, out: maps.append(tuple(out.shape[1:])))
    assert net(x).shape == (1, 2048)
    assert maps == [(288, 35, 35), (768, 17, 17), (2048, 8, 8)]


def test_inputs_are_scaled_as_the_networks_were_trained() -> None:
    grey = torch.full((2, 9, 9, 1), 255, dtype=torch.uint8)
    torch.testing.assert_close(network_input("inception", grey), torch.ones(2, 3, 299, 299))
    found = network_input("dinov2", grey)
    assert found.shape == (2, 3, 224, 224)
    assert found[0, :, 0, 0].tolist() == pytest.approx([2.2489, 2.4286, 2.64], abs=1e-3)  # of white, ImageNet's


class Harmful:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return print, ("executed",)


def test_other_files_are_refused_and_nothing_is_executed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    files = {"pickle.pth": pickle.dumps(Harmful(), protocol=2), "text.pth": b"hello", "text.safetensors": b"hello"}
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)
    torch.save({"a": Harmful()}, tmp_path / "inside.pth")
    torch.save([torch.zeros(2)], tmp_path / "list.pth")
    torch.save({"conv.weight": torch.zeros(2)}, tmp_path / "other.pth")
    for name in [*files, "inside.pth", "list.pth", "other.pth", "missing.pth"]:
        for network in ("dinov2", "inception"):
            with pytest.raises(ValueError, match=name):
                load(network, tmp_path / name)  # type: ignore[arg-type]
    assert "executed" not in capsys.readouterr().out
