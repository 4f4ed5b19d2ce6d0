"""A first look, and a run that fits a time: what is left out, and that it goes on as it was planned."""

from __future__ import annotations

from pathlib import Path

import pytest

from scoremix.config import ConfigError, Experiment, Runtime, load, presets
from scoremix.execution import budget, progress, runner, timing
from scoremix.execution.records import RunRecord, source_of
from scoremix.execution.store import Store
from scoremix.report.numbers import duration


@pytest.fixture
def exp(tiny_npz: Path) -> Experiment:
    return load(presets.folder(), (), [f"source={tiny_npz}", "name=tiny-5m", "generator.images_seen=250000"])


@pytest.mark.parametrize(("text", "seconds"), [("90s", 90), ("30m", 1800), ("1.5 h", 5400)])
def test_times_are_read(text: str, seconds: float) -> None:
    assert budget.seconds_of(text) == seconds


@pytest.mark.parametrize("text", ["", "30", "m", "0m", "-3h", "1d"])
def test_what_is_no_time_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="give a number with s, m or h, such as 30m"):
        budget.seconds_of(text)


def test_every_rung_leaves_out_more(exp: Experiment) -> None:
    rungs = [left for _, left in budget.ladder(exp)]
    assert rungs[0] == exp and len(rungs) == 9
    for left in rungs:  # each is an experiment that can be run
        Experiment.model_validate(left.model_dump(mode="json"))
    words = [words for words, _ in budget.ladder(exp, folds=True)]
    assert words[-2].startswith("the folds") and words[-3] == "the generator and its candidates"  # folds are cheaper
    last = rungs[-1]
    assert last.seeds == (0,) and last.data.size == 16 and last.generator.length < exp.generator.length / 3
    assert [name for name, arm in last.arms.items() if arm.measured] == [
        "real",
        "equal_steps",
        "averages_75",
        "cutmixes",
    ]


def test_a_generator_is_left_out_rather_than_trained_on_too_few_images(exp: Experiment) -> None:
    short = exp.model_copy(update={"generator": exp.generator.model_copy(update={"images_seen": 40_000})})
    rungs = list(budget.ladder(short))
    lengths = {left.generator.length for _, left in rungs if any(arm.generated for arm in left.arms.values())}
    assert lengths == {40_000, 20_000} and "half of its training again" not in [words for words, _ in rungs]
    short = exp.model_copy(update={"generator": exp.generator.model_copy(update={"images_seen": 39_999})})
    assert "half the generator's training" not in [words for words, _ in budget.ladder(short)]


@pytest.mark.parametrize(
    "settings",
    [
        ["recognizer.start=mine.safetensors"],  # takes images of its own side
        ["arms.averages_75.recognizer={network: iresnet18}", "data.size=112", "data.channels=3"],
        ["generator.channel_mult=[1, 2, 2]", "data.size=36"],  # 18 px are halved once
    ],
)
def test_images_that_a_network_cannot_take_smaller_keep_their_side(exp: Experiment, settings: list[str]) -> None:
    fixed = load(exp, (), settings)
    rungs = [left for _, left in budget.ladder(fixed)]
    assert len(rungs) == 8 and {left.data.size for left in rungs} == {fixed.data.size}


def test_how_long_it_takes_is_measured_and_said_once(
    tiny_settings: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    exp = load(presets.folder(), (), [*tiny_settings, "choice.folds=1", "generator.until=gate"])
    runtime, store, rates = Runtime(out=tmp_path, device="cpu", quiet=True), Store(tmp_path / "store"), {}
    left = runner.decided(budget.fitted(exp, runtime, store, "1h", rates), "cpu")
    assert "--time 1h: all of it fits, nothing is left out\n" in capfd.readouterr().err
    source = source_of(left)
    real = runner.run(left, source, runner.Runner(store, runtime, "ingest"))
    seconds = budget.expected(left, source, runtime, store, rates)
    planner = runner.planned(left, source, store)
    monkeypatch.setattr(timing.Clock, "_timed", lambda *_: pytest.fail("measured again"))
    progress._announce(real, planner, runner.needed(planner.listed, None), runtime, 1, rates[real.key])
    told = capfd.readouterr().err
    assert f"estimate: about {duration(seconds)}, less if the generator's training ends early (" in told
    assert told.endswith("; as measured for --time)\n")


def costs(exp: Experiment, *rest: object) -> float:
    """Seconds that fall with every rung."""
    generated = [arm for arm in exp.arms.values() if arm.generated]
    return len(exp.seeds) * (100 + 100 * len(generated)) * exp.data.size / 32


def fitted(exp: Experiment, out: Path, text: str) -> Experiment:
    return budget.fitted(exp, Runtime(out=out, device="cpu", quiet=True), Store(out / "store"), text)


def test_as_little_is_left_out_as_the_time_asks_for(
    exp: Experiment, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(budget, "expected", costs)
    assert fitted(exp, tmp_path, "20m") == exp
    assert "nothing is left out" in capfd.readouterr().err
    assert fitted(exp, tmp_path, "800s").seeds == (0, 1)
    assert "left out, for the rest to fit: all recognizer seeds but two" in capfd.readouterr().err
    with pytest.raises(
        ConfigError, match=r"--time 1m: the least takes about 50 s here; give more time, or fewer images"
    ):
        fitted(exp, tmp_path, "1m")


def test_a_run_goes_on_as_it_was_planned(exp: Experiment, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(budget, "expected", costs)
    first = runner.decided(fitted(exp, tmp_path, "800s"), "cpu")
    RunRecord(tmp_path, first, [])
    monkeypatch.setattr(budget, "expected", lambda *_: 1e9)  # what a busy machine measures
    assert fitted(exp, tmp_path, "800s") == first


def test_a_first_look_has_no_generator_and_a_name_of_its_own(tiny_npz: Path) -> None:
    look = presets.experiment(None, (), str(tiny_npz), quick=True, kind="quick")
    assert (
        look.name == "tiny-quick" and look.seeds == (0, 1) and look.data.classes == 100 and look.recognizer.epochs == 10
    )
    assert not any(arm.generated for arm in look.arms.values())
    own = presets.experiment(None, (), str(tiny_npz), settings=["name=mine", "seeds=[4]"], quick=True, kind="quick")
    assert own.name == "mine" and own.seeds == (4,)
    named = presets.experiment(None, (), str(tiny_npz), arms="real,scoremix", quick=True, kind="quick")
    assert named.arms["scoremix"].generated and named.generator.images_seen == 50_000


def test_a_generator_of_a_folder_is_trained_as_long_as_its_classes_need(tiny_npz: Path, tmp_path: Path) -> None:
    runtime, store = Runtime(out=tmp_path, device="cpu", quiet=True), Store(tmp_path / "store")
    exp = runner.decided(load(presets.folder(), (), [f"source={tiny_npz}", "data.size=8"]), "cpu")
    assert exp.generator.images_seen == "auto" and exp.generator.for_classes(1000).length == 800_000
    source = source_of(exp)
    runner.run(exp, source, runner.Runner(store, runtime, "ingest"))
    planned = {step.label: step.config for step in runner.plan_all(exp, source, store)}
    assert planned["generator"]["images_seen"] == 40_000  # 14 classes need less than the least
