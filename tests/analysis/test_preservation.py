"""Appendix G: its identities by Monte Carlo under its own model, its bounds, its limits."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy.stats import norm
from torch import Tensor

from scoremix.analysis.alignment import cka
from scoremix.analysis.preservation import (
    Form,
    Mask,
    centred_norm2,
    gram_margins,
    gram_root,
    margins,
    order_preservation,
    pair_mask,
    pair_moments,
    preservation_bound,
    preservation_probability,
    random_classes,
    simulate_misalignment,
    triplet_mask,
)
from support.spaces import normalised_gram

N = 14
MASKS = {
    "euclidean triplets (13)": (3, lambda c: triplet_mask(c), 6.0),
    "cosine triplets (G.4)": (3, lambda c: triplet_mask(c, "cosine"), 1.0),
    "disjoint pairs (G.5)": (4, lambda c: pair_mask(c), 1.0),
    "disjoint pairs, distances": (4, lambda c: pair_mask(c, "euclidean"), 8.0),
}


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def space(n: int = N, d: int = 5, seed: int = 0) -> Tensor:
    return torch.randn(n, d, generator=seeded(seed), dtype=torch.float64) + 0.5


def masks(name: str, n: int = N, count: int = 40) -> Mask:
    m, build, _ = MASKS[name]
    return build(random_classes(n, m, count, seeded(7)))


# ---------------------------------------------------------------------------------- masks and margins


def dense_mask(mask: Mask, n: int) -> torch.Tensor:
    out = torch.zeros(len(mask.rows), n, n, dtype=torch.float64)
    out[torch.arange(len(mask.rows))[:, None], mask.rows, mask.cols] = mask.values
    return out


@pytest.mark.parametrize("name", MASKS)
def test_masks_equal_their_definition(name: str) -> None:
    mask = masks(name)
    dense = dense_mask(mask, N)
    assert torch.equal(dense, dense.mT)
    assert torch.allclose(dense.square().sum((1, 2)), torch.tensor(MASKS[name][2], dtype=torch.float64))
    h = torch.eye(N, dtype=torch.float64) - 1 / N
    centred = h @ dense @ h
    assert torch.allclose(
        centred.square().sum((1, 2)), torch.tensor(centred_norm2(mask, N), dtype=torch.float64), atol=1e-12
    )
    root = gram_root(space())
    gram = root @ root.T
    expected = (centred * gram).sum((1, 2))
    assert torch.allclose(margins(mask, root), expected, atol=1e-14)
    assert torch.allclose(gram_margins(mask, gram), expected, atol=1e-14)


def test_margins_are_the_comparisons_they_stand_for() -> None:
    x = space()
    centred = x - x.mean(0)
    scale = torch.linalg.matrix_norm(centred @ centred.T)
    root = gram_root(x)
    squared = torch.cdist(x, x) ** 2 / scale
    triples = random_classes(N, 3, 30, seeded(0))
    i, j, k = triples.T
    assert torch.allclose(margins(triplet_mask(triples), root), squared[i, j] - squared[i, k], atol=1e-12)
    quads = random_classes(N, 4, 30, seeded(1))
    i, j, k, m = quads.T
    got = margins(pair_mask(quads, "euclidean"), root)
    assert torch.allclose(got, squared[i, j] - squared[k, m], atol=1e-12)
    similarity = centred @ centred.T / scale
    assert torch.allclose(margins(pair_mask(quads), root), similarity[i, j] - similarity[k, m], atol=1e-12)


def test_cosine_masks_compare_centred_similarities_not_raw_cosines() -> None:
    """The remark after Equation 24 needs equal mean similarities; the Euclidean form on unit rows does not."""
    x = space(n=40, seed=2)
    x[:20] += 2  # half of the classes share a direction: their mean similarity is higher
    unit = x / x.norm(dim=1, keepdim=True)
    cosines = unit @ unit.T
    triples = random_classes(40, 3, 2000, seeded(3))
    i, j, k = triples.T
    raw = cosines[i, j] - cosines[i, k]
    root = gram_root(x, unit=True)
    assert ((margins(triplet_mask(triples, "cosine"), root) > 0) != (raw > 0)).double().mean() > 0.05
    assert bool(((margins(triplet_mask(triples), root) < 0) == (raw > 0)).all())


def test_gram_roots_and_kernels_are_centred_and_of_unit_norm() -> None:
    x = space()
    kernel = torch.exp(-(torch.cdist(x, x) ** 2))
    root = gram_root(x, unit=True)
    for gram in (root @ root.T, normalised_gram(kernel)):
        assert torch.allclose(gram.sum(0), torch.zeros(N, dtype=torch.float64), atol=1e-12)
        assert float(torch.linalg.matrix_norm(gram)) == pytest.approx(1)
    assert torch.allclose(normalised_gram(x @ x.T), gram_root(x) @ gram_root(x).T, atol=1e-12)
    y = space(seed=5)
    assert float((gram_root(x).T @ gram_root(y)).square().sum()) == pytest.approx(cka(x, y))


# ---------------------------------------------------------------------------------- the theorem


@pytest.mark.parametrize("rho", [0.3, 0.9])
def test_simulated_misalignment_is_the_theorems_model(rho: float) -> None:
    root = gram_root(space())
    gram = root @ root.T
    draws = simulate_misalignment(gram, rho, 4000, seeded(0))
    assert torch.allclose(draws.sum(1), torch.zeros(4000, N, dtype=torch.float64), atol=1e-10)
    assert torch.allclose(draws, draws.mT)
    noise = draws - rho * gram
    assert float((noise * gram).sum((1, 2)).abs().max()) < 1e-12  # orthogonal
    energy = noise.square().sum((1, 2))
    assert float(energy.mean()) == pytest.approx(1 - rho**2, abs=4 * float(energy.std()) / math.sqrt(4000))
    # isotropic: <A, E>/‖Π A‖ has the same variance for any A of S_c
    a = torch.randn(6, N, N, generator=seeded(1), dtype=torch.float64)
    h = torch.eye(N, dtype=torch.float64) - 1 / N
    a = h @ (a + a.mT) @ h
    a = a - (a * gram).sum((1, 2), keepdim=True) * gram
    projected = torch.einsum("aij,dij->da", a / a.norm(dim=(1, 2), keepdim=True), noise)
    sigma2 = (1 - rho**2) / (math.comb(N, 2) - 1)
    assert np.allclose(projected.var(0).numpy() / sigma2, 1, atol=5 * math.sqrt(2 / 4000))


@pytest.mark.parametrize("name", MASKS)
@pytest.mark.parametrize("rho", [0.0, 0.4, 0.85])
def test_identities_16_23_25_hold_in_the_model_within_their_standard_error(name: str, rho: float) -> None:
    root = gram_root(space(), unit="cosine" in name)
    mask, draws = masks(name), 8000
    margin, norm2 = margins(mask, root), centred_norm2(mask, N)
    predicted = preservation_probability(margin, rho, N, norm2)
    simulated = simulate_misalignment(root @ root.T, rho, draws, seeded(11))
    measured = (gram_margins(mask, simulated) > 0).double().mean(0)
    z = (measured - predicted) / (predicted * (1 - predicted) / draws).clamp(min=1e-9).sqrt()
    certain = (predicted < 1e-3) | (predicted > 1 - 1e-3)  # no normal approximation of a count there
    assert float(z[~certain].abs().max()) < 4.2
    assert float(z[~certain].std()) < 1.6
    assert torch.allclose(measured[certain], predicted[certain], atol=3e-3)


def test_identity_25_holds_for_a_kernel_and_an_arbitrary_mask() -> None:
    x = space()
    gram = normalised_gram(torch.exp(-(torch.cdist(x, x) ** 2) / 4))
    t = torch.randn(N, N, generator=seeded(2), dtype=torch.float64)
    t = t + t.T
    h = torch.eye(N, dtype=torch.float64) - 1 / N
    centred = h @ t @ h
    predicted = float(preservation_probability((centred * gram).sum(), 0.6, N, float(centred.square().sum())))
    draws = simulate_misalignment(gram, 0.6, 20000, seeded(3))
    measured = float(((draws * t).sum((1, 2)) > 0).double().mean())
    assert measured == pytest.approx(predicted, abs=4 * math.sqrt(predicted * (1 - predicted) / 20000))


def test_equation_20_is_16_with_the_unnormalised_margin() -> None:
    x = space()
    centred = x - x.mean(0)
    k = centred @ centred.T
    mask = triplet_mask(torch.tensor([[0, 1, 2]]))
    delta_k = float((dense_mask(mask, N)[0] * k).sum())
    scale, rho, n_dim = float(k.norm()), 0.7, math.comb(N, 2)
    rest = math.sqrt(6 - (delta_k / scale) ** 2)
    expected = norm.cdf(rho * delta_k * math.sqrt(n_dim - 1) / (scale * rest * math.sqrt(1 - rho**2)))
    got = preservation_probability(torch.tensor(delta_k / scale, dtype=torch.float64), rho, N, 6.0)
    assert float(got) == pytest.approx(expected, abs=1e-14)


@pytest.mark.parametrize("name", MASKS)
def test_bounds_21_24_26_lie_below_the_identity(name: str) -> None:
    root = gram_root(space(), unit=True)
    mask = masks(name, count=300)
    margin, norm2 = margins(mask, root).abs(), centred_norm2(mask, N)
    for rho in (0.0, 0.05, 0.5, 0.94, 0.999, 1.0):
        exact = preservation_probability(margin, rho, N, norm2)
        tight = preservation_bound(margin, rho, N, norm2)  # Equation 26
        universal = preservation_bound(margin, rho, N, MASKS[name][2])  # Equations 21 and 24
        assert bool((universal <= tight + 1e-15).all()) and bool((tight <= exact + 1e-15).all())
        assert bool((universal >= 0.5).all())  # why K·p cannot be an overlap


def test_bounds_have_the_papers_constants() -> None:
    n, rho, delta = 10_000, 0.94, 1e-5
    dims = n * (n - 1) / 2
    for norm2, c in ((6.0, 12), (1.0, 2)):
        expected = norm.cdf(rho * delta / math.sqrt(c / (dims - 1) * (1 - rho)))
        margin = torch.tensor(delta, dtype=torch.float64)
        assert float(preservation_bound(margin, rho, n, norm2)) == pytest.approx(expected, abs=1e-12)
    for rho, cosine, euclid, exact in ((0.938, 11494, 10613, 11517), (0.963, 11977, 10814, 11995)):
        assert round(20_000 * float(preservation_bound(margin, rho, n, 1.0))) == cosine
        assert round(20_000 * float(preservation_bound(margin, rho, n, 6.0))) == euclid
        assert round(20_000 * float(preservation_probability(margin, rho, n, 1.0))) == exact


def test_equation_26_as_printed_is_no_lower_bound() -> None:
    n, rho, norm2 = 200, 0.6, 1.0
    margin = torch.tensor(0.002, dtype=torch.float64)
    printed = norm.cdf(rho * 0.002 / math.sqrt(norm2 / (n * (n - 1) / 2 - 1) * (1 - rho)))
    identity = float(preservation_probability(margin, rho, n, norm2))
    assert float(preservation_bound(margin, rho, n, norm2)) < identity < printed


def test_probability_rises_with_alignment_to_one() -> None:
    """Conjecture 4.2 under the model: strictly increasing in ρ, 1 in the limit, in simulation as well."""
    root = gram_root(space())
    mask = masks("euclidean triplets (13)")
    margin = margins(mask, root)
    keep = margin > 0.02
    rhos = [0.0, 0.2, 0.5, 0.8, 0.95, 0.999, 0.999999]
    curve = torch.stack([preservation_probability(margin[keep], rho, N, 6.0) for rho in rhos])
    assert bool((curve.diff(dim=0) >= 0).all()) and bool((curve[1:4].diff(dim=0) > 0).all())
    assert float(curve[0].max()) == 0.5 and float(curve[-1].min()) > 0.999999
    assert bool((preservation_probability(margin, 1.0, N, 6.0) == (margin > 0).double()).all())
    for rho, least in ((0.5, 0.0), (0.9999999, 1.0)):
        draws = simulate_misalignment(root @ root.T, rho, 500, seeded(0))
        measured = (gram_margins(mask, draws)[:, keep] > 0).double().mean()
        assert float(measured) >= least


# ---------------------------------------------------------------------------------- real spaces


def test_random_classes_differ_and_are_uniform() -> None:
    picks = random_classes(5, 3, 60_000, seeded(0))
    ordered = picks.sort(1).values
    assert bool((ordered[:, 1:] > ordered[:, :-1]).all()) and picks.min() == 0 and picks.max() == 4
    codes = (picks * torch.tensor([25, 5, 1])).sum(1)
    counts = torch.unique(codes, return_counts=True)[1].double()
    assert len(counts) == 60
    assert float((counts - 1000).abs().max()) < 5 * math.sqrt(1000)
    with pytest.raises(ValueError, match="m: 6 different classes of 5"):
        random_classes(5, 6, 1, seeded(0))


@pytest.mark.parametrize("form", ["cosine", "euclidean"])
def test_preservation_of_two_noisy_copies(form: str) -> None:
    x = space(n=300, d=40)
    quads = random_classes(300, 4, 4000, seeded(1))
    mask = pair_mask(quads, form)  # type: ignore[arg-type]
    rates = []
    for noise in (3.0, 1.0, 0.2):
        y = x + noise * torch.randn(x.shape, generator=seeded(2), dtype=torch.float64)
        result = order_preservation(x, y, mask)
        unit = [rows / rows.norm(dim=1, keepdim=True) for rows in (x, y)]
        assert result.cka == pytest.approx(cka(*unit)) and result.comparisons == 4000
        assert result.bound <= result.predicted
        assert result.rate > result.bound - 0.02
        rates.append(result.rate)
    assert rates == sorted(rates)
    same = order_preservation(x, x, mask)
    assert (same.rate, same.predicted) == (1.0, 1.0)


def test_the_model_predicts_the_rate_of_isotropic_noise() -> None:
    x = space(n=400, d=300) - 0.5
    y = x + 0.7 * torch.randn(x.shape, generator=seeded(2), dtype=torch.float64)
    result = order_preservation(x, y, pair_mask(random_classes(400, 4, 20_000, seeded(1))))
    assert result.rate == pytest.approx(result.predicted, abs=0.03)


def test_bad_input_is_refused() -> None:
    root = gram_root(space())
    gram = root @ root.T
    with pytest.raises(ValueError, match=r"rho: 1.2, allowed -1 to 1"):
        preservation_probability(torch.tensor(0.1), 1.2, N, 1.0)
    with pytest.raises(ValueError, match=r"rho: -0.1, allowed 0 to 1"):
        preservation_bound(torch.tensor(0.1), -0.1, N, 1.0)
    with pytest.raises(ValueError, match=r"margin: -0\.1"):
        preservation_bound(torch.tensor([0.2, -0.1]), 0.5, N, 1.0)
    with pytest.raises(ValueError, match="must differ"):
        triplet_mask(torch.tensor([[0, 1, 1]]))
    for bad in (2 * gram, gram + 0.01, gram + torch.triu(gram, 1)):
        with pytest.raises(ValueError, match="gram: must be symmetric"):
            simulate_misalignment(bad, 0.5, 1, seeded(0))
    with pytest.raises(ValueError, match="all rows are equal"):
        gram_root(torch.ones(5, 3))
    with pytest.raises(ValueError, match="kernel: needs a symmetric matrix"):
        normalised_gram(torch.randn(4, 4, generator=seeded(0)))


@pytest.mark.parametrize("form", ["cosine", "euclidean"])
def test_moments_of_all_pairs_come_from_the_roots_alone(form: Form) -> None:
    x, y = torch.randn(30, 7, dtype=torch.float64), torch.randn(30, 40, dtype=torch.float64)
    a, b = gram_root(x), gram_root(y)
    i, j = torch.triu_indices(30, 30, 1)
    scores = []
    for root in (a, b):
        gram = root @ root.T
        scores.append(gram[i, j] if form == "cosine" else gram[i, i] + gram[j, j] - 2 * gram[i, j])
    found = pair_moments(a, b, form)
    assert found.correlation == pytest.approx(float(torch.corrcoef(torch.stack(scores))[0, 1]), abs=1e-12)
    assert found.spread == pytest.approx(float((scores[0] - scores[0].mean()).norm()), rel=1e-12)
    assert pair_moments(a, a, form).correlation == pytest.approx(1.0)


@pytest.mark.parametrize("noise", [0.3, 1.0, math.inf])
def test_pairs_predict_the_rate_where_many_dimensions_make_cka_say_too_much(noise: float) -> None:
    generator = torch.Generator().manual_seed(5)
    x, other = (torch.randn(60, 400, dtype=torch.float64, generator=generator) for _ in range(2))
    y = other if math.isinf(noise) else x + noise * other
    mask = pair_mask(random_classes(60, 4, 20_000, generator))
    found = order_preservation(x, y, mask)
    assert found.predicted_by_pairs == pytest.approx(found.rate, abs=0.03)
    if noise >= 1:
        assert found.bound > found.rate + 0.03  # the model's premise fails: the shared diagonal is no agreement
