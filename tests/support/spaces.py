"""Spaces of classes as tests make them."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from scoremix.analysis.preservation import double_centred
from scoremix.analysis.spaces import Numbers, as_rows


def normalised_gram(kernel: Float[Numbers, "_ _"]) -> Float[Tensor, "n n"]:
    """HKH / ‖HKH‖_F of a symmetric kernel matrix (n, n) (Corollary G.5)."""
    k = as_rows(kernel, "kernel")
    if k.shape[0] != k.shape[1] or not torch.allclose(k, k.T):
        raise ValueError(f"kernel: needs a symmetric matrix, got shape {tuple(k.shape)}")
    k = double_centred(k)
    gram: Tensor = k / torch.linalg.matrix_norm(k)
    return gram
