"""DINOv2 and Inception-v3 from weights on this disk, as the features of published Fréchet distances (Appendix D.6)."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

import safetensors
import safetensors.torch
import torch
from jaxtyping import Float, UInt8
from torch import Tensor, nn
from torch.nn import functional as F

from scoremix.data.finite import finite_tensors
from scoremix.data.pickles import read_torch

Name = Literal["dinov2", "inception"]

_MEAN, _STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # ImageNet's
_PATCH, _HEAD = 14, 64


# ---------------------------------------------------------------------------------- DINOv2 (Oquab et al. 2023)


class _Scale(nn.Module):
    def __init__(self, dim: int) -> None:
        super().__init__()
        self.gamma = nn.Parameter(torch.ones(dim))


class _Attention(nn.Module):
    def __init__(self, dim: int) -> None:
        super().__init__()
        self.qkv, self.proj = nn.Linear(dim, 3 * dim), nn.Linear(dim, dim)

    def forward(self, x: Float[Tensor, "b n d"]) -> Float[Tensor, "b n d"]:
        b, n, d = x.shape
        q, k, v = self.qkv(x).reshape(b, n, 3, d // _HEAD, _HEAD).permute(2, 0, 3, 1, 4)
        y: Tensor = self.proj(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(b, n, d))
        return y


class _Mlp(nn.Module):
    def __init__(self, dim: int) -> None:
        super().__init__()
        self.fc1, self.fc2 = nn.Linear(dim, 4 * dim), nn.Linear(4 * dim, dim)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.fc2(F.gelu(self.fc1(x)))
        return y


class _Block(nn.Module):
    def __init__(self, dim: int) -> None:
        super().__init__()
        self.norm1, self.attn, self.ls1 = nn.LayerNorm(dim, eps=1e-6), _Attention(dim), _Scale(dim)
        self.norm2, self.mlp, self.ls2 = nn.LayerNorm(dim, eps=1e-6), _Mlp(dim), _Scale(dim)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.ls1.gamma * self.attn(self.norm1(x))
        y: Tensor = x + self.ls2.gamma * self.mlp(self.norm2(x))
        return y


class DinoV2(nn.Module):
    """ViT-S/B/L with patches of 14 px under the names of the published files; returns the normalised class token."""

    def __init__(self, dim: int, depth: int, positions: int, registers: int = 0) -> None:
        super().__init__()
        self.cls_token = nn.Parameter(torch.zeros(1, 1, dim))
        self.pos_embed = nn.Parameter(torch.zeros(1, 1 + positions, dim))
        self.mask_token = nn.Parameter(torch.zeros(1, dim))  # in the files, used in their training only
        self.register_tokens = nn.Parameter(torch.zeros(1, registers, dim)) if registers else None
        self.patch_embed = nn.Module()
        self.patch_embed.proj = nn.Conv2d(3, dim, _PATCH, _PATCH)
        self.blocks = nn.ModuleList(_Block(dim) for _ in range(depth))
        self.norm = nn.LayerNorm(dim, eps=1e-6)

    def forward(self, x: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b d"]:
        patches = self.patch_embed.proj(x)  # type: ignore[operator]
        x = torch.cat([self.cls_token.expand(len(x), -1, -1), patches.flatten(2).transpose(1, 2)], dim=1)
        x = x + self._positions(patches.shape[2])
        if self.register_tokens is not None:
            x = torch.cat([x[:, :1], self.register_tokens.expand(len(x), -1, -1), x[:, 1:]], dim=1)
        for block in self.blocks:
            x = block(x)
        y: Tensor = self.norm(x)[:, 0]
        return y

    def _positions(self, side: int) -> Float[Tensor, "1 n d"]:
        """The positions resampled to side x side patches, as the published models do: those without registers by a
        factor that is 0.1 patches too large, those with registers antialiased.
        """
        side_here = math.isqrt(self.pos_embed.shape[1] - 1)
        if side_here == side:
            return self.pos_embed
        grid = self.pos_embed[:, 1:].reshape(1, side_here, side_here, -1).permute(0, 3, 1, 2)
        if self.register_tokens is None:
            grid = F.interpolate(grid, scale_factor=(side + 0.1) / side_here, mode="bicubic")
        else:
            grid = F.interpolate(grid, size=(side, side), mode="bicubic", antialias=True)
        return torch.cat([self.pos_embed[:, :1], grid.flatten(2).transpose(1, 2)], dim=1)


def _dinov2(state: Mapping[str, Tensor]) -> DinoV2:
    dim, positions = state["pos_embed"].shape[2], state["pos_embed"].shape[1] - 1
    depth = 1 + max(int(name.split(".")[1]) for name in state if name.startswith("blocks."))
    registers = state["register_tokens"].shape[1] if "register_tokens" in state else 0
    return DinoV2(dim, depth, positions, registers)


# ---------------------------------------------------------------------------------- Inception-v3 (Szegedy et al. 2016)


class _Conv(nn.Module):
    """Convolution without bias, batch norm, ReLU."""

    def __init__(self, inputs: int, outputs: int, kernel: int | tuple[int, int], stride: int = 1) -> None:
        super().__init__()
        sides = (kernel, kernel) if isinstance(kernel, int) else kernel
        padding = (0, 0) if stride == 2 else (sides[0] // 2, sides[1] // 2)
        self.conv = nn.Conv2d(inputs, outputs, sides, stride, padding, bias=False)
        self.bn = nn.BatchNorm2d(outputs, eps=0.001)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = F.relu(self.bn(self.conv(x)))
        return y


Step = tuple[str, int, int | tuple[int, int]]  # name, output channels, kernel


class _Mixed(nn.Module):
    """Parallel chains of convolutions, then a pooled one; outputs side by side.

    The pooling of the network that Fréchet distances are published with: averages over the pixels that exist,
    and a maximum in the last block.
    """

    def __init__(
        self, inputs: int, chains: list[list[Step]], pool: Literal["average", "maximum", "halving"], pooled: int = 0
    ) -> None:
        super().__init__()
        self.chains, self.pool = [[name for name, _, _ in chain] for chain in chains], pool
        for chain in chains:
            before = inputs
            for i, (name, outputs, kernel) in enumerate(chain):
                last = i == len(chain) - 1
                self.add_module(name, _Conv(before, outputs, kernel, 2 if pool == "halving" and last else 1))
                before = outputs
        if pooled:
            self.branch_pool = _Conv(inputs, pooled, 1)

    def forward(self, x: Tensor) -> Tensor:
        features = []
        for chain in self.chains:
            y = x
            for name in chain:
                y = self.get_submodule(name)(y)
            features.append(y)
        match self.pool:
            case "halving":
                features.append(F.max_pool2d(x, 3, 2))
            case "maximum":
                features.append(self.branch_pool(F.max_pool2d(x, 3, 1, 1)))
            case "average":
                features.append(self.branch_pool(F.avg_pool2d(x, 3, 1, 1, count_include_pad=False)))
        return torch.cat(features, dim=1)


class _Split(_Mixed):
    """The last two blocks: two chains end in a pair of convolutions (1, 3) and (3, 1) on the same input."""

    def __init__(self, inputs: int, pool: Literal["average", "maximum"]) -> None:
        chains: list[list[Step]] = [
            [("branch1x1", 320, 1)],
            [("branch3x3_1", 384, 1)],
            [("branch3x3dbl_1", 448, 1), ("branch3x3dbl_2", 384, 3)],
        ]
        super().__init__(inputs, chains, pool, 192)
        for stem in ("branch3x3_2", "branch3x3dbl_3"):
            self.add_module(f"{stem}a", _Conv(384, 384, (1, 3)))
            self.add_module(f"{stem}b", _Conv(384, 384, (3, 1)))

    def forward(self, x: Tensor) -> Tensor:
        single, plain, double, pooled = torch.split(super().forward(x), [320, 384, 384, 192], dim=1)
        pairs = [self.get_submodule(f"branch3x3_2{end}")(plain) for end in "ab"]
        pairs += [self.get_submodule(f"branch3x3dbl_3{end}")(double) for end in "ab"]
        return torch.cat([single, *pairs, pooled], dim=1)


def _block_a(inputs: int, pooled: int) -> _Mixed:
    five: list[Step] = [("branch5x5_1", 48, 1), ("branch5x5_2", 64, 5)]
    double: list[Step] = [("branch3x3dbl_1", 64, 1), ("branch3x3dbl_2", 96, 3), ("branch3x3dbl_3", 96, 3)]
    return _Mixed(inputs, [[("branch1x1", 64, 1)], five, double], "average", pooled)


def _block_c(width: int) -> _Mixed:
    row, column = (1, 7), (7, 1)
    seven: list[Step] = [("branch7x7_1", width, 1), ("branch7x7_2", width, row), ("branch7x7_3", 192, column)]
    double: list[Step] = [("branch7x7dbl_1", width, 1), ("branch7x7dbl_2", width, column)]
    double += [("branch7x7dbl_3", width, row), ("branch7x7dbl_4", width, column), ("branch7x7dbl_5", 192, row)]
    return _Mixed(768, [[("branch1x1", 192, 1)], seven, double], "average", 192)


class Inception(nn.Module):
    """The network of published Fréchet inception distances, under torchvision's names; returns 2048 features."""

    def __init__(self) -> None:
        super().__init__()
        self.Conv2d_1a_3x3 = _Conv(3, 32, 3, 2)
        self.Conv2d_2a_3x3 = _Conv(32, 32, 3)
        self.Conv2d_2a_3x3.conv.padding = (0, 0)
        self.Conv2d_2b_3x3 = _Conv(32, 64, 3)
        self.Conv2d_3b_1x1 = _Conv(64, 80, 1)
        self.Conv2d_4a_3x3 = _Conv(80, 192, 3)
        self.Conv2d_4a_3x3.conv.padding = (0, 0)
        self.Mixed_5b, self.Mixed_5c, self.Mixed_5d = _block_a(192, 32), _block_a(256, 64), _block_a(288, 64)
        double: list[Step] = [("branch3x3dbl_1", 64, 1), ("branch3x3dbl_2", 96, 3), ("branch3x3dbl_3", 96, 3)]
        self.Mixed_6a = _Mixed(288, [[("branch3x3", 384, 3)], double], "halving")
        self.Mixed_6b, self.Mixed_6c = _block_c(128), _block_c(160)
        self.Mixed_6d, self.Mixed_6e = _block_c(160), _block_c(192)
        three: list[Step] = [("branch3x3_1", 192, 1), ("branch3x3_2", 320, 3)]
        seven: list[Step] = [("branch7x7x3_1", 192, 1), ("branch7x7x3_2", 192, (1, 7))]
        seven += [("branch7x7x3_3", 192, (7, 1)), ("branch7x7x3_4", 192, 3)]
        self.Mixed_7a = _Mixed(768, [three, seven], "halving")
        self.Mixed_7b, self.Mixed_7c = _Split(1280, "average"), _Split(2048, "maximum")

    def forward(self, x: Float[Tensor, "b 3 299 299"]) -> Float[Tensor, "b 2048"]:
        x = self.Conv2d_2b_3x3(self.Conv2d_2a_3x3(self.Conv2d_1a_3x3(x)))
        x = self.Conv2d_4a_3x3(self.Conv2d_3b_1x1(F.max_pool2d(x, 3, 2)))
        x = F.max_pool2d(x, 3, 2)
        for name, block in self.named_children():
            if name.startswith("Mixed"):
                x = block(x)
        return x.mean((2, 3))


# ---------------------------------------------------------------------------------- loading and input


def load(name: Name, path: Path) -> nn.Module:
    """The network in eval mode with the weights of a .safetensors or .pth file; nothing but tensors is unpickled.

    ValueError if weights are not finite or the file is something else: `dinov2` takes the published ViT-S/B/L (with
    or without registers), `inception` the PyTorch conversion of the network of 2015 that Fréchet distances are published with.
    """
    state = _tensors(path)
    try:
        net = _dinov2(state) if name == "dinov2" else Inception()
        if name == "inception":
            state = {n: t for n, t in state.items() if not n.startswith(("fc.", "AuxLogits."))}
        net.load_state_dict(state)
    except Exception as error:  # tensors of any names and shapes
        reason = str(error).splitlines()[0] if not isinstance(error, KeyError) else f"no tensor {error}"
        raise ValueError(f"{path}: not the weights of {name} ({reason})") from None
    finite_tensors(state, path)
    return net.eval().requires_grad_(False)


def _tensors(path: Path) -> dict[str, Tensor]:
    try:
        if path.suffix == ".safetensors":
            return safetensors.torch.load_file(path)
        state = read_torch(path)
    except Exception as error:
        raise ValueError(f"{path}: not a file of tensors ({type(error).__name__})") from None
    if not isinstance(state, Mapping) or not all(isinstance(t, Tensor) for t in state.values()):
        raise ValueError(f"{path}: not a state dict, a mapping of names to tensors")
    return dict(state)


def network_input(name: Name, pixels: UInt8[Tensor, "b h w c"]) -> Float[Tensor, "b 3 s s"]:
    """8-bit images, grey or RGB, as the network takes them.

    dinov2: 224 px by antialiased bicubic resampling, ImageNet's mean and deviation; inception: 299 px by
    bilinear resampling, [-1, 1].
    """
    x = pixels.permute(0, 3, 1, 2).float() / 255
    x = x.expand(-1, 3, -1, -1)
    if name == "inception":
        return F.interpolate(x, size=(299, 299), mode="bilinear", align_corners=False) * 2 - 1
    x = F.interpolate(x, size=(224, 224), mode="bicubic", antialias=True)
    mean, std = (x.new_tensor(values)[:, None, None] for values in (_MEAN, _STD))
    return (x - mean) / std
