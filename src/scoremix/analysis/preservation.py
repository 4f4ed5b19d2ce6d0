"""Does a comparison of distances in one space hold in another: Appendix G, Equations 11 to 26.

Spaces enter as roots Z (n, d) with K̂ = ZZᵀ, the centred Gram matrix of unit Frobenius norm; then
ρ = CKA = ‖ZxᵀZy‖². A comparison is a symmetric mask T and its margin Δ = <HTH, K̂> = <T, K̂>, the space S_c
of centred symmetric matrices having N = n(n-1)/2 dimensions. The misalignment model is L̂ = ρK̂ + E with E
Gaussian, isotropic on the complement of K̂ in S_c, E‖E‖² = 1 - ρ².

Trap: masks of form "cosine" are not centred, so <T, K̂> compares *centred* similarities. The paper's
remark after Equation 24, that this is the order of raw cosine distances, holds only where the rows'
mean similarities agree. Form "euclidean" is centred already (HTH = T), and on unit rows it compares
2 - 2 cosine exactly.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

from scoremix.analysis.spaces import Matrix, Numbers, as_rows, centred, check_choice, paired, row_blocks, unit_rows

Form = Literal["euclidean", "cosine"]


def gram_root(x: Matrix, unit: bool = False, name: str = "x") -> Float[Tensor, "n d"]:
    """Z with ZZᵀ = K̂ (Equation 11 and after): centred rows over sqrt(‖K‖_F); `unit` normalises rows first."""
    rows = as_rows(x, name)
    rows = centred(unit_rows(rows, name) if unit else rows)
    norm = torch.linalg.matrix_norm(rows.T @ rows)
    if not float(norm) > 0:
        raise ValueError(f"{name}: all rows are equal")
    root: Tensor = rows / norm.sqrt()
    return root


def double_centred(m: Float[Tensor, "*b n n"]) -> Float[Tensor, "*b n n"]:
    """HMH of Equation 11."""
    return m - m.mean(-1, keepdim=True) - m.mean(-2, keepdim=True) + m.mean((-2, -1), keepdim=True)


class Mask(NamedTuple):
    """t symmetric masks of one pattern: mask s has values[e] at (rows[s, e], cols[s, e]), else 0."""

    rows: Int[Tensor, "t e"]
    cols: Int[Tensor, "t e"]
    values: Float[Tensor, " e"]


def _mask(classes: Int[Numbers, "t m"], entries: list[tuple[int, int, float]]) -> Mask:
    """entries (a, b, value): value at (classes[:, a], classes[:, b]) and, for a ≠ b, at its mirror."""
    labels = torch.as_tensor(classes)
    ordered = labels.sort(dim=1).values
    if bool((ordered[:, 1:] == ordered[:, :-1]).any()):
        raise ValueError("classes: the classes of a comparison must differ")
    both = entries + [(b, a, value) for a, b, value in entries if a != b]
    return Mask(
        labels[:, [a for a, _, _ in both]],
        labels[:, [b for _, b, _ in both]],
        torch.tensor([value for _, _, value in both], dtype=torch.float64),
    )


def triplet_mask(triplets: Int[Numbers, "_ 3"], form: Form = "euclidean") -> Mask:
    """Masks of triplets (i, j, k), shape (t, 3).

    "euclidean", Equation 13: Δ = d²(i,j) - d²(i,k), ‖T‖² = 6. "cosine", Corollary G.4: Δ = K̂(i,j) - K̂(i,k),
    ‖T‖² = 1, of opposite sign: larger similarity is smaller distance.
    """
    check_choice("form", form, "euclidean", "cosine")
    if form == "euclidean":
        return _mask(triplets, [(1, 1, 1.0), (2, 2, -1.0), (0, 1, -1.0), (0, 2, 1.0)])
    return _mask(triplets, [(0, 1, 0.5), (0, 2, -0.5)])


def pair_mask(quads: Int[Numbers, "_ 4"], form: Form = "cosine") -> Mask:
    """Masks of two disjoint pairs (i, j), (k, l), as selection compares them; quads (t, 4) (Corollary G.5).

    "cosine": Δ = K̂(i,j) - K̂(k,l), ‖T‖² = 1. "euclidean": Δ = d²(i,j) - d²(k,l), ‖T‖² = 8.
    """
    check_choice("form", form, "euclidean", "cosine")
    if form == "cosine":
        return _mask(quads, [(0, 1, 0.5), (2, 3, -0.5)])
    squares = [(0, 0, 1.0), (1, 1, 1.0), (2, 2, -1.0), (3, 3, -1.0)]
    return _mask(quads, [*squares, (0, 1, -1.0), (2, 3, 1.0)])


def centred_norm2(mask: Mask, n: int) -> float:
    """‖HTH‖² = ‖T‖² - 2‖T1‖²/n + (1ᵀT1)²/n², one number for all masks of a pattern."""
    labels, place = torch.unique(torch.cat([mask.rows[0], mask.cols[0]]), return_inverse=True)
    small = torch.zeros(len(labels), len(labels), dtype=torch.float64)
    small[place[: len(mask.values)], place[len(mask.values) :]] = mask.values
    sums = small.sum(1)
    return float(small.square().sum() - 2 * sums.square().sum() / n + sums.sum() ** 2 / n**2)


def margins(mask: Mask, root: Float[Tensor, "n d"]) -> Float[Tensor, " t"]:
    """Δ of every mask on K̂ = root rootᵀ (Equations 14 and 22); K̂ is formed only where it is the smaller work."""
    if len(root) ** 2 <= mask.rows.numel():
        return gram_margins(mask, root @ root.T)
    total = root.new_zeros(len(mask.rows))
    for part in row_blocks(len(total), 8 * root.shape[1]):
        for rows, cols, value in zip(mask.rows[part].T, mask.cols[part].T, mask.values, strict=True):
            total[part] += value * (root[rows] * root[cols]).sum(1)
    return total


def gram_margins(mask: Mask, gram: Float[Tensor, "*b n n"]) -> Float[Tensor, "*b t"]:
    """Δ of every mask on each given centred Gram matrix."""
    return gram[..., mask.rows, mask.cols] @ mask.values


def _check_rho(rho: float, low: float) -> None:
    if not low <= rho <= 1:
        raise ValueError(f"rho: {rho}, allowed {low:g} to 1")


def _phi(signal: Tensor, spread: Tensor) -> Tensor:
    """Φ(signal / spread); without spread the event is certain or impossible."""
    return torch.where(spread > 0, torch.special.ndtr(signal / spread), (signal > 0).to(signal.dtype))


def preservation_probability(margin: Float[Tensor, " *t"], rho: float, n: int, norm2: float) -> Float[Tensor, " *t"]:
    """P[Δ_L̂ > 0] given Δ = `margin` in K̂: Equations 16 (Euclidean triplets), 23 (cosine) and 25 (any mask).

    `norm2` is ‖HTH‖². For Equation 20 pass Δ_K / ‖K‖_F. In [0, 1]; for ρ = 1 it is 1 or 0.
    """
    _check_rho(rho, -1)
    margin = torch.as_tensor(margin, dtype=torch.float64)
    dimensions = math.comb(n, 2)
    spread = (norm2 - margin.square()).clamp(min=0).sqrt() * math.sqrt((1 - rho**2) / (dimensions - 1))
    return _phi(rho * margin, spread)


def preservation_bound(margin: Float[Tensor, " *t"], rho: float, n: int, norm2: float) -> Float[Tensor, " *t"]:
    """Lower bound of `preservation_probability` for Δ >= 0, ρ in [0, 1]: Equations 21, 24, 26.

    norm2 = 6 gives c_mask = 12/(N-1), Equation 21; 1 gives 2/(N-1), Equation 24; ‖HTH‖² gives Equation 26
    with the factor 2 of the other two, which its print lacks: without it, it may exceed the identity.
    Always at least 1/2, which is why K times it predicts no overlap (see `overlap.py`).
    """
    _check_rho(rho, 0)
    margin = torch.as_tensor(margin, dtype=torch.float64)
    if bool((margin < 0).any()):
        raise ValueError(f"margin: {float(margin.min()):.3g}, the bound holds for margins >= 0")
    spread = math.sqrt(2 * norm2 / (math.comb(n, 2) - 1) * (1 - rho))
    return _phi(rho * margin, torch.full_like(margin, spread))


def simulate_misalignment(
    gram: Float[Tensor, "n n"], rho: float, draws: int, generator: torch.Generator
) -> Float[Tensor, "draws n n"]:
    """Draws of L̂ = ρK̂ + E, the theorem's own model (Equation 15), float64.

    L̂ has unit norm in the mean only and is no Gram matrix of vectors (it may be indefinite): this is
    the model as stated. ValueError unless `gram` is symmetric, centred and of unit norm.
    """
    _check_rho(rho, -1)
    centre = torch.linalg.matrix_norm(gram - double_centred(gram))
    if not torch.allclose(gram, gram.T) or centre > 1e-8 or abs(torch.linalg.matrix_norm(gram) - 1) > 1e-8:
        raise ValueError("gram: must be symmetric, centred and of unit norm")
    n = len(gram)
    noise = torch.randn(draws, n, n, dtype=torch.float64, generator=generator)
    noise = double_centred((noise + noise.mT) / 2)  # isotropic on symmetric, then on centred matrices
    noise -= (noise * gram).sum((1, 2), keepdim=True) * gram
    return rho * gram + math.sqrt((1 - rho**2) / (math.comb(n, 2) - 1)) * noise


def random_classes(n: int, m: int, count: int, generator: torch.Generator) -> Int[Tensor, "count m"]:
    """`count` uniform ordered choices of m different classes out of n."""
    if m > n:
        raise ValueError(f"m: {m} different classes of {n}")
    picks = torch.empty(count, 0, dtype=torch.int64)
    for taken in range(m):  # a number among the n - taken free classes, moved past those already taken
        pick = torch.randint(n - taken, (count,), generator=generator)
        for earlier in picks.sort(dim=1).values.T:
            pick += pick >= earlier
        picks = torch.cat([picks, pick[:, None]], 1)
    return picks


@dataclass(frozen=True)
class OrderPreservation:
    """Comparisons of x that hold in y: measured share, the model's mean probability, the mean bound."""

    rate: float
    predicted: float
    bound: float
    cka: float
    comparisons: int
    pair_correlation: float  # Pearson correlation of the compared quantity over all pairs
    predicted_by_pairs: float  # the same model on the pairs alone, with that correlation for ρ


class PairMoments(NamedTuple):
    """Of what a form compares, K̂(i,j) or d²(i,j), over all pairs of two spaces."""

    correlation: float
    spread: float  # root of the summed squared deviations in the first space: ‖s - mean‖


def pair_moments(a: Float[Tensor, "n d"], b: Float[Tensor, "n e"], form: Form) -> PairMoments:
    """From roots of K̂ and L̂ (`gram_root`), without forming a pair.

    The rows of K̂ sum to 0, so sums over pairs follow from <K̂, L̂> and the diagonals p, q:
    Σ K̂L̂ = (<K̂, L̂> - p·q) / 2 and Σ d²d'² = n p·q + Σp Σq + 2 <K̂, L̂>.
    """
    check_choice("form", form, "euclidean", "cosine")
    n, pairs = len(a), math.comb(len(a), 2)

    def central(x: Tensor, y: Tensor) -> float:
        p, q = x.square().sum(1), y.square().sum(1)
        inner, diagonal, traces = float((x.T @ y).square().sum()), float(p @ q), float(p.sum() * q.sum())
        if form == "cosine":
            return (inner - diagonal) / 2 - traces / 4 / pairs
        return n * diagonal + traces + 2 * inner - n**2 * traces / pairs

    variances = central(a, a), central(b, b)
    if min(variances) <= 0:
        raise ValueError("spaces: all pairs of one are equally far, there is no order to preserve")
    return PairMoments(
        max(-1.0, min(1.0, central(a, b) / math.sqrt(variances[0] * variances[1]))), math.sqrt(variances[0])
    )


def order_preservation(x: Matrix, y: Matrix, mask: Mask, unit: bool = True) -> OrderPreservation:
    """How many of the given comparisons keep their direction, beside Equations 25 and 26 at the measured CKA.

    A comparison counts as Δ > 0 in x, its mirror being used where Δ < 0. `unit` normalises rows, as
    cosine distances need. `predicted_by_pairs` applies the same model (isotropic noise of matched energy) to
    the vector of all pairs instead of the Gram matrix: CKA also counts the diagonal, which any two spaces of
    many dimensions share and no comparison sees.
    """
    rows, others = paired(x, y)
    a, b = gram_root(rows, unit, "x"), gram_root(others, unit, "y")
    n, cka = len(a), min(float((a.T @ b).square().sum()), 1.0)
    ours, theirs, norm2 = margins(mask, a), margins(mask, b), centred_norm2(mask, len(a))
    distances = bool((mask.rows == mask.cols).any())  # masks of similarities have no diagonal
    pairs = pair_moments(a, b, "euclidean" if distances else "cosine")
    by_pairs = preservation_probability(ours.abs() / pairs.spread, pairs.correlation, n, 2.0)
    return OrderPreservation(
        float((ours * theirs > 0).double().mean()),
        float(preservation_probability(ours.abs(), cka, n, norm2).mean()),
        float(preservation_bound(ours.abs(), cka, n, norm2).mean()),
        cka,
        len(ours),
        pairs.correlation,
        float(by_pairs.mean()),
    )
