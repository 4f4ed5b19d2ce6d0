"""Morphing attacks against their definition, one morph at a time."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest

from scoremix.evaluation.bootstrap import class_draws
from scoremix.evaluation.metrics import pair_similarities
from scoremix.evaluation.morphing import BLOCK, attack_scores, morph_sources, weighted_mmpmr


def unit(rng: np.random.Generator, rows: int) -> np.ndarray:
    x = rng.normal(size=(rows, 6))
    return x / np.linalg.norm(x, axis=1, keepdims=True)


@pytest.fixture
def labels() -> np.ndarray:
    return np.array([0, 0, 0, 1, 1, 2, 3, 3, 3, 4, 4])  # class 2 has one image


def test_every_class_meets_two_others_and_lone_images_none(labels: np.ndarray) -> None:
    sources = morph_sources(labels, each=3, seed=1)
    classes = labels[sources]
    assert sources.shape == (12, 2) and (classes[:, 0] != classes[:, 1]).all()
    assert np.bincount(classes.ravel()).tolist() == [6, 6, 0, 6, 6]
    assert not np.array_equal(sources, morph_sources(labels, each=3, seed=2))
    assert morph_sources(np.array([0, 0, 1, 1]), each=2).shape == (2, 2)


def test_morphs_are_compared_in_blocks(labels: np.ndarray) -> None:
    rng = np.random.default_rng(1)
    few = unit(rng, len(labels))
    sources = morph_sources(labels, each=400)
    morphs = unit(rng, len(sources))
    blocks = [slice(start, start + 160) for start in range(0, len(sources), 160)]
    alone = np.concatenate([attack_scores(morphs[b], sources[b], few, labels) for b in blocks])
    np.testing.assert_allclose(attack_scores(morphs, sources, few, labels), alone, rtol=0, atol=1e-12)

    owners = np.repeat(np.arange(1000), 4)
    embeddings = unit(rng, len(owners)).astype(np.float32)
    sources = morph_sources(owners, each=8)
    morphs = unit(rng, len(sources)).astype(np.float32)
    tracemalloc.start()
    attack_scores(morphs, sources, embeddings, owners)
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert most < 12 * BLOCK * len(owners) < len(morphs) * len(owners) * 4


def test_rate_is_its_definition(labels: np.ndarray) -> None:
    rng = np.random.default_rng(0)
    embeddings, sources = unit(rng, len(labels)), morph_sources(labels, each=4)
    morphs = unit(rng, len(sources))
    scores = attack_scores(morphs, sources, embeddings, labels)
    for score, morph, pair in zip(scores, morphs, sources, strict=True):
        best = []
        for row in pair:
            others = [i for i in np.flatnonzero(labels == labels[row]) if i != row]
            best.append(max(morph @ embeddings[i] for i in others))
        assert score == pytest.approx(min(best))
    pairs = pair_similarities(embeddings, labels)
    draws = np.concatenate([np.ones((1, 5), np.int64), class_draws(5, 20, 3)])
    found = weighted_mmpmr(scores, labels[sources], pairs, 0.2, draws)
    for rate, n in zip(found, draws, strict=True):
        # a draw spelled out: every impostor pair and every morph as often as its classes
        impostors, passed, total = [], 0, 0
        for i in range(len(labels)):
            for j in range(i):
                if labels[i] != labels[j]:
                    impostors += [float(embeddings[i] @ embeddings[j])] * int(n[labels[i]] * n[labels[j]])
        allowed = int(0.2 * len(impostors) + 1e-9)
        threshold = sorted(impostors, reverse=True)[allowed] if allowed < len(impostors) else -np.inf
        for score, (a, b) in zip(scores, labels[sources], strict=True):
            total += n[a] * n[b]
            passed += n[a] * n[b] * (score > threshold + 1e-7)
        assert rate == pytest.approx(passed / total, nan_ok=True) if total and impostors else np.isnan(rate)
