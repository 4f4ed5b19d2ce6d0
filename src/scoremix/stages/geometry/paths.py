"""Does the mixing weight move an image from class to class, and is the path straight (paper 4.3, issue of Fig. 2)."""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from scoremix.analysis.geometry import mix_path, pca_map, umap_map
from scoremix.config import Paths
from scoremix.data.image_order import stream_seed
from scoremix.data.images import LabeledImages
from scoremix.execution.artifacts import Artifact
from scoremix.execution.work import Work
from scoremix.outputs.geometry import MeanPath, PathsSummary
from scoremix.outputs.images import real_images
from scoremix.outputs.mplets import chosen_classes
from scoremix.outputs.networks import centers_of
from scoremix.stages.embedding import embedded_pixels, opened
from scoremix.stages.mix.sample import Sampler

SHOWN, MAP_PAIRS, MAP_IMAGES = 4, 4, 30  # pairs drawn in pictures and in the map, real images per class of the map


def measure_paths(
    config: Paths, real: Artifact, generator: Artifact, baseline: Artifact, mplets: Artifact, *, work: Work
) -> None:
    """Writes paths.npz (similarities, positions, pictures over λ), map.npz (principal axes) and paths.json."""
    assert config.sampling is not None
    train = real_images(real)
    every = ends_of(mplets)
    pairs = every[np.unique(np.linspace(0, len(every) - 1, config.pairs).round().astype(int))]
    weights, each = np.array(config.weights), config.images
    sampler = Sampler(config.sampling, generator, work)
    # rows: pair, weight, noise; a pair's noises are the same at every weight
    labels = np.repeat(pairs, len(weights) * each, axis=0)
    mixing = np.tile(np.repeat(np.stack([1 - weights, weights], 1), each, axis=0), (len(pairs), 1))
    first = stream_seed(config.seed, "paths")
    noises = [(first + pair * each + i) % 2**32 for pair in range(len(pairs)) for _ in weights for i in range(each)]
    images = sampler.images(labels, mixing, noises)
    work.count("images", len(images))

    net = opened(baseline, work)
    centers = centers_of(baseline)
    embeddings = embedded_pixels(net, images).reshape(len(pairs), len(weights), each, -1)
    a, b = centers[pairs[:, 0]], centers[pairs[:, 1]]
    one_by_one = embeddings.transpose(1, 2).flatten(0, 1)
    singles = mix_path(one_by_one, a.repeat_interleave(each, 0), b.repeat_interleave(each, 0), weights)
    means = mix_path(embeddings.mean(2), a, b, weights)
    straight = mix_path(between(embeddings[:, 0].mean(1), embeddings[:, -1].mean(1), weights), a, b, weights)
    work.write_arrays(
        "paths.npz",
        pairs=pairs,
        weights=weights,
        pictures=images.reshape(len(pairs), len(weights), each, *images.shape[1:])[:SHOWN, :, 0],
        **{name: value for name, value in singles._asdict().items() if isinstance(value, np.ndarray)},
    )
    half = int(np.abs(weights - 0.5).argmin())
    walks = (
        MeanPath(
            walk.forward,
            straightness=float(walk.straightness.mean()),
            off_path_at_half=float(walk.off_path[:, half].mean()),
            to_a=walk.to_a.mean(0).tolist(),
            to_b=walk.to_b.mean(0).tolist(),
        )
        for walk in (singles, means, straight)
    )
    PathsSummary(len(pairs), each, *walks).write(work)
    work.write_arrays("map.npz", **embedding_map(config, net, train, pairs[:MAP_PAIRS], embeddings[:MAP_PAIRS]))


def ends_of(mplets: Artifact) -> NDArray[np.int64]:
    """The first two classes of every m-plet; ValueError where each is one class alone."""
    every = chosen_classes(mplets)[:, :2]
    if every.shape[1] < 2:
        raise ValueError("selection.strategy 'each': one class alone has no path; select pairs or larger sets")
    return every


def between(a: Tensor, b: Tensor, weights: NDArray[np.float64]) -> Tensor:
    """What a straight path would be: (1 - λ) a + λ b of the pairs' own ends, (p, λ, d)."""
    share = torch.from_numpy(weights)[None, :, None]
    return (1 - share) * a[:, None] + share * b[:, None]


def embedding_map(
    config: Paths, net: torch.nn.Module, train: LabeledImages, pairs: NDArray[np.int64], mixes: Tensor
) -> dict[str, NDArray[Any]]:
    """Real images of the pairs' classes and their mixes over λ, on axes fitted to the real ones."""
    classes = list(dict.fromkeys(pairs.ravel().tolist()))
    sets = [train.of_class(k)[:MAP_IMAGES] for k in classes]
    real = embedded_pixels(net, np.concatenate(sets))
    match config.map:
        case "pca":
            (at, mixed), variance = pca_map(real, mixes.flatten(0, 2))
        case "umap":
            at, mixed = umap_map(real, mixes.flatten(0, 2), seed=config.seed)
            variance = np.zeros(0)
    return {
        "real": at,
        "real_class": np.repeat(classes, [len(images) for images in sets]),
        "made": mixed.reshape(*mixes.shape[:3], 2),
        "pairs": pairs,
        "variance": variance,
    }
