"""`scoremix ema`: an average of any length from a generator's stored snapshots (EDM2 section 3.2)."""

from __future__ import annotations

import json
from pathlib import Path

from scoremix.artifacts import write_file
from scoremix.diffusion import checkpoints


def write_average(folder: Path, std: float, images: int | None, to: Path | None) -> tuple[Path, float]:
    """Writes the snapshot `to` (by default named as the stored ones, here); its path and what the fit misses.

    ValueError for a length or a time that the snapshots cannot express.
    """
    seen = images or json.loads((folder / "generator.json").read_text())["images_seen"]
    times = sorted({n for _, n, _ in checkpoints.stored(folder)})
    if seen not in times:
        raise ValueError(f"--images {seen}: snapshots end after {', '.join(map(str, times))} images; give one of these")
    description, tensors, missing = checkpoints.reconstructed(folder, std, seen)
    target = to or Path(checkpoints.snapshot_name(seen, std))
    pixels = checkpoints.Pixels(**description["pixels"])
    write_file(target, checkpoints.to_bytes(tensors, description["network"], pixels))
    return target, missing
