"""One image of a finished set again, and images of classes that one names, from the command line."""

from __future__ import annotations

import io
import shutil
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import scoremix
from scoremix.commands import main
from scoremix.config import Experiment, Runtime, load
from scoremix.data.images import LabeledImages
from scoremix.execution import progress
from scoremix.execution.records import step_folder
from scoremix.execution.store import Store


@pytest.fixture(scope="module")
def out(tiny_settings: list[str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run up to its mixes, each image with weights of its own."""
    folder = tmp_path_factory.mktemp("replay") / "out"
    exp = load(Experiment(), (), [*tiny_settings, "sampling.chunk=3", "sampling.draw=image"])
    progress.execute(exp, Runtime(out=folder, device="cpu", quiet=True), Store(folder / "store"), "sample")
    return folder


def call(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *arguments: Any) -> tuple[int, str, str]:
    monkeypatch.setattr(sys, "argv", ["scoremix", "sample", *map(str, arguments)])
    with pytest.raises(SystemExit) as ended:
        main()
    said = capsys.readouterr()
    return int(ended.value.code or 0), said.out, said.err


@pytest.mark.parametrize("index", [0, 4])
def test_an_image_of_a_set_is_made_again_byte_for_byte(
    out: Path, tmp_path: Path, index: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    status, said, _ = call(monkeypatch, capsys, "--replay", index, "--out", out, "--to", tmp_path)
    assert status == 0 and "the bytes of the set" in said
    stored = LabeledImages.load(step_folder(out, None, "sample")).images[index]
    shown = np.asarray(Image.open(io.BytesIO((tmp_path / f"sample-{index:07d}.png").read_bytes())))
    assert np.array_equal(shown.reshape(stored.shape), stored)


def test_what_was_changed_since_is_told(
    out: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    other = tmp_path / "out"
    shutil.copytree(out, other)
    folder = step_folder(other, None, "sample")
    seeds = np.load(folder / "seeds.npy")
    np.save(folder / "seeds.npy", seeds + 1)
    status, said, _ = call(monkeypatch, capsys, "--replay", 0, "--out", other, "--to", tmp_path)
    assert status == 1 and "not the bytes of the set" in said


def test_images_of_classes_are_those_of_python(
    out: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    generator = scoremix.load_generator("tiny", out=out, device="cpu")
    a, b = generator.classes[:2]
    given = ["--classes", f"{a},{b}", "--weights", ".3,.7", "--count", 2, "--seed", 5]
    status, said, _ = call(
        monkeypatch, capsys, *given, "--from", "tiny", "--out", out, "--to", tmp_path, "--device", "cpu"
    )
    expected = generator.sample([a, b], [0.3, 0.7], count=2, seed=5)
    assert status == 0 and len(said.splitlines()) == 2
    for line, image in zip(said.splitlines(), expected, strict=True):
        assert np.array_equal(np.asarray(Image.open(line)).reshape(image.shape), image)


@pytest.mark.parametrize(
    ("given", "told"),
    [
        (["--replay", "100000"], "image 100000: the set has the images 0 to"),
        (["--replay", "0", "--set-of", "other"], "set 'other': the run has 'sample'"),
        (["--replay", "0", "--classes", "a,b"], "give one of them"),
        (["demo", "--replay", "0"], "no preset"),
        (["--classes", "nobody,else"], "names 'nobody', not among"),
        (["--classes", 'a,"b,c",a'], "names 'a' twice"),
        (["--classes", '"b,c",a'], "names 'b,c', not among the"),
        (["--weights", ".3,.7"], "--weights .3,.7: goes with --classes"),
        (["--count", "3"], "--count 3: goes with --classes"),
        (["--seed", "0"], "--seed 0: goes with --classes"),
        (["--set-of", "other"], "--set-of other: goes with --replay"),
        (["--from", "tiny"], "--from tiny: goes with --classes or --replay"),
        (
            ["--replay", "0", "--weights", ".3,.7", "--count", "99", "--seed", "5"],
            "--weights .3,.7: goes with --classes",
        ),
        (["--replay", "0", "--seed", "5"], "--seed 5: goes with --classes"),
        (["--classes", "a,b", "--set-of", "sample"], "--set-of sample: goes with --replay"),
        (["--replay", "0", "--class-level", "7"], "no preset and no settings"),
        (["--classes", "a,b", "--weights", "many"], "--weights 'many'"),
    ],
)
def test_wrong_wishes_are_one_line(
    out: Path,
    tmp_path: Path,
    given: list[str],
    told: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
):
    status, _, said = call(monkeypatch, capsys, *given, "--out", out, "--to", tmp_path / "made")
    assert status == 2 and told in said and said.count("\n") == 1
    assert not (tmp_path / "made").exists()


def test_a_folder_for_pictures_goes_with_pictures(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    status, _, said = call(monkeypatch, capsys, "--to", tmp_path / "made", "--out", tmp_path / "out")
    assert status == 2 and "made: goes with --classes or --replay" in said and said.count("\n") == 1
