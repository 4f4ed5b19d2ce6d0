"""Fixtures: reference data that may be absent, and guards against leaked global state."""

from __future__ import annotations

import json
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

SHARED = Path(__file__).resolve().parents[2] / "shared"


def _shared(folder: str, name: str) -> Path:
    path = SHARED / folder / name
    if not path.exists():
        pytest.skip(f"reference data {folder}/{name} is not here")
    return path


@pytest.fixture(scope="session")
def golden() -> Callable[[str], Path]:
    """Path of a file of outputs of the published reference implementations; skips where absent."""
    return lambda name: _shared("golden", name)


@pytest.fixture(scope="session")
def shared_data() -> Callable[[str], Path]:
    """Path of a real image set; skips where absent."""
    return lambda name: _shared("data", name)


def _fill(name: str, shape: list[int], kind: str, salt: str) -> np.ndarray:
    if kind == "bn_count":
        return np.zeros(shape, np.int64)
    z = np.random.default_rng(zlib.crc32((salt + name).encode())).standard_normal(tuple(shape), dtype=np.float32)
    f = np.float32
    fan_in = float(np.prod(shape[1:])) if len(shape) > 1 else 1.0
    value = {
        "mp_w": z,
        "kernel": z,
        "conv_w": z / f(np.sqrt(fan_in)),
        "linear_w": z / f(np.sqrt(fan_in)),
        "bias": f(0.1) * z,
        "bn_b": f(0.1) * z,
        "bn_mean": f(0.1) * z,
        "bn_w": f(0.8) + f(0.1) * z,
        "bn_var": np.abs(z) + f(0.5),
        "prelu": f(0.25) + f(0.05) * z,
        "gain": f(0.5) + f(0.25) * z,
        "freqs": f(2 * np.pi) * z,
        "phases": f(2 * np.pi) * z,
    }[kind]
    return np.asarray(value, f).reshape(tuple(shape))


@pytest.fixture(scope="session")
def golden_state(golden: Callable[[str], Path]) -> Callable[[str], tuple[dict[str, Any], dict[str, torch.Tensor]]]:
    """(specification, state) of a golden network; weights are refilled by the rule of the data's README."""

    def load(name: str) -> tuple[dict[str, Any], dict[str, torch.Tensor]]:
        spec = json.loads(golden(name).read_text())
        crc, state = 0, {}
        for entry in spec["entries"]:
            array = _fill(entry["name"], entry["shape"], entry["kind"], spec["salt"])
            crc = zlib.crc32(array.tobytes(), crc)
            state[entry["name"]] = torch.from_numpy(array)
        assert crc == spec["fill_crc32"], "numpy's random generator differs from the reference's"
        return spec, state

    return load


@pytest.fixture(autouse=True)
def no_leaks() -> Iterator[None]:
    """Fails a test that changes the default dtype, the thread count or the determinism flags for those after it."""
    before = (torch.get_default_dtype(), torch.get_num_threads(), torch.are_deterministic_algorithms_enabled())
    yield
    after = (torch.get_default_dtype(), torch.get_num_threads(), torch.are_deterministic_algorithms_enabled())
    assert before == after, f"global torch state changed: {before} -> {after}"
