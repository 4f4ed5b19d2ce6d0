"""`scoremix quality` on a toy run: planted copies, collapse and noise are told apart; what it cannot do it says."""

from __future__ import annotations

import csv
import json
import math
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from scoremix.config import Experiment, Quality, load
from scoremix.config.arms import named
from scoremix.data.images import LabeledImages
from scoremix.data.reading import Wanted, read
from scoremix.evaluation.backbones import DinoV2
from scoremix.evaluation.generated import of_copying
from scoremix.evaluation.quality import frechet_distance, prdc
from scoremix.stages.judge.quality import RealReference
from support.runs import command, run

FMRS = "quality.fmrs=[0.1, 0.02]"  # 735 impostor pairs support no lower rates


def refused(capsys: pytest.CaptureFixture[str], *arguments: object) -> str:
    assert command(*arguments) == 2
    said = capsys.readouterr().err.strip()
    assert "Traceback" not in said and "\n" not in said
    return said


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory, tiny_settings: list[str]) -> Path:
    """A toy run."""
    out = tmp_path_factory.mktemp("quality")
    changes = ["recognizer.epochs=15", "recognizer.augment=none", "arms=real,scoremix", "evaluation.controls=[real]"]
    exp = load(Experiment(), (), [*tiny_settings, *changes], named)
    run(out, exp)
    return out


def real_images(out: Path) -> LabeledImages:
    return LabeledImages.load(next((out / "store" / "ingest").iterdir())).of_classes("train")


def planted(folder: Path, images: np.ndarray, labels: np.ndarray, names: list[str]) -> Path:
    np.savez(folder, images=images, labels=labels.astype(np.int32), class_names=np.array(names))
    return folder


@pytest.fixture(scope="module")
def measured(finished: Path) -> dict[str, dict[str, float]]:
    """The table of the run's own sets and of four planted ones."""
    real, rng = real_images(finished), np.random.default_rng(0)
    images, labels, names = np.asarray(real.take(np.arange(len(real)))[0]), real.labels, list(real.class_names)
    first = np.concatenate([np.repeat(real.of_class(k)[:1], real.counts[k], 0) for k in range(len(names))])
    folder = finished / "planted"
    folder.mkdir()
    sets = {
        "copies": planted(folder / "copies.npz", images, labels, names),
        "collapsed": planted(folder / "collapsed.npz", first, labels, names),
        "shuffled": planted(folder / "shuffled.npz", images, labels, [*names[1:], names[0]]),
        "noise": planted(folder / "noise.npz", rng.integers(0, 256, images.shape, np.uint8), labels, names),
        "strangers": planted(folder / "strangers.npz", images, labels, [f"new {n}" for n in names]),
    }
    images_options = [x for path in sets.values() for x in ("--images", path)]
    assert command("quality", "tiny", "--out", finished, "--quiet", "--set", FMRS, *images_options) == 0
    return json.loads((finished / "tiny" / "quality.json").read_text())["sets"]


def test_every_set_of_the_run_is_there(measured: dict[str, dict[str, float]]) -> None:
    assert list(measured)[:4] == ["real", "held-out classes", "reproductions", "scoremix"]
    assert measured["scoremix"]["images"] == 15
    generated = [row for name, row in measured.items() if name != "held-out classes"]
    assert len({(row["compared"], row["images_per_class"]) for row in generated}) == 1


def test_copies_are_faithful_and_found_out(measured: dict[str, dict[str, float]]) -> None:
    copies, real = measured["copies.npz"], measured["real"]
    assert copies["authenticity"] == 0 and copies["nearest"] == pytest.approx(1, abs=1e-6)
    assert copies["leak@0.02"] == 1 >= real["leak@0.02"] > measured["held-out classes"]["leak@0.02"]
    assert copies["copying_z"] is real["copying_z"] is None  # no images of the training classes were held out
    assert real["authenticity"] > 0.2
    assert copies["mode_coverage"] == 1 and copies["align"] < 0.5


def test_collapse_shows_within_classes(measured: dict[str, dict[str, float]]) -> None:
    collapsed, copies = measured["collapsed.npz"], measured["copies.npz"]
    assert collapsed["ics"] == pytest.approx(1, abs=1e-6)
    assert copies["ics"] < 0.999


def test_wrong_classes_and_noise_are_not_faithful(measured: dict[str, dict[str, float]]) -> None:
    copies = measured["copies.npz"]
    shuffled, noise = measured["shuffled.npz"], measured["noise.npz"]
    assert shuffled["align"] > copies["align"] + 0.2 and shuffled["mode_coverage"] < 0.5
    for key in ("frechet", "recall", "authenticity"):  # distributions do not see which class is which
        assert shuffled[key] == pytest.approx(copies[key])
    assert noise["frechet"] > 3 * copies["frechet"] and noise["authenticity"] > 0.9
    assert noise["align"] > copies["align"]


def test_neighbourhoods_that_reach_into_other_classes_are_said(
    finished: Path, measured: dict[str, dict[str, float]]
) -> None:
    assert measured["noise.npz"]["precision"] == 1
    notes = json.loads((finished / "tiny" / "quality.json").read_text())["notes"]
    (note,) = (note for note in notes if note.startswith("precision"))
    assert "as 1.1 images of a class are compared" in note
    assert note in (finished / "tiny" / "quality.html").read_text()


def test_mixes_are_held_against_the_center_between_their_sources(measured: dict[str, dict[str, float]]) -> None:
    mixes = measured["scoremix"]
    assert 0 <= mixes["leak_others@0.02"] <= mixes["leak@0.02"] <= 1
    assert math.isfinite(mixes["align"]) and "leak_others@0.02" not in measured["reproductions"]
    strangers = measured["strangers.npz"]
    assert strangers["align"] is None and strangers["ics"] == pytest.approx(measured["copies.npz"]["ics"])


def test_csv_page_and_pictures(measured: dict[str, dict[str, float]], finished: Path) -> None:
    with open(finished / "tiny" / "quality.csv") as file:
        rows = {row["set"]: row for row in csv.DictReader(file)}
    assert list(rows) == list(measured)
    assert float(rows["copies.npz"]["authenticity"]) == 0 and rows["strangers.npz"]["align"] == ""
    page = (finished / "tiny" / "quality.html").read_text()
    assert ">left out: " not in page
    assert page.count("data:image/png") > 2 * 24 and "http" not in page.replace("http://www.w3.org", "")


def recognizer_of(out: Path, label: str) -> Path:
    manifests = (out / "store" / "recognizer").glob("*/manifest.json")
    return next(m.parent for m in manifests if json.loads(m.read_text())["label"] == label) / "recognizer.safetensors"


def test_the_judge_is_not_the_selector(finished: Path, measured: dict[str, dict[str, float]]) -> None:
    notes = json.loads((finished / "tiny" / "quality.json").read_text())["notes"]
    assert any("seed 1" in note for note in notes)
    manifest = next((finished / "store" / "quality").glob("*/manifest.json"))
    judge = json.loads((recognizer_of(finished, "recognizer real/1").parent / "manifest.json").read_text())["key"]
    assert json.loads(manifest.read_text())["inputs"]["0"] == judge
    assert len(list((finished / "store" / "recognizer").iterdir())) == 4  # none trained for this


def test_without_a_run(
    finished: Path,
    measured: dict[str, dict[str, float]],
) -> None:
    out, place = finished / "other", finished / "planted"
    weights = recognizer_of(finished, "recognizer real/1")
    packed = next((finished / "store" / "sample").iterdir())
    options = ["--real", place / "copies.npz", "--images", place / "noise.npz", "--images", packed]
    assert command("quality", *options, "--weights", weights, "--out", out, "--quiet") == 0
    found = json.loads((out / "quality" / "quality.json").read_text())
    assert found["sets"]["noise.npz"]["align"] == pytest.approx(measured["noise.npz"]["align"])
    assert not any(key.startswith("leak") for key in found["sets"]["noise.npz"])
    assert any("held-out" in note for note in found["notes"])


def test_features_of_a_published_network(
    finished: Path,
    measured: dict[str, dict[str, float]],
) -> None:
    weights = finished / "dino.pth"
    with torch.random.fork_rng():
        torch.manual_seed(0)
        torch.save(DinoV2(64, 1, 4).state_dict(), weights)
    options = [
        "--weights",
        weights,
        "--set",
        "quality.features=dinov2",
        "--images",
        finished / "planted" / "copies.npz",
    ]
    shutil.copytree(finished / "store", finished / "with_dino" / "store")
    shutil.copytree(finished / "runs", finished / "with_dino" / "runs")
    call_options = ["quality", "tiny", "--arm", "scoremix", "--out", finished / "with_dino", "--quiet", *options]
    assert command(*call_options) == 0
    found = json.loads((finished / "with_dino" / "tiny" / "quality.json").read_text())
    assert found["notes"][0].startswith("features: dinov2")
    assert list(found["sets"]) == ["real", "held-out classes", "reproductions", "scoremix", "copies.npz"]
    assert found["sets"]["copies.npz"]["authenticity"] == 0 < found["sets"]["scoremix"]["authenticity"]


def test_what_is_wrong_is_one_line(
    finished: Path,
    measured: dict[str, dict[str, float]],
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
) -> None:
    def says(*arguments: object) -> str:
        return refused(capsys, "quality", "--quiet", "--out", finished, *arguments)

    copies = finished / "planted" / "copies.npz"
    assert "nosuch" in says("nosuch")
    assert "'x'" in says("tiny", "--arm", "x")
    assert "/nowhere" in says("tiny", "--images", "/nowhere")
    assert "/nowhere" in says("tiny", "--weights", "/nowhere")
    assert "nothing is downloaded" in says("tiny", "--set", "quality.features=dinov2")
    assert "nothing is downloaded" in says("--real", copies, "--images", copies, "--set", "quality.features=inception")
    assert "not a file of tensors" in says("tiny", "--set", "quality.features=dinov2", "--weights", copies)
    assert "not a readable" in says("tiny", "--weights", copies)
    assert "--images" in says("--real", copies)
    assert "--weights" in says("--real", copies, "--images", copies)
    assert "neighbours" in says("tiny", "--set", "quality.neighbours=500")
    assert "below `quality`" in says("tiny", "--set", "sampling.seed=9")
    half = tmp_path / "half"
    shutil.copytree(next((finished / "store" / "sample").iterdir()), half)
    (half / "images.npy").unlink()
    assert str(half) in says("tiny", "--images", half)
    baseline = recognizer_of(finished, "baseline")
    assert "cannot judge" in says("tiny", "--weights", baseline)


def test_c_t_is_measured_against_held_out_images_of_the_training_classes(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    means = rng.uniform(60, 190, (12, 1, 6, 6, 1))  # a class is a pattern; its images scatter around it

    def drawn(each: int) -> np.ndarray:
        return (
            (means + rng.normal(0, 8, (12, each, 6, 6, 1))).round().clip(0, 255).astype(np.uint8).reshape(-1, 6, 6, 1)
        )

    names = [f"c{k:02d}" for k in range(12)]
    planted(tmp_path / "faces.npz", drawn(30), np.repeat(np.arange(12), 30), names)
    stored, _ = read(tmp_path / "faces.npz", tmp_path / "packed", Wanted(fractions=None, held_out=0.4))
    train, apart = stored.of_classes("train"), stored.of_classes("held_out")

    def pixels(images: LabeledImages, rows: np.ndarray) -> torch.Tensor:
        return torch.from_numpy(images.take(rows)[0].reshape(len(rows), -1).astype(np.float32))

    real = RealReference.of(Quality(), pixels, train, None, apart)
    assert real.unseen is not None
    fresh = torch.from_numpy(drawn(10).reshape(120, -1).astype(np.float32))
    found, copied = (of_copying(x, real.features, real.unseen, [])["copying_z"] for x in (fresh, real.features[:100]))
    assert abs(found) < 4 and copied < -8


def test_features_in_files_need_no_images(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The numbers are the library's; half of the rows are copies, and the copies show."""
    rng = np.random.default_rng(0)
    real, fake = rng.normal(size=(300, 8)).astype(np.float32), rng.normal(size=(200, 8)).astype(np.float32)
    copies = real[:200].copy()
    rest = rng.normal(size=(100, 8)).astype(np.float32)
    for name, rows in (("real", real), ("fake", fake), ("copies", copies), ("flat", fake[:, 0]), ("rest", rest)):
        np.save(tmp_path / f"{name}.npy", rows)

    monkeypatch.chdir(tmp_path)
    files = ("--real", "real.npy", "--fake", "fake.npy", "--fake", "copies.npy", "--held-out", "rest.npy")
    assert command("quality", *files, "--out", "out") == 0
    said = capsys.readouterr().out
    assert "authenticity" in said and "below -3 nearer than chance explains" in said
    lines = (tmp_path / "out" / "quality" / "features.csv").read_text().splitlines()
    found = {
        row[0]: dict(zip(lines[0].split(",")[1:], map(float, row[1:]), strict=True))
        for row in (x.split(",") for x in lines[1:])
    }
    assert found["fake"]["frechet"] == pytest.approx(float(frechet_distance(real, fake)), rel=1e-6)
    assert found["fake"]["precision"] == pytest.approx(float(prdc(real, fake, 5)["precision"]))
    assert found["copies"]["authenticity"] == 0 < found["fake"]["authenticity"]
    assert found["copies"]["copying_z"] < -3 < found["fake"]["copying_z"]
    for fake_file, said in (
        ("flat.npy", "flat.npy: no features (shape (200,)"),
        (".", "must be features (.npy) as real.npy is"),
    ):
        assert said in refused(capsys, "quality", "--real", "real.npy", "--fake", fake_file)
