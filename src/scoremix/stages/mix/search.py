"""AugGen's search of the mixing weights on conditions (AugGen, Algorithm 1), as far as it is published.

The objective is m_s + m_d: m_s, how alike the images of one mix are, is the mean cosine of two of them; m_d, how
unlike its sources a mix is, is 1 minus the mean cosine of its images with the sources' class centers. The
published formulas, pairs per cell and seeds are unknown: these are ours. A generator knows its training classes
only, so the pairs are drawn among them; no test class is involved. The objective of unordered random pairs is
symmetric in the weights: cells below the diagonal are copies.
"""

import json

import numpy as np
import torch

from scoremix.config import Sampling, Search
from scoremix.data.image_order import stream_seed
from scoremix.execution.artifacts import Artifact
from scoremix.execution.work import Work
from scoremix.outputs.mplets import SearchSummary
from scoremix.outputs.networks import centers_of
from scoremix.stages.embedding import embedded_pixels, opened
from scoremix.stages.mix.sample import Sampler


def search_weights(config: Search, generator: Artifact, recognizer: Artifact, *, work: Work) -> None:
    """Writes search.json (the best weights) and search.npz: m_s, m_d (points, points) over `ticks`."""
    sampling = config.sampling or Sampling()
    net = opened(recognizer, work)
    centers = centers_of(recognizer)
    rng = np.random.default_rng(stream_seed(config.seed, "search"))
    pairs = np.stack([rng.permutation(len(centers))[:2] for _ in range(config.pairs)])
    labels = np.repeat(pairs, config.images_per_pair, axis=0)
    sampler = Sampler(sampling, generator, work)
    seeds = sampler.seeds(np.arange(len(labels)))
    ticks = np.linspace(config.low, config.high, config.points).round(6)
    alike, unlike = np.zeros((2, config.points, config.points))
    cells = [(i, j) for i in range(config.points) for j in range(i, config.points)]
    with work.bar(len(cells), "cells") as advance:
        for done, (i, j) in enumerate(cells):
            name = f"cell-{i:03d}-{j:03d}.json"
            if (measured := work.kept(name)) is None:
                images = sampler.images(labels, (float(ticks[i]), float(ticks[j])), seeds)
                unit = embedded_pixels(net, images).view(config.pairs, config.images_per_pair, -1)
                measured = json.dumps(objective(unit, centers[pairs])).encode()
                work.keep(name, measured)
            alike[i, j], unlike[i, j] = alike[j, i], unlike[j, i] = json.loads(measured)
            advance(done + 1)
    best = np.unravel_index(np.argmax(alike + unlike), alike.shape)
    work.write_arrays("search.npz", ticks=ticks, alike=alike, unlike=unlike)
    weights, total = [float(ticks[k]) for k in best], len(cells) * len(labels)
    SearchSummary(weights, float(alike[best]), float(unlike[best]), total).write(work)
    work.count("images", total)


def objective(unit: torch.Tensor, sources: torch.Tensor) -> tuple[float, float]:
    """(m_s, m_d) of unit embeddings (P, n, D) of P mixes with unit source centers (P, m, D)."""
    n = unit.shape[1]
    gram = unit @ unit.mT
    pairs = gram.sum((1, 2)) - gram.diagonal(dim1=1, dim2=2).sum(1)
    return float(pairs.mean() / (n * (n - 1))), float(1 - (unit @ sources.mT).mean())
