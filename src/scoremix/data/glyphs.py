"""Characters drawn from font files as labelled images: a class per character, an image per face and change.

Every drawing is centred and scaled so that its longer side fills the same share of the image (ink bright on
black). Characters that would then look alike, in whatever scripts or cases, are one class: the first in code
point order.
"""

from __future__ import annotations

import collections
import contextlib
import functools
import importlib.util
import logging
import math
import os
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float, Float32, UInt8
from PIL import Image, ImageFilter, ImageFont

from scoremix.data.image_order import batch_indices, stream_seed

BUILTIN = "glyphs"  # the fonts that matplotlib ships
BUILTIN_FONTS = ("DejaVuSans", "DejaVuSerif", "STIXGeneral")  # its others lack letters or Unicode positions
FONT_SUFFIXES = frozenset({".ttf", ".otf", ".ttc"})
CATEGORIES = frozenset({"Lu", "Ll", "Lt", "Lo", "Nd", "Sc"})  # letters, digits, currency signs
SIZE, IMAGES_PER_CLASS = 16, 24
LEAST_FACES, BUILTIN_LEAST_FACES = 4, 6  # a character in fewer faces is left out
# Two characters are one class if their drawings correlate this much on average over their common faces ...
ALIKE = 0.8
# ... or this much in a quarter of them (Cyrillic te and m in italics); drawings are compared at this side.
SAME, COMPARED, COMPARED_FACES = 0.95, 16, 24
FILL = 0.82  # longer side of a drawing as a share of the image's, before random changes, all uniform +-:
ROTATION, SHEAR, STRETCH, SHIFT = 7.0, 0.12, 0.10, 0.03  # degrees, slope, relative, share of the side
THRESHOLD = (0.2, 0.6)  # uniform, on the blurred drawing: below 0.5 strokes grow, above they shrink

Face = tuple[Path, int]  # file and number of the face in it


@dataclass(frozen=True)
class Alphabet:
    """Characters that look different, each with the faces that draw it."""

    characters: tuple[str, ...]
    faces: tuple[tuple[Face, ...], ...]
    left_out: tuple[tuple[Path, str], ...]  # font files that cannot be used, and why

    @property
    def names(self) -> tuple[str, ...]:
        """Such as 'U+0416 CYRILLIC CAPITAL LETTER ZHE'."""
        return tuple(f"U+{ord(c):04X} {unicodedata.name(c)}" for c in self.characters)

    @property
    def scripts(self) -> tuple[str, ...]:
        return tuple(map(_script, self.characters))


def font_files(place: str | Path) -> list[Path]:
    """The font files under a folder in order of path, or matplotlib's for 'glyphs'; ValueError if none."""
    if str(place) == BUILTIN:
        package = importlib.util.find_spec("matplotlib")
        if package is None or package.origin is None:
            raise ValueError(f"{BUILTIN!r} needs matplotlib, which is not installed")
        folder = Path(package.origin).parent / "mpl-data" / "fonts" / "ttf"
        files = [
            f for f in sorted(folder.glob("*.ttf")) if f.name.startswith(BUILTIN_FONTS) and "Display" not in f.name
        ]
    else:
        folder = Path(place)
        files = sorted(
            Path(where) / name
            for where, _, names in os.walk(folder)
            for name in names
            if os.path.splitext(name)[1].lower() in FONT_SUFFIXES and not name.startswith(".")
        )
    if not files:
        raise ValueError(f"{folder} holds no font files ({', '.join(sorted(FONT_SUFFIXES))})")
    return files


def alphabet(files: Sequence[Path], *, least_faces: int = LEAST_FACES) -> Alphabet:
    """The characters that at least `least_faces` faces of the files draw, without look-alikes.

    Candidates are letters, digits and currency signs that do not decompose into others. A face does not draw
    a character if its drawing is blank or the face's empty box. A face in which most characters share their
    drawing with another (a last-resort font) is left out. ValueError if no characters remain.
    """
    coverage, left_out = _coverage(files)
    faces_of: dict[str, list[Face]] = {}
    for face, characters in coverage.items():
        for character in characters:
            faces_of.setdefault(character, []).append(face)
    common = sorted(c for c, faces in faces_of.items() if len(faces) >= least_faces)
    if not common:
        raise ValueError(f"{len(coverage)} usable font faces have no character in at least {least_faces} of them")
    drawn = [common[i] for i in distinct(*_shapes(common, faces_of))]
    return Alphabet(tuple(drawn), tuple(tuple(faces_of[c]) for c in drawn), tuple(left_out))


def render(characters: Alphabet, k: int, count: int, *, size: int, seed: int) -> UInt8[np.ndarray, "count size size 1"]:
    """`count` images of character k: its faces in turn, their order and changes drawn from (seed, character).

    Changes: rotation, slope, stretch of each axis, shift, and strokes grown or shrunk. More images extend
    fewer ones. Drawn large and reduced by area. Independent of the other characters.
    """
    character, faces = characters.characters[k], characters.faces[k]
    stream = stream_seed("glyph", seed, ord(character))
    turns = batch_indices(len(faces), stream, 0, count)
    canvas = max(64, 4 * size)
    drawings = {turn: _drawing(faces[turn], character, canvas) for turn in set(turns.tolist())}
    numbers = np.random.default_rng(stream).random((count, 7))
    changed = (_changed(drawings[turn], u, canvas) for turn, u in zip(turns.tolist(), numbers, strict=True))
    images = [np.asarray(image.resize((size, size), Image.Resampling.BOX)) for image in changed]
    return np.stack(images)[..., None]


def _changed(drawing: Image.Image, u: Float[np.ndarray, " 7"], canvas: int) -> Image.Image:
    """The drawing on a square of side `canvas`, changed by seven uniform numbers."""
    signed = 2 * u - 1
    angle, slope = math.radians(ROTATION) * signed[0], SHEAR * signed[1]
    zoom = FILL * canvas / max(drawing.size) * (1 + STRETCH * signed[2:4])
    turn = np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
    back = np.linalg.inv(turn @ np.array([[1, slope], [0, 1]]) @ np.diag(zoom))
    centre = canvas / 2 * (1 + 2 * SHIFT * signed[4:6])
    offset = np.array(drawing.size) / 2 - back @ centre
    data = (back[0, 0], back[0, 1], offset[0], back[1, 0], back[1, 1], offset[1])
    moved = drawing.transform((canvas, canvas), Image.Transform.AFFINE, data, Image.Resampling.BILINEAR)
    threshold = 255 * (THRESHOLD[0] + (THRESHOLD[1] - THRESHOLD[0]) * u[6])
    edge = (127.5 + 4 * (np.arange(256) - threshold)).clip(0, 255).round().astype(int).tolist()
    return moved.filter(ImageFilter.BoxBlur(canvas / 64)).point(edge)


@functools.lru_cache(maxsize=64)
def _font(face: Face, em: int) -> ImageFont.FreeTypeFont:
    path, number = face
    return ImageFont.truetype(path, em, index=number, layout_engine=ImageFont.Layout.BASIC)


def _drawing(face: Face, character: str, em: int) -> Image.Image:
    """The ink of a character at `em` pixels per em, cut to its bounding box (0 x 0 where blank)."""
    mask = _font(face, em).getmask(character, mode="L")
    image = Image.frombytes("L", mask.size, bytes(mask)) if all(mask.size) else Image.new("L", (0, 0))
    return image.crop(image.getbbox() or (0, 0, 0, 0))


def _coverage(files: Sequence[Path]) -> tuple[dict[Face, list[str]], list[tuple[Path, str]]]:
    """The candidates that each usable face really draws, and the files that are left out."""
    coverage: dict[Face, list[str]] = {}
    left_out: list[tuple[Path, str]] = []
    for path in files:
        try:
            for number, characters in enumerate(_mapped(path)):
                drawn = _really_drawn((path, number), sorted(filter(_candidate, characters)))
                if drawn:
                    coverage[path, number] = drawn
                else:
                    left_out.append((path, f"face {number} draws no letters of its own"))
        except Exception as error:  # damaged fonts raise almost anything
            left_out.append((path, f"not a font that can be scaled ({' '.join(str(error).split())})"))
    return coverage, left_out


def _mapped(path: Path) -> list[list[str]]:
    """The characters that each face of a font file maps to a glyph."""
    from fontTools.ttLib import TTCollection, TTFont  # slow to import

    logging.getLogger("fontTools").setLevel(logging.ERROR)
    opened = TTCollection(path, lazy=True) if path.suffix.lower() == ".ttc" else TTFont(path, lazy=True)
    with contextlib.closing(opened):
        return [[chr(code) for code in font.getBestCmap() or ()] for font in getattr(opened, "fonts", [opened])]


def _candidate(character: str) -> bool:
    return (
        unicodedata.category(character) in CATEGORIES
        and unicodedata.name(character, "") != ""
        and unicodedata.normalize("NFKD", character) == character
    )


def _really_drawn(face: Face, characters: list[str]) -> list[str]:
    """Those neither blank nor the empty box; none if most share their drawing (a last-resort font)."""
    font = _font(face, 32)

    def bitmap(character: str) -> bytes:
        mask = font.getmask(character, mode="L")
        return b"%d %d " % mask.size + bytes(mask) if any(bytes(mask)) else b""

    sample = [drawn for c in characters[:: 1 + len(characters) // 500] if (drawn := bitmap(c))]
    if 2 * len(set(sample)) <= len(sample):
        return []
    box = bitmap("\U0010ffff")  # a code point without a character
    return [c for c in characters if bitmap(c) not in (b"", box)]


def _shapes(
    characters: Sequence[str], faces_of: dict[str, list[Face]]
) -> tuple[Float32[np.ndarray, "faces n d"], Bool[np.ndarray, "faces n"], Float32[np.ndarray, "n d"]]:
    """Unit-norm, zero-mean small drawings per face, whether a face has them, and their means over faces."""
    compared = _compared(characters, faces_of)
    shapes = np.zeros((len(compared), len(characters), COMPARED**2), np.float32)
    has = np.zeros(shapes.shape[:2], bool)
    for f, face in enumerate(compared):
        for i, character in enumerate(characters):
            if face in faces_of[character]:
                shapes[f, i], has[f, i] = _shape(face, character), True
    return shapes, has, _unit(shapes.sum(0))


def _compared(characters: Sequence[str], faces_of: dict[str, list[Face]]) -> list[Face]:
    """At most COMPARED_FACES faces: each the one with most characters that fewer than three have so far."""
    remaining: dict[Face, list[str]] = {}
    for character in characters:
        for face in faces_of[character]:
            remaining.setdefault(face, []).append(character)
    seen: collections.Counter[str] = collections.Counter()
    chosen: list[Face] = []
    while remaining and len(chosen) < COMPARED_FACES:
        best = max(
            sorted(remaining), key=lambda face: (sum(seen[c] < 3 for c in remaining[face]), len(remaining[face]))
        )
        chosen.append(best)
        seen.update(remaining.pop(best))
    return chosen


def _shape(face: Face, character: str) -> Float32[np.ndarray, " d"]:
    drawing = _drawing(face, character, 64)
    side = max(drawing.size)
    square = Image.new("L", (side, side))
    square.paste(drawing, ((side - drawing.width) // 2, (side - drawing.height) // 2))
    small = square.resize((COMPARED, COMPARED), Image.Resampling.BOX).filter(ImageFilter.GaussianBlur(0.6))
    return _unit(np.asarray(small, np.float32).ravel())


def _unit(x: Float32[np.ndarray, "*n d"]) -> Float32[np.ndarray, "*n d"]:
    x = x - x.mean(-1, keepdims=True)
    unit: np.ndarray = x / np.maximum(np.linalg.norm(x, axis=-1, keepdims=True), 1e-6)
    return unit


def distinct(
    shapes: Float32[np.ndarray, "faces n d"],
    has: Bool[np.ndarray, "faces n"],
    means: Float32[np.ndarray, "n d"],
    alike: float = ALIKE,
    same: float = SAME,
) -> list[int]:
    """Ascending indices of the characters that look like none of those kept before them.

    Two look alike if their correlation is at least `alike` on average over the faces that draw both (between
    their means where fewer than three do), or at least `same` in a quarter of these faces.
    """
    kept: list[int] = []
    for start in range(0, len(means), 256):
        block = np.arange(start, min(start + 256, len(means)))
        others = np.concatenate([np.array(kept, np.int64), block])
        each = shapes[:, block] @ shapes[:, others].swapaxes(1, 2)  # 0 where a face lacks one
        common = has[:, block].T.astype(np.float32) @ has[:, others].astype(np.float32)
        likeness = np.where(common >= 3, each.sum(0) / np.maximum(common, 1), means[block] @ means[others].T)
        matches = (likeness >= alike) | ((each >= same).sum(0) >= np.maximum(common, 1) / 4)
        column = list(range(len(kept)))  # of those kept so far, in `others`
        new = len(kept)
        for i in range(len(block)):
            if not matches[i, column].any():
                column.append(new + i)
                kept.append(int(block[i]))
    return kept


def _script(character: str) -> str:
    match unicodedata.category(character):
        case "Nd":
            return "Digit"
        case "Sc":
            return "Currency"
        case _:
            word = unicodedata.name(character).split()[0]
            return word if word == "CJK" else word.capitalize()
