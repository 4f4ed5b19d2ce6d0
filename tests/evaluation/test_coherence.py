"""Coherence against plain loops, and its laws."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from scipy import special
from torch.nn import functional as F

from scoremix.evaluation import coherence


def unit(*shape: int, seed: int = 0) -> torch.Tensor:
    return F.normalize(torch.randn(*shape, generator=torch.Generator().manual_seed(seed)).double(), dim=-1)


def test_own_similarity_leaves_the_image_out() -> None:
    x = unit(3, 5, 7)
    found = coherence.own_similarity(x).numpy()
    for p, i in itertools.product(range(3), range(5)):
        rest = np.delete(x[p].numpy(), i, axis=0).mean(0)
        assert found[p, i] == pytest.approx(x[p, i].numpy() @ rest / np.linalg.norm(rest))
    with pytest.raises(ValueError, match="at least 2"):
        coherence.own_similarity(unit(3, 1, 7))


def peeled(x: np.ndarray, keep: int) -> list[int]:
    alive = list(range(len(x)))
    while len(alive) > keep:
        total = {i: sum(x[i] @ x[j] for j in alive if j != i) for i in alive}
        alive.remove(min(reversed(alive), key=lambda i: total[i]))
    return alive


@pytest.mark.parametrize("keep", [2, 4, 9])
def test_densest_peels_the_least_similar(keep: int) -> None:
    x = unit(6, 9, 5, seed=keep)
    found = coherence.densest(x, keep)
    assert found.tolist() == [peeled(x[p].numpy(), keep) for p in range(6)]


def test_densest_finds_a_planted_cluster() -> None:
    x = unit(2, 12, 32)
    x[:, 5:9] = F.normalize(unit(2, 1, 32, seed=9) + 0.1 * x[:, 5:9], dim=2)
    assert coherence.densest(x, 4).tolist() == [[5, 6, 7, 8]] * 2


def test_densest_of_equal_images_keeps_the_first() -> None:
    assert coherence.densest(unit(1, 1, 4).expand(1, 5, 4), 2).tolist() == [[0, 1]]
    with pytest.raises(ValueError, match="keep is 6"):
        coherence.densest(unit(1, 5, 4), 6)


def test_source_similarity_against_loops() -> None:
    x, centers = unit(20, 6), unit(9, 6, seed=1)
    sources = torch.stack([torch.randperm(9, generator=torch.Generator().manual_seed(i))[:2] for i in range(20)])
    own, other, percentile = coherence.source_similarity(x, centers, sources)
    cosine = (x @ centers.T).numpy()
    for i, pair in enumerate(sources.tolist()):
        rest = [cosine[i, k] for k in range(9) if k not in pair]
        assert own[i].tolist() == pytest.approx([cosine[i, k] for k in pair])
        assert float(other[i]) == pytest.approx(max(rest))
        assert float(percentile[i]) == pytest.approx(np.mean([[r < cosine[i, k] for r in rest] for k in pair]))


def test_percentile_is_a_half_where_sources_do_not_matter() -> None:
    sources = torch.tensor([[0, 1]]).expand(4000, 2)
    percentile = coherence.source_similarity(unit(4000, 16), unit(50, 16, seed=2), sources)[2]
    assert float(percentile.mean()) == pytest.approx(0.5, abs=0.02)


def test_source_loss_is_a_divergence() -> None:
    cosine = torch.rand(5, 8, dtype=torch.float64) * 2 - 1
    sources, weights = torch.tensor([[0, 3]]).expand(5, 2), torch.tensor([[0.3, 0.7]]).expand(5, 2).double()
    found = coherence.source_loss(cosine, sources, weights, scale=4.0)
    predicted = special.softmax(4 * cosine.numpy(), axis=1)[:, [0, 3]]
    assert np.allclose(found.numpy(), special.rel_entr([0.3, 0.7], predicted).sum(1))
    sure = torch.full((1, 8), -1.0, dtype=torch.float64)
    sure[0, 2] = 1.0
    assert float(coherence.source_loss(sure, torch.tensor([[2]]), torch.ones(1, 1), 64.0)) == pytest.approx(0, abs=1e-9)
