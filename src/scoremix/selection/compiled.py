"""numba's compiler as a decorator that keeps the function's type, and the files it leaves beside the source."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar, cast

from numba import njit

F = TypeVar("F", bound=Callable[..., Any])


def compiled(**options: Any) -> Callable[[F], F]:
    """The function compiled on first use and kept on disk; `parallel=True` runs its prange loops on all cores."""
    return cast("Callable[[F], F]", njit(cache=True, **options))
