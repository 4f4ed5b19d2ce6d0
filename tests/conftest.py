"""Fixtures: reference data that may be absent, and guards against leaked global state."""

from __future__ import annotations

import contextlib
import fcntl
import importlib.util
import json
import os
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

# one thread each: several test processes then share a small machine without waiting for one another
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("NUMBA_NUM_THREADS", "1")  # numba's OpenMP layer sets torch's count as well

import hypothesis
import numpy as np
import pytest
import torch

hypothesis.settings.register_profile("shared machine", deadline=None)
hypothesis.settings.load_profile("shared machine")

# files that train or start processes begin first, so that no process of tests has minutes left when the others end, and
# with them the one that compiles most loops: all processes read them from the disk later
LONGEST = (
    "coverage",
    "kill",
    "processes",
    "workers",
    "study",
    "teacher",
    "pipeline",
    "arms",
    "rehearsal",
    "analyze",
    "deliver",
)

GOLDEN = Path(__file__).resolve().parent / "golden"
SHARED = Path(__file__).resolve().parents[2] / "shared"  # larger reference data that is no part of the repository


def _first_of(name: str, *folders: Path) -> Path:
    """The file or folder of that name in the first folder that has it; skips where none has."""
    for folder in folders:
        if (folder / name).exists():
            return folder / name
    pytest.skip(f"reference data {folders[-1].name}/{name} is not here")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=lambda item: item.path.stem.removeprefix("test_") not in LONGEST)


@pytest.fixture(scope="session")
def golden() -> Callable[[str], Path]:
    """Path of a file of outputs of the published reference implementations (golden/README.md); skips where absent."""
    return lambda name: _first_of(name, GOLDEN, SHARED / "golden")


@pytest.fixture(scope="session")
def shared_data() -> Callable[[str], Path]:
    """Path of a real image set; skips where absent."""
    return lambda name: _first_of(name, SHARED / "data")


@pytest.fixture(scope="session")
def script() -> Callable[[str], ModuleType]:
    """A file of the checkout, such as scripts/tables.py, as a module of its own."""

    def loaded(path: str) -> ModuleType:
        spec = importlib.util.spec_from_file_location(Path(path).stem, Path(__file__).parents[1] / path)
        assert spec is not None and spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        return module

    return loaded


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
def golden_state(
    golden: Callable[[str], Path],
) -> Callable[[str], tuple[dict[str, Any], dict[str, torch.Tensor]]]:
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
    before = (
        torch.get_default_dtype(),
        torch.get_num_threads(),
        torch.are_deterministic_algorithms_enabled(),
    )
    yield
    after = (torch.get_default_dtype(), torch.get_num_threads(), torch.are_deterministic_algorithms_enabled())
    assert before == after, f"global torch state changed: {before} -> {after}"


@pytest.fixture(scope="session")
def common(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that all processes of tests share."""
    own = tmp_path_factory.getbasetemp()
    return own.parent if "PYTEST_XDIST_WORKER" in os.environ else own


@pytest.fixture(scope="session")
def tiny_npz(tmp_path_factory: pytest.TempPathFactory, common: Path) -> Path:
    """24 classes of 6 grey 8 px images: a blob at a place and of a size that the class decides, plus noise."""
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:8, :8]
    images, labels = [], []
    for k in range(24):
        cy, cx, width = 1.5 + 5 * rng.random(), 1.5 + 5 * rng.random(), 0.8 + 1.2 * rng.random()
        for _ in range(6):
            jy, jx = cy + 0.3 * rng.standard_normal(), cx + 0.3 * rng.standard_normal()
            blob = np.exp(-((y - jy) ** 2 + (x - jx) ** 2) / (2 * width**2))
            images.append(np.clip(230 * blob + 8 * rng.standard_normal((8, 8)), 0, 255).astype(np.uint8))
            labels.append(k)
    path = tmp_path_factory.mktemp("tiny") / "tiny.npz"
    names = np.array([f"blob {k:02d}" for k in range(24)])
    np.savez(path, images=np.stack(images), labels=np.array(labels, np.int32), class_names=names)
    with contextlib.suppress(FileExistsError):  # another process was first
        os.link(path, common / path.name)
    return common / path.name


TINY = [
    "data.size=8",
    "recognizer.widths=[8, 16]",
    "recognizer.units=[1, 1]",
    "recognizer.embedding=16",
    "recognizer.epochs=4",
    "recognizer.batch=16",
    "generator.model_channels=8",
    "generator.images_seen=640",
    "generator.until=images",
    "generator.batch=32",
    "generator.precision=float32",
    "generator.conditions=learned",  # the papers' settings: what depends on what, and stored curves, are of them
    "generator.lr=0.01",
    "sampling.solver=heun",
    "sampling.guidance=1.3",
    "sampling.guide=each",
    "sampling.precision=float32",
    "sampling.steps=3",
    "sampling.chunk=8",
    "sampling.images_per_mplet=3",
    "selection.count=5",
    "gate.floor=0",
    "seeds=[0, 1]",
    "evaluation.fars=[0.1, 0.01]",
    "evaluation.headline=0.1",
    "evaluation.bootstrap=100",
    "evaluation.draws=3",
]


@pytest.fixture(scope="session")
def tiny_settings(tiny_npz: Path) -> list[str]:
    """Settings of a whole run that takes seconds; estimates of these runs are rough, so as not to take longer than they do."""
    from scoremix.execution import timing

    timing.LONGEST = 0.01  # seconds of a measurement
    return [f"source={tiny_npz}", "name=tiny", *TINY]


@pytest.fixture(scope="session")
def tiny_run(common: Path, tiny_settings: list[str]) -> Path:
    """Where a run of the tiny settings is finished, made once for all processes of tests: who adds to it copies it."""
    from support.runs import run

    with open(common / "tiny_run.lock", "a+") as waiting:
        fcntl.flock(waiting, fcntl.LOCK_EX)
        if not waiting.seek(0, os.SEEK_END):
            run(common / "tiny_run", tiny_settings, figures=True)
            waiting.write("finished")
    return common / "tiny_run"
