"""Held-out images: chosen by seed, seen by no training, and named by class centers as counted by hand."""

from __future__ import annotations

import csv
import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch

from scoremix.config import ConfigError, Experiment, load
from scoremix.data.files import file_hash
from scoremix.data.images import LabeledImages
from scoremix.data.reading import Wanted, read
from scoremix.data.sources import open_listing
from scoremix.evaluation import fairness
from scoremix.execution import records
from scoremix.recognition import checkpoints
from scoremix.recognition.training import embed
from support.runs import run

SPLITS = {"train_classes": np.arange(6), "val_classes": np.array([6, 7]), "test_classes": np.array([8, 9])}


@pytest.fixture
def uneven(tmp_path: Path) -> Path:
    """Ten classes of 1, 2, 5, 10, 10 ... images; every image is of one value, which is its number."""
    labels = np.repeat(np.arange(10), [1, 2, 5, 10, 10, 10, 4, 4, 4, 4])
    images = np.broadcast_to(np.arange(len(labels), dtype=np.uint8)[:, None, None], (len(labels), 8, 8))
    np.savez(tmp_path / "uneven.npz", images=images, labels=labels, **SPLITS)
    return tmp_path / "uneven.npz"


def numbers(images: LabeledImages) -> list[list[int]]:
    """The images of every class, by their numbers."""
    return [images.of_class(k)[:, 0, 0, 0].tolist() for k in range(len(images.class_names))]


def test_every_training_class_keeps_an_image_and_gives_one(uneven: Path, tmp_path: Path) -> None:
    whole, _ = read(uneven, tmp_path / "whole")
    images, _ = read(uneven, tmp_path / "part", Wanted(held_out=0.2))
    train, held = images.of_classes("train"), images.of_classes("held_out")
    assert held.class_names == ("1", "2", "3", "4", "5") and held.counts.tolist() == [1, 1, 2, 2, 2]
    assert train.counts.tolist() == [1, 1, 4, 8, 8, 8]
    together = [sorted(a + b) for a, b in zip(numbers(train), [[], *numbers(held)], strict=True)]
    assert together == numbers(whole.of_classes("train"))
    for part in ("validation", "test"):
        assert numbers(images.of_classes(part)) == numbers(whole.of_classes(part))
    assert len(images) == len(whole) - 8 and images.labels.tolist() == np.repeat(range(10), images.counts).tolist()
    assert numbers(images.of_classes([3])) == [numbers(train)[3]]  # by number as well
    assert sum(map(len, numbers(images.save(tmp_path)))) == len(images)


def test_a_listing_of_the_set_has_all_rows_of_the_file(uneven: Path, tmp_path: Path) -> None:
    read(uneven, tmp_path / "part", Wanted(held_out=0.2))
    listing = open_listing(tmp_path / "part")
    blocks = list(listing.blocks(8, 1, 16, []))
    assert (np.concatenate([pixels for pixels, _ in blocks]) == np.load(tmp_path / "part" / "images.npy")).all()
    assert (listing.labels == np.load(tmp_path / "part" / "labels.npy")).all() and len(listing) == 54


def test_the_choice_is_the_seeds_and_looks_random(uneven: Path, tmp_path: Path) -> None:
    chosen = {}
    for seed in range(40):
        images, _ = read(uneven, tmp_path / str(seed), Wanted(held_out=0.5, seed=seed))
        chosen[seed] = numbers(images.of_classes("held_out"))[2:]
    again, _ = read(uneven, tmp_path / "again", Wanted(held_out=0.5, seed=3))
    assert numbers(again.of_classes("held_out"))[2:] == chosen[3]
    counts = np.bincount([n for of in chosen.values() for part in of for n in part], minlength=38)[8:38]
    assert counts.sum() == 40 * 15 and counts.min() >= 8 and counts.max() <= 32  # binomial(40, 1/2), 30 of them


def test_without_the_setting_nothing_changes(uneven: Path, tmp_path: Path) -> None:
    images, _ = read(uneven, tmp_path / "a")
    assert "held_out" not in json.loads((tmp_path / "a" / "classes.json").read_text())
    with pytest.raises(ValueError, match="no images are held out"):
        images.of_classes("held_out")


def test_wrong_shares_are_refused(uneven: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="held_out is 1"):
        read(uneven, tmp_path, Wanted(held_out=1.0))
    with pytest.raises(ConfigError, match=r"data\.held_out"):
        load(Experiment(), (), ["data.held_out=1"])
    with pytest.raises(ConfigError, match=r"set data\.held_out"):
        load(Experiment(), (), ["evaluation.task=closed"])
    with pytest.raises(ConfigError, match="'scoremix' knows no real class"):
        load(Experiment(), (), ["data.held_out=0.2", "evaluation.task=closed", "arms.scoremix.mixing.real=false"])
    labels = np.repeat(np.arange(10), [1] * 6 + [4] * 4)
    np.savez(tmp_path / "single.npz", images=np.zeros((22, 8, 8), np.uint8), labels=labels, **SPLITS)
    with pytest.raises(ValueError, match="one image only"):
        read(tmp_path / "single.npz", tmp_path, Wanted(held_out=0.2))


# ---- a whole run


@pytest.fixture(scope="module")
def settings(tiny_npz: Path, tiny_settings: list[str], tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """The tiny run with groups of classes, judged on held-out images."""
    with np.load(tiny_npz) as file:
        arrays = dict(file)
    place = tmp_path_factory.mktemp("grouped") / "grouped.npz"
    np.savez(place, **arrays, class_group=np.arange(24) % 3, group_names=np.array(["a", "b", "c"]))
    short = ["recognizer.epochs=3", "generator.images_seen=128", "evaluation.task=closed", "data.held_out=0.34"]
    nameless = ["arms.scoremix_alone.mixing.real=false"]  # its head has no real class: it cannot be measured
    return [*tiny_settings, f"source={place}", *short, *nameless]


@pytest.fixture(scope="module")
def finished(settings: list[str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("held_out")
    run(out, settings)
    return out


def real_of(out: Path) -> Path:
    return next((out / "store" / "ingest").iterdir())


def by_hand(out: Path, arm: str, seed: int) -> dict[str, float]:
    """Accuracy of every class from checkpoint and images, with nothing of the stages."""
    path = records.checkpoint_of(out, f"tiny/{arm}/{seed}")
    images = LabeledImages.load(real_of(out))
    names, held = images.of_classes("train").class_names, images.of_classes("held_out")
    net, _ = checkpoints.load(path)
    weight = checkpoints.head_tensors(path)["weight"][: len(names)]
    weight = weight / weight.norm(dim=1, keepdim=True)
    found = {}
    for k, name in enumerate(held.class_names):
        x = embed(net, torch.from_numpy(held.of_class(k).copy()).permute(0, 3, 1, 2))
        found[name] = float(np.mean([names[i] == name for i in (x @ weight.T).argmax(1)]))
    return found


def test_the_numbers_are_those_counted_by_hand(finished: Path) -> None:
    report = json.loads((finished / "tiny" / "report.json").read_text())
    assert report["evaluation"]["headline"] == "accuracy"
    with (finished / "tiny" / "closed_classes.csv").open() as file:
        rows = {row["class"]: row for row in csv.DictReader(file)}
    assert "accuracy" not in next(a for a in report["arms"] if a["name"] == "scoremix_alone")["metrics"]
    for arm in (a for a in report["arms"] if a["name"] != "scoremix_alone"):
        each = [by_hand(finished, arm["name"], seed) for seed in (0, 1)]
        means = {name: np.mean([of[name] for of in each]) for name in each[0]}
        assert arm["metrics"]["accuracy"]["value"] == pytest.approx(np.mean(list(means.values())), abs=1e-9)
        assert arm["metrics"]["accuracy"]["low"] <= arm["metrics"]["accuracy"]["high"]
        for name, value in means.items():
            assert float(rows[name][f"{arm['name']} accuracy"]) == pytest.approx(value, abs=1e-9)
        for group in report["closed"]["groups"]:
            of_group = [v for name, v in means.items() if rows[name]["group"] == group["name"]]
            assert group["arms"][arm["name"]]["value"] == pytest.approx(np.mean(of_group), abs=1e-9)
    assert [g["name"] for g in report["closed"]["groups"]] == ["a", "b", "c"]
    judged = [d for d in report["differences"] if d["metric"] == "accuracy" and d["arm"] == "scoremix"]
    assert {d["control"] for d in judged} == {"real", "equal_steps"}


def test_unseen_classes_are_measured_group_by_group(finished: Path) -> None:
    report = json.loads((finished / "tiny" / "report.json").read_text())
    found, images = report["by_group"], LabeledImages.load(real_of(finished)).of_classes("test")
    several = {name for name in "abc" if list(images.groups or ()).count(name) > 1}  # one class: no impostor pair
    assert {g["name"] for g in found["groups"]} == several and len(several) > 1
    x = torch.from_numpy(np.concatenate([images.of_class(k) for k in range(len(images.class_names))]))
    labels = np.repeat(np.arange(len(images.counts)), images.counts)
    net, _ = checkpoints.load(records.checkpoint_of(finished, "tiny/scoremix/1"))
    unit = torch.nn.functional.normalize(embed(net, x.permute(0, 3, 1, 2)), dim=1).numpy()
    similarity = unit @ unit.T
    i, j = np.triu_indices(len(unit), 1)
    same, of = labels[i] == labels[j], np.array(images.groups)[labels]
    impostors = np.sort(similarity[i, j][~same])[::-1]
    threshold = impostors[int(found["far"] * len(impostors))]
    for group in found["groups"]:
        inside = (of[i] == group["name"]) & (of[j] == group["name"])
        assert (group["genuine"], group["impostor"]) == ((inside & same).sum(), (inside & ~same).sum())
        for kind, pairs in (("fnmr", same), ("fmr", ~same)):
            accepted = similarity[i, j][inside & pairs] > threshold
            rate = 1 - accepted.mean() if kind == "fnmr" else accepted.mean()
            assert group[kind]["scoremix"]["seeds"][1] == pytest.approx(rate, abs=1.5 / len(accepted))
    for key, summary in fairness.SUMMARIES.items():
        rates = ([g[kind]["scoremix"]["seeds"][1] for g in found["groups"]] for kind in ("fmr", "fnmr"))
        stored = (found["garbe"] if key == "garbe" else found["others"][key])["scoremix"]["seeds"][1]
        assert (math.inf if stored is None else stored) == pytest.approx(float(summary(*rates)))
    assert 0 <= found["across"] <= 1 and 0 < found["across_all"] < 1
    assert "Are all groups served alike?" in (finished / "tiny" / "report.html").read_text()


def test_the_page_shows_them(finished: Path) -> None:
    page = (finished / "tiny" / "report.html").read_text()
    assert "Recognition of the training classes" in page and "By group of classes" in page
    assert "no real classes in its head" in page
    for name in ("closed_classes.csv", "closed_groups.csv"):
        assert name in page and (finished / "tiny" / name).exists()
    assert "held-out accuracy" in (next((finished / "store" / "report").iterdir()) / "summary.txt").read_text()


def test_no_stage_before_the_evaluation_sees_them(finished: Path, settings: list[str], tmp_path: Path) -> None:
    """Overwriting the held-out images on the disk changes nothing that is made before the evaluation."""
    run(tmp_path, settings, until="ingest")
    folder = real_of(tmp_path)
    images = LabeledImages.load(folder)
    held = images.of_classes("held_out")
    pixels = np.load(folder / "images.npy", mmap_mode="r+")
    for start, count in zip(held.starts, held.counts, strict=True):
        pixels[start : start + count] = 255 - pixels[start : start + count]
    pixels.flush()
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["outputs"]["images.npy"]["sha256"] = file_hash(folder / "images.npy")  # else they count as damaged
    (folder / "manifest.json").write_text(json.dumps(manifest))
    run(tmp_path, settings)
    differing = set()
    for file in (finished / "store").rglob("*"):
        if file.suffix in (".npy", ".safetensors", ".npz", ".csv"):
            name = file.relative_to(finished / "store")
            if (tmp_path / "store" / name).read_bytes() != file.read_bytes():
                differing.add(name.parts[0])
    assert differing <= {"ingest", "evaluate", "compare", "report"} and "evaluate" in differing
