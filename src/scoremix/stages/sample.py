"""Images of every m-plet, in fixed chunks that a restart or another worker computes to the same bytes (paper 3.2)."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

import numpy as np
import torch

from scoremix import engine
from scoremix.data import images as imagesets
from scoremix.data.augment import to_uint8
from scoremix.data.order import stream_seed
from scoremix.diffusion import checkpoints
from scoremix.diffusion.plans import Plan, sample
from scoremix.diffusion.unet import frozen

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from scoremix.artifacts import Artifact, Work
    from scoremix.config import Sampling


def sample_mixtures(config: Sampling, generator: Artifact, mplets: Artifact, *, work: Work) -> None:
    """Writes a set of images with one class per m-plet, in the order of the m-plets."""
    info = generator.json("generator.json")
    classes = np.load(mplets / "classes.npy")
    if classes.shape[1] != len(config.weights):
        raise ValueError(
            f"sampling.weights {list(config.weights)}: {classes.shape[1]} classes are mixed, give one weight for each"
        )
    sampler = Sampler(config, generator, work)
    each = config.images_per_mplet or info["median_class_size"]
    total = len(classes) * each
    weights = weights_of(config, len(classes), each)
    files = []
    with work.bar(total, "images") as advance:
        for start in range(0, total, config.chunk):
            file = work.progress / f"chunk-{start:09d}.npy"
            files.append(file)
            if not file.exists():
                rows = np.arange(start, min(start + config.chunk, total))
                images = sampler.images(classes[rows // each], weights[rows], sampler.seeds(rows))
                buffer = io.BytesIO()
                np.save(buffer, images)
                work.keep(file.name, buffer.getvalue())
            advance(min(start + config.chunk, total))
    work.count("images", total - work.before.get("images", 0))
    work.write_array("weights.npy", weights)
    names = info["classes"]
    imagesets.write(
        work.folder,
        shape=(total, *sampler.shape),
        blocks=(np.load(file) for file in files),
        counts=np.full(len(classes), each),
        class_names=[" + ".join(names[c] for c in row) for row in classes],
        splits={"train": np.arange(len(classes))},
    )


def weights_of(config: Sampling, mplets: int, each: int) -> NDArray[np.float64]:
    """Mixing weights of every image (mplets * each, m): the given ones, or Dirichlet draws per m-plet or image."""
    m = len(config.weights)
    if config.draw == "fixed":
        return np.tile(np.array(config.weights), (mplets * each, 1))
    rng = np.random.default_rng(stream_seed(config.seed, "weights"))
    drawn = rng.dirichlet([config.concentration] * m, mplets if config.draw == "mplet" else mplets * each)
    return np.repeat(drawn, each, axis=0) if config.draw == "mplet" else drawn


def plan_of(config: Sampling) -> Plan:
    names = ("steps", "sigma_min", "sigma_max", "rho", "churn", "guidance", "mixture", "space")
    return Plan(**{name: getattr(config, name) for name in names})


class Sampler:
    """Main and guide networks of a generator under one plan."""

    def __init__(self, config: Sampling, generator: Artifact, work: Work) -> None:
        self.config, self.work = config, work
        self.device = engine.start(work.runtime.device).device
        info = generator.json("generator.json")
        main, self.pixels = checkpoints.load(generator / info["snapshots"][f"{config.ema:.3f}"], config.precision)
        guide, _ = checkpoints.load(generator / info["guides"][f"{config.guide_ema:.3f}"], config.precision)
        self.main, self.guide = frozen(main.to(self.device)), frozen(guide.to(self.device))
        self.plan = plan_of(config)
        self.shape = (main.img_resolution, main.img_resolution, main.img_channels)

    def seeds(self, rows: NDArray[np.int64]) -> list[int]:
        """One noise seed per image, from its number alone; the same in every arm."""
        first = stream_seed(self.config.seed, "noise")
        return [(first + int(row)) % 2**32 for row in rows]

    def images(
        self, labels: NDArray[np.int64], weights: Sequence[float] | NDArray[np.float64], seeds: Sequence[int]
    ) -> NDArray[np.uint8]:
        """uint8 images (B, H, W, C) for labels (B, m), weights (m,) or (B, m) and B seeds."""
        weights = np.broadcast_to(np.asarray(weights, np.float64), labels.shape)
        pieces = range(0, len(labels), self.config.chunk)
        parts = [slice(start, start + self.config.chunk) for start in pieces]
        return np.concatenate([self._chunk(labels[part], weights[part], seeds[part]) for part in parts])

    def _chunk(
        self, labels: NDArray[np.int64], weights: NDArray[np.float64], seeds: Sequence[int]
    ) -> NDArray[np.uint8]:
        """At most a chunk, computed at the chunk's fixed shape: its last row is repeated."""
        b = len(labels)
        rows = np.minimum(np.arange(self.config.chunk), b - 1)
        x = sample(
            self.main,
            self.guide,
            torch.from_numpy(labels[rows]).to(self.device),
            torch.from_numpy(weights[rows]).to(self.device, torch.float32),
            [int(seeds[row]) for row in rows],
            self.plan,
        )[:b]
        finite = torch.isfinite(x).flatten(1).all(1)
        if not bool(finite.all()):
            row = int((~finite).nonzero()[0])
            raise FloatingPointError(
                f"sampling classes {labels[row].tolist()}: the network's output is not finite; finished chunks are kept"
            )
        self.work.count("evaluations", b * self.plan.evaluations(labels.shape[1]))
        return to_uint8(self.pixels.decode(x)).cpu().numpy()
