"""Probes beside the enrolled images most alike, as a page or a picture: people rather look."""

import html
from collections.abc import Sequence
from pathlib import Path
from string import Template
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from scoremix.data.csv_text import printable
from scoremix.data.decode import png, png_address, refuse_irregular, upright_rgb
from scoremix.data.lists import noun
from scoremix.use.gallery import UNKNOWN, Gallery, Identified
from scoremix.use.model import Threshold

SIDE = 96  # pixels of an image shown
TEXT = 34  # below it
GOOD, GREY = "#1a7f37", "#8c959f"
MOST = 200  # probes shown
WIDEST = 60  # characters of a line below an image; no more of the narrowest fit


class Tile(NamedTuple):
    """An image with two lines below it; none where its file is not there any more."""

    image: Image.Image | None
    lines: tuple[str, str]
    colour: str


def rows_of(identified: Sequence[Identified], probes: Path | None, gallery: Gallery) -> list[list[Tile]]:
    """A row per probe, of the first `MOST`: its image, then those of its matches; green where it was recognized."""
    rows = []
    for one in identified[:MOST]:
        known = one.name != UNKNOWN
        first = Tile(_opened(probes, one.probe), (one.name, Path(one.probe).name), GOOD if known else GREY)
        matches = (
            Tile(
                _opened(Path(gallery.place), match.image) if _inside(match.image) else None,
                (match.name, f"{match.similarity:.3f}"),
                GOOD if known and i == 0 else GREY,
            )
            for i, match in enumerate(one.matches)
        )
        rows.append([first, *matches])
    return rows


def said(identified: Sequence[Identified], enrolled: int, point: Threshold | None) -> str:
    """How many were recognized, by which rule."""
    known = sum(one.name != UNKNOWN for one in identified)
    more = f"; the first {MOST} are shown" if len(identified) > MOST else ""
    images, others = noun(len(identified), "image"), f"{noun(enrolled, 'enrolled one')}{more}"
    if point is None:
        return f"{images} against {others}. The model has no threshold: all are named."
    return (
        f"{known} of {images} recognized among {others}: similarity above {point.value:.3f}, the threshold at FAR "
        f"{point.far:g}. A stranger is taken for somebody with a chance of up to {min(1.0, point.far * enrolled):.0%}."
    )


def page(rows: Sequence[Sequence[Tile]], note: str) -> str:
    """One HTML file with everything in it."""
    lines = ("".join(map(_cell, row)) for row in rows)
    text = Template(Path(__file__).with_suffix(".html").read_text())
    return text.substitute(side=SIDE, note=html.escape(note), rows="".join(f"<tr>{line}</tr>\n" for line in lines))


def picture(rows: Sequence[Sequence[Tile]]) -> bytes:
    """The same as a PNG file."""
    columns, font = max(map(len, rows)), ImageFont.load_default(11)
    wide, high, gap = SIDE + 16, SIDE + TEXT + 10, 16
    canvas = Image.new("RGB", (columns * wide + gap, len(rows) * high), "white")
    draw = ImageDraw.Draw(canvas)
    for y, row in enumerate(rows):
        for x, tile in enumerate(row):
            left, top = x * wide + 8 + (gap if x else 0), y * high + 4
            draw.rectangle((left - 3, top - 3, left + SIDE + 2, top + SIDE + 2), fill=tile.colour)
            shown = tile.image or Image.new("RGB", (SIDE, SIDE), "#eaeef2")
            canvas.paste(shown, (left, top))
            for number, line in enumerate(printable(" ".join(line.split()))[:WIDEST] for line in tile.lines):
                while len(line) > 1 and draw.textlength(line, font) > wide - 2:
                    line = line[:-2] + "…"
                draw.text((left, top + SIDE + 5 + 14 * number), line, fill=tile.colour, font=font)
    return png(np.asarray(canvas))


def _inside(name: str) -> bool:
    """Whether a name in a gallery, which may be a stranger's, stays in the folder whose images were enrolled."""
    return not Path(name).is_absolute() and ".." not in Path(name).parts


def _opened(place: Path | None, name: str) -> Image.Image | None:
    """The image of that name at a place, its centred square; None where it cannot be read any more."""
    try:
        file = Path(name) if place is None else place / name if place.is_dir() else place
        refuse_irregular(file)
        image = upright_rgb(file)
    except (OSError, ValueError):
        return None
    side = min(image.size)
    left, top = (image.width - side) // 2, (image.height - side) // 2
    way = Image.Resampling.NEAREST if side < SIDE else Image.Resampling.LANCZOS
    return image.resize((SIDE, SIDE), way, (left, top, left + side, top + side))


def _cell(tile: Tile) -> str:
    shown = f"<div style='width:{SIDE}px;height:{SIDE}px;background:#eaeef2;margin:auto'></div>"
    if tile.image is not None:
        shown = f"<img alt='' style='border-color:{tile.colour}' src='{png_address(np.asarray(tile.image))}'>"
    name, below = (html.escape(printable(line)) for line in tile.lines)
    return f"<td>{shown}<b style='color:{tile.colour}'>{name}</b><br>{below}</td>"
