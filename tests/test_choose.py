"""A run that chooses its recipe: candidates on validation classes, then the chosen one once on test classes."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from scoremix.config import Arm, ConfigError, Experiment, Runtime, load, presets
from scoremix.config.choice import confirming, costliest, narrowed, without_generator
from scoremix.evaluation.estimate import ChosenCandidate
from scoremix.evaluation.metric_table import metric_of
from scoremix.execution import progress, records, runner
from scoremix.execution.artifacts import External
from scoremix.execution.recipe import with_arm
from scoremix.execution.store import Step, Store
from scoremix.execution.trained import load_recognizer
from scoremix.execution.training_set import load_training_set
from scoremix.outputs.choice import Choosing
from scoremix.outputs.images import ImagesSummary, Split
from scoremix.pipeline import story
from support.runs import undrawn

CANDIDATES = ["real", "equal_steps", "averages_75", "cutmixes", "scoremix", "coherent_75"]


def experiment(*settings: str) -> Experiment:
    return load(presets.folder(), (), ["source=glyphs", "generator.images_seen=1000", *settings])


def plans(exp: Experiment, store: Store) -> list[Step]:
    return runner.plan_all(runner.decided(exp, "cpu"), External("here", "k"), store)


def finish(store: Store, step: Step, name: str, content: object) -> None:
    """Makes a step look done, with what it says."""
    folder = store.artifact(step).folder
    folder.mkdir(parents=True)
    (folder / name).write_text(json.dumps(content))
    (folder / "manifest.json").write_text(json.dumps({"outputs": {}}))


def read(train: int, validation: int) -> dict[str, object]:
    """What ingest says of so many classes."""
    counts = {"train": train, "validation": validation, "test": 9}
    splits = [Split(part, n, 9 * n, 0) for part, n in counts.items()]
    return ImagesSummary(splits, (16, 16, 1), (), "").as_json()


def chose(arm: str) -> dict[str, object]:
    """What a choice says that took this arm."""
    return Choosing(ChosenCandidate(arm, arm, "real", {}, {}), metric_of("auc"), 0.95, 30, 600).as_json()


def gate(top1: float) -> dict[str, float]:
    return {"top1": top1, "top5": 1, "real_top1": 1, "real_top5": 1, "floor": 0.5, "classes": 9, "images": 36}


def test_a_folder_chooses_unless_told_what_to_judge() -> None:
    assert list(experiment().arms) == CANDIDATES and experiment().choice is not None
    fixed = (
        "evaluation.treatment=scoremix",
        "evaluation.classes=validation",
        "choice=null",
        "arms=real,scoremix",
        'evaluation.controls=["real"]',
    )
    for setting in fixed:
        exp = load(presets.folder(), (), [setting], presets.named)
        assert exp.choice is None, setting
    assert experiment("evaluation.level=0.9").choice is not None
    with pytest.raises(ConfigError, match="choice: an arm is chosen on validation classes and judged on test classes"):
        experiment("choice.level=0.9", "evaluation.classes=validation")


def test_recorded_settings_of_before_are_judged_as_before() -> None:
    old = experiment("evaluation.treatment=coherent_75").model_dump(mode="json")
    del old["choice"]
    assert load(presets.folder(), [old]).choice is None


def test_candidates_are_measured_on_validation_classes_and_test_classes_wait(tmp_path: Path) -> None:
    steps = plans(experiment(), Store(tmp_path))
    measured = {step.label: step.config["classes"] for step in steps if step.stage == "evaluate"}
    assert {n for n, of in measured.items() if of == "validation"} == {
        f"validate {a}/{s}" for a in CANDIDATES for s in range(3)
    }
    on_test = {name.split()[1].split("/")[0] for name, of in measured.items() if of == "test"}
    assert on_test == {"real", "equal_steps", costliest(experiment())}
    chosen = next(step for step in steps if step.stage == "choose").key
    compared = next(step for step in steps if step.stage == "compare")
    assert chosen in compared.inputs.values()  # no test class is compared before


def test_candidates_are_the_arms_of_the_method(tmp_path: Path) -> None:
    exp = runner.decided(experiment(), "cpu")
    planner = runner.Planner(Store(tmp_path))
    story(exp.model_copy(update={"choice": None}), External("here", "k"), planner)
    alone = {step.key for step in planner.steps.values() if step.stage == "recognizer"}
    assert {step.key for step in plans(exp, Store(tmp_path)) if step.stage == "recognizer"} == alone


def test_only_the_chosen_arm_and_its_controls_see_test_classes(tmp_path: Path) -> None:
    store, exp = Store(tmp_path), experiment()
    finish(store, next(s for s in plans(exp, store) if s.stage == "choose"), "choice.json", chose("cutmixes"))
    steps = plans(exp, store)
    on_test = {s.label for s in steps if s.stage == "evaluate" and s.config["classes"] == "test"}
    assert on_test == {f"evaluate {arm}/{seed}" for arm in ("real", "equal_steps", "cutmixes") for seed in range(3)}
    report = next(step for step in steps if step.stage == "report")
    assert report.config["evaluation"]["treatment"] == "cutmixes"
    assert not report.config["arms"]["averages_75"]["measured"]  # equal steps are as many as its


def test_a_weak_generator_leaves_its_candidates_out(tmp_path: Path) -> None:
    store, exp = Store(tmp_path), experiment()
    before = plans(exp, store)
    finish(store, next(s for s in before if s.stage == "check"), "gate.json", gate(0.3))
    steps = plans(exp, store)
    trained = {s.label.split()[1].split("/")[0] for s in steps if s.label.startswith("recognizer ")}
    assert trained == {"real", "equal_steps", "averages_75", "cutmixes"}
    assert {s.label for s in steps if s.stage == "sample"} == {"sample reproductions"}
    longer = next(s for s in steps if s.label == "recognizer equal_steps/0")
    length = next(s for s in steps if s.key == longer.inputs["1"])
    assert next(s.label for s in steps if s.key == length.inputs["1"]) == "screen for averages_75"


def test_what_an_arm_of_a_weak_generator_would_select_for_is_left_out(tmp_path: Path) -> None:
    store, exp = Store(tmp_path), experiment()
    again = {name: Arm(images="averages", selected_by=name) for name in ("scoremix", "averages_75")}
    mine = {"again": again["scoremix"], "mine": again["averages_75"], "longer": Arm(images="real", steps_of="again")}
    exp = exp.model_copy(update={"arms": {**exp.arms, **mine}})
    before = plans(exp, store)
    checked = next(i for i, s in enumerate(before) if s.stage == "check")
    assert not {"sample for scoremix", "keep_real for again"} & {s.label for s in before[:checked]}  # they wait for it
    finish(store, before[checked], "gate.json", gate(0.3))
    steps = plans(exp, store)
    trained = {s.label.split()[1].split("/")[0] for s in steps if s.label.startswith("recognizer ")}
    assert trained == {"real", "equal_steps", "averages_75", "cutmixes", "mine", "longer"}
    assert {s.label for s in steps if s.stage == "sample"} == {"sample reproductions"}
    assert {s.label for s in steps if s.stage == "keep_real"} == {"keep_real for mine"}


def test_candidates_without_a_generator_train_none(tmp_path: Path) -> None:
    exp = without_generator(experiment(), ["scoremix", "coherent_75"])
    assert not {"generator", "sample", "check"} & {step.stage for step in plans(exp, Store(tmp_path))}


@pytest.mark.parametrize("setting", ["selection.space=condition", "selection.strategy=joint_top"])
def test_candidates_of_pixels_may_be_chosen_by_the_generator(tmp_path: Path, setting: str) -> None:
    exp = without_generator(experiment(setting), ["scoremix", "coherent_75"])
    steps = {step.label: step for step in plans(exp, Store(tmp_path))}
    assert steps["generator"].key in steps["select"].inputs.values()
    with pytest.raises(
        ConfigError, match="--quick trains no generator, by whose conditions the m-plets of arm 'averages_75'"
    ):
        presets.experiment(None, data=str(tmp_path), settings=[setting], quick=True)


def test_a_step_that_a_choice_does_without_is_named(tmp_path: Path, tiny: Experiment) -> None:
    exp = without_generator(tiny, ["scoremix"])
    with pytest.raises(ConfigError, match="run 'tiny' has no step 'generator': no candidate needs a generator"):
        run(exp, tmp_path, "generator")


def test_what_the_judged_arm_is_held_against() -> None:
    exp = experiment()
    assert confirming(exp, "scoremix").evaluation.controls == ("real", "equal_steps")
    assert confirming(exp, "real").evaluation.controls == ("equal_steps",)
    assert {n: a.measured for n, a in narrowed(exp, ["equal_steps"]).arms.items()} == {
        "equal_steps": True,
        "averages_75": False,
    }


@pytest.mark.parametrize(
    ("train", "validation", "settings", "said"),
    [
        (9, 4, [], r"4 validation classes are too few .*split_list\)$"),
        (9, 1, ["choice.folds=1"], "^1 validation class is too few"),
        (90, 4, ["choice.folds=1"], r"or choose on folds \(choice.folds=3\)$"),
        (90, 4, [], None),  # folds choose
        (9, 5, [], None),
    ],
)
def test_classes_that_can_choose_nothing_are_named_before_training(
    tmp_path: Path, train: int, validation: int, settings: list[str], said: str | None
) -> None:
    store, exp = Store(tmp_path), experiment(*settings)
    ingested = next(s for s in plans(exp, store) if s.stage == "ingest")
    finish(store, ingested, "summary.json", read(train, validation))
    told = progress.too_few(exp, store.artifact(ingested))
    assert told is None if said is None else re.search(said, told or "")


def test_a_choice_of_too_few_classes_is_told_first_and_last(
    tiny: Experiment, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    split = tiny.data.model_copy(update={"fractions": (0.8, 0.1, 0.1)})
    few = tiny.model_copy(update={"data": split, "seeds": (0,)})
    with undrawn():
        run(narrowed(few, ["real", "equal_steps"]), tmp_path)
    told, said = capfd.readouterr(), "3 validation classes are too few to tell a lead from chance"
    assert told.err.index(said) < told.err.index("✓ baseline") < told.err.rindex(said)
    assert said in told.out and "  To try: take more classes" in told.out
    assert not re.search("did better|may be chance", told.err + told.out)
    assert f". {said}: with fewer than 5" in (tmp_path / "tiny" / "report.html").read_text().partition("was chosen")[2]


@pytest.fixture(scope="module")
def tiny(tiny_settings: list[str]) -> Experiment:
    exp = load(presets.folder(), (), [*tiny_settings, "data.fractions=[0.5, 0.25, 0.25]", "choice.folds=1"])
    return narrowed(exp, ["real", "equal_steps", "averages_75", "scoremix"])


def run(exp: Experiment, out: Path, until: str | None = None, workers: int = 1) -> Path:
    runtime = Runtime(out=out, device="cpu", quiet=True, workers=workers)
    return progress.execute(exp, runtime, Store(out / "store"), until)


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory, tiny: Experiment) -> Path:
    out = tmp_path_factory.mktemp("chosen")
    run(tiny, out, "compare")
    run(tiny, out)
    return out


def test_a_run_chooses_then_confirms(finished: Path, tiny: Experiment, capfd: pytest.CaptureFixture[str]) -> None:
    store = finished / "store"
    choice = json.loads(next(store.glob("choose/*/choice.json")).read_text())
    assert set(choice["means"]) == set(tiny.arms) and choice["classes"] == 6
    assert len(list(store.glob("compare/*/manifest.json"))) == 1
    told = json.loads((finished / "tiny" / "report.json").read_text())
    assert told["verdict"]["arm"] == choice["chosen"] and told["evaluation"]["test_looks"] == 1
    assert {arm["name"] for arm in told["arms"]} == {"real", "equal_steps", choice["chosen"]}
    assert told["choice"]["means"] == choice["means"]
    page = (finished / "tiny" / "report.html").read_text()
    assert all(line in page.replace("&#39;", "'") for line in told["verdict"]["told"])
    assert "How the recipe was chosen" in page and ">left out: " not in page
    assert records.finished(finished, "tiny").exp.evaluation.treatment == choice["chosen"]
    named = with_arm(finished, "tiny")  # a run stands for its best arm
    assert named in {f"tiny/{arm['name']}" for arm in told["arms"]}
    assert load_training_set("tiny", out=finished).folder == load_training_set(named, out=finished).folder
    assert load_recognizer("tiny", out=finished, device="cpu").description.embedding == 16
    before = {f: f.stat().st_mtime_ns for f in store.rglob("manifest.json")}
    run(tiny, finished)
    assert {f: f.stat().st_mtime_ns for f in store.rglob("manifest.json")} == before


@pytest.mark.slow
def test_workers_make_the_same_and_a_weak_generator_stops_nothing(
    finished: Path, tiny: Experiment, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    strict = tiny.model_copy(update={"gate": tiny.gate.model_copy(update={"floor": 1.0})})
    run(tiny, tmp_path / "a", workers=2)
    run(strict, tmp_path / "b", workers=2)
    chosen = [next(out.glob("store/choose/*/choice.json")) for out in (finished, tmp_path / "a", tmp_path / "b")]
    assert chosen[0].read_bytes() == chosen[1].read_bytes()
    assert "scoremix" not in json.loads(chosen[2].read_text())["means"]
    assert "candidates whose images the generator makes are left out" in capfd.readouterr().err
    page = (tmp_path / "b" / "tiny" / "report.html").read_text()
    assert "it is too weak" in page and ">left out: " not in page


@pytest.mark.parametrize("top1", [0.9, 0.3])
def test_a_story_is_planned_anew_for_every_branch(tmp_path: Path, top1: float) -> None:
    store, exp, graphs = Store(tmp_path), runner.decided(experiment(), "cpu"), list[set[str]]()
    says = {"check": ("gate.json", gate(top1)), "choose": ("choice.json", chose("averages_75"))}

    def make(_: runner.Planner, steps: list[Step]) -> None:
        todo = [step for step in steps if not store.artifact(step).done]
        graphs.append({step.label for step in todo})
        for step in todo:
            finish(store, step, *says.get(step.stage, ("nothing.json", {})))

    finish(store, next(s for s in plans(exp, store) if s.stage == "ingest"), "summary.json", read(60, 40))
    (last,) = runner.in_parts(exp, External("here", "k"), store, [None], make)
    first, second, third = graphs
    assert last.stage == "report" and "check" in first and "choose" in second and "report" in third
    assert {"recognizer cutmixes/0", "validate real/2"} <= first  # need no generator: they do not wait for its gate
    assert ("recognizer scoremix/0" in second) == (top1 > 0.5) and "recognizer scoremix/0" not in first
    assert "evaluate averages_75/0" in third and "evaluate scoremix/0" not in third
