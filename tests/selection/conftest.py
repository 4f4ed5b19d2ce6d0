"""One thread for the compiled loops: small problems on a busy machine would wait for the other threads."""

from __future__ import annotations

from collections.abc import Iterator

import numba
import pytest

from scoremix.selection.compiled import start_threads


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    before = start_threads()
    numba.set_num_threads(1)
    yield
    numba.set_num_threads(before)
