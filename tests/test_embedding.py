"""Embeddings of images from anywhere: the same as the pipeline's, named rightly, written whole or not at all."""

from __future__ import annotations

import csv
import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from scoremix import pipeline
from scoremix.config import ConfigError, Runtime
from scoremix.config.presets import demo
from scoremix.data.decode import decode
from scoremix.data.images import LabeledImages
from scoremix.data.reading import UnreadableImages
from scoremix.execution import embedding, records, runner
from scoremix.execution.artifacts import External
from scoremix.execution.embedding import embed_images
from scoremix.execution.runner import decided
from scoremix.execution.store import Store, step_of
from scoremix.recognition import checkpoints
from scoremix.recognition.heads import ArcFace
from scoremix.recognition.training import embed, initialised

QUIET = Runtime(device="cpu", quiet=True)


def checkpoint(folder: Path, channels: int = 1, size: int = 12) -> Path:
    """A recognizer of random parameters, in a file."""
    description = checkpoints.small(size, channels, (4, 8), (1, 1), 16)
    net = initialised(lambda: checkpoints.make(description), 0)
    path = folder / f"recognizer{channels}.safetensors"
    path.write_bytes(checkpoints.to_bytes(net, ArcFace(16, 3), description))
    return path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Three classes of 50 images of 20 x 17 colour pixels."""
    place = tmp_path / "images"
    for k in range(3):
        (place / f"class {k}").mkdir(parents=True)
        for i in range(50):
            pixels = np.random.default_rng((k, i)).integers(0, 256, (17, 20, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(place / f"class {k}" / f"{i:02d}.png")
    return place


def of(path: Path) -> dict[str, np.ndarray]:
    with np.load(path, allow_pickle=False) as file:
        return {name: file[name] for name in file.files}


@pytest.mark.parametrize("channels", [1, 3])
def test_rows_are_the_embeddings_of_the_decoded_files(channels: int, folder: Path, tmp_path: Path) -> None:
    path = checkpoint(tmp_path, channels)
    assert embed_images(path, folder, tmp_path / "e.npz", QUIET) == 150
    found = of(tmp_path / "e.npz")
    assert found["embeddings"].dtype == np.float32 and found["embeddings"].shape == (150, 16)
    np.testing.assert_allclose(np.linalg.norm(found["embeddings"], axis=1), 1, atol=1e-5)
    assert found["names"][51] == "class 1/01.png" and found["labels"][51] == 1
    assert found["class_names"].tolist() == ["class 0", "class 1", "class 2"]
    net, _ = checkpoints.load(path)
    for row in (0, 63, 64, 149):
        pixels = np.asarray(decode(folder / str(found["names"][row]), 12))
        if channels == 1:
            pixels = ((pixels @ np.array([299, 587, 114]) + 500) // 1000).astype(np.uint8)[..., None]
        x = torch.from_numpy(pixels.copy()).permute(2, 0, 1)[None]
        expected = torch.nn.functional.normalize(embed(net, x, batch=1))
        np.testing.assert_allclose(found["embeddings"][row], expected[0], atol=1e-5)


@pytest.mark.slow  # starts two processes
def test_workers_share_many_images(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = checkpoint(tmp_path)
    embed_images(path, folder, tmp_path / "alone.npz", QUIET)
    monkeypatch.setattr(embedding, "SHARED", 100)
    embed_images(path, folder, tmp_path / "shared.npz", QUIET.model_copy(update={"workers": 2}))
    alone, shared = of(tmp_path / "alone.npz"), of(tmp_path / "shared.npz")
    assert alone["names"].tolist() == shared["names"].tolist()
    np.testing.assert_array_equal(alone["embeddings"], shared["embeddings"])


def test_every_kind_of_place_gives_the_same_embeddings(folder: Path, tmp_path: Path) -> None:
    path = checkpoint(tmp_path, 3, size=17)
    files = sorted(folder.rglob("*.png"))
    pixels = np.stack([decode(file, 17) for file in files])
    labels = np.repeat(np.arange(3), 50)
    flat, packed = tmp_path / "flat", tmp_path / "packed"
    flat.mkdir(), packed.mkdir()
    for file in files:
        (flat / f"{file.parent.name} {file.name}").write_bytes(file.read_bytes())
    LabeledImages.of(pixels, labels, ["a", "b", "c"]).save(packed)
    mixed = np.random.default_rng(0).permutation(150)
    np.savez(tmp_path / "labelled.npz", images=pixels[mixed], labels=labels[mixed] * 7)
    np.savez(tmp_path / "bare.npz", images=pixels[mixed])
    found = {}
    for place in (folder, flat, packed, tmp_path / "labelled.npz", tmp_path / "bare.npz"):
        embed_images(path, place, tmp_path / "e.npz", QUIET)
        found[place.name] = of(tmp_path / "e.npz")
    base = found["images"]["embeddings"]
    for name in ("flat", "packed"):
        assert (found[name]["embeddings"] == base).all()
    for name in ("labelled.npz", "bare.npz"):  # other places in the chunks
        np.testing.assert_allclose(found[name]["embeddings"], base[mixed], atol=1e-6)
    assert "labels" not in found["flat"] and "labels" not in found["bare.npz"]
    assert found["labelled.npz"]["class_names"].tolist() == ["0", "7", "14"]
    assert (found["labelled.npz"]["labels"] == labels[mixed]).all()
    assert (found["packed"]["labels"] == labels).all()


def test_an_embedding_does_not_depend_on_the_images_after_it(folder: Path, tmp_path: Path) -> None:
    path = checkpoint(tmp_path)
    embed_images(path, folder, tmp_path / "all.npy", QUIET)
    for file in (folder / "class 2").iterdir():
        file.unlink()
    (folder / "class 2").rmdir()
    embed_images(path, folder, tmp_path / "some.npy", QUIET)
    assert (np.load(tmp_path / "all.npy")[:100] == np.load(tmp_path / "some.npy")).all()
    rows = list(csv.reader((tmp_path / "some.csv").open()))
    assert rows[0] == ["name", "label", "class"] and rows[100] == ["class 1/49.png", "1", "class 1"]
    assert len(rows) == 101


def test_a_table_of_ones_own_is_not_replaced(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "mine.csv").write_text("mine")
    with pytest.raises(ValueError, match=r"mine.csv exists already"):
        embed_images(tmp_path / "none.safetensors", folder, tmp_path / "mine.npy", QUIET)  # before anything is opened
    assert (tmp_path / "mine.csv").read_text() == "mine" and not (tmp_path / "mine.npy").exists()
    assert embed_images(checkpoint(tmp_path), folder, tmp_path / "mine.npz", QUIET) == 150  # has no table beside it


def test_a_name_that_is_not_utf_8_is_written_out(folder: Path, tmp_path: Path) -> None:
    one = folder / "class 1" / "07.png"
    one.rename(one.with_name(os.fsdecode(b"\xff.png")))
    assert embed_images(checkpoint(tmp_path), folder / "class 1", tmp_path / "e.npy", QUIET) == 50
    assert r"\udcff.png" in (tmp_path / "e.csv").read_text("utf-8")


def test_unreadable_files_are_all_named_or_left_out(folder: Path, tmp_path: Path) -> None:
    path, out = checkpoint(tmp_path), tmp_path / "e.npz"
    bad = [folder / "class 0" / "10.png", folder / "class 2" / "49.png"]
    for file in bad:
        file.write_bytes(b"no image")
    with pytest.raises(UnreadableImages) as caught:
        embed_images(path, folder, out, QUIET)
    assert all(str(file) in str(caught.value) for file in bad) and not out.exists()
    assert embed_images(path, folder, out, QUIET, skip_bad=True) == 148
    found = of(out)
    assert found["names"][9:11].tolist() == ["class 0/09.png", "class 0/11.png"]
    assert found["names"][-1] == "class 2/48.png" and np.bincount(found["labels"]).tolist() == [49, 50, 49]
    assert not list(tmp_path.glob("*.partial"))


@pytest.mark.parametrize(
    ("place", "out", "said"),
    [
        ("nowhere", "e.npz", "nowhere"),
        ("empty", "e.npz", "neither images nor class folders"),
        ("both", "e.npz", "one or the other"),
        ("images", "e.txt", "must end in .npz or .npy"),
        ("images", "no/e.npz", "does not exist"),
        ("wrong.npz", "e.npz", "images are float64"),
    ],
)
def test_wrong_calls_say_what_is_wrong(place: str, out: str, said: str, folder: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "both" / "a").mkdir(parents=True)
    (tmp_path / "both" / "b.png").write_bytes((folder / "class 0" / "00.png").read_bytes())
    np.savez(tmp_path / "wrong.npz", images=np.zeros((2, 3, 3)))
    with pytest.raises(ValueError, match=said):
        embed_images(checkpoint(tmp_path), tmp_path / place, tmp_path / out, QUIET)


def test_one_image_and_a_file_that_is_no_checkpoint(folder: Path, tmp_path: Path) -> None:
    one = folder / "class 1" / "07.png"
    assert embed_images(checkpoint(tmp_path), one, tmp_path / "e.npz", QUIET) == 1
    assert of(tmp_path / "e.npz")["names"].tolist() == ["07.png"]
    with pytest.raises(ValueError, match="not a readable checkpoint"):
        embed_images(one, folder, tmp_path / "e.npz", QUIET)


def test_a_checkpoint_is_found_by_file_folder_run_and_arm(tmp_path: Path) -> None:
    (tmp_path / "runs").mkdir()
    done = {"stage": "recognizer", "key": "a" * 64, "config": {}, "inputs": {}, "code": ""}
    steps = {"recognizer real/0": done, "ingest": {**done, "stage": "ingest"}}
    (tmp_path / "runs" / "demo.json").write_text(json.dumps({"experiment": {}, "steps": steps}))
    folder = tmp_path / "store" / "recognizer" / ("a" * 12)
    folder.mkdir(parents=True)
    file = folder / "recognizer.safetensors"
    with pytest.raises(ConfigError, match="no trained recognizer"):
        records.checkpoint_of(tmp_path, "demo/real")
    file.write_bytes(b"")
    for name in (str(file), str(folder), "demo/real", "demo/real/0"):
        assert records.checkpoint_of(tmp_path, name) == file
    for name in ("demo/real/1", "demo/scoremix", "other/real", "demo"):
        with pytest.raises(ConfigError, match=r"real/0|demo"):
            records.checkpoint_of(tmp_path, name)


def test_an_arm_that_repeats_another_step_keeps_its_name(tmp_path: Path) -> None:
    """real/0 is the baseline under a second label; looking at a run again must not make real mean real/1."""
    exp, source, store = decided(demo(), "cpu"), External("glyphs", "0" * 64), Store(tmp_path / "store")
    plans = runner.plan_all(exp, source, store)
    record = records.RunRecord(tmp_path, exp, plans)

    def stage(function: Any, config: Any, *inputs: Any, label: str = "") -> Any:
        plan = step_of(function, config, inputs, label)
        record.done(plan)
        return store.artifact(plan)

    pipeline.story(exp, source, stage)
    assert records.RunRecord(tmp_path, exp, plans).steps == record.steps
    assert "recognizer real/0" in record.steps
