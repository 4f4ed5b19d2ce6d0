"""`scoremix sheets`: the weights of a mix swept (Fig. 2, Appendix B), sources beside mixes (Fig. 3, Appendix L)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from scoremix.commands.options import Here, Reported, Settings, app, last_reported

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from PIL import ImageFont

SIDE = 96  # least side of a shown image in pixels
GAP, MARGIN = 4, 40
WORD = 26  # letters shown of a class's name
PAGE = 4  # pairs of an alpha/beta sheet


@app.command()
def sheets(
    name: Reported = None,
    mplets: Annotated[
        list[str] | None,
        typer.Option("--mplet", help="classes of an m-plet by name, A,B; repeatable (default: some of the run's)"),
    ] = None,
    ticks: Annotated[
        str | None, typer.Option("--ticks", help="weights of an alpha/beta sheet (default 0,0.2,0.5,0.8,1)")
    ] = None,
    seeds: Annotated[
        list[int] | None, typer.Option("--seed", min=0, help="noise of an alpha/beta sheet; repeatable")
    ] = None,
    guidances: Annotated[
        list[float] | None, typer.Option("--guidance", help="of a comparison sheet; repeatable (default 1.3, 2.75)")
    ] = None,
    pairs: Annotated[int, typer.Option("--pairs", min=1, help="m-plets shown, where none are named")] = 4,
    rows: Annotated[int, typer.Option("--rows", min=1, help="images of each m-plet")] = 4,
    settings: Settings = None,
    to: Annotated[Path | None, typer.Option("--to", help="folder for the pictures, by default RUN/sheets")] = None,
    *,
    here: Here,
) -> None:
    """Pictures of a run's mixes: weights alpha and beta (Fig. 2, 7 to 9), and sources beside mixes (Fig. 3, 14, 15).

    PNGs of four pairs each per seed (alpha of the first class in rows, beta of the second in columns; pairs only), and
    one of sources beside mixes per guidance.
    """
    import numpy as np

    from scoremix.commands.plan import sampler_of
    from scoremix.config import load
    from scoremix.data.decode import png
    from scoremix.data.files import write_file
    from scoremix.data.images import LabeledImages
    from scoremix.execution.records import step_folder
    from scoremix.execution.runner import decided
    from scoremix.stages.mix.weights import weights_for
    from scoremix.stages.show.illustrate import TICKS, comparison, grid

    runtime = here.runtime
    exp = decided(load(last_reported(name, here.out), (), settings or ()), runtime.device)
    weights_shown = TICKS if ticks is None else numbers_of(ticks)
    sampler, classes = sampler_of(exp, runtime)
    train = LabeledImages.load(step_folder(here.out, exp.name, "ingest")).of_classes("train")
    if mplets:
        chosen = np.array(named(mplets, train.class_names))
    else:
        chosen = classes[np.linspace(0, len(classes) - 1, min(pairs, len(classes))).round().astype(int)]
    weights = np.array(weights_for(exp.sampling, chosen.shape[1]))
    folder = to or here.out / exp.name / "sheets"
    folder.mkdir(parents=True, exist_ok=True)
    pictures: dict[str, NDArray[np.uint8]] = {}
    left_out: dict[str, tuple[str, ...]] = {}
    m = chosen.shape[1]
    alphas, betas = ([f"{word} {tick:g}" for tick in weights_shown] for word in ("alpha", "beta"))
    for seed in (seeds or [0]) if m == 2 else ():
        for number, start in enumerate(range(0, len(chosen), PAGE)):
            cells = [grid(sampler, pair, seed, weights_shown) for pair in chosen[start : start + PAGE]]
            both = [[short(train.class_names[k]) for k in pair] for pair in chosen[start : start + PAGE]]
            titles = [f"{first} (alpha) \u00d7 {second} (beta)" for first, second in both]
            file = f"weights-seed{seed}{f'-{number + 1}' if len(chosen) > PAGE else ''}.png"
            made = [drawn(c.images, betas, alphas, title) for c, title in zip(cells, titles, strict=True)]
            pictures[file] = tiled(made)
            left_out[file] = tuple(line for c in cells for line in c.left_out)
    sources = [f"{word} {k + 1}" for k in range(m) for word in ("original", "reproduced")]
    heads = [*sources[:2], "mix", sources[3], sources[2]] if m == 2 else [*sources, "mix"]
    for guidance in guidances or [1.3, 2.75]:
        sampler.plan = sampler.plan.model_copy(update={"guidance": guidance})
        noise = [sampler.seeds(np.arange(i * rows, (i + 1) * rows)) for i in range(len(chosen))]
        parts = [comparison(sampler, train, row, weights, s) for row, s in zip(chosen, noise, strict=True)]
        names = ["\n".join(short(train.class_names[k]) for k in row) * (i == 0) for row in chosen for i in range(rows)]
        file = f"comparison-guidance{guidance:g}.png"
        pictures[file] = drawn(np.concatenate([part.images for part in parts]), heads, names)
        left_out[file] = tuple(line for part in parts for line in part.left_out)
    for file, image in pictures.items():
        print(write_file(folder / file, png(image)))
        for line in dict.fromkeys(left_out[file]):
            print(f"  left out, grey there: {line}")


def named(mplets: Sequence[str], names: Sequence[str]) -> list[list[int]]:
    """Classes of m-plets written `A,B`, a name with a comma in quotes; ConfigError, one line, for what is none."""
    import csv
    import difflib

    from scoremix.config import ConfigError

    found = []
    for text in mplets:
        words = [word.strip() for word in next(csv.reader([text], skipinitialspace=True))]
        for word in words:
            if word not in names:
                close = difflib.get_close_matches(word, names, n=1)
                hint = f"did you mean {close[0]!r}?" if close else f"the first is {names[0]!r}"
                raise ConfigError(f"--mplet {text!r}: {word!r} is none of the {len(names)} training classes; {hint}")
        found.append([names.index(word) for word in words])
    if len(set(map(len, found))) > 1 or any(len(set(row)) < len(row) for row in found):
        raise ConfigError(f"--mplet: {' and '.join(map(repr, mplets))} must name as many classes each, none twice")
    return found


def numbers_of(text: str) -> tuple[float, ...]:
    """The weights in a list such as 0,.5,1; ConfigError for another text."""
    import math

    from scoremix.config import ConfigError

    try:
        found = tuple(float(word) for word in text.split(","))
    except ValueError:
        found = (math.nan,)
    if not all(map(math.isfinite, found)):
        raise ConfigError(f"--ticks {text!r}: must be numbers with commas between them, such as 0,.25,.5,.75,1")
    return found


def drawn(cells: NDArray[np.uint8], columns: Sequence[str], rows: Sequence[str], title: str = "") -> NDArray[np.uint8]:
    """Cells (rows, columns, H, W, C) enlarged without smoothing, with a word above each column and beside each row."""
    import numpy as np
    from PIL import Image, ImageDraw

    times = max(1, -(-SIDE // cells.shape[2]))
    cells = cells.repeat(times, axis=2).repeat(times, axis=3)
    cells = np.repeat(cells, 3, axis=4) if cells.shape[4] == 1 else cells
    high, wide = cells.shape[2] + GAP, cells.shape[3] + GAP
    font, top = lettering(), MARGIN // 2 * (2 if title else 1)
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


def lettering() -> ImageFont.FreeTypeFont:
    """Matplotlib's font, which has the letters of most alphabets."""
    import matplotlib
    from PIL import ImageFont

    return ImageFont.truetype(Path(matplotlib.get_data_path()) / "fonts/ttf/DejaVuSans.ttf", 12)


def short(name: str) -> str:
    """A name of at most WORD characters."""
    return name if len(name) <= WORD else name[: WORD - 1] + "\u2026"


def tiled(sheets: Sequence[NDArray[np.uint8]]) -> NDArray[np.uint8]:
    """Sheets (H, W, 3), two beside each other, on white."""
    import numpy as np

    high, wide = (max(sheet.shape[axis] for sheet in sheets) + MARGIN for axis in (0, 1))
    across = min(2, len(sheets))
    page = np.full((high * -(-len(sheets) // across), wide * across, 3), 255, np.uint8)
    for place, sheet in enumerate(sheets):
        row, column = divmod(place, across)
        page[row * high :, column * wide :][: sheet.shape[0], : sheet.shape[1]] = sheet
    return page
