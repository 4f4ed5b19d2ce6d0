"""Mixes by a class-conditional model of diffusers on this disk: python examples/own_generator.py FOLDER 3 7 mixes.png

FOLDER holds `unet/` (a UNet2DModel with class embeddings) and `scheduler/`, as `save_pretrained` writes them.
"""

from __future__ import annotations

import sys

import torch
from diffusers import DDPMScheduler, UNet2DModel
from PIL import Image

from scoremix.diffusion.adapters import from_diffusers
from scoremix.diffusion.denoisers import mix
from scoremix.diffusion.solvers import heun, karras_sigmas

WEIGHTS = (0.0, 0.25, 0.5, 0.75, 1.0)  # of the second class, one column each
ROWS, STEPS = 4, 32


@torch.no_grad()
def main(folder: str, first: int, second: int, out: str) -> None:
    model = UNet2DModel.from_pretrained(folder, subfolder="unet", local_files_only=True, use_safetensors=True)
    scheduler = DDPMScheduler.from_pretrained(folder, subfolder="scheduler", local_files_only=True)
    net = from_diffusers(model, scheduler)

    cells = ROWS * len(WEIGHTS)
    labels = torch.tensor([[first, second]]).expand(cells, 2)
    weights = torch.tensor([[1 - w, w] for w in WEIGHTS]).repeat(ROWS, 1)
    shape = (ROWS, 1, net.img_channels, net.img_resolution, net.img_resolution)
    noise = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    noise = noise.expand(-1, len(WEIGHTS), -1, -1, -1).flatten(0, 1)  # the same noise along a row

    sigmas = karras_sigmas(STEPS, 0.01, min(80.0, float(net.sigmas[-1])), 7.0).float()
    images = heun(mix(net, labels, weights), noise * sigmas[0], sigmas)

    grid = images.unflatten(0, (ROWS, len(WEIGHTS))).permute(0, 3, 1, 4, 2).flatten(2, 3).flatten(0, 1)
    pixels = (grid * 127.5 + 128).clamp(0, 255).to(torch.uint8).numpy()
    Image.fromarray(pixels[:, :, 0] if pixels.shape[2] == 1 else pixels).save(out)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), sys.argv[4])
