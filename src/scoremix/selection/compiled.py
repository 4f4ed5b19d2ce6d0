"""numba's compiler as a decorator that keeps the function's type, and its threads beside torch's."""

from collections.abc import Callable
from typing import Any, TypeVar, cast

import torch
from numba import get_num_threads, njit

F = TypeVar("F", bound=Callable[..., Any])


def compiled(**options: Any) -> Callable[[F], F]:
    """The function compiled on first use and kept on disk; `parallel=True` runs its prange loops on all cores."""
    return cast("Callable[[F], F]", njit(cache=True, **options))


def start_threads() -> int:
    """Starts numba's threads and returns how many; torch keeps its own number, which the first start would overwrite."""
    before = torch.get_num_threads()
    threads: int = get_num_threads()
    if torch.get_num_threads() != before:
        torch.set_num_threads(before)
    return threads
