"""Numbers that are none: refused with their count wherever embeddings are made or ranked and weights are loaded."""

from collections.abc import Mapping
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor

Numbers = TypeVar("Numbers", Tensor, np.ndarray)


def finite_rows(x: Numbers, name: str = "embeddings") -> Numbers:
    """x (n, ...) as it is; ValueError with the number of its rows that hold NaN or infinite values."""
    flags = torch.isfinite(x).cpu().numpy() if isinstance(x, Tensor) else np.isfinite(x)
    if not flags.all():
        wrong = int((~flags.reshape(len(flags), -1).all(1)).sum())
        raise ValueError(f"{name}: {wrong} of {len(flags)} are not finite")
    return x


def finite_tensors(tensors: Mapping[str, Tensor], path: Path) -> None:
    """ValueError where weights of the checkpoint `path` are NaN or infinite: how many, and the first tensor's name."""
    counts = {n: int((~torch.isfinite(t)).sum()) for n, t in tensors.items() if t.is_floating_point()}
    if wrong := {name: count for name, count in counts.items() if count}:
        raise ValueError(f"{path}: {sum(wrong.values())} weights are not finite, the first in {next(iter(wrong))}")
