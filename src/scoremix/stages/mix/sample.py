"""Images of every m-plet, in fixed chunks that a restart or another worker computes to the same bytes (paper 3.2)."""

import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from scoremix.config import Sampling, SamplingPlan
from scoremix.data.augment import to_uint8
from scoremix.data.image_order import stream_seed
from scoremix.diffusion import checkpoints, foreign
from scoremix.diffusion.adapters import Adapted
from scoremix.diffusion.feynman_kac import effective_sample_size
from scoremix.diffusion.foreign import Latents
from scoremix.diffusion.unet import EDM2, frozen
from scoremix.execution import processes as engine
from scoremix.execution.artifacts import Artifact
from scoremix.execution.work import Work
from scoremix.outputs.images import write_mixed
from scoremix.outputs.mplets import SearchSummary, chosen_classes
from scoremix.outputs.networks import ADOPTED, GeneratorSummary
from scoremix.stages.mix.plan import evaluations, guide_for, sample
from scoremix.stages.mix.weights import images_of_each, mixed_names, turns_of, weights_of


def sample_mixtures(
    config: Sampling, generator: Artifact, mplets: Artifact, searched: Artifact | None = None, *, work: Work
) -> None:
    """Writes a set of images with one class per m-plet, in the order of the m-plets; `searched` gives the weights.

    Several processes take the chunks in turn, and the first one gathers them; a process that is given a part of them
    (`work.part`) makes that part and stops. weights.npy, seeds.npy, log_weight.npy and
    disagreement.npy hold each image's mixing weights, noise seed, Feynman-Kac log-weight, and the classes' part of it.
    """
    if searched is not None:
        best = tuple(SearchSummary.load(searched).weights)
        config = config.model_copy(update={"weights": best, "weights_end": None})
    info, classes = GeneratorSummary.load(generator), chosen_classes(mplets)
    team = engine.start(work.runtime.device, together=True)
    sampler = Sampler(config, generator, work, team.device)
    each = images_of_each(config, info.median_class_size)
    total = len(classes) * each
    m, turns = classes.shape[1], config.mixture == "turns"
    weights = turns_of(len(classes), m, each) if turns else weights_of(config, len(classes), m, each)
    names, (mine, sharing) = [], work.part or (team.rank, team.ranks)
    with work.bar(total, "images") as advance:
        for number, start in enumerate(range(0, total, config.chunk)):
            names.append(f"chunk-{start:09d}.npz")
            if number % sharing == mine and work.kept(names[-1]) is None:
                rows = np.arange(start, min(start + config.chunk, total))
                labels, shares = mixed_at(config, classes[rows // each], weights[rows])
                before = work.counts.get("evaluations", 0)
                images, logs = sampler.weighed(labels, shares, sampler.seeds(rows))
                buffer = io.BytesIO()
                np.savez(buffer, images=images, logs=logs, evaluations=work.counts["evaluations"] - before)
                work.keep(names[-1], buffer.getvalue())
            advance(min(start + config.chunk, total))
    if work.part:
        return
    team.wait()
    if work.rank:
        return

    def of_chunks(key: str) -> Iterator[NDArray[Any]]:
        return (np.load(io.BytesIO(work.surely_kept(name)))[key] for name in names)

    work.settle("evaluations", sum(map(int, of_chunks("evaluations"))))
    work.count("images", total)
    logs = np.concatenate(list(of_chunks("logs")))
    work.write_json("sampling.json", summary(evaluations(config, 1 if turns else m), logs.reshape(-1, each, 2)))
    write_mixed(
        work, of_chunks("images"), sampler.shape, mixed_names(classes, info.classes), classes, weights, *logs.T.copy()
    )
    work.write_array("seeds.npy", np.array(sampler.seeds(np.arange(total))))


def mixed_at(
    config: Sampling, labels: NDArray[np.int64], weights: NDArray[np.float64]
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Classes (b, k) and weights that images are sampled with: all of their m-plets', or in turns one of them."""
    if config.mixture == "turns":
        return labels[weights > 0][:, None], weights[weights > 0][:, None]
    return labels, weights


def again(config: Sampling, generator: Artifact, sampled: Artifact, index: int, *, work: Work) -> NDArray[np.uint8]:
    """One image (H, W, C) of a finished set, computed as it was: with all of its chunk, from what the set keeps.

    ValueError for an image that the set does not have, and for a set that keeps no seeds.
    """
    if not (sampled / "seeds.npy").exists():
        raise ValueError(f"{sampled.folder}: keeps no seeds, an older scoremix made it")
    mplets, weights, seeds = (np.load(sampled / f"{name}.npy") for name in ("mplets", "weights", "seeds"))
    if not 0 <= index < len(seeds):
        raise ValueError(f"image {index}: the set has the images 0 to {len(seeds) - 1}")
    start = index - index % config.chunk
    rows = np.arange(start, min(start + config.chunk, len(seeds)))
    labels, shares = mixed_at(config, mplets[rows // (len(seeds) // len(mplets))], weights[rows].astype(np.float64))
    images, _ = Sampler(config, generator, work).weighed(labels, shares, seeds[rows].tolist())
    image: NDArray[np.uint8] = images[index - start]
    return image


def summary(price: int, logs: NDArray[np.float64]) -> dict[str, Any]:
    """Price of an image, and what log-weights and disagreements (m-plets, images, 2) say; None where not defined."""
    result: dict[str, Any] = {"evaluations_per_image": price, "images_per_mplet": logs.shape[1]}
    if not np.isfinite(logs).all():
        return {**result, "log_weight": None, "disagreement": None, "effective_sample_size": None}
    sizes = effective_sample_size(torch.from_numpy(logs[:, :, 0]))
    log_weight, disagreement = logs.mean((0, 1)).tolist()
    return {
        **result,
        "log_weight": log_weight,
        "disagreement": disagreement,
        "effective_sample_size": float(sizes.mean()),
    }


def noise_seeds(seed: int, rows: NDArray[np.int64]) -> list[int]:
    """One noise seed per image, from the seed of all and the image's number."""
    first = stream_seed(seed, "noise")
    return [(first + int(row)) % 2**32 for row in rows]


@dataclass
class Networks:
    """A main and a guide network under one plan; images in chunks of the fixed size `config.chunk`."""

    config: Sampling
    work: Work
    main: EDM2 | Adapted
    guide: EDM2 | Adapted
    pixels: checkpoints.Pixels | Latents
    plan: SamplingPlan
    class_names: Sequence[str] | None = None  # for messages

    def images(
        self, labels: NDArray[np.int64], weights: Sequence[float] | NDArray[np.float64], seeds: Sequence[int]
    ) -> NDArray[np.uint8]:
        """uint8 images (B, H, W, C) for labels (B, m), weights (m,) or (B, m) at every sigma, and B seeds."""
        return self._made(labels, weights, seeds, self.plan.alone.model_copy(update={"weights_end": None}))[0]

    def weighed(
        self, labels: NDArray[np.int64], weights: Sequence[float] | NDArray[np.float64], seeds: Sequence[int]
    ) -> tuple[NDArray[np.uint8], NDArray[np.float64]]:
        """The images, and the Feynman-Kac log-weight and disagreement of each (B, 2), NaN where the plan has none.

        The weights are those at sigma_max where the plan has others at its end.
        """
        return self._made(labels, weights, seeds, self.plan)

    def _made(
        self,
        labels: NDArray[np.int64],
        weights: Sequence[float] | NDArray[np.float64],
        seeds: Sequence[int],
        plan: SamplingPlan,
    ) -> tuple[NDArray[np.uint8], NDArray[np.float64]]:
        weights = np.broadcast_to(np.asarray(weights, np.float64), labels.shape)
        pieces = range(0, len(labels), self.config.chunk)
        parts = [slice(start, start + self.config.chunk) for start in pieces]
        chunks = [self._chunk(labels[part], weights[part], seeds[part], plan) for part in parts]
        return np.concatenate([images for images, _ in chunks]), np.concatenate([logs for _, logs in chunks])

    def _chunk(
        self, labels: NDArray[np.int64], weights: NDArray[np.float64], seeds: Sequence[int], plan: SamplingPlan
    ) -> tuple[NDArray[np.uint8], NDArray[np.float64]]:
        """At most a chunk, computed at the chunk's fixed shape: its last row is repeated."""
        b, device = len(labels), next(self.main.buffers()).device
        rows = np.minimum(np.arange(self.config.chunk), b - 1)
        sampled = sample(
            self.main,
            self.guide,
            torch.from_numpy(labels[rows]).to(device),
            torch.from_numpy(weights[rows]).to(device, torch.float32),
            [int(seeds[row]) for row in rows],
            plan,
            self.class_names,
        )
        self.work.count("evaluations", b * sampled.evaluations)
        logs = np.full((b, 2), np.nan)
        if sampled.log_weight is not None and sampled.disagreement is not None:
            logs = torch.stack([sampled.log_weight, sampled.disagreement], dim=1)[:b].numpy()
        return to_uint8(self.pixels.decode(sampled.images[:b])).cpu().numpy(), logs


class Sampler(Networks):
    """Main and guide networks of a generator."""

    def __init__(self, config: Sampling, generator: Artifact, work: Work, device: torch.device | None = None) -> None:
        self.device = device or engine.start(work.runtime.device).device
        info = GeneratorSummary.load(generator)
        if info.labels is not None:
            net, latents, _ = foreign.load(generator / ADOPTED, info.labels, config.precision, self.device)
            other = net.without_classes() if config.guide == "unconditional" and config.guidance != 1 else net
            super().__init__(config, work, net, other, latents, config, info.classes)
            side = net.img_resolution * latents.factor
            self.shape = (side, side, latents.channels(net.img_channels))
            return
        main, pixels = checkpoints.average(generator.folder, config.ema, info.images_seen, config.precision)
        folder = generator / info.guide_folder
        guide, _ = checkpoints.average(folder, config.guide_ema, info.guide_at, config.precision)
        main, guide = frozen(main.to(self.device)), guide_for(config, frozen(guide.to(self.device)))
        super().__init__(config, work, main, guide, pixels, config, info.classes)
        self.shape = (main.img_resolution, main.img_resolution, main.img_channels)

    def seeds(self, rows: NDArray[np.int64]) -> list[int]:
        """One noise seed per image, from its number alone; the same in every arm."""
        return noise_seeds(self.config.seed, rows)
