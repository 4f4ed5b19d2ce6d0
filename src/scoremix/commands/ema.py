"""`scoremix ema`: an average of any length from stored snapshots (EDM2 section 3.2)."""

import json
from pathlib import Path
from typing import Annotated

import typer

from scoremix.commands.options import RuntimeOptions, app


@app.command(without=("device",))
def ema(
    std: Annotated[float, typer.Option("--std", help="relative length of the average, such as 0.075")],
    name: Annotated[str | None, typer.Argument(help="name of a run; by default the latest")] = None,
    images: Annotated[int | None, typer.Option("--images", help="images seen; by default the end of training")] = None,
    guide: Annotated[bool, typer.Option("--guide", help="of the separately trained guide network")] = False,
    to: Annotated[Path | None, typer.Option("--to", help="the .safetensors file to write")] = None,
    *,
    here: RuntimeOptions,
) -> None:
    """An average of the generator of any length, reconstructed from its snapshots."""
    from scoremix.data.files import write_file
    from scoremix.diffusion import checkpoints
    from scoremix.execution.records import step_folder

    folder = step_folder(here.out, name, "guide network" if guide else "generator")
    seen = images or json.loads((folder / "generator.json").read_text())["images_seen"]
    times = sorted({n for _, n, _ in checkpoints.stored(folder)})
    if seen not in times:
        raise ValueError(f"--images {seen}: snapshots end after {', '.join(map(str, times))} images; give one of these")
    description, tensors, missing = checkpoints.reconstructed(folder, std, seen)
    path = to or Path(checkpoints.snapshot_name(seen, std))  # named as the stored ones, here
    pixels = checkpoints.Pixels(**description["pixels"])
    write_file(path, checkpoints.to_bytes(tensors, description["network"], pixels))
    print(f"{path}: EMA length {std:g}, {missing:.2%} of its profile is beyond the snapshots")
