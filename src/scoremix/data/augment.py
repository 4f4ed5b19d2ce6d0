"""Augmentations of whole batches on the device, every random number from one explicit generator.

The field's recipe (crop in place, low resolution, photometric, flip) is AdaFace's, which the paper's
discriminator follows (paper section 4.1). Images are (B, C, H, W) in [-1, 1]. Random numbers are drawn on the
generator's device and always for the whole batch, so image i's share does not depend on what happens to the
others, a CPU generator gives the same augmentations on every device, and processes that share a batch augment
their parts of it as one would the whole.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int, UInt8
from torch import Tensor

Images = Float[Tensor, "b c h w"]
Range = tuple[float, float]
LUMA = (0.299, 0.587, 0.114)
INTERPOLATIONS = ("nearest", "linear", "area", "cubic", "lanczos4")


@dataclass(frozen=True)
class Augment:
    """Which augmentations happen, with which probability per image (0: never), in the order of the fields."""

    shift: float = 0.0  # whole pixels, each axis uniform in -shift_pixels .. shift_pixels
    shift_pixels: int = 1
    affine: float = 0.0  # about the centre
    rotation: float = 8.0  # degrees, uniform in -rotation .. rotation
    scale: Range = (0.9, 1.1)  # log-uniform
    translation: float = 0.05  # share of the side, uniform in -translation .. translation, each axis
    crop: float = 0.0  # everything outside a random box becomes `fill`; the box stays where it is
    crop_area: Range = (0.2, 1.0)
    crop_ratio: Range = (3 / 4, 4 / 3)
    low_resolution: float = 0.0  # down to a share of the side and up again, each way with one of five interpolations
    low_side: Range = (0.2, 1.0)
    photometric: float = 0.0  # brightness, contrast and saturation in random order, factors 1 - value .. 1 + value
    brightness: float = 0.5
    contrast: float = 0.5
    saturation: float = 0.5
    flip: float = 0.0  # left and right
    noise: float = 0.0  # Gaussian, of size uniform in 0 .. noise_size; hides whether an image was drawn or photographed
    noise_size: float = 0.1
    fill: float | None = -1.0  # value of pixels from outside: -1 is black; None: shifts mirror the image at its edge

    def __post_init__(self) -> None:
        for name in ("shift", "affine", "crop", "low_resolution", "photometric", "flip", "noise"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} is {getattr(self, name)}, must be a probability in [0, 1]")
        for name in ("brightness", "contrast", "saturation", "translation", "noise_size"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} is {getattr(self, name)}, must be in [0, 1]")
        for name, top in (("scale", math.inf), ("crop_area", 1), ("crop_ratio", math.inf), ("low_side", 1)):
            low, high = getattr(self, name)
            if not 0 < low <= high <= top:
                raise ValueError(f"{name} is {low, high}, must be 0 < low <= high" + (" <= 1" if top == 1 else ""))
        for name in ("shift_pixels", "rotation"):
            if not 0 <= getattr(self, name) < math.inf:
                raise ValueError(f"{name} is {getattr(self, name)}, must be at least 0")
        if self.fill is None and (self.affine or self.crop):
            raise ValueError("fill is None: only shifts mirror the image, affine and crop need a value")


PRESETS: dict[str, Augment] = {
    "none": Augment(),
    "characters": Augment(affine=1.0, rotation=10.0, scale=(0.85, 1.15), translation=0.08, noise=1.0),
    "flip": Augment(flip=0.5),
    "strong": Augment(
        affine=1.0,
        rotation=20.0,
        scale=(0.7, 1.3),
        translation=0.15,
        crop=0.3,
        crop_area=(0.4, 1.0),
        low_resolution=0.3,
        low_side=(0.4, 1.0),
        photometric=0.3,
        noise=1.0,
        noise_size=0.2,
    ),
    "face": Augment(crop=0.2, low_resolution=0.2, photometric=0.2, flip=0.5),
}


class Part(NamedTuple):
    """`size` images of a batch of `batch`, from number `first` on."""

    first: int
    size: int
    batch: int


def augment(images: Images, generator: torch.Generator, settings: Augment, part: Part | None = None) -> Images:
    """`images` with each augmentation applied to a random subset; the input is left as it is.

    They are the whole batch, or a `part` of it, which is augmented as it would be within the whole.
    Values stay in [-1, 1] for input in [-1, 1]. The same generator state and shape give the same result on
    the same device type. With all probabilities 0 the result is `images`, and no random number is drawn.
    """
    if images.ndim != 4 or images.shape[1] not in (1, 3):
        raise ValueError(f"images have shape {tuple(images.shape)}, must be (B, 1 or 3, H, W)")
    if not images.is_floating_point():
        raise ValueError(f"images have dtype {images.dtype}, must be floating point in [-1, 1]")
    part = part or Part(0, len(images), len(images))
    if part.size != len(images):
        raise ValueError(f"{len(images)} images, the part has {part.size}")
    steps = {"shift": shifted, "affine": affine, "crop": cropped, "low_resolution": low_resolution}
    for name, step in {**steps, "photometric": photometric, "flip": flipped, "noise": noisy}.items():
        if getattr(settings, name):
            images = step(images, generator, settings, part)
    return images


# Each operation: draws its numbers for all images, changes the rows that were drawn, copies before it writes.


def shifted(images: Images, generator: torch.Generator, settings: Augment, part: Part) -> Images:
    """Moved by whole pixels, uncovered pixels filled or, without a fill, mirrored at the edge."""
    if not settings.shift_pixels:
        return images
    b, (h, w) = part.batch, images.shape[2:]
    p = settings.shift_pixels
    rows = _chosen(settings.shift, part, generator)
    moves = torch.randint(-p, p + 1, (b, 2), generator=generator, device=generator.device)[rows].to(images.device)
    y_at = torch.arange(h, device=images.device) + p - moves[:, :1]  # [k, h]
    x_at = torch.arange(w, device=images.device) + p - moves[:, 1:]  # [k, w]

    def move(x: Images) -> Images:
        mirrored = settings.fill is None
        padded = F.pad(x, (p, p, p, p), "reflect") if mirrored else F.pad(x, (p, p, p, p), value=settings.fill)
        padded = padded.permute(0, 2, 3, 1)
        first = torch.arange(len(x), device=x.device)[:, None, None]
        return padded[first, y_at[:, :, None], x_at[:, None, :]].permute(0, 3, 1, 2)

    return _changed(images, part, rows, move)


def affine(images: Images, generator: torch.Generator, settings: Augment, part: Part) -> Images:
    """Rotated, scaled and translated in one bilinear resampling, uncovered pixels filled."""
    b, (h, w) = part.batch, images.shape[2:]
    rows = _chosen(settings.affine, part, generator)
    u = torch.rand(b, 4, generator=generator, device=generator.device)[rows].to(images.device, images.dtype)
    angle = (2 * u[:, 0] - 1) * math.radians(settings.rotation)
    low, high = map(math.log, settings.scale)
    inverse_scale = torch.exp(-(low + (high - low) * u[:, 1]))
    move = (2 * u[:, 2:] - 1) * 2 * settings.translation  # grid coordinates span 2
    cos, sin = torch.cos(angle) * inverse_scale, torch.sin(angle) * inverse_scale
    # output to input: undo the translation, then rotate and scale back; h / w keeps angles on oblong images
    linear = torch.stack([cos, sin * (h / w), -sin * (w / h), cos], dim=1).view(-1, 2, 2)
    theta = torch.cat([linear, -(linear @ move[:, :, None])], dim=2)

    fill = settings.fill or 0.0

    def resample(x: Images) -> Images:
        grid = F.affine_grid(theta, list(x.shape), align_corners=False)
        moved = F.grid_sample(x - fill, grid, mode="bilinear", padding_mode="zeros", align_corners=False)
        return moved + fill

    return _changed(images, part, rows, resample)


def cropped(images: Images, generator: torch.Generator, settings: Augment, part: Part) -> Images:
    """Everything outside a random box filled; the box of random area and shape keeps its place and size."""
    b, (h, w) = part.batch, images.shape[2:]
    rows = _chosen(settings.crop, part, generator)
    top, left, height, width = _boxes(b, h, w, generator, settings)[rows].to(images.device).T[:, :, None]
    y, x = torch.arange(h, device=images.device), torch.arange(w, device=images.device)
    inside_y, inside_x = (y >= top) & (y < top + height), (x >= left) & (x < left + width)
    inside = inside_y[:, None, :, None] & inside_x[:, None, None, :]
    return _changed(images, part, rows, lambda x: torch.where(inside, x, settings.fill or 0.0))


def _boxes(b: int, h: int, w: int, generator: torch.Generator, settings: Augment) -> Int[Tensor, "b 4"]:
    """Random (top, left, height, width): uniform area, log-uniform width / height, uniform place.

    The first of ten draws that fits is taken (RandomResizedCrop of the field); else the largest box of an
    allowed shape.
    """
    u = torch.rand(b, 10, 2, generator=generator, device=generator.device)
    place = torch.rand(b, 2, generator=generator, device=generator.device)
    area = h * w * (settings.crop_area[0] + (settings.crop_area[1] - settings.crop_area[0]) * u[..., 0])
    low, high = map(math.log, settings.crop_ratio)
    ratio = torch.exp(low + (high - low) * u[..., 1])
    widths, heights = (area * ratio).sqrt().round().long(), (area / ratio).sqrt().round().long()
    fits = (widths >= 1) & (widths <= w) & (heights >= 1) & (heights <= h)
    first = fits.int().argmax(dim=1, keepdim=True)
    shape = min(max(w / h, settings.crop_ratio[0]), settings.crop_ratio[1])
    widest, highest = min(w, round(h * shape)), min(h, round(w / shape))
    width = torch.where(fits.any(1), widths.gather(1, first)[:, 0], widest)
    height = torch.where(fits.any(1), heights.gather(1, first)[:, 0], highest)
    room = torch.stack([h - height, w - width], dim=1) + 1
    corner = (place * room).long().minimum(room - 1)
    return torch.cat([corner, height[:, None], width[:, None]], dim=1)


def low_resolution(images: Images, generator: torch.Generator, settings: Augment, part: Part) -> Images:
    """Resized to a random share of the side and back, each way by a random one of INTERPOLATIONS."""
    b, (h, w) = part.batch, images.shape[2:]
    rows = _chosen(settings.low_resolution, part, generator)
    u = torch.rand(b, generator=generator, device=generator.device)[rows]
    kinds = torch.randint(len(INTERPOLATIONS), (b, 2), generator=generator, device=generator.device)[rows]
    share = settings.low_side[0] + (settings.low_side[1] - settings.low_side[0]) * u
    vertical, horizontal = (_there_and_back(side, share, kinds).to(images.device, images.dtype) for side in (h, w))
    # cubic and Lanczos overshoot, hence the clamp
    return _changed(images, part, rows, lambda x: (vertical[:, None] @ x @ horizontal[:, None].mT).clamp(-1, 1))


def _there_and_back(side: int, share: Float[Tensor, " k"], kinds: Int[Tensor, "k 2"]) -> Float[Tensor, "k s s"]:
    """Matrices that resample `side` values to floor(share * side) >= 1 values and back."""
    small = (share * side).floor().clamp(1, side).long()
    down = resampling(torch.full_like(small, side), small, kinds[:, 0], side)
    up = resampling(small, torch.full_like(small, side), kinds[:, 1], side)
    return up @ down


def resampling(
    source: Int[Tensor, " k"], target: Int[Tensor, " k"], kinds: Int[Tensor, " k"], side: int
) -> Float[Tensor, "k s s"]:
    """Matrices [target, source] that resample `source` values to `target` values, zero beyond both.

    `kinds` indexes INTERPOLATIONS, in OpenCV's sense: kernels of fixed width in source pixels (no
    anti-aliasing), the border repeated, nearest = floor, cubic with a = -0.75, area = mean over the target
    pixel (linear where it enlarges).
    """
    if side == 0 or len(source) == 0:
        return torch.zeros(len(source), side, side, device=source.device)
    margin = 4  # half width of the widest kernel
    ratio = (source.double() / target)[:, None, None]
    out = torch.arange(side, device=source.device, dtype=torch.float64)[:, None]
    centre = (out + 0.5) * ratio - 0.5  # [k, s, 1], in source pixels
    at = torch.arange(-margin, side + margin, device=source.device, dtype=torch.float64)
    t = centre - at
    nearest = (torch.floor(out * ratio) == at).double()
    linear = (1 - t.abs()).clamp(min=0)
    overlap = (torch.minimum((out + 1) * ratio, at + 1) - torch.maximum(out * ratio, at)).clamp(min=0) / ratio
    area = torch.where(ratio > 1, overlap, linear)
    kernels = torch.stack([nearest, linear, area, _cubic(t), _lanczos(t)], dim=1)
    weights = kernels[torch.arange(len(source), device=source.device), kinds]  # [k, s, s + 2 margin]
    weights = weights / weights.sum(2, keepdim=True).where(out < target[:, None, None], 1.0)
    border_repeated = at.long().clamp(min=0).expand(len(source), -1).minimum(source[:, None] - 1)
    folded = torch.zeros(len(source), side, side, device=source.device, dtype=torch.float64)
    folded.scatter_add_(2, border_repeated[:, None, :].expand(-1, side, -1), weights)
    return torch.where(out < target[:, None, None], folded, 0.0).float()


def _cubic(t: Tensor) -> Tensor:
    t, a = t.abs(), -0.75
    near = ((a + 2) * t - (a + 3)) * t * t + 1
    far = ((a * t - 5 * a) * t + 8 * a) * t - 4 * a
    return torch.where(t < 1, near, torch.where(t < 2, far, 0.0))


def _lanczos(t: Tensor) -> Tensor:
    return torch.where(t.abs() < 4, torch.sinc(t) * torch.sinc(t / 4), 0.0)


def photometric(images: Images, generator: torch.Generator, settings: Augment, part: Part) -> Images:
    """Brightness, contrast and saturation changed by random factors in random order, values cut after each.

    Brightness multiplies the image (black = 0), contrast moves it from the mean of its luma, saturation each
    pixel from its own luma.
    """
    b = part.batch
    rows = _chosen(settings.photometric, part, generator)
    u = 2 * torch.rand(b, 3, generator=generator, device=generator.device)[rows] - 1
    order = torch.rand(b, 3, generator=generator, device=generator.device).argsort(1)[rows].to(images.device)
    strength = torch.tensor([settings.brightness, settings.contrast, settings.saturation], device=u.device)
    factors = (1 + u * strength).to(images.device, images.dtype)

    def change(x: Images) -> Images:
        x = x / 2 + 0.5
        for which in order.T:
            grey = _luma(x)
            anchors = torch.stack([torch.zeros_like(grey), grey.mean((2, 3), keepdim=True).expand_as(grey), grey])
            anchor = anchors[which, torch.arange(len(x), device=x.device)]
            factor = factors.gather(1, which[:, None])[:, :, None, None]
            x = (anchor + factor * (x - anchor)).clamp(0, 1)
        return x * 2 - 1

    return _changed(images, part, rows, change)


def _luma(x: Images) -> Float[Tensor, "b 1 h w"]:
    if x.shape[1] == 1:
        return x
    return (x * torch.tensor(LUMA, device=x.device, dtype=x.dtype)[:, None, None]).sum(1, keepdim=True)


def flipped(images: Images, generator: torch.Generator, settings: Augment, part: Part) -> Images:
    """Left and right exchanged."""
    mask = torch.rand(part.batch, generator=generator, device=generator.device) < settings.flip
    mask = mask[part.first : part.first + part.size]
    return torch.where(mask.to(images.device)[:, None, None, None], images.flip(-1), images)


def noisy(images: Images, generator: torch.Generator, settings: Augment, part: Part) -> Images:
    """Gaussian noise of a random size added, cut to [-1, 1]."""
    chosen = _chosen(settings.noise, Part(0, part.batch, part.batch), generator)
    options: dict[str, Any] = {"generator": generator, "device": generator.device}
    size = torch.rand((len(chosen), 1, 1, 1), **options) * settings.noise_size
    added = size * torch.randn((len(chosen), *images.shape[1:]), **options)
    here = (chosen >= part.first) & (chosen < part.first + part.size)
    return _changed(images, part, chosen[here], lambda x: (x + added[here].to(x)).clamp(-1, 1))


def _chosen(probability: float, part: Part, generator: torch.Generator) -> Int[Tensor, " k"]:
    """The rows of the batch that are changed and in this part, ascending, on the generator's device.

    There, so that nobody waits for the images' device.
    """
    mask: Bool[Tensor, " b"] = torch.rand(part.batch, generator=generator, device=generator.device) < probability
    return mask[part.first : part.first + part.size].nonzero()[:, 0] + part.first


def _changed(images: Images, part: Part, rows: Int[Tensor, " k"], change: Callable[[Images], Images]) -> Images:
    """A copy with `change` applied to some rows of the batch, all in this part of it."""
    if not len(rows):
        return images
    rows = (rows - part.first).to(images.device)
    return images.index_copy(0, rows, change(images[rows]))


def to_unit(
    images: UInt8[np.ndarray, "b h w c"] | UInt8[Tensor, "b h w c"], device: torch.device | str
) -> Float[Tensor, "b c h w"]:
    """uint8 images as float32 in [-1, 1] on `device`, channels first: value / 127.5 - 1."""
    tensor = images if isinstance(images, Tensor) else torch.from_numpy(np.ascontiguousarray(images))
    if tensor.dtype != torch.uint8 or tensor.ndim != 4:
        raise ValueError(f"images are {tensor.dtype} {tuple(tensor.shape)}, must be uint8 (B, H, W, C)")
    return tensor.to(device).permute(0, 3, 1, 2).to(torch.float32, memory_format=torch.contiguous_format) / 127.5 - 1


def to_uint8(images: Float[Tensor, "b c h w"]) -> UInt8[Tensor, "b h w c"]:
    """The inverse of `to_unit` on the same device: value * 127.5 + 127.5, rounded and cut to 0 .. 255."""
    return (images.float() * 127.5 + 127.5).round().clamp(0, 255).to(torch.uint8).permute(0, 2, 3, 1).contiguous()
