"""A choice on few validation classes: folds of training and validation classes, and what recognizers of a fold see."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from scoremix.config import Choice, Evaluation, Experiment, Fold, Runtime, Slice, load, presets
from scoremix.config.choice import narrowed
from scoremix.data.images import LabeledImages
from scoremix.execution import progress
from scoremix.execution.artifacts import Artifact
from scoremix.execution.store import Store, step_of
from scoremix.making import Input
from scoremix.outputs.images import MixedImages
from scoremix.stages.judge.choose import choose_arm
from scoremix.stages.judge.fold import set_aside
from scoremix.stages.mix.without import leave_out
from test_choose import CANDIDATES, experiment, finish, plans, read

SPLIT = "data.fractions=[0.5, 0.25, 0.25]"  # of 24 classes: 12, 6 and 6


@pytest.mark.parametrize(
    ("train", "validation", "settings", "folds"),
    [(90, 19, [], 3), (90, 20, [], 1), (90, 19, ["choice.folds=1"], 1), (12, 2, [], 1), (13, 2, [], 3)],
)
def test_only_a_choice_on_few_classes_is_made_on_folds(
    tmp_path: Path, train: int, validation: int, settings: list[str], folds: int
) -> None:
    store, exp = Store(tmp_path), experiment(*settings)
    before = plans(exp, store)
    finish(store, next(s for s in before if s.stage == "ingest"), "summary.json", read(train, validation))
    steps = plans(exp, store)
    assert len([s for s in steps if s.stage == "fold"]) == (folds if folds > 1 else 0)
    if folds == 1:
        assert [s.key for s in steps] == [s.key for s in before]  # nothing else is made, or made otherwise
        return
    by_key = {step.key: step for step in steps}
    (chosen,) = (s for s in steps if s.stage == "choose")
    compared = [by_key[key] for key in chosen.inputs.values()]
    assert {s.label for s in compared} == {
        f"validate {arm}/{seed} for fold {k}" for arm in CANDIDATES for seed in range(3) for k in (1, 2, 3)
    }
    for step in compared:
        assert by_key[step.inputs["0"]].stage == "fold" and step.config["classes"] == "validation"
        images = by_key[by_key[step.inputs["1"]].inputs["0"]]  # what the recognizer was trained on
        assert images.stage in ("fold", "combine")
        if images.stage == "combine":
            assert [by_key[key].stage for key in images.inputs.values()] == ["fold", "without"]
    assert len({s.config["seed"] for s in compared}) == 3  # every fold draws its classes apart
    assert len([s for s in steps if s.stage == "generator"]) == 1
    on_all = {s.label.split("/")[0] for s in steps if s.label.startswith("recognizer ")}
    assert on_all == {f"recognizer {arm}" for arm in ("real", "equal_steps", "coherent_75")}  # as if it was chosen


def made(store: Store, function: object, config: Slice, *inputs: Input) -> Artifact:
    runtime = Runtime(out=store.root, device="cpu", quiet=True)
    return store.run(step_of(function, config, inputs, ""), function, config, inputs, runtime)  # type: ignore[arg-type]


@pytest.fixture
def mixed(tmp_path: Path) -> tuple[Store, Artifact, Artifact]:
    """A store, real images of 24 classes, and images of twelve m-plets of their training classes."""
    rng = np.random.default_rng(0)

    def images(classes: int, each: int, name: str, splits: dict[str, np.ndarray]) -> tuple[LabeledImages, Path]:
        pixels = rng.integers(0, 256, (classes * each, 4, 4, 1), np.uint8)
        names = [f"{name} {k:02d}" for k in range(classes)]
        made = LabeledImages.of(pixels, np.arange(classes).repeat(each), names, splits)
        return made.save(tmp_path / name), tmp_path / name

    parts = dict(zip(("train", "validation", "test"), np.split(rng.permutation(24), (12, 18)), strict=True))
    folders = [images(24, 3, "real", parts)[1], images(12, 2, "mix", {"train": np.arange(12)})[1]]
    np.save(folders[1] / "mplets.npy", np.sort(rng.random((12, 12)).argsort(1)[:, :2], axis=1))
    np.save(folders[1] / "weights.npy", np.full((24, 2), 0.5, np.float32))
    return Store(tmp_path / "store"), *(Artifact(f.name, f.name, f) for f in folders)


def folded_run(settings: list[str], *more: str) -> Experiment:
    return load(presets.folder(), (), [*settings, SPLIT, "selection.count=12", *more])


def test_no_image_of_a_fold_or_of_a_test_class_trains(mixed: tuple[Store, Artifact, Artifact]) -> None:
    store, real, pixels = mixed
    stored, images = LabeledImages.load(real.folder), MixedImages.load(pixels)
    names, measured = stored.of_classes("train").class_names, list[str]()
    for k in (1, 2, 3):
        fold = made(store, set_aside, Fold(number=k, of=3), real)
        there = LabeledImages.load(fold.folder)
        train, apart = (there.of_classes(part) for part in ("train", "validation"))
        measured += apart.class_names
        assert not set(stored.of_classes("test").class_names) & set(there.class_names)
        assert set(train.class_names) | set(apart.class_names) == set(there.class_names) and len(apart.class_names) == 6
        name = apart.class_names[0]
        np.testing.assert_array_equal(apart.of_class(0), stored.of_class(stored.class_names.index(name)))
        left = MixedImages.load(made(store, leave_out, Fold(number=k, of=3), pixels, real, fold))
        wanted = [i for i, row in enumerate(images.mplets) if not {names[c] for c in row} & set(apart.class_names)]
        assert 0 < len(wanted) < len(images.mplets)
        assert left.images.class_names == tuple(images.images.class_names[i] for i in wanted)
        for new, old in enumerate(wanted):
            assert [train.class_names[c] for c in left.mplets[new]] == [names[c] for c in images.mplets[old]]
            np.testing.assert_array_equal(left.images.of_class(new), images.images.of_class(old))
    assert sorted(measured) == sorted(
        n for part in ("train", "validation") for n in stored.of_classes(part).class_names
    )


def test_m_plets_that_all_have_a_class_of_a_fold_are_refused(mixed: tuple[Store, Artifact, Artifact]) -> None:
    store, real, pixels = mixed
    fold = made(store, set_aside, Fold(number=1, of=3), real)
    mplets = np.load(pixels / "mplets.npy")
    apart = LabeledImages.load(fold.folder).of_classes("validation").class_names
    names = LabeledImages.load(real.folder).of_classes("train").class_names
    mplets[:, 0] = next(k for k, name in enumerate(names) if name in apart)
    np.save(pixels / "mplets.npy", mplets)
    with pytest.raises(
        ValueError, match=r"choice.folds 3: each of the 12 m-plets has a class of fold 1; mix more"
    ) as e:
        made(store, leave_out, Fold(number=1, of=3), pixels, real, fold)
    assert "\n" not in str(e.value)


def test_a_value_is_the_mean_over_the_classes_of_all_folds(tmp_path: Path) -> None:
    rng, sizes, store = np.random.default_rng(0), (4, 8), Store(tmp_path)
    values = {arm: [rng.random((2, 101)) for _ in sizes] for arm in ("real", "equal_steps", "mixed")}
    folds = []
    for k, classes in enumerate(sizes):
        fold: dict[str, Artifact] = {}
        for arm, of in values.items():
            for seed in range(2):
                folder = tmp_path / f"{arm}-{seed}-{k}"
                folder.mkdir()
                np.save(folder / "labels.npy", np.repeat(np.arange(classes, dtype=np.int32), 5))
                np.savez(folder / "measures.npz", **{"tar@0.1": of[k][seed]})
                fold[f"{arm}/{seed}"] = Artifact("evaluate", folder.name, folder)
        folds.append(fold)
    config = Choice(evaluation=Evaluation(fars=(0.1,), headline=0.1, treatment="mixed"))
    told = json.loads((made(store, choose_arm, config, *folds) / "choice.json").read_text())
    for arm, (few, many) in values.items():
        assert told["means"][arm]["seeds"] == pytest.approx(((4 * few + 8 * many) / 12)[:, 0])
    assert (told["classes"], told["images"], told["folds"]) == (12, 60, 2)


@pytest.mark.slow
def test_a_run_on_folds_ends_and_goes_on_where_it_was_stopped(
    tmp_path: Path, tiny_settings: list[str], capfd: pytest.CaptureFixture[str]
) -> None:
    exp = narrowed(folded_run(tiny_settings), ["real", "equal_steps", "averages_75", "scoremix"])
    for out, workers, first in (("a", 1, "validate scoremix/1 for fold 2"), ("b", 2, None)):
        runtime = Runtime(out=tmp_path / out, device="cpu", quiet=True, workers=workers)
        for until in ("ingest", first, None) if first else (None,):
            progress.execute(exp, runtime, Store(tmp_path / out / "store"), until)
    told = capfd.readouterr()
    assert "6 validation classes are few to choose on: in 3 folds every candidate" in told.err
    choices = [next((tmp_path / out).glob("store/choose/*/choice.json")) for out in ("a", "b")]
    assert choices[0].read_bytes() == choices[1].read_bytes()
    assert json.loads(choices[0].read_text())["classes"] == 18
    page = (tmp_path / "a" / "tiny" / "report.html").read_text()
    assert "divided into 3 folds" in page and ">left out: " not in page
    assert "each while it was left out of training" in told.out
