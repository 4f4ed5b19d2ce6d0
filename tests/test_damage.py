"""Damaged files of a run: a checkpoint falls back on the one before, a damaged input is made again, to the same bytes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from scoremix.config import Runtime, presets
from scoremix.execution import progress, records
from scoremix.execution.chain import chain_table, damaged
from scoremix.execution.store import Store
from scoremix.execution.work import Work
from scoremix.stages.train.resume import FILE, History, TrainingCheckpoint


class Steps:
    """A training of one number."""

    def __init__(self) -> None:
        self.at = 0

    def tensors(self) -> dict[str, torch.Tensor]:
        return {"at": torch.tensor([self.at])}

    def info(self) -> dict[str, int]:
        return {"at": self.at}

    def restore(self, tensors: dict[str, torch.Tensor], info: dict[str, int]) -> None:
        assert int(tensors["at"]) == info["at"]
        self.at = info["at"]


def resumed(folder: Path) -> int:
    training, history = Steps(), History(4)
    TrainingCheckpoint(Work(folder, Runtime(quiet=True), "x"), training, history=history)
    return training.at


def test_a_damaged_checkpoint_is_named_and_the_one_before_is_used(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    training, history = Steps(), History(4)
    checkpoint = TrainingCheckpoint(Work(tmp_path, Runtime(quiet=True), "x"), training, history=history)
    for training.at in (1, 2):
        checkpoint.save()
    path = tmp_path / "progress" / FILE
    whole = path.read_bytes()
    assert resumed(tmp_path) == 2
    for at in range(0, len(whole), 7):
        for content in (whole[:at], whole[:at] + bytes([whole[at] ^ 4]) + whole[at + 1 :]):
            path.write_bytes(content)
            assert resumed(tmp_path) == 1
            assert str(path) in capsys.readouterr().err
    path.with_name(f"{FILE}.before").write_bytes(b"")
    assert resumed(tmp_path) == 0


def test_damage_is_found_and_mended(toy: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    settings = ["data.size=8", "recognizer.epochs=1", "recognizer.batch=8", "seeds=[0]"]
    exp = presets.experiment(None, data=str(toy), arms="real", settings=settings)
    runtime, store = Runtime(out=tmp_path / "out", device="cpu", quiet=True), Store(tmp_path / "out" / "store")
    (real,) = progress.make(exp, runtime, store, ["ingest"])
    content = bytearray((real / "images.npy").read_bytes())
    content[-1] ^= 1
    (real / "images.npy").write_bytes(content)
    capsys.readouterr()
    (trained,) = progress.make(exp, runtime, store, ["baseline"])
    assert f"{real.folder}: images.npy has other bytes than were written; it is made again" in capsys.readouterr().err
    content[-1] ^= 1
    assert (real / "images.npy").read_bytes() == content
    recorded = records.recorded(runtime.out, exp.name)
    assert damaged(store, recorded) == []
    (trained / "recognizer.safetensors").write_bytes(b"")
    (line,) = damaged(store, recorded)
    assert "baseline" in line and "recognizer.safetensors has 0 bytes" in line
    rows = chain_table(store, recorded).splitlines()
    assert "baseline" not in "".join(x for x in rows if "done" in x)
    assert "are not those that were written" in next(x for x in rows if "baseline" in x)
    before = json.loads((trained / "manifest.damaged").read_text())
    (again,) = progress.make(exp, runtime, store, ["baseline"])
    assert again.manifest["outputs"] == before["outputs"]


@pytest.fixture
def toy(tmp_path: Path) -> Path:
    import numpy as np
    from PIL import Image

    rng = np.random.default_rng(0)
    for k in range(8):
        (tmp_path / "set" / f"c{k}").mkdir(parents=True)
        for i in range(3):
            Image.fromarray(rng.integers(0, 256, (8, 8, 3), np.uint8)).save(tmp_path / "set" / f"c{k}" / f"{i}.png")
    return tmp_path / "set"
