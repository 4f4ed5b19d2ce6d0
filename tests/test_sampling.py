"""The sampling stage: weights, log-weights and price of every image."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from scoremix.config import ConfigError, Experiment, Generator, Runtime, Sampling, load
from scoremix.data import images as imagesets
from scoremix.data.images import LabeledImages
from scoremix.execution.artifacts import Artifact
from scoremix.execution.work import Work
from scoremix.outputs.images import MixedImages
from scoremix.report.sections.mixes import agreements
from scoremix.stages.mix.plan import evaluations
from scoremix.stages.mix.sample import Sampler
from scoremix.stages.mix.weights import images_of_each, kept_of_each, weights_of
from scoremix.stages.train.generator import make
from support.runs import run


def test_fixed_weights_are_those_of_every_image():
    assert (weights_of(Sampling(weights=(0.2, 0.8)), 3, 2, 4) == [[0.2, 0.8]] * 12).all()


def test_drawn_weights_are_shared_by_an_mplet_or_by_nobody():
    by_mplet = weights_of(Sampling(draw="mplet"), 500, 2, 3).reshape(500, 3, 2)
    assert (by_mplet == by_mplet[:, :1]).all() and len(np.unique(by_mplet)) == 1000
    by_image = weights_of(Sampling(draw="image", weights=(0.2, 0.3, 0.5)), 50, 3, 3)
    assert len(np.unique(by_image[:, 0])) == 150
    np.testing.assert_allclose(by_image.sum(1), 1)
    first = by_mplet[:, 0, 0]
    assert abs(first.mean() - 0.5) < 0.05 and abs(first.var() - 1 / 12) < 0.01  # uniform
    assert weights_of(Sampling(draw="mplet", concentration=100.0), 500, 2, 1)[:, 0].std() < 0.05
    assert not (weights_of(Sampling(draw="mplet", seed=1), 500, 2, 1)[:, 0] == first).any()


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory, tiny_run: Path) -> Path:
    return Path(shutil.copytree(tiny_run, tmp_path_factory.mktemp("runs") / "out"))


def test_log_weights_are_saved_beside_the_images(out: Path, tiny_settings: list[str]):
    folder = run(out, tiny_settings, "sample")
    log_weight = np.load(folder / "log_weight.npy")
    assert log_weight.shape == (15,) and log_weight.dtype == np.float64 and (log_weight != 0).all()
    summary = json.loads((folder / "sampling.json").read_text())
    assert summary["log_weight"] == pytest.approx(log_weight.mean())
    disagreement = np.load(folder / "disagreement.npy")
    assert summary["disagreement"] == pytest.approx(disagreement.mean()) and (disagreement > 0).all()
    of_mplets = log_weight.reshape(5, 3)
    w = np.exp(of_mplets - of_mplets.max(1, keepdims=True))
    assert summary["effective_sample_size"] == pytest.approx(np.mean(w.sum(1) ** 2 / (w**2).sum(1)))


def test_evaluations_are_those_foreseen(out: Path, tiny_settings: list[str]):
    changes = ["sampling.solver=dpm2m", "sampling.guide=condition", "sampling.mixing_interval=[0.1, 10]"]
    settings = [*tiny_settings, *changes]
    folder = run(out, settings, "sample")
    plan = load(Experiment(), (), settings).sampling
    cost = json.loads((folder / "manifest.json").read_text())["cost"]
    assert cost["evaluations"] == 15 * evaluations(plan, 2)
    summary = json.loads((folder / "sampling.json").read_text())
    assert summary["evaluations_per_image"] == evaluations(plan, 2)
    assert summary["effective_sample_size"] is None  # weights change with sigma
    assert np.isnan(np.load(folder / "log_weight.npy")).all()


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("sampling.guide_interval=[2, 1]", "guide_interval .2.0, 1.0.: give the lower sigma first"),
        ("sampling.mixing_interval=[1, 1]", "mixing_interval"),
        ("sampling.weights_end=[1]", "weights_end .1.0.: 2 classes are mixed, give one weight for each"),
        ("sampling.weights_end=[0.9, 0.9]", "sum to 1"),
        ("sampling.weights_end=[1.5, -0.5]", "must be >= 0"),
        ("sampling.solver=rk4", "sampling.solver"),
        ("sampling={churn: 5, solver: dpm2m}", "churn 5 is for the heun solver"),
        ("sampling={keep_by: log_weight, mixing_interval: [0.1, 1]}", "log_weight' with mixing_interval"),
        (
            "sampling={keep_by: agreement, candidates: 2, weights: [0.7, 0.7], convex: false}",
            r"agreement' with weights .0.7, 0.7.: a log-weight needs weights that sum to 1",
        ),
        (
            "arms.x={search: true, sampling: {keep_by: log_weight, candidates: 2}}",
            r"arms\.x\.search: finds weights of any",
        ),
        ("sampling={mixture: conditions, mixing_interval: [0.1, 1]}", "mixes no scores"),
    ],
)
def test_senseless_plans_are_refused_in_one_line(setting: str, message: str):
    with pytest.raises(ConfigError, match=message) as error:
        load(Experiment(), (), [setting])
    assert "\n" not in str(error.value)


def test_a_side_that_the_levels_cannot_halve_is_named_by_its_setting():
    images = LabeledImages.of(np.zeros((2, 10, 10, 1), np.uint8), np.arange(2), ["a", "b"])
    with pytest.raises(
        ValueError, match=r"data\.size 10: the 3 levels of channel_mult \[1, 2, 2\] need a multiple of 4"
    ):
        make(Generator(channel_mult=(1, 2, 2), precision="float32"), images)


def test_soft_labels_need_weights_that_stay():
    with pytest.raises(ConfigError, match=r"arms\.scoremix: soft labels are the weights"):
        load(Experiment(), (), ["sampling.weights_end=[0.9, 0.1]", "mixing.labels=soft"])


def test_weights_that_move_are_those_of_the_mixes_alone(out: Path, tmp_path: Path, tiny_settings: list[str]):
    """Grids, reproductions, the search and the paths between classes ask for weights of their own, at every sigma."""
    run(out, tiny_settings, "sample")
    generator = Artifact("generator", "", next((out / "store" / "generator").iterdir()))
    work = Work(tmp_path, Runtime(device="cpu", quiet=True), "")

    def sampler(*settings: str) -> Sampler:
        return Sampler(load(Experiment(), (), [*tiny_settings, *settings]).sampling, generator, work)

    pairs, seeds = np.array([[0, 1], [2, 3], [4, 5]]), [1, 2, 3]
    still, moving = sampler(), sampler("sampling.weights=[0, 1]", "sampling.weights_end=[1, 0]")
    for labels, weights in ((pairs, (0.3, 0.7)), (pairs[:, :1], (1.0,))):
        assert (moving.images(labels, weights, seeds) == still.images(labels, weights, seeds)).all()
    (mixed, logs), plain = moving.weighed(pairs, (0.3, 0.7), seeds), still.images(pairs, (0.3, 0.7), seeds)
    assert (mixed != plain).any() and np.isnan(logs).all()
    three = sampler("selection.m=3", "sampling.weights_end=[1, 0, 0]")  # an m-plet's first two classes have a path
    assert (three.images(pairs, (0.3, 0.7), seeds) == plain).all()


def test_weights_for_pairs_beside_an_arm_of_single_classes(out: Path, tiny_settings: list[str]):
    arms = "arms={scoremix: {}, real: {images: real}, relabelled: {images: relabelled}}"
    more = [arms, "evaluation.controls=[real]", "seeds=[0]", "recognizer.epochs=1"]
    moving = ["sampling.weights=[0.2, 0.8]", "sampling.weights_end=[0.9, 0.1]"]
    exp = load(Experiment(), (), [*tiny_settings, *more, *moving])
    run(out, exp, "recognizer relabelled/0")
    pictures, usual = (np.load(run(out, what, "illustrate") / "grid.npz") for what in (exp, tiny_settings))
    assert (pictures["images"] == usual["images"]).all()


GUIDE = [
    "guide.conditional=false",
    "guide.model_channels=4",
    "guide.images_seen=320",
    "guide.batch=32",
    "guide.precision=float32",
]


def test_a_network_without_classes_guides_every_mix_once(out: Path, tiny_settings: list[str]):
    settings = [*tiny_settings, *GUIDE, "sampling.guide=unconditional"]
    folder = run(out, settings, "sample")
    summary = json.loads((folder / "sampling.json").read_text())
    assert summary["evaluations_per_image"] == 5 * 3 and summary["effective_sample_size"] is not None
    guided = next((out / "store" / "guide").iterdir())
    info = json.loads((guided / "generator.json").read_text())
    assert info["guide_at"] == 320 and info["images_seen"] == 640
    assert (guided / info["guides"]["0.100"]).exists() and (guided / info["snapshots"]["0.050"]).exists()
    manifest = json.loads((guided / "manifest.json").read_text())
    assert "guide/generator.json" in manifest["outputs"]


def test_a_generator_that_often_saw_no_class_guides_itself(out: Path, tiny_settings: list[str]):
    settings = [*tiny_settings, "generator.label_dropout=0.3", "generator.guide_at=1"]
    by_none, by_class = (
        run(out, [*settings, *more], "sample")
        for more in (["sampling.guide=unconditional"], ["sampling.guide=condition"])
    )
    found = json.loads((by_none / "sampling.json").read_text())
    assert found["evaluations_per_image"] == 5 * 3 and found["effective_sample_size"] is not None
    assert (np.load(by_none / "images.npy") != np.load(by_class / "images.npy")).any()


def test_a_length_never_kept_is_reconstructed_for_sampling(out: Path, tiny_settings: list[str]):
    usual, other = (
        np.load(run(out, [*tiny_settings, *change], "sample") / "images.npy") for change in ([], ["sampling.ema=0.075"])
    )
    assert usual.shape == other.shape and (usual != other).any()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (["sampling.guide=unconditional"], "'unconditional' goes with"),
        ([*GUIDE], "sampling.guide 'each': the guide can be 'unconditional'"),
        ([*GUIDE, "guide.label_dropout=0.1"], "there is no class to drop"),
        (["generator.conditional=false"], "needs classes"),
        (["sampling.ema=0.075", "generator.snapshots=0"], "not kept by the generator"),
    ],
)
def test_guides_and_averages_that_cannot_be_are_refused(settings: list[str], message: str):
    with pytest.raises(ConfigError, match=message) as error:
        load(Experiment(), (), settings)
    assert "\n" not in str(error.value)


def test_images_are_kept_by_their_log_weight(tmp_path: Path):
    from scoremix.stages.mix.screen import merit

    rng = np.random.default_rng(0)
    values = rng.normal(size=15)
    images = imagesets.write(
        tmp_path, shape=(15, 2, 2, 1), blocks=[np.zeros((15, 2, 2, 1), np.uint8)], counts=[5] * 3, class_names="abc"
    )
    mixed = MixedImages(images, np.zeros((3, 2), np.int64), np.ones((15, 2), np.float32), values, values**2)
    found = [merit(mixed, by).numpy() for by in ("log_weight", "agreement")]
    assert np.array_equal(found, [values.reshape(3, 5), -(values**2).reshape(3, 5)])
    mixed = replace(mixed, log_weight=np.where(np.arange(15) == 3, np.nan, values))
    with pytest.raises(ValueError, match="these images have none"):
        merit(mixed, "log_weight")


def test_the_report_tells_disagreement_where_log_weights_are(tmp_path: Path):
    def kept(name: str, log_weight: list[float], disagreement: list[float]) -> Artifact:
        folder = tmp_path / name
        folder.mkdir()
        np.save(folder / "mplets.npy", np.array([[0, 1], [1, 2]]))
        for file, values in (("log_weight", log_weight), ("disagreement", disagreement)):
            np.save(folder / f"{file}.npy", np.array(values))
        return Artifact("sample", name, folder)

    (tmp_path / "averages").mkdir()
    added = {
        "even": kept("even", [5.0] * 6, [1.0, 2, 3, 4, 5, 6]),
        "one counts": kept("one counts", [0.0, -900, -900, 0, 0, -900], [1.0] * 6),
        "moving weights": kept("moving", [np.nan] * 6, [np.nan] * 6),
        "one class each": kept("each", [-1.0, -2, -3, -1, -2, -3], [0.0] * 6),
        "averages": Artifact("pixels", "", tmp_path / "averages"),
    }
    added["even and soft"] = added["even"]
    even, one = agreements(added)
    assert (even.arm, even.each, even.effective) == ("even, even and soft", 3, pytest.approx(3))
    assert even.quantiles[1] == 3.5
    assert (one.arm, one.effective) == ("one counts", pytest.approx(1.5))


def test_screening_keeps_as_many_images_as_were_asked_for():
    for wanted in range(1, 60):
        for candidates in (1, 1.01, 1.1, 1.2, 1.25, 4 / 3, 1.5, 1.9, 2, 2.5, 3, 4, 7.3):
            drawn = images_of_each(Sampling(images_per_mplet=wanted, candidates=candidates), 0)
            assert kept_of_each(drawn, candidates) == wanted
            assert drawn >= wanted * candidates - 1e-6


def test_an_arm_of_agreeing_images(out: Path, tiny_settings: list[str]):
    arms = "arms={agreeing: {sampling: {candidates: 1.1, keep_by: agreement}}, real: {images: real}}"
    settings = [*tiny_settings, arms, "evaluation.treatment=agreeing", "evaluation.controls=[real]", "seeds=[0]"]
    run(out, settings, "recognizer agreeing/0")
    (kept,) = (out / "store" / "screen").iterdir()
    assert json.loads((kept / "screening.json").read_text())["by"] == "agreement"
    key = json.loads((kept / "manifest.json").read_text())["inputs"]["0"]
    drawn = out / "store" / "sample" / key[:12]
    best = np.sort(np.argsort(np.load(drawn / "disagreement.npy").reshape(5, 4), axis=1)[:, :3], axis=1)
    images = np.load(drawn / "images.npy").reshape(5, 4, 8, 8, 1)
    for name in ("disagreement", "log_weight"):
        of_drawn = np.load(drawn / f"{name}.npy").reshape(5, 4)
        assert (np.load(kept / f"{name}.npy").reshape(5, 3) == of_drawn[np.arange(5)[:, None], best]).all()
    assert (np.load(kept / "images.npy").reshape(5, 3, 8, 8, 1) == images[np.arange(5)[:, None], best]).all()


def test_hardness_is_the_loss_under_labels_of_the_sources():
    import torch

    from scoremix.evaluation.coherence import SCALE
    from scoremix.stages.mix.screen import hardness

    rng = np.random.default_rng(1)
    unit = torch.nn.functional.normalize(torch.from_numpy(rng.normal(size=(3, 4, 8))), dim=2)
    centers = torch.from_numpy(rng.normal(size=(6, 8)))
    sources = np.array([[0, 1], [4, 2], [5, 0]])
    weights = rng.dirichlet([1, 1], 12)
    found = hardness(unit, centers, sources, weights).numpy()
    for p in range(3):
        for n in range(4):
            scores = SCALE * (unit[p, n] @ (centers / centers.norm(dim=1, keepdim=True)).T).numpy()
            log_predicted = scores - np.log(np.exp(scores).sum())
            share = weights[4 * p + n]
            assert found[p, n] == pytest.approx((share * (np.log(share) - log_predicted[sources[p]])).sum(), rel=1e-9)


def test_hardest_and_easiest_are_quarters_of_the_same_draw(out: Path, tiny_settings: list[str]):
    arms = "arms={hard: {sampling: {candidates: 4, keep_by: hardest}}, easy: {sampling: {candidates: 4, keep_by: easiest}}}"
    settings = [*tiny_settings, arms, "evaluation.treatment=hard", "evaluation.controls=[easy]", "seeds=[0]"]
    for arm in ("hard", "easy"):
        run(out, settings, f"recognizer {arm}/0")
    found = {json.loads((f / "screening.json").read_text())["by"]: f for f in (out / "store" / "screen").iterdir()}
    drawn = {json.loads((found[by] / "manifest.json").read_text())["inputs"]["0"] for by in ("hardest", "easiest")}
    assert len(drawn) == 1  # what is kept does not change what is drawn
    images = [np.load(found[by] / "images.npy") for by in ("hardest", "easiest")]
    assert images[0].shape == images[1].shape and not (images[0] == images[1]).all()
