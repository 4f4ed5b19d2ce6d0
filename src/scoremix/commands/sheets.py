"""`scoremix sheets`: the weights of a mix swept (Fig. 2, Appendix B), sources beside mixes (Fig. 3, Appendix L)."""

from pathlib import Path
from typing import Annotated

import typer

from scoremix.commands.options import Reported, RuntimeOptions, Settings, app, last_reported


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
    here: RuntimeOptions,
) -> None:
    """Pictures of a run's mixes: weights alpha and beta (Fig. 2, 7 to 9), and sources beside mixes (Fig. 3, 14, 15).

    PNGs of four pairs each per seed (alpha of the first class in rows, beta of the second in columns; pairs only), and
    one of sources beside mixes per guidance.
    """
    import numpy as np

    from scoremix.config import changed, load
    from scoremix.data.csv_text import numbers_of
    from scoremix.data.decode import png
    from scoremix.data.files import write_file
    from scoremix.data.images import LabeledImages
    from scoremix.execution.prices import sampler_of
    from scoremix.execution.records import step_folder
    from scoremix.execution.runner import decided
    from scoremix.execution.sheets import comparison_sheet, named, weight_sheets
    from scoremix.stages.mix.weights import weights_for
    from scoremix.stages.show.illustrate import TICKS

    runtime = here.runtime
    exp = decided(load(last_reported(name, here.out), (), settings or ()), runtime.device)
    shown = TICKS if ticks is None else numbers_of(ticks, "--ticks")
    sampler, classes = sampler_of(exp, runtime)
    plans = [changed(exp.sampling, {"guidance": guidance}, "--") for guidance in guidances or [1.3, 2.75]]
    train = LabeledImages.load(step_folder(here.out, exp.name, "ingest")).of_classes("train")
    some = np.linspace(0, len(classes) - 1, min(pairs, len(classes))).round().astype(int)
    chosen = np.array(named(mplets, train.class_names)) if mplets else classes[some]
    m = chosen.shape[1]
    weights = np.array(weights_for(exp.sampling, m))
    swept = (weight_sheets(sampler, train.class_names, chosen, seed, shown) for seed in (seeds or [0]) if m == 2)
    drawn = [sheet for of_seed in swept for sheet in of_seed]
    for plan in plans:
        sampler.plan = plan
        drawn.append(comparison_sheet(sampler, train, chosen, weights, rows))
    folder = to or here.out / exp.name / "sheets"
    folder.mkdir(parents=True, exist_ok=True)
    for sheet in drawn:
        print(write_file(folder / sheet.file, png(sheet.image)))
        for line in dict.fromkeys(sheet.left_out):
            print(f"  left out, grey there: {line}")
