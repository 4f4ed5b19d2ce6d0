"""Every arm by name, built in or a study's own, is a valid experiment, runs, and trains on what it says."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from scoremix import making
from scoremix.config import (
    DEFAULT_ARMS,
    Arm,
    ConfigError,
    Evaluation,
    Experiment,
    MixDiagnostics,
    Mixing,
    Runtime,
    Sampling,
    changed,
    load,
)
from scoremix.config.arms import ARMS, GROUPS, named
from scoremix.config.choice import narrowed
from scoremix.config.study import read_study
from scoremix.data.images import LabeledImages
from scoremix.execution import quality, records, runner
from scoremix.execution.artifacts import Artifact, External
from scoremix.execution.chain import chain_table
from scoremix.execution.runner import decided
from scoremix.execution.store import Step, Store
from scoremix.execution.work import Work
from scoremix.outputs.images import MixedImages, MixedTraining, real_images
from scoremix.outputs.networks import CHECKPOINT, RecognizerSummary, centers_of
from scoremix.recognition import checkpoints
from scoremix.stages.embedding import all_embedded, embedded
from scoremix.stages.judge import diagnose
from scoremix.stages.mix.combine import targets
from scoremix.stages.mix.pixels import mix_pixels
from scoremix.stages.mix.weights import weights_of
from scoremix.stages.train.recognizer import order_of
from support.runs import run

OWN = read_study(Path(__file__).parents[1] / "studies" / "factors.yaml").own
ALL = {**ARMS, **OWN}


def known(names: Iterable[str], own: Mapping[str, Arm] = {}, needed: Iterable[str] = ()) -> dict[str, Arm]:
    """The arms of those names, built in or of the study of single factors."""
    return named(names, {**OWN, **own}, needed)


def test_groups_name_arms() -> None:
    assert {name for group in GROUPS.values() for name in group} <= ARMS.keys()
    assert not GROUPS.keys() & ARMS.keys()
    arms = {**named(["real", "scoremix"]), **named(GROUPS)}
    assert set(arms) == {n for g in GROUPS.values() for n in g} | {"real", "scoremix"}


def test_every_arm_fits_an_experiment() -> None:
    assert not ARMS.keys() & OWN.keys()
    exp = load(Experiment(), (), [f"arms={','.join(ALL)}"], known)
    assert list(exp.arms) == list(ALL)
    assert exp.arms == ALL


@pytest.mark.parametrize("group", GROUPS)
def test_every_group_works_alone(group: str) -> None:
    said: list[str] = []
    exp = load(Experiment(), (), [f"arms={group}"], partial(named, say=said.append))
    assert {"real", "equal_steps", "scoremix", *GROUPS[group]} == exp.arms.keys()
    added = [name for name in exp.arms if name not in GROUPS[group]]
    assert added == [name for name in ("real", "equal_steps", "scoremix") if name not in GROUPS[group]]
    assert list(exp.arms)[: len(added)] == added
    some = ("arms", "are", "them") if len(added) > 1 else ("arm", "is", "it")
    assert said == (
        ["{} {names} {} added: the verdict needs {}".format(*some, names=", ".join(added))] if added else []
    )


def test_only_what_the_verdict_needs_is_added() -> None:
    judged = ["evaluation.treatment=auggen", "evaluation.controls=[real]"]
    assert list(load(Experiment(), (), ["arms=real,auggen", *judged], named).arms) == ["real", "auggen"]
    with pytest.raises(ConfigError, match=r"evaluation\.treatment.*'nothing'"):
        load(Experiment(), (), ["arms=first", "evaluation.treatment=nothing"], named)
    with pytest.raises(ConfigError, match="none is named"):
        load(Experiment(), (), ["arms=[]"], named)
    with pytest.raises(ConfigError, match="no arm is called"):  # a table of arms stays as it is
        load(Experiment(), [{"arms": None}, {"arms": {"real": {"images": "real"}}}], (), named)


def test_own_arms_come_first_and_unknown_ones_are_named() -> None:
    own = Arm(images="real", note="mine")
    assert named(["auggen"], {"auggen": own}) == {"auggen": own}
    with pytest.raises(ConfigError, match=r"'auggenn'.*did you mean auggen"):
        named(["real", "auggenn"])


def test_an_arms_wrong_change_names_arm_and_setting() -> None:
    with pytest.raises(ConfigError, match=r"arms\.scoremix\.sampling\.stepz: no such setting; did you mean steps"):
        load(Experiment(), (), ["arms.scoremix.sampling.stepz=3"])
    with pytest.raises(ConfigError, match=r"arms\.scoremix\.sampling.*sum to 0\.8"):
        load(Experiment(), (), ["arms.scoremix.sampling.weights=[0.4, 0.4]"])


def test_every_arm_has_weights_of_its_own_where_the_experiments_do_not_fit() -> None:
    refused = {"agreeing", "scoremix_soft", "scoremix_both"}  # log-weights and soft labels need weights that stay
    arms = f"arms={','.join(name for name in ALL if name not in refused)}"
    exp = load(Experiment(), (), ["sampling.weights=[0.3, 0.7]", "sampling.weights_end=[0.9, 0.1]", arms], known)
    made = {name: changed(exp.sampling, arm.sampling) for name, arm in exp.arms.items()}
    assert made["scoremix"].weights_end == made["economy"].weights_end == (0.9, 0.1)
    for name in ("auggen", "auggen_searched", "reproduction_aligned", "scoremix_3", "scoremix_sum_0.8"):
        assert made[name].weights_end is None, name
    assert made["auggen"].weights == (0.7, 0.7)


def test_changes_follow_the_experiment() -> None:
    exp = load(Experiment(), (), ["sampling.steps=7", "arms=real,equal_steps,scoremix,averages"], named)
    assert exp.sampling.steps == 7
    assert exp.arms["scoremix"].sampling == {}


def planned(tmp_path: Path, *names: str, **own: Arm) -> list[Step]:
    """Every step of an experiment with those arms."""
    exp = Experiment(arms=known(["real", "equal_steps", "scoremix", *names, *own], own))
    return runner.plan_all(decided(exp, "cpu"), External("here", "k"), Store(tmp_path / "store"))


def test_an_arms_own_steps_have_labels_of_their_own(tmp_path: Path) -> None:
    alone = planned(tmp_path)
    assert not [plan.label for plan in alone if " for " in plan.label]  # scoremix's steps are the experiment's
    plans = planned(tmp_path, "scoremix_3", "other_depth", "auggen", "scoremix_random", "reproduction_aligned")
    by_label = {plan.label: plan for plan in plans}
    assert len(by_label) == len(plans)
    for name in ("generator", "select", "sample", "combine"):
        assert by_label[name] in alone
        assert {p.key for p in runner.needed(plans, name)} == {p.key for p in runner.needed(alone, name)}
    assert by_label["select for scoremix_3"].config["m"] == 3
    assert by_label["selecting recognizer for other_depth"].config["depth"] == 2
    assert by_label["generator for reproduction_aligned"].config["align"] is not None
    assert by_label["compare"].inputs["2:reproduction_aligned"] == by_label["check for reproduction_aligned"].key
    assert by_label["sample for reproduction_aligned"].inputs["0"] == by_label["generator for reproduction_aligned"].key
    assert by_label["select for scoremix_random"].key == by_label["select for auggen"].key


@pytest.mark.parametrize(
    "settings",
    [
        {"churn": 4.0, "resample": 0.5},
        {"mixture": "balanced", "solver": "ddim", "eta": 1.0},
        {"weights_end": (0.4, 0.6)},
    ],
)
def test_every_set_that_is_sampled_has_a_plan_that_can_be_followed(tmp_path: Path, settings: dict[str, Any]) -> None:
    arms = known(["real", "equal_steps", "scoremix", "relabelled", "reproduction"])
    exp = decided(Experiment(arms=arms, sampling=Sampling(**settings)), "cpu")
    steps = runner.plan_all(exp, External("here", "k"), Store(tmp_path / "store"))
    assert len([Sampling.model_validate(step.config) for step in steps if step.stage == "sample"]) == 4


def test_a_generator_of_an_arms_own_is_judged_by_images_as_the_arm_has_them(tmp_path: Path) -> None:
    mine = Arm(
        generator={"ema": (0.03,)}, sampling={"ema": 0.03, "guide_ema": 0.03, "guidance": 2.0, "candidates": 2.0}
    )
    steps = {plan.label: plan for plan in planned(tmp_path, mine=mine)}
    gate, images = (steps[f"{label} for mine"].config for label in ("sample reproductions", "sample"))
    assert {name: gate[name] for name in ("ema", "guide_ema", "guidance")} == {
        "ema": 0.03,
        "guide_ema": 0.03,
        "guidance": 2,
    }
    assert gate["candidates"] == 1 and images["candidates"] == 2


def test_how_images_are_chosen_draws_none_anew(tmp_path: Path) -> None:
    def drawn(**sampling: Any) -> dict[str, str]:
        exp = Experiment(arms=known(["real", "equal_steps", "scoremix"]), sampling=Sampling(candidates=2, **sampling))
        steps = runner.plan_all(decided(exp, "cpu"), External("here", "k"), Store(tmp_path / "store"))
        return {step.label: step.key for step in steps if step.stage == "sample"}

    assert drawn(keep_by="hardest") == drawn() and set(drawn()) == {"sample reproductions", "sample"}


def test_as_many_steps_as_another_arm_needs_its_epochs_and_its_batch(tmp_path: Path) -> None:
    with pytest.raises(
        ValueError, match=r"arms\.mine\.steps_of 'scoremix': its recognizer\.epochs is 20 and this arm's 7"
    ):
        planned(tmp_path, mine=Arm(images="real", steps_of="scoremix", recognizer={"epochs": 7}))
    with pytest.raises(
        ValueError, match=r"steps_of 'equal_steps': that arm has the steps of 'scoremix'; name this one"
    ):
        planned(tmp_path, mine=Arm(images="real", steps_of="equal_steps"))
    planned(tmp_path, mine=Arm(images="real", steps_of="scoremix", recognizer={"depth": 2}))
    other = Arm(images="real", steps_of="scoremix", recognizer={"epochs": 7})
    stored = {**Experiment().model_dump(mode="json"), "arms": {**DEFAULT_ARMS, "mine": other}}
    with pytest.raises(ValueError, match=r"set arms\.mine\.recognizer\.epochs to the same"):
        Experiment.model_validate(stored)
    assert records._settings_of("earlier", stored).arms["mine"] == other  # what was trained before can be shown


def test_only_what_a_generator_made_is_judged_by_its_gate(tmp_path: Path) -> None:
    arms = known(["real", "scoremix", "averages", "reproduction_aligned"])
    for treatment, gate in (
        ("scoremix", "check"),
        ("reproduction_aligned", "check for reproduction_aligned"),
        ("averages", None),
    ):
        judged = Evaluation(treatment=treatment, controls=("real",))
        exp = decided(Experiment(arms=arms, evaluation=judged), "cpu")
        plans = {p.label: p for p in runner.plan_all(exp, External("here", "k"), Store(tmp_path / "store"))}
        found = plans["compare"].inputs.get("1:gate")
        assert found == (plans[gate].key if gate else None)


def test_the_report_shows_the_search_of_the_arm(tmp_path: Path) -> None:
    """Also where the arm selects by a recognizer, or samples from a generator, of its own."""
    for changes in ({"selector": {"depth": 2}}, {"generator": {"lr": 0.5}}):
        arm = ARMS["auggen_searched"].model_copy(update=changes)
        plans = {plan.label: plan for plan in planned(tmp_path, mine=arm)}
        (search,) = (plan for plan in plans.values() if plan.stage == "search")
        assert plans["sample for mine"].inputs["2"] == plans["report"].inputs["0:search"] == search.key


RUN = (
    *("real", "equal_steps", "scoremix", "auggen_searched", "relabelled", "coherent", "averages", "cutmixes"),
    *(
        "reproduction",
        "reproduction_alone",
        "scoremix_soft",
        "scoremix_both",
        "scoremix_away",
        "scoremix_3",
        "scoremix_joint_top",
    ),
    *("hardest", "easiest", "other_depth", "reselected", "scoremix_first"),
    *("scoremix_random_weights", "scoremix_double", "mixup", "cutmix", "feature_mixup", "deeper"),
)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory, tiny_settings: list[str]) -> Path:
    out = tmp_path_factory.mktemp("arms")
    more = [f"arms={','.join(RUN)}", "seeds=[0]", "recognizer.epochs=1", "search.points=2", "search.pairs=2"]
    exp = load(Experiment(), (), [*tiny_settings, *more], known)
    run(out, exp)
    return out


def report(store: Path) -> dict[str, dict[str, object]]:
    return {arm["name"]: arm for arm in json.loads((store / "tiny" / "report.json").read_text())["arms"]}


def training_sets(store: Path) -> dict[str, Path]:
    """Folder of what each arm trains on, by the recognizer's recorded inputs."""
    steps = json.loads((store / "runs" / "tiny.json").read_text())["steps"]
    keys = {
        label.split()[1].removesuffix("/0"): step["inputs"]["0"]
        for label, step in steps.items()
        if label.startswith("recognizer ")
    }
    return {name: next((store / "store").glob(f"*/{key[:12]}")) for name, key in keys.items()}


def test_numbers_of_classes_and_images(store: Path) -> None:
    arms = report(store)
    real, mixed = arms["real"], arms["scoremix"]
    plets, each = 5, 3
    assert mixed["classes"] == real["classes"] + plets
    assert mixed["images"] == real["images"] + plets * each
    for name in ("auggen_searched", "relabelled", "coherent", "averages", "cutmixes", "scoremix_3"):
        assert (arms[name]["classes"], arms[name]["images"]) == (mixed["classes"], mixed["images"]), name
    assert arms["scoremix_both"]["classes"] == mixed["classes"]
    for name in ("reproduction", "scoremix_soft"):
        assert (arms[name]["classes"], arms[name]["images"]) == (real["classes"], mixed["images"]), name
    assert (arms["reproduction_alone"]["classes"], arms["reproduction_alone"]["images"]) == (real["classes"], 15)
    for name in ("mixup", "cutmix", "feature_mixup", "deeper", "equal_steps"):
        assert (arms[name]["images"], arms[name]["steps"]) == (real["images"], mixed["steps"]), name


def test_the_runs_own_steps_are_on_record_under_their_plain_labels(store: Path) -> None:
    sample, mplets = (records.step_folder(store, "tiny", label) for label in ("sample", "select"))
    assert json.loads((sample / "manifest.json").read_text())["config"]["mixture"] == "scores"
    assert np.load(mplets / "classes.npy").shape == (5, 2)
    assert np.load(records.step_folder(store, "tiny", "select for scoremix_3") / "classes.npy").shape == (5, 3)
    shown = chain_table(Store(store / "store"), records.recorded(store, "tiny")).splitlines()
    assert next(line for line in shown if " sample for easiest " in line).endswith("the same as sample for hardest")


def test_labels_follow_their_policy(store: Path) -> None:
    sets = training_sets(store)
    real = LabeledImages.load(sets["real"]).of_classes("train")
    n, classes = len(real), len(real.class_names)
    soft = np.load(sets["scoremix_soft"] / "target_labels.npy"), np.load(sets["scoremix_soft"] / "target_weights.npy")
    assert np.array_equal(soft[0][:n, 0], real.labels)
    assert np.array_equal(soft[1][:n], np.tile([1, 0], (n, 1)))
    assert np.array_equal(soft[1][n:], np.full((15, 2), 0.5))
    both = np.load(sets["scoremix_both"] / "target_labels.npy"), np.load(sets["scoremix_both"] / "target_weights.npy")
    assert np.array_equal(both[0][n:, 0], classes + np.repeat(np.arange(5), 3))
    assert np.array_equal(both[0][n:, 1:], soft[0][n:])
    assert np.allclose(both[1][n:], [0.5, 0.25, 0.25])
    alone = np.load(sets["reproduction_alone"] / "target_labels.npy")
    assert len(alone) == 15 and len(np.unique(alone)) == 5


def test_an_improved_recognizer_selects_again(store: Path) -> None:
    parts = records.finished(store, "tiny")
    selecting = records.step_folder(store, "tiny", "select for reselected")
    key = json.loads((selecting / "manifest.json").read_text())["inputs"]["0"]
    again = records.stored(store, key)
    assert again is not None
    trained, real = parts.recognizers["scoremix/0"], LabeledImages.load(parts.chain["real"].folder).splits["train"]
    assert again.manifest["inputs"]["0"] == trained.key
    np.testing.assert_array_equal(centers_of(again), centers_of(trained)[: len(real)])
    assert RecognizerSummary.load(again).class_names == RecognizerSummary.load(trained).class_names[: len(real)]
    assert (again / CHECKPOINT).read_bytes() == (trained / CHECKPOINT).read_bytes()


def test_settings_of_an_arm_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    for changes, said in (
        ({"selected_by": "nobody"}, r"arms\.mine\.selected_by: no arm is called 'nobody'"),
        ({"selected_by": "mine"}, "that the baseline selects for"),
        ({"selected_by": "equal_steps"}, "an arm of its own length"),
        ({"selected_by": "scoremix", "selector": {"depth": 2}}, "selector must be empty"),
        ({"selected_by": "scoremix", "images": "real"}, "for which nothing is selected"),
        ({"images": "repeated", "sampling": {"weights": [0.5, 0.5]}}, r"sampling\.weights: images is 'repeated'"),
    ):
        with pytest.raises(ValueError, match=said):
            planned(tmp_path, mine=Arm.model_validate(changes))
    with pytest.raises(ValueError, match="trains on real images, too"):
        planned(tmp_path, "scoremix_alone", mine=Arm(selected_by="scoremix_alone"))
    assert {"scoremix", "mine"} <= named(["mine"], {"mine": Arm(selected_by="scoremix")}, ["real"]).keys()
    exp = Experiment(
        arms=known(["real", "equal_steps", "scoremix", "coherent", "mine"], {"mine": Arm(selected_by="coherent")})
    )
    assert narrowed(exp, ["real", "mine"]).arms["coherent"].measured is False


def test_training_ends_on_real_images_where_that_is_asked_for(store: Path) -> None:
    folder = training_sets(store)["scoremix_first"]
    real, images = len(LabeledImages.load(training_sets(store)["real"]).of_classes("train")), LabeledImages.load(folder)
    batch, total = 4, 400
    order = order_of(MixedTraining.load(Artifact("combine", "", folder)), 3, len(images), total)
    seen = np.concatenate([order.rows(start, batch) for start in range(0, total, batch)])
    assert (seen[:200] >= real).any() and seen[:200].max() < len(images)
    assert sorted(np.unique(seen[200:])) == list(range(real))
    assert (images.labels[seen[200:]] < len(LabeledImages.load(training_sets(store)["real"]).class_names)).all()
    assert not (training_sets(store)["scoremix"] / MixedTraining.FILE).exists()
    plain = order_of(None, 3, len(images), total)
    assert np.array_equal(np.concatenate([plain.rows(start, batch) for start in range(0, 200, batch)]), seen[:200])


def test_mixes_pushed_away_from_their_sources_train_another_network_on_the_same_images(store: Path) -> None:
    sets = training_sets(store)
    assert np.array_equal(*(LabeledImages.load(sets[name]).images for name in ("scoremix", "scoremix_away")))
    sources = np.load(sets["scoremix_away"] / MixedTraining.SOURCES)
    assert np.array_equal(sources, np.load(records.step_folder(store, "tiny", "select") / "classes.npy"))
    steps = (records.step_folder(store, "tiny", f"recognizer {name}/0") for name in ("scoremix", "scoremix_away"))
    plain, away = (np.load(folder / "centers.npy") for folder in steps)
    classes = len(plain) - len(sources)
    own = [
        (centers[classes + np.arange(len(sources))][:, None] * centers[sources]).sum(-1).mean()
        for centers in (plain, away)
    ]
    assert own[1] < own[0]


def test_reproductions_join_the_class_they_show(store: Path) -> None:
    folder = training_sets(store)["reproduction"]
    images = LabeledImages.load(folder)
    labels = np.load(folder / "target_labels.npy")[:, 0]
    names = json.loads((folder / "targets.json").read_text())["class_names"]
    for row in range(len(images) - 15, len(images)):
        assert images.class_names[images.labels[row]] == f"{names[labels[row]]} (reproduced)"


def test_screening_keeps_the_candidates_it_says(store: Path) -> None:
    found = [(f.parent, json.loads(f.read_text())) for f in (store / "store" / "screen").rglob("screening.json")]
    screened, info = next((folder, info) for folder, info in found if info["by"] == "coherence")
    assert info["kept"] == 15 and info["drawn"] == 40
    assert info["coherence_after"] >= info["coherence_before"]
    drawn = {
        image.tobytes()
        for f in (store / "store" / "sample").glob("*/images.npy")
        if len(images := np.load(f)) == 40
        for image in images
    }
    assert {image.tobytes() for image in np.load(screened / "images.npy")} <= drawn


def test_report_says_what_a_mix_is(store: Path) -> None:
    page = (store / "tiny" / "report.html").read_text()
    for text in ("What a mix is", "Why convex weights", "search of weights", "Coherent sampling", "<h3>coherent</h3>"):
        assert text in page
    found = json.loads(next((store / "store").rglob("examination.json")).read_text())["groups"]
    groups = {g["group"]: g for g in found}
    assert set(groups) == {"training classes", "unseen classes", "reproductions"} | {
        n for n in RUN if ALL[n].images != "real"
    }
    assert groups["averages"]["sources"] > groups["averages"]["nearest_other"] - 1
    assert groups["training classes"]["percentile"] > 0.9


def test_images_that_arms_share_are_examined_once(store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = records.finished(store, "tiny")
    reproductions = records.stored(store, run.chain["diagnostics"].manifest["inputs"]["2:reproductions"])
    assert reproductions is not None
    seen: list[int] = []

    def counted(net: torch.nn.Module, images: LabeledImages) -> torch.Tensor:
        seen.append(len(images))
        return all_embedded(net, images)

    monkeypatch.setattr(diagnose, "all_embedded", counted)
    work = Work(tmp_path, Runtime(device="cpu", quiet=True), "diagnose")
    examined = {"reproductions": reproductions, **run.added}
    diagnose.diagnose_mixes(MixDiagnostics(), run.chain["real"], run.chain["baseline"], examined, work=work)
    sets = {artifact.key for artifact in [reproductions, *run.added.values()]}
    assert len(seen) == 2 + len(sets) < 2 + 1 + len(run.added)
    found = json.loads((tmp_path / "examination.json").read_text())["groups"]
    assert [group["group"] for group in found[3:]] == list(run.added)


def test_pixel_controls_have_the_weights_of_the_mixes(store: Path, tmp_path: Path) -> None:
    """Also where they are drawn at random for every image."""
    parts = records.finished(store, "tiny")
    runtime = Runtime(device="cpu", quiet=True)
    sampling = parts.exp.sampling.model_copy(update={"draw": "image", "concentration": 3.0, "seed": 7})
    wanted = weights_of(sampling, 5, 2, 3)
    for kind in ("averages", "cutmixes"):
        folder = tmp_path / kind
        folder.mkdir()
        work = Work(folder, runtime, kind)
        mix_pixels(making.of_pixels(sampling, kind), parts.chain["real"], parts.chain["mplets"], work=work)
        np.testing.assert_allclose(np.load(folder / "weights.npy"), wanted, atol=1e-6)
        images = np.load(folder / "images.npy")
        assert len(np.unique(images.reshape(len(images), -1), axis=0)) == 15
    assert len(np.unique(wanted)) == 30


def test_hard_pairs_are_real_images_once_more_each_in_its_own_class(store: Path, tmp_path: Path) -> None:
    parts = records.finished(store, "tiny")
    real, work = parts.chain["real"], Work(tmp_path, Runtime(device="cpu", quiet=True), "repeated")
    mix_pixels(making.of_pixels(parts.exp.sampling, "repeated"), real, parts.chain["mplets"], work=work)
    train, images, weights = real_images(real), np.load(tmp_path / "images.npy"), np.load(tmp_path / "weights.npy")
    np.testing.assert_array_equal(weights, np.tile([[1, 0], [0, 1], [1, 0]], (5, 1)))
    pairs = np.load(parts.chain["mplets"] / "classes.npy")
    for k, image in enumerate(images):
        own = train.of_class(pairs[k // 3, k % 3 % 2])
        assert (image == own).all((1, 2, 3)).any()
    labels, share, names = targets(Mixing(labels="soft"), MixedImages.load(Artifact("pixels", "", tmp_path)), train)
    assert names == list(train.class_names)
    np.testing.assert_array_equal(
        labels[np.arange(len(train), len(labels)), share[len(train) :].argmax(1)],
        pairs.repeat(3, 0)[np.arange(15), np.tile([0, 1, 0], 5)],
    )


def test_magnitudes_of_equal_weights_add_up(store: Path) -> None:
    with np.load(next((store / "store").rglob("magnitudes.npz"))) as file:
        ratios = file["ratios"]  # scores (.5, .5), (.4, .4), (.6, .6), (.7, .7), (1, 1), then conditions
    assert np.allclose(ratios[4], 2 * ratios[0], rtol=1e-5)
    assert np.allclose(ratios[1], 0.8 * ratios[0], rtol=1e-5)


def test_quality_holds_every_image_against_its_own_weights(store: Path) -> None:
    """Drawn, searched, screened and alternating weights are read from the images' own set."""
    runtime, arms = Runtime(out=store, device="cpu", quiet=True), ("auggen_searched", "relabelled", "coherent")
    arms = (*arms, "averages", "scoremix_random_weights", "scoremix_3")
    settings = ["quality.fmrs=[0.1, 0.02]"]
    quality.of_run("tiny", runtime, settings, arms, (), None)
    rows = json.loads((store / "tiny" / "quality.json").read_text())["sets"]
    (made,) = (store / "store" / "quality").glob("*/manifest.json")
    judge = next((store / "store" / "recognizer").glob(f"{json.loads(made.read_text())['inputs']['0'][:12]}*"))
    net, _ = checkpoints.load(judge / "recognizer.safetensors")

    def unit(images: LabeledImages) -> np.ndarray:
        return embedded(net, images, np.arange(len(images))).double().numpy()

    real = LabeledImages.load(next((store / "store" / "ingest").iterdir())).of_classes("train")
    of_real = unit(real)
    centers = np.stack([of_real[real.labels == k].mean(0) for k in range(len(real.class_names))])
    centers /= np.linalg.norm(centers, axis=1, keepdims=True)
    for name in arms:
        both = json.loads((training_sets(store)[name] / "manifest.json").read_text())
        folder = next((store / "store").glob(f"*/{both['inputs']['1'][:12]}"))
        images, weights = LabeledImages.load(folder), np.load(folder / "weights.npy").astype(np.float64)
        target = np.einsum("nmd,nm->nd", centers[np.load(folder / "mplets.npy")[images.labels]], weights)
        cosine = (unit(images) * target).sum(1) / np.linalg.norm(target, axis=1)
        assert rows[name]["align"] == pytest.approx(1 - cosine.mean(), abs=1e-5), name
        assert "leak_others@0.02" in rows[name]
