"""Improved residual networks (IR): small ones for 8 to 224 px and both face families (paper 4.1).

Networks take images in [-1, 1] (B, C, H, W) and return raw embeddings (B, D), not normalised. Block
(ArcFace, Deng et al. 2019): BN, 3x3 conv, BN, PReLU, 3x3 conv with the stride, BN, plus a shortcut. The
two published families share it and differ in names, shortcuts and the last BN, so their parameters cannot
be exchanged:

- `IRNet`: names of arcface_torch; the shortcut of a stage's first block is a 1x1 convolution with BN.
- `AdaFaceIR`: names of AdaFace, whose code returns (x / |x|, |x|) of what is returned here; the shortcut
  subsamples where channels stay the same; the last BN has no parameters. Published AdaFace models expect
  BGR.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn

FACE_SIZE = 112
FACE_WIDTHS = (64, 128, 256, 512)
FACE_UNITS = {18: (2, 2, 2, 2), 34: (3, 4, 6, 3), 50: (3, 4, 14, 3), 100: (3, 13, 30, 3), 200: (6, 26, 60, 6)}
ADAFACE_UNITS = {18: (2, 2, 2, 2), 34: (3, 4, 6, 3), 50: (3, 4, 14, 3), 101: (3, 13, 30, 3)}


def conv3x3(channels_in: int, channels_out: int, stride: int = 1) -> nn.Conv2d:
    """3x3 convolution without bias; odd sizes halve upwards."""
    return nn.Conv2d(channels_in, channels_out, 3, stride, padding=1, bias=False)


def branch(channels_in: int, channels_out: int, stride: int) -> tuple[nn.Module, ...]:
    """The six layers of an IR block's residual branch, in order."""
    return (
        nn.BatchNorm2d(channels_in),
        conv3x3(channels_in, channels_out),
        nn.BatchNorm2d(channels_out),
        nn.PReLU(channels_out),
        conv3x3(channels_out, channels_out, stride),
        nn.BatchNorm2d(channels_out),
    )


def projection(channels_in: int, channels_out: int, stride: int) -> nn.Sequential:
    """Shortcut that changes channels or size: 1x1 convolution and BN."""
    conv = nn.Conv2d(channels_in, channels_out, 1, stride, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(channels_out))


class IRBlock(nn.Module):
    """Residual block with arcface_torch's names."""

    def __init__(self, channels_in: int, channels_out: int, stride: int, project: bool) -> None:
        super().__init__()
        layers = branch(channels_in, channels_out, stride)
        self.bn1, self.conv1, self.bn2, self.prelu, self.conv2, self.bn3 = layers
        self.downsample = projection(channels_in, channels_out, stride) if project else None

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.conv1(self.bn1(x))
        y = self.bn3(self.conv2(self.prelu(self.bn2(y))))
        return y + (x if self.downsample is None else self.downsample(x))


class IRNet(nn.Module):
    """Stem at full size, then a stage per width; the first block of each halves the size, upwards.

    `units` are the blocks per stage; the last map is flattened, so `size` (8 to 224 px) is fixed.
    Convolutions start from N(0, .1) as in arcface_torch, the scale of the last BN stays 1.
    """

    def __init__(
        self,
        size: int,
        channels_in: int = 1,
        widths: Sequence[int] = (32, 64, 128),
        units: Sequence[int] = (1, 1, 1),
        embedding: int = 128,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        if not 8 <= size <= 224:
            raise ValueError(f"size: {size} px is not within 8 to 224")
        if len(widths) != len(units) or not widths:
            raise ValueError(f"units: {list(units)} must name as many stages as widths {list(widths)}")
        self.conv1 = conv3x3(channels_in, widths[0])
        self.bn1 = nn.BatchNorm2d(widths[0])
        self.prelu = nn.PReLU(widths[0])
        before = widths[0]
        self.stages: list[str] = []
        for number, (width, count) in enumerate(zip(widths, units, strict=True), start=1):
            first = IRBlock(before, width, stride=2, project=True)
            rest = [IRBlock(width, width, stride=1, project=False) for _ in range(count - 1)]
            self.stages.append(f"layer{number}")
            self.add_module(self.stages[-1], nn.Sequential(first, *rest))
            before, size = width, (size + 1) // 2
        self.bn2 = nn.BatchNorm2d(before)
        self.dropout = nn.Dropout(dropout)
        self.fc = nn.Linear(before * size * size, embedding)
        self.features = nn.BatchNorm1d(embedding)
        self.features.weight.requires_grad_(False)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.normal_(module.weight, 0, 0.1)

    def forward(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b d"]:
        x = self.prelu(self.bn1(self.conv1(x)))
        for stage in self.stages:
            x = self.get_submodule(stage)(x)
        y: Tensor = self.features(self.fc(self.dropout(self.bn2(x).flatten(1))))
        return y


class SqueezeExcite(nn.Module):
    """Channel gate of IR-SE blocks: sigmoid(fc2(relu(fc1(mean)))), reduction 16."""

    def __init__(self, channels: int, reduction: int = 16) -> None:
        super().__init__()
        self.fc1 = nn.Conv2d(channels, channels // reduction, 1, bias=False)
        self.fc2 = nn.Conv2d(channels // reduction, channels, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        gate: Tensor = torch.sigmoid(self.fc2(torch.relu(self.fc1(x.mean((2, 3), keepdim=True)))))
        return x * gate


class AdaFaceBlock(nn.Module):
    """Residual block with AdaFace's names and shortcut."""

    def __init__(self, channels_in: int, channels_out: int, stride: int, squeeze: bool) -> None:
        super().__init__()
        same = channels_in == channels_out
        self.shortcut_layer = nn.MaxPool2d(1, stride) if same else projection(channels_in, channels_out, stride)
        self.res_layer = nn.Sequential(*branch(channels_in, channels_out, stride))
        if squeeze:
            self.res_layer.add_module("se_block", SqueezeExcite(channels_out))

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.res_layer(x) + self.shortcut_layer(x)
        return y


class AdaFaceIR(nn.Module):
    """IR or IR-SE network of AdaFace for 112 px RGB-shaped input, 512-D raw embedding."""

    def __init__(self, units: Sequence[int], squeeze: bool = False, dropout: float = 0.4) -> None:
        super().__init__()
        self.input_layer = nn.Sequential(conv3x3(3, 64), nn.BatchNorm2d(64), nn.PReLU(64))
        blocks, before = [], 64
        for width, count in zip(FACE_WIDTHS, units, strict=True):
            for unit in range(count):
                blocks.append(AdaFaceBlock(before, width, 2 if unit == 0 else 1, squeeze))
                before = width
        self.body = nn.Sequential(*blocks)
        self.output_layer = nn.Sequential(
            nn.BatchNorm2d(512),
            nn.Dropout(dropout),
            nn.Flatten(),
            nn.Linear(512 * 7 * 7, 512),
            nn.BatchNorm1d(512, affine=False),
        )

    def forward(self, x: Float[Tensor, "b 3 112 112"]) -> Float[Tensor, "b 512"]:
        y: Tensor = self.output_layer(self.body(self.input_layer(x)))
        return y


def build(name: str) -> IRNet | AdaFaceIR:
    """Network for 112 px faces by its published name, freshly initialised.

    `iresnet18|34|50|100|200` load arcface_torch's state strictly, `adaface_ir18|34|50|101` and
    `adaface_irse18|34|50|101` AdaFace's. Raises ValueError for another name.
    """
    match = re.fullmatch(r"(iresnet|adaface_ir|adaface_irse)(\d+)", name)
    family, depth = (match[1], int(match[2])) if match else ("", 0)
    if family == "iresnet" and depth in FACE_UNITS:
        return IRNet(FACE_SIZE, 3, FACE_WIDTHS, FACE_UNITS[depth], embedding=512)
    if family != "iresnet" and depth in ADAFACE_UNITS:
        return AdaFaceIR(ADAFACE_UNITS[depth], squeeze=family == "adaface_irse")
    raise ValueError(
        f"backbone: {name!r} is not one of iresnet18|34|50|100|200, adaface_ir18|34|50|101, adaface_irse18|34|50|101"
    )
