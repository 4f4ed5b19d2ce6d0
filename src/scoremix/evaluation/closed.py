"""Closed-set accuracy: images of the training classes, set apart before training, among those classes alone.

Every class counts the same (macro average), and classes are what a bootstrap draws again: with multiplicities n
(draws, classes) a draw's accuracy is sum_c n_c a_c / sum_c n_c.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float, Int
from numpy import ndarray as Array
from torch import Tensor

from scoremix.data.finite import finite_rows


def ranks(scores: Float[Tensor, "b c"], labels: Int[Tensor, " b"]) -> Int[Tensor, " b"]:
    """How many other classes score at least as high as the label's: 0 is right, below 5 is right in the first five.

    ValueError for scores that are not finite: no other class would seem to score as high.
    """
    of_own = finite_rows(scores, "scores").gather(1, labels[:, None])
    return (scores >= of_own).sum(1) - 1


def class_accuracy(rank: Int[Array, " n"], labels: Int[Array, " n"], classes: int, k: int = 1) -> Float[Array, " c"]:
    """Share of each class's images with a rank below `k`; NaN for a class without images."""
    images = np.bincount(labels, minlength=classes)
    right = np.bincount(labels[rank < k], minlength=classes)
    with np.errstate(invalid="ignore"):
        return np.asarray(right / images)


def macro(accuracy: Float[Array, " c"], n: Int[Array, "r c"]) -> Float[Array, " r"]:
    """Mean accuracy over classes in each draw; NaN for a draw without any of them."""
    with np.errstate(invalid="ignore"):
        return np.asarray(n @ accuracy / n.sum(1))


def extremes(accuracy: Float[Array, " c"], names: Sequence[str], count: int) -> tuple[list[int], list[int]]:
    """The `count` worst and best classes, ties in order of name; disjoint where there are enough classes."""
    order = sorted(range(len(names)), key=lambda c: (accuracy[c], names[c]))
    count = min(count, len(order) // 2)
    best = sorted(order[len(order) - count :], key=lambda c: (-accuracy[c], names[c]))
    return order[:count], best


def scores(
    embeddings: Float[Tensor, "b d"], weight: Float[Tensor, "c d"], bias: Float[Tensor, " c"] | None
) -> Float[Tensor, "b c"]:
    """Cosines to the class centers, or the logits of a softmax head, which has a bias."""
    if bias is not None:
        return torch.nn.functional.linear(embeddings, weight, bias)
    return torch.nn.functional.normalize(embeddings) @ torch.nn.functional.normalize(weight).T
