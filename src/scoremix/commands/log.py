"""`scoremix log`: what a run has recorded, for a viewer of trainings."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from scoremix.commands.options import RuntimeOptions, app

if TYPE_CHECKING:
    from scoremix.execution.artifacts import Artifact

CURVES = {"history.csv": "loss", "alignment.csv": "alignment loss"}


@app.command(without=("device",))
def log(
    tensorboard: Annotated[
        str | None, typer.Option("--tensorboard", metavar="RUN", help="write this run's curves for TensorBoard")
    ] = None,
    to: Annotated[
        Path | None, typer.Option("--to", help="folder of the event files, by default RUN/tensorboard")
    ] = None,
    *,
    here: RuntimeOptions,
) -> None:
    """Loss curves, results and pictures of a run as TensorBoard reads them (extra: pip install 'scoremix[track]').

    From what is stored, finished or not; nothing is trained. Look at it with: tensorboard --logdir FOLDER.
    """
    import numpy as np

    from scoremix.config import ConfigError
    from scoremix.data.files import refuse_existing
    from scoremix.execution.records import recorded, steps_of

    if tensorboard is None:
        raise ConfigError("log: say for which viewer, --tensorboard RUN")
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        raise ConfigError("--tensorboard: needs TensorBoard, pip install 'scoremix[track]'") from None
    run = recorded(here.out, tensorboard).name
    folder = to or here.out / run / "tensorboard"
    refuse_existing(folder)
    points = 0
    for label, step in steps_of(here.out, run).items():
        artifact = step.artifact(here.out)
        scalars, pictures = list(_scalars(artifact)), artifact / "sheet.npz"
        if not scalars and not pictures.exists():
            continue
        with SummaryWriter(str(folder / label.replace("/", "-").replace(" ", "-"))) as writer:
            for name, at, value in scalars:
                writer.add_scalar(name, value, at)
            if pictures.exists():
                mixes = artifact.arrays("sheet.npz")["mixes"]  # (rows, images, H, W, C)
                sheet = np.concatenate([np.concatenate(list(row), 1) for row in mixes])
                writer.add_image("mixes", sheet, dataformats="HWC")
        points += len(scalars)
    print(f"{folder}: {points:,} points; tensorboard --logdir {folder}")


def _scalars(step: Artifact) -> Iterator[tuple[str, int, float]]:
    """(name, images seen, value) of a step's curves; of the comparison (metric by arm, 0, value)."""
    from scoremix.outputs.comparison import Comparison

    for file, name in CURVES.items():
        if (step / file).exists():
            for row in csv.DictReader((step / file).read_text().splitlines()):
                yield name, int(row["images_seen"]), float(row["loss"])
    if (step / Comparison.FILE).exists():
        for arm, metrics in Comparison.load(step).arms.items():
            for metric, estimate in metrics.items():
                if not estimate.missing:
                    yield f"{metric}/{arm}", 0, estimate.value
