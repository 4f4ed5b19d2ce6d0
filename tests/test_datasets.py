"""convert, subset and verify-data on the command line: what the page on formats promises."""

from __future__ import annotations

import io
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from scoremix.data.export import convert
from scoremix.data.formats.records import Records
from scoremix.recognition import checkpoints
from scoremix.recognition.iresnet import IRNet
from support.runs import command


@pytest.fixture
def folders(tmp_path: Path) -> Path:
    for k in range(8):
        (tmp_path / "faces" / f"id{k}").mkdir(parents=True)
        for i in range(k + 2):
            pixels = np.random.default_rng((k, i)).integers(0, 256, (12, 12, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(tmp_path / "faces" / f"id{k}" / f"{i}.png")
    return tmp_path / "faces"


def test_a_class_that_was_cut_in_two_is_listed(
    tiny_npz: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    torch.manual_seed(0)
    net, description = IRNet(8, 1, (8, 16), (1, 1), 16), checkpoints.small(8, 1, (8, 16), (1, 1), 16)
    (tmp_path / "net.safetensors").write_bytes(checkpoints.to_bytes(net, torch.nn.Identity(), description))
    arrays = dict(np.load(tiny_npz))
    arrays["labels"][arrays["labels"] == 5] = [5, 24, 5, 24, 5, 24]
    np.savez(tmp_path / "cut.npz", **{**arrays, "class_names": np.append(arrays["class_names"], "other half")})
    options = ["--recognizer", tmp_path / "net.safetensors", "--json", tmp_path / "found.json", "--quiet"]
    assert command("verify-data", tmp_path / "cut.npz", *options) == 0
    assert "blob 05 = other half" in capsys.readouterr().out
    found = json.loads((tmp_path / "found.json").read_text())["alike_classes"]
    assert ["blob 05", "other half"] in [pair[:2] for pair in found["pairs"]] and found["classes_measured"] == 25
    assert command("verify-data", tmp_path / "cut.npz", "--recognizer", "nowhere.pt") == 2
    assert "nowhere.pt" in capsys.readouterr().err


def test_a_set_through_every_verb(folders: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert command("convert", folders, tmp_path / "rec", "--quiet") == 0
    assert "44 images of 8 classes as recordio" in capsys.readouterr().out
    assert command("subset", tmp_path / "rec", tmp_path / "some", "--classes", "3", "--min", "4", "--max", "8") == 0
    chosen = Records(tmp_path / "some")
    assert len(chosen.counts) == 3 and chosen.counts.min() >= 4 and chosen.counts.max() <= 8
    assert command("verify-data", tmp_path / "some", "--json", tmp_path / "found.json") == 0
    said = capsys.readouterr().out
    assert "no problems" in said and "75%" in said and (tmp_path / "found.json").exists()
    assert command("convert", tmp_path / "rec", tmp_path / "shards", "--to", "webdataset") == 0
    assert command("ingest", "--data", tmp_path / "rec", "--out", tmp_path / "runs", "-q", "-s", "data.size=12") == 0


def test_a_subset_keeps_the_form_of_records_and_shards_all_else_becomes_folders(
    folders: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command("subset", "--help")
    assert "RecordIO and WebDataset stay what they are, all else becomes folders" in " ".join(
        capsys.readouterr().out.split()
    )
    for form in ("recordio", "webdataset", *(["parquet"] if find_spec("pyarrow") else [])):
        convert(folders, tmp_path / form, form)  # type: ignore[arg-type]
    shutil.make_archive(str(tmp_path / "packed"), "zip", folders)
    np.savez(tmp_path / "set.npz", images=np.zeros((4, 8, 8), np.uint8), labels=np.arange(4) // 2)
    (tmp_path / "list.csv").write_text("path,label\nfaces/id0/0.png,a\nfaces/id1/0.png,b\n")
    for place in ("faces", "recordio", "webdataset", "parquet", "packed.zip", "set.npz", "list.csv"):
        if (tmp_path / place).exists():
            assert command("subset", tmp_path / place, tmp_path / "some" / place[:6], "--classes", "2", "--quiet") == 0
            kept = place if place in ("recordio", "webdataset") else "folders"
            assert f"of 2 classes as {kept}" in capsys.readouterr().out


def test_problems_are_status_2(folders: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folders / "id0" / "bad.png").write_bytes(b"junk")
    assert command("verify-data", folders) == 2
    said = capsys.readouterr()
    assert "id0/bad.png: not an image" in said.out and "PROBLEM: 1 image cannot be read" in said.out and said.err == ""


@pytest.mark.parametrize(
    ("arguments", "names"),
    [
        (["convert", "/nowhere", "out"], ["/nowhere", "does not exist"]),
        (["convert", "faces", "out", "--to", "tar"], ["--to 'tar'", "webdataset"]),
        (["convert", "faces", "faces"], ["exists already"]),
        (["convert", "faces", "pairs.bin"], ["pairs.bin", "pairs"]),
        (["subset", "faces", "out", "--classes", "9"], ["8 of 8 classes", "9 are asked for"]),
        (["subset", "faces", "out", "--min", "5", "--max", "4"], ["--min 5 --max 4"]),
        (["verify-data", "/nowhere"], ["/nowhere", "does not exist"]),
        (["verify-data", "bad.bin"], ["bad.bin", "collections.OrderedDict"]),
    ],
)
def test_wrong_calls_are_one_line(
    arguments: list[str],
    names: list[str],
    folders: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (tmp_path / "bad.bin").write_bytes(b"\x80\x04ccollections\nOrderedDict\n.")
    monkeypatch.chdir(tmp_path)
    assert command(*arguments) == 2
    said = capsys.readouterr().err.strip()
    assert said.startswith("scoremix: ") and "\n" not in said and all(name in said for name in names)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL])
def test_an_end_by_force_leaves_nothing_under_the_name(how: signal.Signals, tmp_path: Path) -> None:
    for k in range(3):
        (tmp_path / "in" / f"{k}").mkdir(parents=True)
        buffer = io.BytesIO()
        Image.fromarray(np.full((64, 64, 3), k, np.uint8)).save(buffer, "PNG")
        for i in range(700):
            (tmp_path / "in" / f"{k}" / f"{i}.png").write_bytes(buffer.getvalue())
    command = [
        sys.executable,
        "-m",
        "scoremix",
        "convert",
        str(tmp_path / "in"),
        str(tmp_path / "out"),
        "--size",
        "112",
    ]
    process = subprocess.Popen(
        command,
        stderr=subprocess.PIPE,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # a suite in the background ignores it
    )
    deadline = time.monotonic() + 60
    while not list(tmp_path.glob(".out.*.part/train.rec")) and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.01)
    process.send_signal(how)
    process.wait(timeout=60)
    assert process.returncode != 0 and not (tmp_path / "out").exists()
    if how == signal.SIGINT:
        assert not list(tmp_path.glob(".out.*"))
