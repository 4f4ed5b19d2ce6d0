"""An arm's training set for trainers elsewhere: the same images in every form, what each was mixed of, a card; networks to share."""

from __future__ import annotations

import io
import json
import sys
import types
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import DataLoader

import scoremix
from scoremix import commands
from scoremix.config import Arm, ConfigError, Experiment, Runtime, load
from scoremix.data.sources import open_source
from scoremix.execution import progress
from scoremix.execution.card import card
from scoremix.execution.store import Store
from scoremix.execution.trained import TrainedGenerator, TrainedRecognizer
from scoremix.execution.training_set import TrainingSet, load_training_set
from scoremix.outputs.quality import QualitySummary
from support.trainers import arcface_items


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory, tiny_settings: list[str]) -> Path:
    """A run with an arm of mixes and one of soft labels."""
    out = tmp_path_factory.mktemp("run")
    settings = [*tiny_settings, "recognizer.epochs=1", "arms.soft={mixing: {labels: both}}"]
    exp = load(Experiment(), (), settings)
    for step in ("recognizer scoremix/0", "recognizer soft/0"):
        progress.execute(exp, Runtime(out=out, device="cpu", quiet=True), Store(out / "store"), step)
    return out


@pytest.fixture(scope="module")
def images(out: Path) -> TrainingSet:
    return load_training_set("tiny/scoremix", out=out)


def call(monkeypatch: pytest.MonkeyPatch, out: Path, *words: object, status: int = 0) -> None:
    monkeypatch.setattr(sys, "argv", ["scoremix", "convert", *map(str, words), "--out", str(out), "-q"])
    with pytest.raises(SystemExit) as ended:
        commands.main()
    assert int(ended.value.code or 0) == status


def test_a_loader_gives_images_with_what_they_were_made_of(images: TrainingSet) -> None:
    mixes = images.mixes
    assert mixes is not None and images.real == len(images) - len(mixes.images) > 0
    batches = list(DataLoader(images, batch_size=10))
    seen = {name: torch.cat([batch[name] for batch in batches]) for name in batches[0]}
    assert seen["image"].dtype == torch.uint8 and seen["image"].shape[1:] == (1, 8, 8)
    assert (seen["image"].permute(0, 2, 3, 1).numpy() == images.images.images).all()
    assert (seen["label"].numpy() == images.images.labels).all() and (seen["labels"][:, 0] == seen["label"]).all()
    assert int(seen["real"].sum()) == images.real and not seen["real"][images.real :].any()
    assert (seen["sources"][: images.real, 0] == seen["label"][: images.real]).all()
    assert (seen["sources"][images.real :].numpy() == mixes.sources).all()
    assert (seen["source_weights"].sum(1) == 1).all()
    # the name of a mixed class, made when it was sampled, names the same classes
    for row in (images.real, len(images) - 1):
        names = [images.source_names[k] for k in images[row]["sources"]]
        assert all(name in images.class_names[int(images[row]["label"])] for name in names)
    assert images[-1]["image"].equal(images[len(images) - 1]["image"])
    with pytest.raises(IndexError):
        images[len(images)]


def test_soft_labels_come_with_their_weights(out: Path) -> None:
    soft = load_training_set("tiny/soft/0", out=out)
    last = soft[-1]
    assert last["labels"].shape == (3,) and float(last["weights"].sum()) == pytest.approx(1)
    assert set(last["labels"].tolist()[1:]) == set(last["sources"].tolist())
    assert soft.class_names[int(last["labels"][0])] == soft.images.class_names[int(last["label"])]


@pytest.mark.parametrize("form", ["recordio", "folders", "webdataset", "parquet"])
def test_every_form_has_the_same_images_and_tells_of_them(
    form: str, out: Path, images: TrainingSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = tmp_path / form
    call(monkeypatch, out, "tiny/scoremix", made, "--to", form, "--licence", "cc0-1.0")
    told = [json.loads(line) for line in (made / "provenance.jsonl").read_text().splitlines()]
    assert len(told) == len(images) and sum(line["real"] for line in told) == images.real
    for line in told:
        assert line["real"] == (line["sources"] == []) and sum(line["weights"]) == (
            0 if line["real"] else pytest.approx(1)
        )
        assert all(name in images.class_names[line["label"]] for name in line["sources"])
    expected = [(int(item["label"]), item["image"].numpy().tobytes()) for item in images]
    if form == "recordio":
        found = arcface_items(made)
        assert [line["label"] for line in told] == [label for label, _ in found]
    elif form == "folders":
        assert all((made / line["image"]).is_file() for line in told)
        labels = {
            row.split("\t")[1]: int(row.split("\t")[0]) for row in (made / "classes.tsv").read_text().splitlines()[1:]
        }
        found = [(labels[f.parent.name], f.read_bytes()) for f in sorted(made.glob("*/*.png"))]
        found.sort(key=lambda item: item[0])
    elif form == "webdataset":
        import webdataset

        found = [
            (int(s["cls"]), s["png"])
            for s in webdataset.WebDataset([str(made / "train-000000.tar")], shardshuffle=False)
        ]
        assert [line["label"] for line in told] == [label for label, _ in found]
        found.sort(key=lambda item: item[0])
        expected.sort()
    else:
        import pyarrow.parquet as pq

        rows = pq.read_table(made / "data").to_pylist()
        assert [(r["label"], r["sources"], r["image"]["path"]) for r in rows] == [
            (t["label"], t["sources"], t["image"]) for t in told
        ]
        found = [(row["label"], row["image"]["bytes"]) for row in rows]
    if form != "webdataset":  # what lies beside the images disturbs no reader of ours
        again = open_source(made)
        assert set(again.class_names) == set(images.class_names) and sum(again.counts) == len(images)
    pixels = [(label, np.asarray(Image.open(io.BytesIO(content))).tobytes()) for label, content in found]
    assert (sorted(pixels) if form == "webdataset" else pixels) == expected


def test_the_card_says_what_a_stranger_must_know(
    out: Path, images: TrainingSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    call(monkeypatch, out, "tiny/scoremix", tmp_path / "a", "--to", "parquet", "--licence", "cc-by-4.0")
    text = (tmp_path / "a" / "README.md").read_text()
    assert 'license: "cc-by-4.0"' in text and f"{images.real:,} real" in text and "Not measured" in text
    assert str(out) not in text and "store" not in text
    (out / "tiny").mkdir(exist_ok=True)
    row = {"leak@0.01": 0.25, "leak_others@0.01": 0.125, "authenticity": 0.9, "copying_z": None}
    measured = QualitySummary([], {"scoremix": row}, {})
    (out / "tiny" / measured.FILE).write_text(json.dumps(measured.as_json()))
    call(monkeypatch, out, "tiny/scoremix", tmp_path / "b", "--to", "folders")
    text = (tmp_path / "b" / "README.md").read_text()
    assert "25.00%" in text and "12.50%" in text and "C_T" not in text and 'license: "other"' in text
    (out / "tiny" / "quality.json").unlink()


def test_the_card_speaks_of_the_arm(out: Path, images: TrainingSet) -> None:
    arms = {"mine": Arm(sampling={"guidance": 4, "steps": 40}), "pixels": Arm(images="averages")}
    exp = load(Experiment(arms={**Experiment().arms, **arms}), (), ["name=tiny"])
    assert "| sampling | 40 steps, guidance 4, seed 0 |" in card(exp, "mine", images, out, None, False, "1")
    text = card(exp, "pixels", images, out, None, False, "1")
    assert "classes by their pixels |" in text and "| sampling | none |" in text and "ScoreMix" not in text


def test_networks_are_the_same_from_the_folder_that_was_shared(out: Path, tmp_path: Path) -> None:
    whole = scoremix.load_generator("tiny", out=out, device="cpu", guidance=1.7)
    whole.save_pretrained(tmp_path / "generator")
    again = TrainedGenerator.from_pretrained(tmp_path / "generator", device="cpu")
    assert again.classes == whole.classes
    assert (again.sample([3, 1], count=4, seed=2) == whole.sample([3, 1], count=4, seed=2)).all()
    recognizer = scoremix.load_recognizer("tiny/scoremix", out=out, device="cpu")
    recognizer.save_pretrained(tmp_path / "recognizer")
    pixels = np.random.default_rng(0).integers(0, 256, (5, 8, 8, 1), np.uint8)
    shared = TrainedRecognizer.from_pretrained(tmp_path / "recognizer", device="cpu")
    assert (shared.embed(pixels) == recognizer.embed(pixels)).all()
    assert {f.name for f in (tmp_path / "recognizer").iterdir()} == {"recognizer.safetensors", "config.json"}
    for asked, message in (
        (lambda: recognizer.save_pretrained(tmp_path / "recognizer"), "exists already"),
        (lambda: TrainedGenerator.from_pretrained("somebody/generator"), "nothing is downloaded"),
    ):
        with pytest.raises(ValueError, match=message):
            asked()
    (tmp_path / "generator" / "config.json").write_text('{"sampling": {"steps": 0}}')
    with pytest.raises(ConfigError, match=r"config\.json: not the settings of a generator \(steps"):
        scoremix.load_generator(tmp_path / "generator", device="cpu")


class Hub:
    """A stand-in for the hub's client that notes what is asked of it."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, dict[str, object]]] = []

    def HfApi(self) -> Hub:
        return self

    def create_repo(self, repo: str, **more: object) -> str:
        self.asked.append((repo, more))
        return f"https://hub/{repo}"

    def upload_folder(self, **what: object) -> None:
        folder = Path(str(what.pop("folder_path")))
        self.asked.append((str(what["repo_id"]), {**what, "files": sorted(f.name for f in folder.iterdir())}))


def test_what_is_pushed_is_private_and_only_what_was_asked_for(
    out: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    hub = Hub()
    module = types.ModuleType("huggingface_hub")
    module.HfApi = hub.HfApi  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "huggingface_hub", module)
    call(monkeypatch, out, "tiny/scoremix", tmp_path / "quiet", "--to", "parquet")
    assert hub.asked == []
    call(monkeypatch, out, "tiny/scoremix", tmp_path / "set", "--to", "parquet", "--push", "me/mixes")
    (_, made), (repo, sent) = hub.asked
    assert made == {"repo_type": "dataset", "private": True, "exist_ok": True}
    assert repo == "me/mixes" and sent["files"] == ["README.md", "classes.tsv", "data", "provenance.jsonl"]
    assert "https://hub/me/mixes" in capsys.readouterr().out
    scoremix.load_recognizer("tiny/scoremix", out=out).save_pretrained(tmp_path / "net", push="me/net")
    assert hub.asked[-1][1]["repo_type"] == "model"
    monkeypatch.setattr(hub, "upload_folder", lambda **_: (_ for _ in ()).throw(OSError("no\nroute")))
    call(monkeypatch, out, "tiny/scoremix", tmp_path / "kept", "--to", "folders", "--push", "me/mixes", status=1)
    assert "the hub refused (no route)" in capsys.readouterr().err and (tmp_path / "kept" / "README.md").exists()
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    call(monkeypatch, out, "tiny/scoremix", tmp_path / "none", "--push", "me/mixes", status=2)
    assert "pip install 'scoremix[hf]'" in capsys.readouterr().err and not (tmp_path / "none").exists()


def test_what_is_not_there_is_said_in_one_line(
    out: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for words, said in (
        (("tiny/other", tmp_path / "x"), "no trained arm 'other' (has: real, scoremix, soft;"),
        (("nothing/real", tmp_path / "x"), "does not exist"),
        (("tiny/scoremix", tmp_path / "x", "--push", "mixes"), "must be OWNER/NAME"),
        ((tmp_path, tmp_path / "x", "--licence", "mit"), "--licence: is for the card of RUN/ARM"),
    ):
        call(monkeypatch, out, *words, status=2)
        error = capsys.readouterr().err
        assert said in error and error.count("\n") == 1, error
