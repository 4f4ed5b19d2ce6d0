"""From a finished run to a recognizer of all its classes: the recipe, the thresholds, the folder, and its use without torch."""

from __future__ import annotations

import contextlib
import csv
import json
import os
import re
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import yaml
from PIL import Image

import scoremix
from scoremix.config import Arm, ConfigError, Experiment, Runtime, load
from scoremix.config import generator as generator_settings
from scoremix.config.arms import named
from scoremix.config.delivery import AllClasses, Delivery
from scoremix.data.files import locked
from scoremix.data.images import LabeledImages
from scoremix.delivery import delivery
from scoremix.evaluation.estimate import ChosenCandidate, Estimate
from scoremix.execution import fitting, progress, records
from scoremix.execution.artifacts import Artifact, StoreBusy
from scoremix.execution.recipe import chosen_recipe
from scoremix.execution.runner import Planner
from scoremix.execution.store import Step, Store
from scoremix.execution.work import Work
from scoremix.outputs.comparison import Comparison, Difference, Verdict
from scoremix.outputs.networks import GateResult
from scoremix.stages.deliver.everything import everything
from scoremix.stages.train import resume
from scoremix.use import gallery as search
from scoremix.use.gallery import Gallery
from scoremix.use.model import Model, Threshold
from support.runs import command, run

pytest.importorskip("onnxscript", reason="the extra 'onnx' is not installed")
DOCS = Path(__file__).parents[1] / "docs"
ARMS = ("real", "equal_steps", "scoremix", "averages")
WITHOUT_TORCH = """
import sys
class Refused:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {refused}:
            raise ImportError(name + " is not to be imported")
sys.meta_path.insert(0, Refused())
"""


def runtime(out: Path) -> Runtime:
    return Runtime(out=out, device="cpu", quiet=True, checkpoint_seconds=0.0)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory, tiny_npz: Path, tiny_settings: list[str]) -> Path:
    """A folder with images, a finished run on them, and its model."""
    place = tmp_path_factory.mktemp("deliver")
    with np.load(tiny_npz) as file:
        for i, (pixels, label) in enumerate(zip(file["images"], file["labels"], strict=True)):
            (place / "images" / f"blob {label:02d}").mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels).save(place / "images" / f"blob {label:02d}" / f"{i}.png")
    exp = load(Experiment(arms=named(ARMS)), (), [*tiny_settings, f"source={place}/images", "name=my_images"])
    out = place / "scoremix_runs"
    run(out, exp, checkpoint_seconds=0.0)
    with open(place / "said.txt", "w") as said, contextlib.redirect_stderr(said):
        fitting.fit("my_images", runtime(out))
    return place


@pytest.fixture(scope="module")
def out(place: Path) -> Path:
    return place / "scoremix_runs"


@pytest.fixture(scope="module")
def model(out: Path) -> Path:
    return out / "my_images" / "model"


def contents(folder: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in folder.iterdir() if file.name != "manifest.json"}


# ---------------------------------------------------------------------------------- what is trained


def test_every_class_and_image_is_trained_on_those_of_the_run_first(tmp_path: Path) -> None:
    images = np.arange(40, dtype=np.uint8)[:, None, None, None] * np.ones((1, 8, 8, 1), np.uint8)
    names, splits = tuple("abcdefghij"), {"train": [1, 4, 7, 9], "validation": [0, 8], "test": [2, 3, 5, 6]}
    held = np.where(np.isin(np.arange(10), splits["train"]), 1, 0)
    stored = LabeledImages.of(images, np.repeat(np.arange(10), 4), names, splits, names, held)
    (tmp_path / "real").mkdir()
    (tmp_path / "all").mkdir()
    np.save(tmp_path / "real" / "images.npy", images)
    np.save(tmp_path / "real" / "labels.npy", np.repeat(np.arange(10, dtype=np.int32), 4))
    parts = {part: list(of) for part, of in splits.items()}
    table = {"names": names, "splits": parts, "groups": names, "held_out": held.tolist()}
    (tmp_path / "real" / "classes.json").write_text(json.dumps(table))
    real = Artifact("ingest", "", tmp_path / "real")
    everything(AllClasses(), real, work=Work(tmp_path / "all", Runtime(quiet=True), "everything"))
    found = LabeledImages.load(tmp_path / "all").of_classes("train")
    assert found.class_names == tuple("behjaicdfg") == found.groups
    assert found.class_names[:4] == stored.of_classes("train").class_names
    assert sorted(found.images[:, 0, 0, 0].tolist()) == list(range(40)) and (found.counts == 4).all()
    assert (found.of_class(1)[:, 0, 0, 0] == [16, 17, 18, 19]).all()


def test_the_model_knows_all_classes_and_took_as_many_epochs_as_its_recipe(out: Path, model: Path) -> None:
    settings = json.loads((model / "settings.json").read_text())
    arm, exp = settings["recipe"], records.recorded(out, "my_images")
    assert arm in ("real", "equal_steps") and settings["experiment"]["source"] == "images"
    made = json.loads((model / "provenance.json").read_text())["recognizer 0"]
    trained = records.stored(out, made["key"])
    run = records.finished(out, "my_images").recognizers[f"{arm}/0"].json("recognizer.json")
    assert trained is not None
    final = trained.json("recognizer.json")
    assert (final["classes"], final["images"]) == (24, 144) and run["images"] < 144
    epochs = [of["steps"] * exp.recognizer.batch / of["images"] for of in (final, run)]
    assert epochs[0] == pytest.approx(epochs[1], abs=exp.recognizer.batch / 72)
    lines = (model / "classes.tsv").read_text().splitlines()
    assert len(lines) == 25 and lines[1].split("\t")[1:] == ["6", "train"] and lines[-1].endswith("test")


def steps_of(said: str) -> tuple[int, int, int]:
    """Of what a call of `fit` said: steps that were done before, all of them, and those that were listed as made."""
    match = re.search(r"(\d+) of (\d+) steps are done already", said)
    assert match
    return int(match[1]), int(match[2]), said.count("✓ ")


def test_every_step_that_was_to_do_is_listed(place: Path) -> None:
    done, steps, listed = steps_of((place / "said.txt").read_text())
    assert (done, steps, listed) == (0, 4, 4)


def test_a_second_call_makes_nothing_and_a_stopped_one_ends_in_the_same_bytes(
    out: Path, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    before = {file.name: file.stat().st_mtime_ns for file in model.iterdir()}
    fitting.fit("my_images", runtime(out))
    assert "✓" not in capsys.readouterr().err
    assert {file.name: file.stat().st_mtime_ns for file in model.iterdir()} == before
    for stage in ("model", "everything"):
        for folder in (out / "store" / stage).iterdir():
            for file in folder.iterdir():
                file.unlink()
    key = json.loads((model / "provenance.json").read_text())["recognizer 0"]["key"]
    for file in (out / "store" / "recognizer" / key[:12]).iterdir():
        file.unlink()
    save = resume.TrainingCheckpoint.save

    def stopped(checkpoint: resume.TrainingCheckpoint) -> None:
        save(checkpoint)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(resume.TrainingCheckpoint, "save", stopped)
        fitting.fit("my_images", runtime(out), tmp_path / "again")
    assert not (tmp_path / "again").exists()
    fitting.fit("my_images", runtime(out), tmp_path / "again")
    assert contents(tmp_path / "again") == contents(model)


def test_another_model_gives_way_with_a_word_and_the_same_one_without(
    out: Path, model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    copy = tmp_path / "model"
    shutil.copytree(model, copy)
    word = f"{copy}: the model that is there is replaced when this one is done"
    for licence, said in (("other", False), ("bsd", True), ("bsd", False), ("other", True)):
        fitting.fit("my_images", runtime(out), copy, licence=licence)
        assert (word in capsys.readouterr().err.splitlines()) == said, licence
    (copy / "recognizer.onnx").write_bytes(b"damaged")  # and put there again
    fitting.fit("my_images", runtime(out), copy)
    assert "replaced" not in capsys.readouterr().err
    manifest = json.loads((copy / "manifest.json").read_text())
    manifest["config"]["experiment"]["name"], manifest["key"] = "another", "0" * 64
    (copy / "manifest.json").write_text(json.dumps(manifest))
    fitting.fit("my_images", runtime(out), copy)
    assert (
        f"{copy}: the model that is there, of run 'another', is replaced when this one is done\n"
        in capsys.readouterr().err
    )


def test_a_damaged_model_is_put_there_again_and_what_others_put_beside_it_stays(
    out: Path, model: Path, tmp_path: Path
) -> None:
    copy = tmp_path / "model"
    shutil.copytree(model, copy)
    (copy / "notes").mkdir()
    (copy / "notes" / "mine.txt").write_text("mine")
    for damage, said in (
        (lambda: (copy / "recognizer.onnx").write_bytes(b"short"), "recognizer.onnx is not what `scoremix fit` wrote"),
        (lambda: (copy / "thresholds.json").write_text("{}"), "thresholds.json is not what `scoremix fit` wrote"),
        (lambda: (copy / "recognizer.onnx").unlink(), "neither a folder with recognizer.onnx"),
        (lambda: copy.rename(tmp_path / ".model.before"), "neither a folder with recognizer.onnx"),  # killed meanwhile
    ):
        damage()
        with pytest.raises(ValueError, match=said):
            scoremix.load_model(copy)
        fitting.fit("my_images", runtime(out), copy)
        assert scoremix.load_model(copy).key == scoremix.load_model(model).key
        assert (copy / "notes" / "mine.txt").read_text() == "mine"
        assert {file.name for file in tmp_path.iterdir()} == {"model"}
        assert {file.name for file in copy.iterdir()} == {file.name for file in model.iterdir()} | {"notes"}


def test_what_another_process_makes_is_said_before_anything_is_measured(
    out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    parts, planner = records.finished(out, "my_images"), Planner(Store(out / "store"))
    config = Delivery.model_validate_json((out / "my_images" / "model" / "settings.json").read_text())
    wanted = config.model_copy(update={"licence": "mit"})
    last = delivery(parts.exp, wanted, *parts[1:4], records.evaluated(out, parts, config.recipe), planner)
    monkeypatch.setattr(fitting, "estimate", lambda *_: pytest.fail("measured"))
    last.folder.mkdir()
    with locked(last.folder / ".lock"), pytest.raises(StoreBusy, match="another process is working on it"):
        fitting.fit("my_images", runtime(out), licence="mit")


def test_a_generator_of_all_classes_is_trained_for_as_long_as_they_need(
    out: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(generator_settings, "IMAGES_PER_CLASS", 10_000)
    parts = records.finished(out, "my_images")
    auto = parts.exp.generator.model_copy(update={"images_seen": "auto"})
    parts = parts._replace(exp=parts.exp.model_copy(update={"generator": auto}))
    trained: list[int] = []

    def stop(parts: records.FinishedRun, planner: Planner, runtime: Runtime) -> None:
        trained.extend(s.config["images_seen"] for s in planner.listed if s.stage == "generator")
        raise KeyboardInterrupt

    monkeypatch.setattr(records, "finished", lambda *_: parts)
    monkeypatch.setattr(fitting, "make", stop)
    with pytest.raises(KeyboardInterrupt):
        fitting.fit("my_images", runtime(out), tmp_path / "m", arm="scoremix", retrain_generator=True)
    classes = sum(map(len, LabeledImages.load(parts.chain["real"].folder).splits.values()))
    assert trained == [10_000 * classes]


def test_mixes_are_the_runs_own_or_of_all_classes(out: Path) -> None:
    """As planned: what the training set and the generator are made of."""
    parts, store = records.finished(out, "my_images"), Store(out / "store")
    config = Delivery.model_validate_json((out / "my_images" / "model" / "settings.json").read_text())
    steps: dict[str, dict[str, Step]] = {}
    again = Arm(images="averages", selected_by="scoremix")
    near = Arm(images="averages", selection={"space": "condition", "strategy": "close"})
    exp = parts.exp.model_copy(update={"arms": {**parts.exp.arms, "again": again, "near": near}})
    added = {**parts.added, "again": parts.added["averages"], "near": parts.added["averages"]}
    asked = (
        ("scoremix", False),
        ("scoremix", True),
        ("averages", False),
        ("again", False),
        ("near", False),
        ("near", True),
    )
    for name, retrained in asked:
        planner = Planner(store)
        wanted = config.model_copy(update={"recipe": name, "retrained": retrained})
        evaluated = records.evaluated(out, parts, "averages" if name in ("again", "near") else name)
        delivery(exp, wanted, parts.chain, parts.recognizers, added, evaluated, planner)
        steps[f"{name} {retrained}"] = {step.stage: step for step in planner.steps.values()}
    own, retrained_, averages, selected_again, near_own, near_retrained = steps.values()
    assert own["combine"].inputs == {"0": own["everything"].key, "1": parts.added["scoremix"].key}
    assert "generator" not in own and "sample" not in own and "generator" not in averages
    assert retrained_["generator"].inputs["0"] == averages["pixels"].inputs["0"] == own["everything"].key
    assert retrained_["combine"].inputs["1"] == retrained_["sample"].key
    assert retrained_["sample"].inputs["0"] == retrained_["generator"].key
    assert averages["combine"].inputs["1"] == averages["pixels"].key
    assert selected_again["combine"].inputs["1"] == added["again"].key
    assert near_own["combine"].inputs["1"] == added["near"].key and "generator" not in near_own
    assert near_retrained["generator"].key in near_retrained["select"].inputs.values()
    assert not {"sample", "keep_real"} & selected_again.keys()  # the run's generator knows no other classes


@pytest.mark.slow
@pytest.mark.parametrize(("arm", "retrain"), [("scoremix", False), ("scoremix", True), ("averages", False)])
def test_every_kind_of_recipe_is_made(
    arm: str, retrain: bool, out: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    fitting.fit("my_images", runtime(out), tmp_path / "m", arm=arm, retrain_generator=retrain)
    done, steps, listed = steps_of(capsys.readouterr().err)
    assert done + listed == steps
    card = (tmp_path / "m" / "README.md").read_text()
    assert "mixed images as 5 classes of their own" in card
    assert ("generator was trained on all classes" in card) == retrain and ("no generator needed" in card) == (
        arm == "averages"
    )


def test_an_ensemble_is_the_mean_of_its_unit_embeddings(out: Path, place: Path, tmp_path: Path) -> None:
    fitting.fit("my_images", runtime(out), tmp_path / "both", ensemble=True)
    files = [tmp_path / "both" / f"recognizer-{seed}.safetensors" for seed in (0, 1)]
    units = [scoremix.load_recognizer(file, device="cpu").embed(place / "images") for file in files]
    mean = (units[0] + units[1]) / 2
    found = scoremix.load_model(tmp_path / "both").embed(place / "images")
    np.testing.assert_allclose(found, mean / np.linalg.norm(mean, axis=1, keepdims=True), atol=1e-4)
    assert "mean of 2 networks" in (tmp_path / "both" / "README.md").read_text()


def run_with(kind: str, **values: float) -> Any:
    """What `chosen_recipe` reads of a run with those headline values by arm."""
    results = compared(
        verdict=Verdict(kind, "scoremix", ["real", "equal_steps"]),  # type: ignore[arg-type]
        arms={name: {"tar@0.01": Estimate(value)} for name, value in values.items()},
    )
    exp = Experiment(arms=named(["real", "equal_steps", "scoremix", "deeper"]))
    return SimpleNamespace(exp=exp, chain={"results": results})


def compared(**found: Any) -> Any:
    """The artifact of a comparison that found nothing but this."""
    nothing: dict[str, Any] = {"arms": {}, "differences": [], "verdict": Verdict("helps", "scoremix", []), "gates": {}}
    nothing |= {"classes": "test", "metrics": [], "headline": "tar@0.01", "unsupported": {}, "supported_far": 1.0}
    nothing |= {"genuine_pairs": 0, "impostor_pairs": 0, "images": 0, "images_of": 0, "seen": {}, "looks": 1}
    stored = Comparison(**{**nothing, "groups": None, "closed": None, **found}).as_json()
    return SimpleNamespace(json=lambda name: stored)


def test_the_recipe_is_the_judged_arm_where_it_helps_else_the_better_length() -> None:
    values = {"real": 0.5, "equal_steps": 0.6, "scoremix": 0.7, "deeper": 0.9}
    assert chosen_recipe(run_with("helps", **values)).arm == "scoremix"
    assert chosen_recipe(run_with("does not help here", **values)).arm == "equal_steps"
    assert chosen_recipe(run_with("generator too weak", **{**values, "real": 0.65})).arm == "real"


@pytest.mark.parametrize(("low", "high", "arm"), [(-0.03, 0.04, "scoremix"), (-0.06, -0.01, "equal_steps")])
def test_what_was_chosen_is_the_recipe_unless_it_does_worse_on_classes_kept_back(
    low: float, high: float, arm: str
) -> None:
    run = run_with("does not help here", real=0.5, equal_steps=0.6, scoremix=0.6)
    differences = [
        Difference("scoremix", control, "tar@0.01", Estimate((low + high) / 2, *ends)).as_json()
        for control, ends in (("real", (0.01, 0.1)), ("equal_steps", (low, high)))
    ]
    run.chain["results"].json("")["differences"] = differences
    means = dict.fromkeys(("real", "equal_steps", "scoremix"), Estimate(0.6, 0.5, 0.7, (0.6,)))
    taken = ChosenCandidate(
        "scoremix", "scoremix", "equal_steps", means, {"scoremix": Estimate(0.05, 0.02, 0.08, (0.05,))}
    )
    stored = {**taken.as_json(), "metric": "tar@0.01", "level": 0.95, "classes": 30, "images": 600}
    run.chain["choice"] = SimpleNamespace(json=lambda name: stored)
    recipe = chosen_recipe(run)
    assert recipe.arm == arm and ("validation classes" in recipe.why) == (arm == "scoremix")


# ---------------------------------------------------------------------------------- thresholds and card


def test_thresholds_are_the_largest_that_keep_the_rate_on_classes_kept_back(out: Path, model: Path) -> None:
    told = json.loads((model / "thresholds.json").read_text())
    settings = json.loads((model / "settings.json").read_text())
    evaluated = records.evaluated(out, records.finished(out, "my_images"), settings["recipe"])
    expected = []
    for artifact in evaluated.values():
        unit, labels = np.load(artifact / "embeddings.npy"), np.load(artifact / "labels.npy")
        first, second = np.triu_indices(len(unit), 1)
        similarity, same = (unit[first] * unit[second]).sum(1), labels[first] == labels[second]
        impostors = np.sort(similarity[~same])[::-1]
        threshold = impostors[int(0.1 * len(impostors))]  # so many may lie above
        assert (similarity[~same] > threshold).mean() <= 0.1
        expected.append((threshold, (similarity[same] > threshold).mean(), len(impostors)))
    (point,) = told["points"]
    assert point["far"] == 0.1 and told["impostor_pairs"] == expected[0][2]
    np.testing.assert_allclose(point["threshold"]["seeds"], [e[0] for e in expected], atol=1e-5)
    np.testing.assert_allclose(point["tar"]["seeds"], [e[1] for e in expected], atol=1e-9)
    assert point["threshold"]["low"] < point["threshold"]["value"] < point["threshold"]["high"]
    assert set(told["unsupported"]) == {"0.01", "0.001", "0.0001", "1e-05", "1e-06"}


def test_the_card_is_hugging_faces_and_says_what_was_measured(model: Path, place: Path) -> None:
    card = (model / "README.md").read_text()
    _, front, text = card.split("---\n", 2)
    assert yaml.safe_load(front)["license"] == "other"
    for words in ("24 classes", "does not help here", "had not seen", "look better", "FAR", "Seed 0", "No licence"):
        assert words in text
    assert str(place) not in card and str(place) not in (model / "settings.json").read_text()


def test_the_lines_in_the_card_run_the_second_without_scoremix(model: Path, place: Path, tmp_path: Path) -> None:
    blocks = re.findall(r"```python\n(.*?)```", (model / "README.md").read_text(), re.DOTALL)
    assert len(blocks) == 2 and len([line for line in blocks[1].splitlines() if line]) <= 15
    one, two = sorted((place / "images" / "blob 03").iterdir())[:2]
    (tmp_path / "a.png").write_bytes(one.read_bytes()), (tmp_path / "b.png").write_bytes(two.read_bytes())
    (tmp_path / "recognizer.onnx").write_bytes((model / "recognizer.onnx").read_bytes())
    (tmp_path / "gallery").symlink_to(place / "images")
    (tmp_path / "probes").symlink_to(place / "images" / "blob 07")
    said = []
    for block, refused in zip(blocks, ({"torch"}, {"torch", "scoremix"}), strict=True):
        code = WITHOUT_TORCH.format(refused=refused) + block
        said.append(
            subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True)
        )
    verified = scoremix.load_model(model).verify(one, two)
    similarity, same = said[1].stdout.split()
    assert float(similarity) == pytest.approx(verified.similarity, abs=1e-3) and same == str(verified.same)
    assert "Verified(similarity=" in said[0].stdout and "Identified(probe=" in said[0].stdout


def test_the_lines_of_python_in_the_docs_run(
    place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (block,) = re.findall(r"```python\n(.*?)```", (DOCS / "deliver.md").read_text(), re.DOTALL)
    for name, target in (
        ("a.png", "images/blob 03/18.png"),
        ("b.png", "images/blob 03/19.png"),
        ("gallery", "images"),
        ("probes", "images/blob 07"),
    ):
        (place / name).symlink_to(place / target)
    monkeypatch.chdir(place)
    exec(block, {})
    assert capsys.readouterr().out == f"True\n{['blob 07'] * 6}\n"


# ---------------------------------------------------------------------------------- use


def test_verify_enroll_and_identify_need_no_torch(model: Path, place: Path, tmp_path: Path) -> None:
    """The model's ONNX file alone, every command in a process where torch cannot be imported."""
    (tmp_path / "r.onnx").write_bytes((model / "recognizer.onnx").read_bytes())
    code = WITHOUT_TORCH.format(refused={"torch", "numba", "scipy", "matplotlib"})

    def call(*arguments: str) -> str:
        run = f"{code}\nsys.argv = {['scoremix', *arguments]!r}\nfrom scoremix.commands import main\nmain()"
        done = subprocess.run([sys.executable, "-c", run], cwd=tmp_path, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return done.stdout

    images = place / "images"
    one, two = sorted((images / "blob 03").iterdir())[:2]
    similarity = float(
        np.prod(scoremix.load_recognizer(model / "recognizer.safetensors", device="cpu").embed([one, two]), 0).sum()
    )
    said = call("verify", "r.onnx", str(one), str(two))
    assert f"similarity {similarity:.3f}" in said and "false accept rate 0.1" in said
    assert "144 images of 24 classes" in call("enroll", "r.onnx", str(images), "--out", "g.npz")
    for form in ("html", "png", "csv"):
        said = call("identify", "r.onnx", "g.npz", str(images / "blob 05"), "--top", "3", "--out", f"o.{form}")
    assert "6 of 6 images recognized" in said
    rows = list(csv.DictReader((tmp_path / "o.csv").read_text().splitlines()))
    assert len(rows) == 18 and {row["identified"] for row in rows} == {"blob 05"} == {r["class"] for r in rows[::3]}
    assert [float(row["similarity"]) for row in rows[::3]] == pytest.approx([1.0] * 6, abs=1e-5)
    assert (tmp_path / "o.html").read_text().count("<img") == 6 * 4
    assert Image.open(tmp_path / "o.png").size[1] > 6 * 96


def test_a_picture_takes_any_name_but_no_images_place(
    model: Path, place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    known = tmp_path / "known"
    shutil.copytree(place / "images" / "blob 02", known / "two\nlines")
    (known / "empty").mkdir()
    one = next((known / "two\nlines").iterdir())
    before = one.read_bytes()
    assert command("enroll", model, known, "--out", tmp_path / "g.npz") == 0
    shutil.copyfile(one, one.with_name(os.fsdecode(b"\xff.png")))  # no name in UTF-8
    for form in ("png", "html", "csv"):
        assert command("identify", model, tmp_path / "g.npz", known, "--out", tmp_path / f"o.{form}") == 0
    assert r"\udcff.png" in (tmp_path / "o.csv").read_text()
    capsys.readouterr()
    for gallery, probes in ((tmp_path / "g.npz", place / "images" / "blob 03"), (place / "images", one)):
        assert command("identify", model, gallery, probes, "--out", one) == 2
        assert "lies among the images" in capsys.readouterr().err
    assert one.read_bytes() == before


def test_strangers_are_unknown_and_the_threshold_suits_the_gallery(model: Path, place: Path) -> None:
    opened = scoremix.load_model(model)
    gallery = opened.enroll(place / "images" / "blob 01")  # images in a folder: a class each
    assert len(gallery.class_names) == 6
    found = opened.identify(gallery, place / "images" / "blob 01", k=2, far=0.1)
    assert all(one.name == one.probe.removesuffix(".png") == one.matches[0].name for one in found)
    assert opened.enroll(place / "images", class_level=1).class_names[:2] == ("blob 00", "blob 01")
    noise = np.random.default_rng(0).integers(0, 256, (3, 8, 8, 1), dtype=np.uint8)
    strict = opened.threshold(0.1)
    for one, row in zip(opened.identify(gallery, noise), opened.embed(noise) @ gallery.embeddings.T, strict=True):
        assert one.matches[0].similarity == pytest.approx(row.max(), abs=1e-5)
        assert (one.name == "unknown") == (row.max() <= strict.value)
    points = [Threshold(far, far, None, None, 1.0) for far in (0.1, 0.01, 0.001)]
    several = SimpleNamespace(thresholds=tuple(points))
    chosen = [type(opened).for_gallery(several, n).far for n in (1, 2, 10, 11, 100, 10_000)]  # type: ignore[arg-type, union-attr]
    assert chosen == [0.1, 0.01, 0.01, 0.001, 0.001, 0.001]


def test_small_images_are_refused_wherever_they_lie(tmp_path: Path) -> None:
    model = Model(None, "f" * 64, 32, 1, "grey", "-1..1", (), {}, 0.01)
    pixels = np.zeros((2, 7, 7, 1), np.uint8)
    for k in range(2):
        (tmp_path / "folder" / f"{k}").mkdir(parents=True)
        Image.fromarray(pixels[k, ..., 0]).save(tmp_path / "folder" / f"{k}" / "0.png")
    np.savez(tmp_path / "set.npz", images=pixels, labels=np.arange(2))
    shutil.make_archive(str(tmp_path / "set"), "zip", tmp_path / "folder")
    (tmp_path / "packed").mkdir()
    LabeledImages.of(pixels, np.arange(2), ["a", "b"]).save(tmp_path / "packed")
    for place, name in (
        ("folder", "folder/0/0.png"),
        ("set.npz", "set.npz"),
        ("set.zip", "0/0.png"),
        ("packed", "packed"),
    ):
        with pytest.raises(ValueError, match=rf"{name}: 7 x 7 pixels, the recognizer takes 32 x 32; at least 8"):
            model.embed(tmp_path / place)


@pytest.mark.parametrize("by", ["in_blocks", "by_faiss"])
def test_the_nearest_classes_are_those_of_a_plain_search(by: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if by == "by_faiss":
        pytest.importorskip("faiss")
    monkeypatch.setattr(search, "BLOCK_VALUES", 100)
    rng = np.random.default_rng(0)
    gallery, probes = (rng.standard_normal((n, 8)).astype(np.float32) for n in (60, 17))
    gallery /= np.linalg.norm(gallery, axis=1, keepdims=True)
    labels = np.sort(rng.integers(0, 9, 60)) * 2  # some numbers are not used
    for k in (1, 3, len(np.unique(labels))):
        classes, rows, values = getattr(search, by)(gallery, labels, probes, k)
        for i, probe in enumerate(probes):
            best = sorted(((gallery[labels == c] @ probe).max(), c) for c in np.unique(labels))[::-1][:k]
            assert classes[i].tolist() == [c for _, c in best] == labels[rows[i]].tolist()
            np.testing.assert_allclose(values[i], [v for v, _ in best], atol=1e-5)
            np.testing.assert_allclose(gallery[rows[i]] @ probe, values[i], atol=1e-5)


# ---------------------------------------------------------------------------------- what cannot work


def test_a_run_that_cannot_be_fitted_is_refused_in_one_line(
    out: Path, model: Path, tmp_path: Path, tiny_settings: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    progress.execute(load(Experiment(), (), tiny_settings), runtime(tmp_path), Store(tmp_path / "store"), "ingest")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine.txt").write_text("x")
    weak = SimpleNamespace(
        exp=records.recorded(out, "my_images"),
        recognizers={"scoremix/0": None},
        others={"close/0": None},
        chain={"results": compared(gates={"scoremix": GateResult(0.1, 0.2, 1.0, 1.0, 0.5, 9, 9)})},
    )
    one_seed = SimpleNamespace(exp=weak.exp.model_copy(update={"seeds": (4,)}), recognizers=weak.recognizers)
    for call, said in (
        (lambda: fitting.fit("tiny", runtime(tmp_path)), "not finished"),
        (lambda: fitting.fit("other", runtime(out)), "'other': not in"),
        (lambda: fitting.fit("my_images", runtime(out), arm="close"), "'close': not an arm of run 'my_images'"),
        (
            lambda: records.step_folder(out, "my_images", "other"),
            "'my_images': its report was made without a step 'other'",
        ),
        (lambda: fitting.refuse_unusable(weak, "close", False, False), "'close': was not chosen"),  # type: ignore[arg-type]
        (lambda: fitting.fit("my_images", runtime(out), tmp_path / "full"), "exists already"),
        (
            lambda: fitting.fit("my_images", runtime(out), Path("/proc/model")),
            "/proc/model: no folder can be made there",
        ),
        (lambda: fitting.fit("my_images", runtime(out), licence=" "), "--licence '': name one"),
        (lambda: fitting.refuse_unusable(weak, "scoremix", False, False), "too weak .10%"),  # type: ignore[arg-type]
        (lambda: fitting.refuse_unusable(one_seed, "scoremix", False, True), "has one seed, 4"),  # type: ignore[arg-type]
    ):
        with pytest.raises((ConfigError, ValueError), match=said) as error:
            call()
        assert "\n" not in str(error.value)


def test_wrong_use_is_refused_in_one_line(
    model: Path, place: Path, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = scoremix.load_model(model)
    assert scoremix.load_model(model.parent).key == opened.key  # the run's folder stands for its model
    monkeypatch.chdir(tmp_path)
    (tmp_path / "scoremix_runs" / "runs").mkdir(parents=True)
    (tmp_path / "scoremix_runs" / "runs" / "mine.json").write_text("{}")
    image = sorted((place / "images" / "blob 03").iterdir())[0]
    Image.new("L", (1, 30)).save(tmp_path / "thin.png")
    (tmp_path / "text.png").write_text("no image")
    (tmp_path / "junk.npz").write_bytes(b"junk")
    np.savez(tmp_path / "else.npz", a=np.zeros(3))
    other = opened.enroll(place / "images" / "blob 01")
    Gallery(other.embeddings, other.names, other.labels, other.class_names, "f" * 64, "faces").save(tmp_path / "o.npz")
    grey = np.zeros((2, 8, 8, 1), np.uint8)
    odd = tmp_path_factory.mktemp("odd")
    os.mkfifo(odd / "pipe.png")
    shutil.copytree(place / "images" / "blob 02", odd / "named" / "unknown")
    shutil.copytree(place / "images" / "blob 02", odd / "named" / "blob")
    damaged = [
        replace(other, embeddings=2 * other.embeddings),
        replace(other, embeddings=other.embeddings[:, :1] / abs(other.embeddings[:, :1])),
        replace(other, names=tuple(range(len(other)))),  # type: ignore[arg-type]
    ]
    for number, gallery in enumerate(damaged):
        gallery.save(odd / f"damaged_{number}.npz")
    for call, said in (
        (lambda: opened.verify(image, image, far=0.01), r"far 0.01: .* impostor pairs decide .*allowed: 0.1"),
        (lambda: opened.verify(image, image, far=0.3), r"far 0.3: not measured \(allowed: 0.1\)"),
        (lambda: opened.verify(image, tmp_path / "thin.png"), r"thin.png: 1 x 30 pixels, .*at least 2"),
        (lambda: opened.verify(image, tmp_path / "text.png"), "text.png: not an image format"),
        (lambda: opened.verify(image, tmp_path / "none.png"), "none.png: no such file"),
        (lambda: opened.verify(np.zeros((8, 8, 4), np.uint8), image), r"shape \(1, 8, 8, 4\).* 1 or 3"),
        (lambda: opened.embed(grey.astype(np.float32)), "type float32"),
        (lambda: opened.embed(np.zeros((2, 1, 8, 1), np.uint8)), "8 x 1 pixels"),
        (lambda: opened.enroll(tmp_path), "thin.png|text.png"),
        (lambda: opened.enroll(tmp_path / "thin.png"), r"thin.png: 1 x 30 pixels"),
        (lambda: opened.identify(tmp_path / "o.npz", grey), "enrolled with another model .ffffffffffff"),
        (lambda: opened.verify(image, odd / "pipe.png"), "pipe.png: not a regular file"),
        (lambda: opened.enroll(odd / "named"), "'unknown', which is the word for strangers"),
        (lambda: opened.identify(odd / "damaged_0.npz", grey), "must be of length 1"),
        (lambda: opened.identify(odd / "damaged_1.npz", grey), "damaged, 1 numbers per image"),
        (lambda: opened.identify(odd / "damaged_2.npz", grey), "names must be text"),
        (lambda: opened.identify(tmp_path / "junk.npz", grey), "not an .npz of `scoremix enroll`"),
        (lambda: opened.identify(tmp_path / "else.npz", grey), "not an .npz of `scoremix enroll`"),
        (lambda: opened.identify(tmp_path / "gone.npz", grey), "No such file"),
        (lambda: opened.identify(other, grey, k=0), "k 0"),
        (lambda: scoremix.load_model(tmp_path), "neither a folder with recognizer.onnx"),
        (lambda: scoremix.load_model(tmp_path / "text.png"), "not an ONNX file"),
        (lambda: scoremix.load_model("mine"), "this run has none yet; `scoremix fit mine`"),
    ):
        with pytest.raises(ValueError, match=said) as error:
            call()
        assert "\n" not in str(error.value)
