"""`scoremix log --tensorboard`: what is stored, read back by TensorBoard's own reader."""

from __future__ import annotations

import csv
import shutil
from functools import partial
from pathlib import Path

import pytest

from scoremix.execution.records import step_folder
from support.runs import command


def test_curves_are_those_that_are_stored(tiny_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    out = Path(shutil.copytree(tiny_run, tmp_path / "out"))
    call = partial(command, "log", "--out", out)
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
