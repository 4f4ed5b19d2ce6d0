"""`scoremix sheets`: the weights of a mix swept (Fig. 2, Appendix B), sources beside mixes (Fig. 3, Appendix L)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from scoremix.commands.planning import sampler_of
from scoremix.config import Experiment, Runtime
from scoremix.data.decode import png
from scoremix.data.images import LabeledImages
from scoremix.execution import records
from scoremix.execution.artifacts import write_file
from scoremix.execution.runner import decided
from scoremix.stages.mix.sample import weights_for
from scoremix.stages.show.illustrate import TICKS, comparison, grid

SIDE = 96  # least side of a shown image in pixels
GAP, MARGIN = 4, 40
WORD = 26  # letters shown of a class's name


def write_sheets(
    exp: Experiment,
    runtime: Runtime,
    folder: Path,
    seeds: Sequence[int],
    guidances: Sequence[float],
    pairs: int,
    rows: int,
) -> list[Path]:
    """One PNG per seed for the weights of the first m-plet (two classes only), one per guidance for `pairs` m-plets.

    ConfigError where the run has no generator yet.
    """
    exp = decided(exp, runtime.device)
    sampler, classes = sampler_of(exp, runtime)
    train = LabeledImages.load(records.step_folder(runtime.out, exp.name, "ingest")).of_classes("train")
    folder.mkdir(parents=True, exist_ok=True)
    made: dict[str, NDArray[np.uint8]] = {}
    m = classes.shape[1]
    ticks = [f"{tick:g}" for tick in TICKS]
    for seed in seeds if m == 2 else ():
        cells = grid(sampler, classes[0], seed).swapaxes(0, 1)  # alpha from left to right, beta from top to bottom
        made[f"weights-seed{seed}.png"] = drawn(cells, [f"alpha {t}" for t in ticks], [f"beta {t}" for t in ticks])
    own = [f"{word} {k + 1}" for k in range(m) for word in ("original", "reproduced")]
    heads = [*own[:2], "mix", own[3], own[2]] if m == 2 else [*own, "mix"]
    chosen = classes[np.linspace(0, len(classes) - 1, min(pairs, len(classes))).round().astype(int)]
    weights = np.array(weights_for(exp.sampling, m))
    for guidance in guidances:
        sampler.plan = replace(sampler.plan, guidance=guidance)
        noise = [sampler.seeds(np.arange(i * rows, (i + 1) * rows)) for i in range(len(chosen))]
        parts = [comparison(sampler, train, row, weights, s) for row, s in zip(chosen, noise, strict=True)]
        names = ["\n".join(train.class_names[k][:WORD] for k in row) * (i == 0) for row in chosen for i in range(rows)]
        made[f"comparison-guidance{guidance:g}.png"] = drawn(np.concatenate(parts), heads, names)
    return [write_file(folder / name, png(image)) for name, image in made.items()]


def drawn(cells: NDArray[np.uint8], columns: Sequence[str], rows: Sequence[str]) -> NDArray[np.uint8]:
    """Cells (rows, columns, H, W, C) enlarged without smoothing, with a word above each column and beside each row."""
    times = max(1, -(-SIDE // cells.shape[2]))
    cells = cells.repeat(times, axis=2).repeat(times, axis=3)
    cells = np.repeat(cells, 3, axis=4) if cells.shape[4] == 1 else cells
    high, wide = cells.shape[2] + GAP, cells.shape[3] + GAP
    font = ImageFont.load_default(13)
    left = int(max(font.getlength(line) for word in rows for line in word.splitlines() or [""])) + 2 * GAP
    sheet = Image.new("RGB", (left + wide * len(columns), MARGIN // 2 + high * len(rows)), "white")
    draw = ImageDraw.Draw(sheet)
    for j, word in enumerate(columns):
        draw.text((left + wide * j, 2), word, fill="black", font=font)
    for i, word in enumerate(rows):
        draw.text((GAP, MARGIN // 2 + high * i + high // 2 - 16), word, fill="black", font=font)
        for j in range(len(columns)):
            sheet.paste(Image.fromarray(cells[i, j]), (left + wide * j, MARGIN // 2 + high * i))
    return np.asarray(sheet)
