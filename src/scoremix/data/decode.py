"""One image of any format as a square of uint8 RGB, and batches of arrays to another size.

Rules, the same for every file: the first frame; EXIF orientation applied; palettes and CMYK to RGB;
transparency over white; 16-bit values divided by 257; colour profiles ignored; then the centred square of the
short side, resized to `size` with Pillow's anti-aliased Lanczos filter.
"""

from __future__ import annotations

import base64
import contextlib
import functools
import io
import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Float, UInt8
from PIL import Image, ImageOps, UnidentifiedImageError

from scoremix.data import limits

FORMATS = (
    "JPEG",
    "MPO",
    "PNG",
    "WEBP",
    "BMP",
    "GIF",
    "TIFF",
    "JPEG2000",
    "AVIF",
    "PPM",
    "TGA",
)  # none starts a program
DARK = (1 << 14) - 1  # no image of a set of 16 bits is brighter: its values are of 8, 10, 12 or 14 bits
PLAIN = ("L", "P", "RGB", "RGBA", "CMYK")  # modes that always become RGB
FACE_SIDE = 112  # pixels that published face networks take
GREY_TOLERANCE = 2  # levels of 255 by which the channels of a grey image may differ (JPEG rounding)


def decode(
    file: Path | io.BytesIO, size: int, seen: Callable[[Image.Image], None] = lambda image: None
) -> UInt8[np.ndarray, "size size 3"]:
    """The image in `file` by the rules above; ValueError with a short reason if it cannot be read.

    `seen` is called with the image before it is made smaller or larger.
    """
    if isinstance(file, Path):
        refuse_irregular(file)
    with opened(file) as image:
        image.draft(None, (4 * size, 4 * size))  # a JPEG far larger than needed is decoded at 1/2, 1/4 or 1/8
        image.load()
        seen(image)
        plain = rgb(_upright(image))
        side = min(plain.size)
        left, top = (plain.width - side) / 2, (plain.height - side) / 2
        box = (left, top, left + side, top + side)
        return np.asarray(plain.resize((size, size), Image.Resampling.LANCZOS, box=box))


def refuse_irregular(file: Path) -> None:
    """ValueError for what is no file with content: a broken link, a pipe, an empty file."""
    if not file.is_file():
        raise ValueError("a broken link" if file.is_symlink() else "not a regular file")
    if os.path.getsize(file) == 0:
        raise ValueError("empty file (0 bytes)")


def refuse_unreadable(file: Path | io.BytesIO) -> None:
    """ValueError with a short reason for what `decode` cannot read, for less than half of its time."""
    if isinstance(file, Path):
        refuse_irregular(file)
    with opened(file) as image:
        image.draft(None, (1, 1))
        image.load()
        if image.mode not in PLAIN:
            rgb(image)


def size_of(file: Path | io.BytesIO) -> tuple[int, int]:
    """Width and height of the image in `file`, by its header; ValueError with a short reason where there is none."""
    if isinstance(file, Path):
        refuse_irregular(file)
    with opened(file) as image:
        return image.size


def depth(image: Image.Image) -> int | None:
    """The largest value of a loaded image of integers of more than 8 bits; None for any other image."""
    return int(image.getextrema()[1]) if image.mode.startswith("I") else None  # type: ignore[arg-type]


def too_dark(largest: Sequence[int]) -> list[str]:
    """What is to be said of a set whose images of 16 or more bits hold these largest values: far less than 65535."""
    top = max(largest, default=65535)
    if top > DARK:
        return []
    bits = max(8, top.bit_length())
    return [
        f"{len(largest):,} images of 16 or more bits hold values to {top} alone, as those of {bits} bits do: they are "
        f"read {2 ** (16 - bits)} times too dark; multiply them first, or store 8 bits"
    ]


def enlarged(sides: Sequence[int], size: int) -> list[str]:
    """What is to be said of images whose shorter sides are less than half of `size`: these sides."""
    if not sides:
        return []
    which = "1 image is" if len(sides) == 1 else f"{len(sides):,} images are"
    why = "a smaller data.size shows as much"
    if size == FACE_SIDE:
        why = "published face networks take no other size, and detail that is not there is not gained"
    return [f"{which} smaller than {size // 2} px (the smallest {min(sides)} px) and enlarged to {size}: {why}"]


def upright_rgb(file: Path | io.BytesIO) -> Image.Image:
    """The whole image in `file`, orientation applied, in RGB; ValueError with a short reason if it cannot be read."""
    with opened(file) as image:
        image.load()
        return rgb(_upright(image))


@functools.cache
def _formats() -> tuple[str, ...]:
    """Those of FORMATS that this Pillow has."""
    Image.init()
    return tuple(name for name in FORMATS if name in Image.OPEN)


@contextlib.contextmanager
def opened(file: Path | io.BytesIO) -> Iterator[Image.Image]:
    """The image in `file`, not larger than allowed and in one of FORMATS, told by its content: the one way to open images.

    Whatever goes wrong with it inside the block is a ValueError with a short reason.
    """
    try:
        with Image.open(file, formats=_formats()) as image:
            limits.refuse_pixels(image.width, image.height)
            yield image
    except UnidentifiedImageError:
        raise ValueError(f"not an image format that is read ({', '.join(_formats())})") from None
    except Exception as error:  # Pillow's plugins raise almost anything on damaged files
        raise ValueError(" ".join(str(error).split()) or type(error).__name__) from None


def _upright(image: Image.Image) -> Image.Image:
    with contextlib.suppress(Exception):  # damaged EXIF data says nothing about the pixels
        return ImageOps.exif_transpose(image)
    return image


def rgb(image: Image.Image) -> Image.Image:
    """A loaded image in RGB by the rules above; ValueError for values that fit neither 8 nor 16 bits."""
    if image.mode.startswith("I") or image.mode == "F":
        values, clear = np.asarray(image), image.info.get("transparency")
        eight = _eight_bits(values)
        if isinstance(clear, int):  # the value that is transparent (tRNS of a 16-bit PNG)
            eight = np.where(values == clear, np.uint8(255), eight)
        return Image.fromarray(eight).convert("RGB")
    if image.has_transparency_data:
        image = (image.convert("LA") if image.mode == "La" else image).convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", image.size, "white"), image).convert("RGB")
    return image.convert("RGB")


def _eight_bits(values: np.ndarray) -> UInt8[np.ndarray, "h w"]:
    """16-bit integers divided by 257; floats in [0, 1] times 255, else floats in [0, 255] as they are."""
    low, high = float(values.min()), float(values.max())
    floats = values.dtype.kind == "f"
    if not (low >= 0 and high <= (255 if floats else 65535)):
        raise ValueError(f"pixel values from {low:g} to {high:g} fit neither 8 nor 16 bits")
    scale = (255.0 if high <= 1 else 1.0) if floats else 1 / 257
    return np.rint(values * scale).astype(np.uint8)


def png(pixels: np.ndarray) -> bytes:
    """The pixels, grey (h, w) or (h, w, 1) or RGB (h, w, 3), as a PNG file; ValueError for other arrays."""
    if pixels.dtype != np.uint8 or pixels.ndim not in (2, 3) or pixels.shape[2:] not in ((), (1,), (3,)):
        raise ValueError(f"image: must be uint8 (h, w), (h, w, 1) or (h, w, 3), got {pixels.dtype} {pixels.shape}")
    buffer = io.BytesIO()
    plain = np.ascontiguousarray(pixels[..., 0] if pixels.shape[2:] == (1,) else pixels)
    Image.fromarray(plain).save(buffer, "PNG")
    return buffer.getvalue()


def png_address(pixels: np.ndarray) -> str:
    """What a page takes for the address of a picture: the PNG itself."""
    return f"data:image/png;base64,{base64.b64encode(png(pixels)).decode()}"


def refuse_other_arrays(images: np.ndarray) -> None:
    """ValueError for what is no array of 8-bit images, grey or RGB."""
    if images.ndim != 4 or images.dtype != np.uint8 or images.shape[3] not in (1, 3) or not len(images):
        raise ValueError(
            f"images of shape {images.shape} and type {images.dtype}: must be uint8 (n, height, width, 1 or 3), n > 0"
        )


def is_grey(images: UInt8[np.ndarray, "b h w c"]) -> bool:
    """Whether no pixel's channels differ by more than GREY_TOLERANCE."""
    return images.shape[-1] == 1 or int((images.max(-1) - images.min(-1)).max(initial=0)) <= GREY_TOLERANCE


def with_channels(images: UInt8[np.ndarray, "b h w c"], channels: int) -> UInt8[np.ndarray, "b h w channels"]:
    """Grey repeated to 3 channels, or colour reduced to its luma (ITU-R 601, rounded)."""
    if images.shape[-1] == channels:
        return images
    if channels == 3:
        return images.repeat(3, axis=-1)
    luma = images.astype(np.uint32) @ np.array([299, 587, 114], np.uint32)
    return ((luma + 500) // 1000).astype(np.uint8)[..., None]


def resize_area(images: UInt8[np.ndarray, "b h w c"], size: int) -> UInt8[np.ndarray, "b size size c"]:
    """The centred square of each image, every new pixel the mean of the area it covers, rounded half up."""
    h, w = images.shape[1:3]
    side = min(h, w)
    top, left = (h - side) // 2, (w - side) // 2
    images = images[:, top : top + side, left : left + side]
    if side == size:
        return images
    cover = area_weights(side, size)
    rows = np.tensordot(images.astype(np.float32), cover, axes=(1, 1))  # [b, w, c, size]
    both = np.tensordot(rows, cover, axes=(1, 1))  # [b, c, size, size]
    return np.floor(both + 0.5 + 1e-4).clip(0, 255).astype(np.uint8).transpose(0, 2, 3, 1)


def area_weights(source: int, target: int) -> Float[np.ndarray, "target source"]:
    """Share of each of `target` equal intervals that is covered by each of `source` equal intervals."""
    edges = np.arange(target + 1) * (source / target)
    at = np.arange(source)
    overlap = np.minimum(edges[1:, None], at + 1) - np.maximum(edges[:-1, None], at)
    weights: np.ndarray = (overlap.clip(0) * (target / source)).astype(np.float32)
    return weights
