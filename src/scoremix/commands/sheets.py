"""`scoremix sheets`: the weights of a mix swept (Fig. 2, Appendix B), sources beside mixes (Fig. 3, Appendix L)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from scoremix.commands.options import Debug, Device, Out, Quiet, Reported, Settings, app, last_reported, runtime_of

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

SIDE = 96  # least side of a shown image in pixels
GAP, MARGIN = 4, 40
WORD = 26  # letters shown of a class's name


@app.command()
def sheets(
    name: Reported = None,
    seeds: Annotated[
        list[int] | None, typer.Option("--seed", min=0, help="noise of an alpha/beta sheet; repeatable")
    ] = None,
    guidances: Annotated[
        list[float] | None, typer.Option("--guidance", help="of a comparison sheet; repeatable (default 1.3, 2.75)")
    ] = None,
    pairs: Annotated[int, typer.Option("--pairs", min=1, help="m-plets of a comparison sheet")] = 4,
    rows: Annotated[int, typer.Option("--rows", min=1, help="images of each m-plet")] = 4,
    settings: Settings = None,
    to: Annotated[Path, typer.Option("--to", help="folder for the pictures")] = Path("sheets"),
    out: Out = Path("scoremix_runs"),
    device: Device = "auto",
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Pictures of a run's mixes: weights alpha and beta (Fig. 2), and sources beside mixes (Fig. 3, 14, 15).

    One PNG per seed for the weights of the first m-plet (two classes only), one per guidance for some m-plets.
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

    runtime = runtime_of(out, device, quiet)
    exp = decided(load(last_reported(name, out), (), settings or ()), runtime.device)
    sampler, classes = sampler_of(exp, runtime)
    train = LabeledImages.load(step_folder(out, exp.name, "ingest")).of_classes("train")
    to.mkdir(parents=True, exist_ok=True)
    pictures: dict[str, NDArray[np.uint8]] = {}
    left_out: dict[str, tuple[str, ...]] = {}
    m = classes.shape[1]
    ticks = [f"{tick:g}" for tick in TICKS]
    for seed in (seeds or [0]) if m == 2 else ():
        cells = grid(sampler, classes[0], seed)
        shown = cells.images.swapaxes(0, 1)  # alpha from left to right, beta from top to bottom
        file = f"weights-seed{seed}.png"
        pictures[file] = drawn(shown, [f"alpha {t}" for t in ticks], [f"beta {t}" for t in ticks])
        left_out[file] = cells.left_out
    sources = [f"{word} {k + 1}" for k in range(m) for word in ("original", "reproduced")]
    heads = [*sources[:2], "mix", sources[3], sources[2]] if m == 2 else [*sources, "mix"]
    chosen = classes[np.linspace(0, len(classes) - 1, min(pairs, len(classes))).round().astype(int)]
    weights = np.array(weights_for(exp.sampling, m))
    for guidance in guidances or [1.3, 2.75]:
        sampler.plan = sampler.plan.model_copy(update={"guidance": guidance})
        noise = [sampler.seeds(np.arange(i * rows, (i + 1) * rows)) for i in range(len(chosen))]
        parts = [comparison(sampler, train, row, weights, s) for row, s in zip(chosen, noise, strict=True)]
        names = ["\n".join(train.class_names[k][:WORD] for k in row) * (i == 0) for row in chosen for i in range(rows)]
        file = f"comparison-guidance{guidance:g}.png"
        pictures[file] = drawn(np.concatenate([part.images for part in parts]), heads, names)
        left_out[file] = tuple(line for part in parts for line in part.left_out)
    for file, image in pictures.items():
        print(write_file(to / file, png(image)))
        for line in left_out[file]:
            print(f"  left out, grey there: {line}")


def drawn(cells: NDArray[np.uint8], columns: Sequence[str], rows: Sequence[str]) -> NDArray[np.uint8]:
    """Cells (rows, columns, H, W, C) enlarged without smoothing, with a word above each column and beside each row."""
    import numpy as np
    from PIL import Image, ImageDraw, ImageFont

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
