"""Class mixes by your own diffusers model, as a set to train on: python examples/own_mixes.py MODEL REAL OUT

MODEL is a folder of `save_pretrained`, REAL the one that `scoremix ingest` prints: its training classes are the labels.
"""

import sys
from pathlib import Path

import numpy as np
import torch

from scoremix.data.augment import to_uint8
from scoremix.data.images import LabeledImages, concatenate
from scoremix.diffusion.adapters import Adapted, from_diffusers
from scoremix.diffusion.denoisers import mix
from scoremix.diffusion.solvers import UnitNoise, heun, karras_sigmas

PAIRS, EACH, STEPS = 100, 20, 32


def model(folder: str) -> Adapted:
    from diffusers import DDPMScheduler, UNet2DModel

    unet = UNet2DModel.from_pretrained(folder, subfolder="unet", local_files_only=True, use_safetensors=True)
    return from_diffusers(unet, DDPMScheduler.from_pretrained(folder, subfolder="scheduler", local_files_only=True))


@torch.no_grad()
def mixes(net: Adapted, pair: np.ndarray, seeds: range) -> np.ndarray:
    """uint8 images (seeds, H, W, C) of one pair; a latent model's own autoencoder would decode before to_uint8."""
    sigmas = karras_sigmas(STEPS, 0.01, min(80.0, float(net.sigmas[-1])), 7.0).float()
    noise = UnitNoise(seeds, (net.img_channels, net.img_resolution, net.img_resolution))() * sigmas[0]
    return to_uint8(heun(mix(net, torch.tensor(pair).expand(len(seeds), 2), (0.5, 0.5)), noise, sigmas)).numpy()


def main(net: Adapted, real: LabeledImages, out: Path) -> LabeledImages:
    """Writes the real classes with their split, and behind them one new training class per random pair."""
    if len(names := real.of_classes("train").class_names) != net.label_dim:
        raise SystemExit(f"the model knows {net.label_dim} classes, the set has {len(names)} training classes")
    order = np.random.default_rng(0).random((PAIRS, len(names))).argsort(1)
    pairs = np.unique(np.sort(order[:, :2], axis=1), axis=0)
    images = np.concatenate([mixes(net, pair, range(i * EACH, (i + 1) * EACH)) for i, pair in enumerate(pairs)])
    mixed = [f"{names[a]} + {names[b]}" for a, b in pairs]
    new = np.arange(len(pairs))
    return concatenate([real, LabeledImages.of(images, new.repeat(EACH), mixed, {"train": new})], out)


if __name__ == "__main__":
    main(model(sys.argv[1]), LabeledImages.load(Path(sys.argv[2])), Path(sys.argv[3]))
