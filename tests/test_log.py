"""`scoremix log --tensorboard`: what is stored, read back by TensorBoard's own reader."""

from __future__ import annotations

import csv
import sys
from pathlib import Path

import pytest

from scoremix.commands import main
from scoremix.config import Experiment, Runtime, load
from scoremix.execution import progress
from scoremix.execution.records import step_folder
from scoremix.execution.store import Store


def test_curves_are_those_that_are_stored(
    tiny_settings: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    out = tmp_path / "out"
    exp = load(Experiment(), (), tiny_settings)
    for step in ("generator", "baseline"):
        progress.execute(exp, Runtime(out=out, device="cpu", quiet=True), Store(out / "store"), step)

    def call(*arguments: str) -> int:
        monkeypatch.setattr(sys, "argv", ["scoremix", "log", *arguments, "--out", str(out)])
        with pytest.raises(SystemExit) as ended:
            main()
        return int(ended.value.code or 0)

    assert call("--tensorboard", "tiny") == 0
    folder = out / "tiny" / "tensorboard"
    for label in ("generator", "baseline"):
        events = accumulator.EventAccumulator(str(folder / label)).Reload()
        stored = list(csv.DictReader((step_folder(out, "tiny", label) / "history.csv").open()))
        assert [e.step for e in events.Scalars("loss")] == [int(row["images_seen"]) for row in stored]
        assert [e.value for e in events.Scalars("loss")] == pytest.approx([float(row["loss"]) for row in stored])
    assert call("--tensorboard", "tiny") == 2 and "exists already" in capsys.readouterr().err
    assert call() == 2 and "--tensorboard RUN" in capsys.readouterr().err
    assert call("--tensorboard", "nobody") == 2 and "run 'nobody': not in" in capsys.readouterr().err
