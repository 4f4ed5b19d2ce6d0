"""What a generator of EDM2's sizes keeps per image for the backward pass, with and without checkpointing of blocks.

    python benchmarks/activations.py [--json FILE]

Saved tensors are counted on the device "meta": nothing is computed, so this runs anywhere in seconds. With checkpointing the
count holds the inputs of all blocks and what the largest block keeps while it is computed again.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from scoremix.config.presets import EDM2_SIZES, edm2_generator
from scoremix.diffusion.training import weighted_error
from scoremix.diffusion.unet import EDM2, Block
from scoremix.execution.memory import bytes_per_image, largest_block

SIZES, SIDES, CLASSES = ("xs", "s", "m", "l", "xl"), (64, 112), 10_000


def kept(size: str, side: int, checkpointing: bool) -> float:
    """MiB per image."""
    config = edm2_generator(size)
    assert size in EDM2_SIZES
    with torch.device("meta"):
        net = EDM2(
            *(side, 3, CLASSES),
            model_channels=config.model_channels,
            channel_mult=list(config.channel_mult),
            num_blocks=config.num_blocks,
            attention=config.attention,
            dtype="bfloat16",
        ).train()
    net.unet.checkpointing = checkpointing

    def loss(images: int) -> Tensor:
        x = torch.zeros(images, 3, side, side, device="meta")
        sigma = torch.ones(images, device="meta")
        denoised, u = net(x, sigma, torch.zeros(images, dtype=torch.int64, device="meta"), return_logvar=True)
        return weighted_error(denoised, u, x, sigma, 0.5).sum()

    each = bytes_per_image(loss) + (largest_block(net, Block, loss) if checkpointing else 0)
    return each / 2**20


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])  # type: ignore[union-attr]
    arguments.add_argument("--json", type=Path, help="also write the numbers to this file")
    given = arguments.parse_args()
    rows: list[dict[str, Any]] = []
    print("| size | side | MiB per image | with checkpointing |\n|---|---|---|---|")
    for side in SIDES:
        for size in SIZES:
            plain, saved = kept(size, side, False), kept(size, side, True)
            rows.append({"size": size, "side": side, "mib": plain, "mib_checkpointing": saved})
            print(f"| {size} | {side} px | {plain:,.0f} | {saved:,.0f} |", flush=True)
    if given.json:
        given.json.write_text(json.dumps({"classes": CLASSES, "precision": "bfloat16", "rows": rows}, indent=1) + "\n")


if __name__ == "__main__":
    main()
