"""Probes beside the enrolled images most alike, as a page or a picture: people rather look."""

import base64
import html
import io
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from PIL import Image, ImageDraw, ImageFont

from scoremix.data.decode import upright_rgb
from scoremix.data.lists import noun
from scoremix.use.gallery import UNKNOWN, Gallery, Identified
from scoremix.use.model import Threshold

SIDE = 96  # pixels of an image shown
TEXT = 34  # below it
GOOD, GREY = "#1a7f37", "#8c959f"
MOST = 200  # probes shown


class Tile(NamedTuple):
    """An image with two lines below it; none where its file is not there any more."""

    image: Image.Image | None
    lines: tuple[str, str]
    colour: str


def rows_of(found: Sequence[Identified], probes: Path | None, gallery: Gallery) -> list[list[Tile]]:
    """A row per probe, of the first `MOST`: its image, then those of its matches; green where it was recognized."""
    rows = []
    for one in found[:MOST]:
        known = one.name != UNKNOWN
        first = Tile(_opened(probes, one.probe), (one.name, Path(one.probe).name), GOOD if known else GREY)
        matches = (
            Tile(
                _opened(Path(gallery.place), match.image),
                (match.name, f"{match.similarity:.3f}"),
                GOOD if known and i == 0 else GREY,
            )
            for i, match in enumerate(one.matches)
        )
        rows.append([first, *matches])
    return rows


def said(found: Sequence[Identified], enrolled: int, point: Threshold | None) -> str:
    """How many were recognized, by which rule."""
    known = sum(one.name != UNKNOWN for one in found)
    more = f"; the first {MOST} are shown" if len(found) > MOST else ""
    if point is None:
        return f"{noun(len(found), 'image')} against {enrolled} enrolled ones{more}. The model has no threshold: all are named."
    return (
        f"{known} of {noun(len(found), 'image')} recognized among {enrolled} enrolled ones{more}: similarity above {point.value:.3f}, "
        f"the threshold at FAR {point.far:g}. A stranger is taken for somebody with a chance of up to "
        f"{min(1.0, point.far * enrolled):.0%}."
    )


def page(rows: Sequence[Sequence[Tile]], note: str) -> str:
    """One HTML file with everything in it."""
    lines = [
        "<!doctype html><html lang='en'><meta charset='utf-8'><title>identified</title>",
        "<meta name='viewport' content='width=device-width'>",
        "<style>body{font:14px system-ui,sans-serif;margin:2em;max-width:80em}table{border-collapse:collapse}"
        "td{padding:.4em;text-align:center;vertical-align:top;max-width:9em;overflow-wrap:anywhere}"
        "td:first-child{border-right:1px solid #d0d7de;padding-right:1em}"
        f"img{{width:{SIDE}px;height:{SIDE}px;border:3px solid;image-rendering:pixelated;display:block;margin:auto}}</style>",
        f"<h1>Who is it?</h1><p>{html.escape(note)}</p><table>",
        "<tr><th>image</th><th colspan='99'>most alike, and how alike</th></tr>",
    ]
    for row in rows:
        cells = (
            f"<td>{_inline(tile)}<b style='color:{tile.colour}'>{html.escape(tile.lines[0])}</b><br>"
            f"{html.escape(tile.lines[1])}</td>"
            for tile in row
        )
        lines.append(f"<tr>{''.join(cells)}</tr>")
    return "\n".join([*lines, "</table></html>"]) + "\n"


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
            for number, line in enumerate(tile.lines):
                while len(line) > 1 and draw.textlength(line, font) > wide - 2:
                    line = line[:-2] + "…"
                draw.text((left, top + SIDE + 5 + 14 * number), line, fill=tile.colour, font=font)
    content = io.BytesIO()
    canvas.save(content, "PNG")
    return content.getvalue()


def _opened(place: Path | None, name: str) -> Image.Image | None:
    """The image of that name at a place, its centred square; None where it cannot be read any more."""
    file = Path(name) if place is None else place / name if place.is_dir() else place
    try:
        image = upright_rgb(io.BytesIO(file.read_bytes()))
    except (OSError, ValueError):
        return None
    side = min(image.size)
    left, top = (image.width - side) // 2, (image.height - side) // 2
    way = Image.Resampling.NEAREST if side < SIDE else Image.Resampling.LANCZOS
    return image.resize((SIDE, SIDE), way, (left, top, left + side, top + side))


def _inline(tile: Tile) -> str:
    if tile.image is None:
        return f"<div style='width:{SIDE}px;height:{SIDE}px;background:#eaeef2;margin:auto'></div>"
    content = io.BytesIO()
    tile.image.save(content, "PNG")
    data = base64.b64encode(content.getvalue()).decode()
    return f"<img alt='' style='border-color:{tile.colour}' src='data:image/png;base64,{data}'>"
