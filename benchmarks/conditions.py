"""Do generators learn from fixed conditions, and is it a matter of their scale? (paper 4.3)

python benchmarks/conditions.py [--classes 40] [--images 20] [--size 16] [--epochs 12] [--images-seen 12000]

A recognizer is trained, then one small generator per kind of condition: learned, and the recognizer's class centers
as they are (raw), scaled to unit RMS (rms), and scaled and turned (orthogonal). Printed: the loss over the last steps,
and how often, at sigma 1, an image is best explained by its own class among all (chance is one over their number).
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import numpy as np
import torch

from scoremix.config import Generator, Recognizer
from scoremix.data.images import LabeledImages
from scoremix.data.reading import Wanted, read
from scoremix.diffusion import training
from scoremix.diffusion.batches import scaling
from scoremix.execution import processes as engine
from scoremix.execution.processes import native
from scoremix.recognition.heads import Head
from scoremix.stages.train import generator, recognizer
from scoremix.stages.train.teacher import Teacher

KINDS = ("learned", "raw", "rms", "orthogonal")


def centers_of(images: LabeledImages, epochs: float) -> torch.Tensor:
    config = Recognizer(epochs=epochs)
    total = -(-int(epochs * len(images)) // config.batch) * config.batch
    *_, last = recognizer.steps(config, images, engine.start("cpu"), total)
    assert isinstance(last.head, Head)
    return last.head.centers()


def trained(config: Generator, images: LabeledImages, centers: torch.Tensor) -> tuple[float, float]:
    """(mean loss of the last tenth, share of images that their own class explains best)."""
    device = engine.start("cpu")
    width = max(max(config.channel_mult), -(-centers.shape[1] // config.model_channels))
    teacher = None if config.conditions == "learned" else Teacher(centers, None, width)
    state = training.start(generator.make(config, images, teacher=teacher), config.ema)
    total, losses = generator.whole(config.images_seen, config), []
    for step in generator.steps(config, images, device, total, state, teacher):
        losses += step.take_losses()
    state.net.load_state_dict(state.ema.state(0))
    net, classes = state.net.eval(), len(images.class_names)
    pixels = scaling(images, config.sigma_data)
    x, labels = generator.batches_of(config, images, pixels, slice(0, config.batch), device.device)(10**9)
    noise = torch.randn(x.shape, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        errors = [(net(x + noise, 1.0, (labels + k) % classes) - x).square().mean((1, 2, 3)) for k in range(classes)]
    own = torch.stack(errors).argmin(0) == 0
    return float(np.mean(losses[-max(1, len(losses) // 10) :])), float(own.double().mean())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, default in (("classes", 40), ("images", 20), ("size", 16), ("images-seen", 12_000)):
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--epochs", type=float, default=12)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        found, _ = read(
            "glyphs", Path(folder), Wanted(size=options.size, classes=options.classes, images_per_class=options.images)
        )
        images = found.of_classes("train")
        centers = centers_of(images, options.epochs)
        print(f"chance {1 / len(images.class_names):.3f}\n{'conditions':<12}{'loss':>8}{'own class best':>16}")
        for kind in KINDS:
            config = Generator(images_seen=options.images_seen, conditions=kind, ema=(0.1,), precision=native("cpu"))
            loss, own = trained(config, images, centers)
            print(f"{kind:<12}{loss:>8.3f}{own:>16.3f}", flush=True)


if __name__ == "__main__":
    main()
