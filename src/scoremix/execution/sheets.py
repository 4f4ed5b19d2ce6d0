"""Pictures of a run's mixes: the weights of a mix swept (Fig. 2, Appendix B), sources beside mixes (Fig. 3, Appendix L)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from scoremix.config import ConfigError
from scoremix.data.csv_text import names_of
from scoremix.data.images import LabeledImages
from scoremix.data.lists import positions
from scoremix.stages.mix.sample import Sampler
from scoremix.stages.show.illustrate import comparison, grid

SIDE = 96  # least side of a shown image in pixels
GAP, MARGIN = 4, 40
WORD = 26  # letters shown of a class's name
PAGE = 4  # pairs of an alpha/beta sheet


class Sheet(NamedTuple):
    """A picture, the name of its file, and what is left out and grey there."""

    file: str
    image: NDArray[np.uint8]
    left_out: tuple[str, ...]


def weight_sheets(
    sampler: Sampler, names: Sequence[str], pairs: NDArray[np.int64], seed: int, ticks: Sequence[float]
) -> Iterator[Sheet]:
    """The weights alpha and beta of pairs of classes swept from one noise, `PAGE` pairs on a sheet."""
    alphas, betas = ([f"{word} {tick:g}" for tick in ticks] for word in ("alpha", "beta"))
    for number, start in enumerate(range(0, len(pairs), PAGE)):
        sheets, left_out = list[NDArray[np.uint8]](), list[str]()
        for pair in pairs[start : start + PAGE]:
            cells, (first, second) = grid(sampler, pair, seed, ticks), (short(names[k]) for k in pair)
            sheets.append(drawn(cells.images, betas, alphas, f"{first} (alpha) \u00d7 {second} (beta)"))
            left_out += cells.left_out
        file = f"weights-seed{seed}{f'-{number + 1}' if len(pairs) > PAGE else ''}.png"
        yield Sheet(file, tiled(sheets), tuple(left_out))


def comparison_sheet(
    sampler: Sampler, train: LabeledImages, mplets: NDArray[np.int64], weights: NDArray[np.float64], rows: int
) -> Sheet:
    """Sources beside mixes, `rows` images of each m-plet, under the sampler's guidance."""
    m = mplets.shape[1]
    sources = [f"{word} {k + 1}" for k in range(m) for word in ("original", "reproduced")]
    heads = [*sources[:2], "mix", sources[3], sources[2]] if m == 2 else [*sources, "mix"]
    noise = [sampler.seeds(np.arange(i * rows, (i + 1) * rows)) for i in range(len(mplets))]
    parts = [comparison(sampler, train, row, weights, seeds) for row, seeds in zip(mplets, noise, strict=True)]
    names = ["\n".join(short(train.class_names[k]) for k in row) * (i == 0) for row in mplets for i in range(rows)]
    image = drawn(np.concatenate([part.images for part in parts]), heads, names)
    file = f"comparison-guidance{sampler.plan.guidance:g}.png"
    return Sheet(file, image, tuple(line for part in parts for line in part.left_out))


def named(mplets: Sequence[str], names: Sequence[str]) -> list[list[int]]:
    """Classes of m-plets written `A,B`, a name with a comma in quotes; ConfigError, one line, for what is none."""
    chosen = []
    for text in mplets:
        chosen.append(positions(names_of(text), names, f"--mplet {text!r}", "training classes").tolist())
    if len(set(map(len, chosen))) > 1 or any(len(set(row)) < len(row) for row in chosen):
        raise ConfigError(f"--mplet: {' and '.join(map(repr, mplets))} must name as many classes each, none twice")
    return chosen


def drawn(cells: NDArray[np.uint8], columns: Sequence[str], rows: Sequence[str], title: str = "") -> NDArray[np.uint8]:
    """Cells (rows, columns, H, W, C) enlarged without smoothing, with a word above each column and beside each row."""
    times = max(1, -(-SIDE // cells.shape[2]))
    cells = cells.repeat(times, axis=2).repeat(times, axis=3)
    cells = cells.repeat(3, axis=4) if cells.shape[4] == 1 else cells
    high, wide = cells.shape[2] + GAP, cells.shape[3] + GAP
    import matplotlib

    # its font, which has the letters of most alphabets
    font = ImageFont.truetype(Path(matplotlib.get_data_path()) / "fonts/ttf/DejaVuSans.ttf", 12)
    top = MARGIN // 2 * (2 if title else 1)
    left = int(max(font.getlength(line) for word in rows for line in word.splitlines() or [""])) + 2 * GAP
    width = max(left + wide * len(columns), int(font.getlength(title)) + 2 * GAP)
    sheet = Image.new("RGB", (width, top + high * len(rows)), "white")
    draw = ImageDraw.Draw(sheet)
    draw.text((GAP, 2), title, fill="black", font=font)
    for j, word in enumerate(columns):
        draw.text((left + wide * j, top - MARGIN // 2 + 2), word, fill="black", font=font)
    for i, word in enumerate(rows):
        draw.text((GAP, top + high * i + high // 2 - 16), word, fill="black", font=font)
        for j in range(len(columns)):
            sheet.paste(Image.fromarray(cells[i, j]), (left + wide * j, top + high * i))
    return np.asarray(sheet)


def short(name: str) -> str:
    """A name of at most WORD characters."""
    return name if len(name) <= WORD else name[: WORD - 1] + "\u2026"


def tiled(sheets: Sequence[NDArray[np.uint8]]) -> NDArray[np.uint8]:
    """Sheets (H, W, 3), two beside each other, on white."""
    high, wide = (max(sheet.shape[axis] for sheet in sheets) + MARGIN for axis in (0, 1))
    across = min(2, len(sheets))
    page = np.full((high * -(-len(sheets) // across), wide * across, 3), 255, np.uint8)
    for place, sheet in enumerate(sheets):
        row, column = divmod(place, across)
        page[row * high :, column * wide :][: sheet.shape[0], : sheet.shape[1]] = sheet
    return page
