"""What a generator of EDM2's sizes keeps per image for the backward pass, with and without checkpointing of blocks.

    python benchmarks/activations.py [--json FILE] [--price]

Saved tensors are counted on the device "meta": nothing is computed, so this runs anywhere in seconds. With checkpointing the
count holds the inputs of all blocks and what the largest block keeps while it is computed again. `--price` also times forward and backward of two small networks here, both ways in turns.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from generator import SMALL, Stopwatch
from scoremix.config.presets import EDM2_SIZES, edm2_generator
from scoremix.diffusion.training import weighted_error
from scoremix.diffusion.unet import EDM2, ResidualBlock
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

    each = bytes_per_image(loss) + (largest_block(net, ResidualBlock, loss) if checkpointing else 0)
    return each / 2**20


def prices(seconds: float = 20.0) -> list[dict[str, Any]]:
    """How many times as long a training step takes with checkpointing, on one thread, in float32."""
    xs = edm2_generator("xs")
    shape: dict[str, Any] = {
        "img_resolution": 64,
        "img_channels": 3,
        "label_dim": 1000,
        "model_channels": xs.model_channels,
    }
    shape |= {"channel_mult": list(xs.channel_mult), "num_blocks": xs.num_blocks, "attention": xs.attention}
    found = []
    for name, network, images in (("the demo's, 16 px", SMALL, 32), ("xs, 64 px", shape, 2)):
        net = EDM2(**network).train()
        x = torch.randn(images, net.img_channels, net.img_resolution, net.img_resolution)
        labels, sigma = torch.arange(images), torch.ones(images)

        def step(net: EDM2, checkpointing: bool, x: Tensor, sigma: Tensor, labels: Tensor) -> None:
            net.unet.checkpointing = checkpointing
            denoised, u = net(x, sigma, labels, return_logvar=True)
            torch.autograd.backward(weighted_error(denoised, u, x, sigma, net.sigma_data).mean())

        both: dict[str, Callable[[], object]] = {
            name: partial(step, net, name == "with", x, sigma, labels) for name in ("without", "with")
        }
        took = Stopwatch(torch.device("cpu"), seconds, clock=time.process_time)(both)
        found.append({"network": name, "batch": images, "times": took["with"] / took["without"]})
    return found


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("--json", type=Path, help="also write the numbers to this file")
    arguments.add_argument("--price", action="store_true", help="also time a step both ways (two minutes)")
    given = arguments.parse_args()
    rows: list[dict[str, Any]] = []
    print("| size | side | MiB per image | with checkpointing |\n|---|---|---|---|")
    for side in SIDES:
        for size in SIZES:
            plain, saved = kept(size, side, False), kept(size, side, True)
            rows.append({"size": size, "side": side, "mib": plain, "mib_checkpointing": saved})
            print(f"| {size} | {side} px | {plain:,.0f} | {saved:,.0f} |", flush=True)
    found: dict[str, Any] = {"classes": CLASSES, "precision": "bfloat16", "rows": rows}
    if given.price:
        torch.set_num_threads(1)
        found |= {"price": prices(), "torch": torch.__version__}
        for row in found["price"]:
            print(f"{row['network']}, batch {row['batch']}: {row['times']:.2f} times as long with checkpointing")
    if given.json:
        given.json.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
