"""How alike two spaces of the same classes are: CKA, nearest neighbours, Procrustes, RSA (Appendix F).

Every function takes x (n, dx) and y (n, dy), row i of both being the same class,
and returns a float; ValueError on fewer than 4 rows, constant columns, values
that are not finite. Nothing of size n x n is held where d < n: linear measures work on d x d products,
the others on blocks of rows.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Literal

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from scoremix.analysis import spaces
from scoremix.analysis.spaces import Matrix


def _hsic(a: Float[Tensor, "n da"], b: Float[Tensor, "n db"], debiased: bool) -> float:
    """HSIC of the linear kernels of centred rows: tr(KHLH), or the U-statistic of Song et al. (2012, Eq. 5).

    Scales: the biased one is not divided by (n - 1)². <K, L> = ‖aᵀb‖², so no kernel is formed unless
    that is the smaller matrix (d > n).
    """
    n = len(a)
    inner = (a.T @ b).square().sum() if a.shape[1] * b.shape[1] <= n * n else ((a @ a.T) * (b @ b.T)).sum()
    if not debiased:
        return float(inner)
    # the same sums without the diagonals; rows of K and L sum to 0 before that, the columns being centred
    p, q = a.square().sum(1), b.square().sum(1)  # diagonals; row sums without them are -p, -q
    return _hsic_of_sums(inner - p @ q, -p, -q, True)


def _hsic_of_sums(inner: Tensor, p: Float[Tensor, " n"], q: Float[Tensor, " n"], debiased: bool) -> float:
    """HSIC from <K, L> and the row sums p, q of symmetric K, L (zero diagonals in the debiased form)."""
    n = len(p)
    if debiased:
        total = inner + p.sum() * q.sum() / ((n - 1) * (n - 2)) - 2 / (n - 2) * (p @ q)
        return float(total) / (n * (n - 3))
    return float(inner - 2 / n * (p @ q) + p.sum() * q.sum() / n**2)


def _normalised(align: Callable[[int, int], float], eps: float = 0.0) -> float:
    """align(0, 1) over the geometric mean of the self-alignments; ValueError where one is not positive."""
    with_itself = align(0, 0), align(1, 1)
    for name, value in zip("xy", with_itself, strict=True):
        if not value > 0:
            raise ValueError(f"{name}: its alignment with itself is {value:.3g}, it must be positive")
    return align(0, 1) / (math.sqrt(with_itself[0]) * math.sqrt(with_itself[1]) + eps)


def cka(x: Matrix, y: Matrix, debiased: bool = False, eps: float = 0.0) -> float:
    """Linear CKA (Appendix F; Kornblith et al. 2019): 1 for equal spaces up to rotation, shift and scale.

    Biased it lies in [0, 1] and is about sqrt(dx dy / ((n + dx)(n + dy))) for unrelated Gaussians;
    debiased it is near 0 for unrelated spaces and may be negative. Scale-free without `eps`, which is added
    to the denominator (1e-6 in one published implementation).
    """
    both = [spaces.centred(rows) for rows in spaces.paired(x, y)]
    return _normalised(lambda s, t: _hsic(both[s], both[t], debiased), eps)


def minibatch_cka(
    x: Matrix, y: Matrix, batch: int = 256, passes: int = 1, generator: torch.Generator | None = None
) -> float:
    """Debiased CKA from batches of rows (Nguyen et al. 2021): the three HSIC are averaged, then divided.

    Each pass cuts the rows (shuffled if a generator is given) into batches; a rest below `batch` rows is
    left out, so that all batches count alike. ValueError unless 4 <= batch <= n.
    """
    rows_x, rows_y = spaces.paired(x, y)
    n = len(rows_x)
    if not 4 <= batch <= n:
        raise ValueError(f"batch: {batch} rows, allowed 4 to {n}")
    totals = {(0, 1): 0.0, (0, 0): 0.0, (1, 1): 0.0}
    for _ in range(passes):
        order = torch.arange(n) if generator is None else torch.randperm(n, generator=generator)
        for part in order[: n - n % batch].reshape(-1, batch):
            both = spaces.centred(rows_x[part]), spaces.centred(rows_y[part])
            for s, t in totals:
                totals[s, t] += _hsic(both[s], both[t], True)
    return _normalised(lambda s, t: totals[s, t])


def _add_products(inner: Float[Tensor, "2 2"], kernels: list[Float[Tensor, " e"]]) -> None:
    """Adds the inner products of a block of either kernel with itself and with the other."""
    for s, t in ((0, 0), (0, 1), (1, 1)):
        inner[s, t] += kernels[s] @ kernels[t]


def median_distance(x: Matrix, most: int = 2000) -> float:
    """Median Euclidean distance over all ordered pairs of rows, a row with itself included.

    From at most `most` evenly spaced rows: exact up to that many.
    """
    rows = spaces.centred(spaces.as_rows(x))
    rows = rows[torch.linspace(0, len(rows) - 1, min(most, len(rows))).round().long()]
    return math.sqrt(float(np.median(spaces.block_distances(rows, rows, "sqeuclidean").cpu().numpy())))


def rbf_cka(
    x: Matrix, y: Matrix, sigma: float | None = None, fraction: float = 1.0, debiased: bool = False, eps: float = 0.0
) -> float:
    """CKA of the kernels exp(-‖xi - xj‖² / 2σ²).

    σ is `sigma` in both spaces, or `fraction` of each space's own median distance, which makes it
    scale-free. One pass over blocks: HSIC needs the three inner products and the row sums only.
    """
    both = [spaces.centred(rows) for rows in spaces.paired(x, y)]
    widths = [sigma if sigma is not None else fraction * median_distance(rows) for rows in both]
    for width in widths:
        if not width > 0:
            raise ValueError(f"sigma: {width}, it must be positive")
    n, device = len(both[0]), both[0].device
    inner = torch.zeros(2, 2, dtype=torch.float64, device=device)
    sums = torch.zeros(2, n, dtype=torch.float64, device=device)
    for rows in spaces.row_blocks(n, 2 * n):
        kernels = []
        for s, (space, width) in enumerate(zip(both, widths, strict=True)):
            kernel = spaces.block_distances(space[rows], space, "sqeuclidean").div_(-2 * width**2).exp_()
            # the diagonal by definition, not by rounding; without it in the debiased form
            kernel[:, rows].fill_diagonal_(0.0 if debiased else 1.0)
            sums[s, rows] = kernel.sum(1)
            kernels.append(kernel.flatten())
        _add_products(inner, kernels)
    return _normalised(lambda s, t: _hsic_of_sums(inner[s, t], sums[s], sums[t], debiased), eps)


def nearest(x: Float[Tensor, "n d"], k: int) -> tuple[Int[Tensor, "n k"], Float[Tensor, "n k"]]:
    """Indices and inner products of each row's k largest inner products with other rows, ties in no order."""
    indices, values = [], []
    for rows in spaces.row_blocks(len(x), len(x)):
        products = x[rows] @ x.T
        products[:, rows].fill_diagonal_(-math.inf)
        top = products.topk(k, dim=1, sorted=False)
        indices.append(top.indices)
        values.append(top.values)
    return torch.cat(indices), torch.cat(values)


def mutual_knn(x: Matrix, y: Matrix, k: int = 10) -> float:
    """Mean share, in [0, 1], of a class's k nearest neighbours that are the same in both spaces.

    Neighbours by inner product of the rows as given: normalise rows first for cosine. Chance: k / (n - 1).
    """
    a, b = spaces.paired(x, y)
    spaces.check_neighbours(k, len(a))
    return float(_common(_keys(nearest(a, k)[0]), _keys(nearest(b, k)[0])).sum()) / (k * len(a))


def _keys(indices: Int[Tensor, "n k"]) -> Int[Tensor, " nk"]:
    """One number i·n + j for every neighbour j of i."""
    n = len(indices)
    return (torch.arange(n, device=indices.device)[:, None] * n + indices).flatten()


def _common(keys: Int[Tensor, " a"], others: Int[Tensor, " b"]) -> Bool[Tensor, " a"]:
    return torch.isin(keys, others, assume_unique=True)


def cknna(x: Matrix, y: Matrix, k: int = 10, variant: Literal["code", "paper"] = "code", eps: float = 1e-6) -> float:
    """Centred kernel nearest-neighbour alignment (Huh et al. 2024) of linear kernels of the rows as given.

    Only pairs (i, j) count where j is one of the k nearest neighbours of i, by inner product, in both
    spaces. "code", the published code's: the raw kernels are masked, then the debiased HSIC is taken of
    the masked, possibly asymmetric, matrices, and `eps` is added to the denominator; k = n - 1 gives the
    debiased CKA; may be negative; swapping x and y changes it slightly. "paper", Equations 16 to 18 there:
    products of row-centred kernels are summed over the mask; in [-1, 1]; no eps. Rows are not normalised
    here. ValueError unless 2 <= k < n.
    """
    spaces.check_choice("variant", variant, "code", "paper")
    a, b = spaces.paired(x, y)
    spaces.check_neighbours(k, len(a))
    if k < 2:
        raise ValueError(f"k: {k} neighbour, cknna needs at least 2")
    if variant == "paper":  # the row mean of <xi, xj> over j is <xi, mean>
        neighbours = [(*nearest(rows, k), rows @ rows.mean(0)) for rows in (a, b)]
        lists = [(_keys(indices), (values - mean[:, None]).flatten()) for indices, values, mean in neighbours]
        return _normalised(lambda s, t: _masked_sum(lists[s], lists[t]))
    lists = [(_keys(indices), values.flatten()) for indices, values in map(nearest, (a, b), (k, k))]
    return _normalised(lambda s, t: _masked_hsic(lists[s], lists[t], len(a)), eps)


Sparse = tuple[Int[Tensor, " nk"], Float[Tensor, " nk"]]  # keys i·n + j and the values there


def _aligned(one: Sparse, two: Sparse) -> tuple[Int[Tensor, " e"], Float[Tensor, " e"], Float[Tensor, " e"]]:
    """Sorted keys present in both, with the values of either."""
    parts = []
    for (keys, values), (others, _) in ((one, two), (two, one)):
        inside = _common(keys, others)
        order = keys[inside].argsort()
        parts.append((keys[inside][order], values[inside][order]))
    return parts[0][0], parts[0][1], parts[1][1]


def _masked_sum(one: Sparse, two: Sparse) -> float:
    _, p, q = _aligned(one, two)
    return float(p @ q)


def _masked_hsic(one: Sparse, two: Sparse, n: int) -> float:
    """Debiased HSIC of the two kernels kept where both have entries; tr(KL) pairs (i, j) with (j, i)."""
    keys, p, q = _aligned(one, two)
    i, j = keys // n, keys % n
    mutual = _common(keys, j * n + i)  # for those L[j, i] = L[i, j]: the unmasked kernels are symmetric
    columns = p.new_zeros(n).index_add_(0, j, p)  # 1'KL1 = (column sums of K)·(row sums of L)
    rows = q.new_zeros(n).index_add_(0, i, q)
    return _hsic_of_sums(p[mutual] @ q[mutual], columns, rows, True)


def soft_cknna(x: Matrix, y: Matrix, tau: float = 0.1) -> float:
    """Appendix F's measure, there called CKNNA: cosine of double-centred soft neighbour kernels, in [-1, 1].

    A(i, j) is the softmax over j ≠ i of cosine / tau, with a zero diagonal. Not Huh et al.'s measure and
    no relative of CKA: as tau grows all A become equal and it tends to 1 whatever the spaces, so it is
    to be read beside its permutation null at the same tau.
    """
    if not tau > 0:
        raise ValueError(f"tau: {tau}, it must be positive")
    a, b = (spaces.unit_rows(rows, name) for name, rows in zip("xy", spaces.paired(x, y), strict=True))
    n = len(a)
    inner = torch.zeros(2, 2, dtype=torch.float64, device=a.device)
    columns = torch.zeros(2, n, dtype=torch.float64, device=a.device)
    for rows in spaces.row_blocks(n, 2 * n):
        kernels = []
        for s, unit in enumerate((a, b)):
            logits = (unit[rows] @ unit.T).div_(tau)
            logits[:, rows].fill_diagonal_(-math.inf)
            kernel = logits.sub_(logits.amax(1, keepdim=True)).exp_()
            kernel /= kernel.sum(1, keepdim=True)
            columns[s] += kernel.sum(0)
            kernels.append(kernel.flatten())
        _add_products(inner, kernels)
    # <HAH, HBH>, rows of A and B summing to 1: only the columns' means have to be taken away
    centre = columns - 1
    return _normalised(lambda s, t: float(inner[s, t] - 1 - centre[s] @ centre[t] / n))


def procrustes(x: Matrix, y: Matrix) -> float:
    """Procrustes similarity ‖XᵀY‖_* / (‖X‖ ‖Y‖) of centred spaces, in [0, 1].

    1 where a rotation and a scale take one space to the other. 1 minus its square is the squared error that
    the best rotation and scale leave between spaces of unit norm.
    """
    a, b = map(spaces.centred, spaces.paired(x, y))
    return float(torch.linalg.svdvals(a.T @ b).sum() / (a.norm() * b.norm()))


def rsa(x: Matrix, y: Matrix, kind: Literal["spearman", "pearson"] = "spearman") -> float:
    """Representational similarity (Kriegeskorte et al. 2008): correlation of the pairs' dissimilarities.

    Dissimilarity is 1 minus the Pearson correlation of two rows; all n(n - 1)/2 pairs, exact.
    """
    spaces.check_choice("kind", kind, "spearman", "pearson")
    a, b = (rows - rows.mean(1, keepdim=True) for rows in spaces.paired(x, y))
    result = spaces.distance_correlation(a, b, "cosine", "cosine", spearman=kind == "spearman")
    return result.spearman if kind == "spearman" else result.pearson
