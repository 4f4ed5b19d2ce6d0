"""A disk that is full: an error that names the file, and nothing half-written."""

from __future__ import annotations

import contextlib
import errno
import resource
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from scoremix.commands.errors import explained
from scoremix.config import Embedding, Recognizer, Runtime
from scoremix.data import images as imagesets
from scoremix.data.files import whole
from scoremix.execution.work import Work
from scoremix.recognition import checkpoints
from scoremix.stages.judge import embed
from scoremix.stages.train.recognizer import describe


@contextlib.contextmanager
def files_of_at_most(limit: int) -> Iterator[None]:
    """No file of this process grows beyond that many bytes in the block."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_labels_that_do_not_fit_leave_no_file(tmp_path: Path) -> None:
    with files_of_at_most(100_000), pytest.raises(OSError) as error:
        imagesets.write_classes(tmp_path, [100_000], ["a"], None, None)
    assert error.value.errno == errno.EFBIG and error.value.filename == str(tmp_path / "labels.npy")
    assert not list(tmp_path.iterdir())


def test_an_array_that_numpy_writes_in_part_is_a_full_disk(tmp_path: Path) -> None:
    with files_of_at_most(1000), pytest.raises(OSError) as error, whole(tmp_path / "a.npy") as partial:
        np.save(partial.open("wb"), np.zeros(100_000))
    assert explained(error.value)[1].startswith(f"{tmp_path / 'a.npy'}: the disk is full")
    assert not list(tmp_path.iterdir())


def test_embeddings_that_do_not_fit_leave_no_file_and_then_are_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(embed, "BLOCK", 64)
    config, count = Embedding(batch=16), 300
    description = describe(Recognizer(widths=(8, 16), units=(1, 1), embedding=16), 8, 3)
    net = checkpoints.make(description).eval()
    pixels = np.random.default_rng(0).integers(0, 256, (count, 8, 8, 3), np.uint8)

    def blocks(start: int, rows: int, size: int, workers: int, end: int) -> Iterator[np.ndarray]:
        yield from (pixels[i : min(i + rows, end)] for i in range(start, end, rows))

    class Images(SimpleNamespace):
        def __len__(self) -> int:
            return count

    def made(name: str) -> Path:
        (tmp_path / name).mkdir(exist_ok=True)
        work = Work(tmp_path / name, Runtime(device="cpu", quiet=True), name)
        embed.embed_images(config, net, description, Images(blocks=blocks), work=work)
        return tmp_path / name / "embeddings.npy"

    with files_of_at_most(10_000), pytest.raises(OSError) as error:
        made("full")
    assert error.value.filename == str(tmp_path / "full" / "embeddings.npy")
    assert [path.name for path in (tmp_path / "full").iterdir()] == ["progress"]
    assert made("full").read_bytes() == made("other").read_bytes()
    assert np.load(tmp_path / "full" / "embeddings.npy").shape == (count, 16)
