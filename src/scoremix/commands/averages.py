"""`scoremix ema` and `import-edm2`: averages of any length from stored snapshots, published ones (EDM2 section 3.2)."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from scoremix.diffusion import checkpoints, published
from scoremix.diffusion.unet import EDM2
from scoremix.execution.artifacts import write_file


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


def write_published(path: Path, target: Path) -> dict[str, Any]:
    """Writes a published pickle as a snapshot; returns its network's configuration.

    ValueError where the file is something else or its tensors do not fit its configuration.
    """
    network, tensors = published.read(path)
    try:
        EDM2(**{**network, "use_fp16": False}).load_state_dict(tensors)
    except (RuntimeError, TypeError) as error:
        raise ValueError(
            f"{path}: tensors and configuration do not fit ({' '.join(str(error).split())[:300]})"
        ) from None
    if network.pop("use_fp16", False):
        network["dtype"] = "float16"
    write_file(target, checkpoints.to_bytes(tensors, network, checkpoints.Pixels()))
    return network
