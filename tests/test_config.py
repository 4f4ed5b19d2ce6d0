"""The experiment tree: every mistake named with its path, value and what is allowed."""

from __future__ import annotations

from pathlib import Path

import pytest

from scoremix.config import ConfigError, Experiment, Selection, load
from scoremix.config.places import located
from scoremix.config.presets import PRESETS


def test_settings_change_only_what_they_name() -> None:
    base = Experiment()
    changed = load(base, (), ["generator.lr=0.02", "sampling.weights=[0.3, 0.7]", "seeds=[4]"])
    assert changed.generator.lr == 0.02
    assert changed.sampling.weights == (0.3, 0.7)
    assert changed.seeds == (4,)
    assert changed.recognizer == base.recognizer
    assert changed.generator.model_copy(update={"lr": base.generator.lr}) == base.generator


@pytest.mark.parametrize("suffix", ["yaml", "toml", "json"])
def test_files_then_settings(tmp_path: Path, suffix: str) -> None:
    text = {
        "yaml": "generator:\n  lr: 0.5\n  batch: 7\n",
        "toml": "[generator]\nlr = 0.5\nbatch = 7\n",
        "json": '{"generator": {"lr": 0.5, "batch": 7}}',
    }
    file = tmp_path / f"e.{suffix}"
    file.write_text(text[suffix])
    exp = load(Experiment(), [file], ["generator.batch=9"])
    assert (exp.generator.lr, exp.generator.batch) == (0.5, 9)


def test_every_mistake_is_listed_at_once() -> None:
    with pytest.raises(ConfigError) as caught:
        load(
            Experiment(),
            (),
            ["generator.lr=fast", "sampling.stepz=3", "data.size=4", "arms.far.sampling.stps=1"],
        )
    lines = str(caught.value).splitlines()
    assert len(lines) == 4
    assert any("generator.lr" in line and "'fast'" in line for line in lines)
    assert any("sampling.stepz" in line and "did you mean steps" in line for line in lines)
    assert any("data.size" in line and "8" in line and "4" in line for line in lines)
    assert any("arms.far.sampling.stps" in line and "did you mean steps" in line for line in lines)


@pytest.mark.parametrize(
    ("setting", "names"),
    [
        ("sampling.weights=[0.7, 0.7]", ["sum to 1.4", "convex: false"]),
        ("sampling.weights=[.nan, 0.5]", ["sampling.weights"]),
        ("sampling.sigma_min=100", ["sigma_min", "sigma_max"]),
        ("sampling.ema=0.2", ["sampling.ema 0.2", "generator.ema: 0.05, 0.1"]),
        ("sampling.ema=0.0504", ["sampling.ema: length 0.0504", "three decimals"]),
        ("sampling.guide_ema=0.0996", ["sampling.guide_ema: length 0.0996"]),
        ("selection.ema=0.0501", ["selection.ema: length 0.0501"]),
        ("generator.ema=[0.05, 0.1004]", ["generator.ema.1: length 0.1004"]),
        ("analysis.spaces.ema=[0.0704]", ["analysis.spaces.ema.0: length 0.0704"]),
        ("seeds=[1, 1]", ["seeds", "distinct"]),
        ("seeds=[]", ["seeds"]),
        ("seeds=3", ["seeds: must be a list (got 3)"]),
        ("data.fractions=[0.5, 0.5]", ["data.fractions: needs 3 values (got [0.5, 0.5])"]),
        ("data.fractions=[0.4, 0.2, 0.2, 0.2]", ["data.fractions: needs 3 values (got [0.4, 0.2, 0.2, 0.2])"]),
        ("sampling.guide_interval=[1]", ["sampling.guide_interval: needs 2 values (got [1])"]),
        ("evaluation.controls=[]", ["evaluation.controls: needs at least 1 (got [])"]),
        ("generator.align=true", ["generator.align: must be a table such as {weight: 0.1} (got True)"]),
        ("data=3", ["data: must be a table such as {size: 32} (got 3)"]),
        ("arms=3", ["arms: must be a table such as {name: {images: mixes}} (got 3)"]),
        ("arms.x=3", ["arms.x: must be a table such as {images: mixes} (got 3)"]),
        ("arms.x.sampling=3", ["arms.x.sampling: must be a table of settings (got 3)"]),
        ("evaluation.headline=0.5", ["headline", "fars"]),
        ("arms.odd.steps_of=nobody", ["nobody", "scoremix"]),
        ("data.fractions=[0.5, 0.5, 0.5]", ["fractions", "1.5"]),
        ("recognizer.widths=[8, 16]", ["widths", "units"]),
        ("recognizer.widths=[4, 8, 8]", ["recognizer.widths.0", "8 (got 4)"]),
        ("name=a/b", ["name"]),
        ("selection.strategy=nearest", ["selection.strategy", "far", "nearest"]),
        ("generator=3", ["generator"]),
        ("seeds=[-1]", ["seeds.0", "greater than or equal to 0"]),
        ("seeds=[true]", ["seeds: must be a number (got True)"]),
        ("recognizer.epochs=true", ["recognizer.epochs: must be a number (got True)"]),
        ("recognizer.lr=1e300", ["recognizer.lr: too large"]),
        ("generator.batch=1000000000000", ["generator.batch", "1048576"]),
        ("recognizer.embedding=99999999999", ["recognizer.embedding", "65536"]),
        ("recognizer.lr=1000", ["recognizer.lr", "less than or equal to 100"]),
        ("generator.images_seen=99999999999999999999", ["generator.images_seen: too large"]),
        (
            "generator.images_seen=many",
            ["generator.images_seen: input should be a valid integer", "or 'auto' (got 'many')"],
        ),
        ("sampling.steps=1000000000", ["sampling.steps", "10000"]),
        (
            "arms.x={search: true, selection: {m: 3}}",
            ["arms.x.search: finds the weights of two classes, and 3 are mixed"],
        ),
        ("arms.x={search: true, images: averages}", ["arms.x.search: finds the weights of mixes"]),
        ("arms.x={search: true, sampling: {draw: image}}", ["arms.x.search", "sampling.draw"]),
        ("arms.x={search: true, sampling: {churn: 3, resample: 0.5}}", ["arms.x.search", "no sampling.resample"]),
        (
            "arms.x={mixing: {weight: 0.5}, recognizer: {blend: mixup}}",
            ["arms.x.mixing.weight", "'mixup'", "one class"],
        ),
        (
            "arms.x={mixing: {source_margin: 0.1}, recognizer: {head: softmax}}",
            ["arms.x.mixing.source_margin", "cosine"],
        ),
        ("sampling.rho=0.000001", ["sampling.rho", "0.1"]),
        ("recognizer.microbatch=1", ["microbatch 1 of batch 128", "need two"]),
        ("recognizer.microbatch=127", ["microbatch 127 of batch 128", "need two"]),
        (
            "arms.x={mixing: {labels: soft}, sampling: {weights: [1.5, -0.5], convex: false}}",
            ["arms.x: soft labels are the weights", "[1.5, -0.5]"],
        ),
        ("arms.x={images: cutmixes, selection: {m: 3}}", ["arms.x.images 'cutmixes'", "selection.m is 3"]),
        ("arms.x={images: cutmixes, selection: {strategy: each}}", ["arms.x.images 'cutmixes'", "is 1"]),
        ("name=Zoë", ["name: must be letters from A to Z", "(got 'Zoë')"]),
        ("name=!!bool 7", ["name"]),
        ("justaword", ["a.b=c"]),
    ],
)
def test_wrong_values_are_named(setting: str, names: list[str]) -> None:
    with pytest.raises(ConfigError) as caught:
        load(Experiment(), (), [setting])
    for name in names:
        assert name in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("own", "named"),
    [
        ("generator: {ema: [0.1]}", "arms.other.sampling.ema 0.05 is not kept by the generator (generator.ema: 0.1)"),
        ("generator: {ema: [0.02, 0.1]}, selection: {space: condition}", "arms.other.selection.ema 0.05"),
        ("generator: {conditional: false}", "arms.other.generator.conditional"),
    ],
)
def test_an_arms_mixes_are_judged_by_its_own_generator(own: str, named: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load(Experiment(), (), [f"arms.other={{{own}}}"])
    assert named in str(caught.value)
    kept = "{generator: {ema: [0.02, 0.2]}, sampling: {ema: 0.02, guide_ema: 0.2}}"
    assert load(Experiment(), (), [f"arms.other={kept}"]).arms["other"].sampling["ema"] == 0.02
    unused = "{images: averages, generator: {ema: [0.2]}}"
    assert "other" in load(Experiment(), (), [f"arms.other={unused}"]).arms


def test_a_name_that_is_no_date_is_a_name() -> None:
    assert load(Experiment(), (), ["name=2020-13-45"]).name == "2020-13-45"


def test_weights_may_leave_the_simplex_when_said() -> None:
    exp = load(Experiment(), (), ["sampling.weights=[0.7, 0.7]", "sampling.convex=false"])
    assert exp.sampling.weights == (0.7, 0.7)


@pytest.mark.parametrize("text", ["[1, 2]", "a: [", "just words", "data: {seed: 1}\ndata: {size: 16}"])
def test_wrong_files_are_named(tmp_path: Path, text: str) -> None:
    file = tmp_path / "e.yaml"
    file.write_text(text)
    with pytest.raises(ConfigError, match=r"e\.yaml"):
        load(Experiment(), [file])
    with pytest.raises(ConfigError, match="absent"):
        load(Experiment(), [tmp_path / "absent.yaml"])


def test_a_date_in_yaml_is_text(tmp_path: Path) -> None:
    (tmp_path / "e.yaml").write_text("name: 2020-01-01\n")
    assert load(Experiment(), [tmp_path / "e.yaml"]).name == "2020-01-01"


@pytest.mark.parametrize("name", sorted(PRESETS))
def test_presets_are_valid_and_survive_json(name: str) -> None:
    exp = PRESETS[name]()
    assert Experiment.model_validate_json(exp.model_dump_json()) == exp


@pytest.mark.parametrize("text", ["1e6", "1E+6", "1.0e6", "1000000"])
def test_numbers_may_have_an_exponent(text: str, tmp_path: Path) -> None:
    assert load(Experiment(), (), [f"generator.images_seen={text}"]).generator.images_seen == 1_000_000
    file = tmp_path / "settings.yaml"
    file.write_text(f"generator: {{images_seen: {text}}}\n")
    assert load(Experiment(), [file]).generator.images_seen == 1_000_000


def test_a_run_is_continued_from_anywhere_by_its_record(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import shlex

    from scoremix.config import presets, read_settings
    from scoremix.execution.records import RunRecord, to_continue

    (tmp_path / "my images").mkdir()
    monkeypatch.chdir(tmp_path)
    exp = presets.experiment("demo", data="my images", arms="real,scoremix", settings=["seeds=[3]", "name=mine"])
    assert exp.source == str(tmp_path / "my images")
    RunRecord(Path("out"), exp, [])
    command = shlex.split(to_continue(Path("out"), "mine").strip("`"))
    monkeypatch.chdir("/")
    assert command[:3] == ["scoremix", "run", "--config"] and command[5] == str(tmp_path / "out")
    assert presets.experiment(None, [read_settings(Path(command[3]))]) == exp


def test_paths_of_every_part_mean_the_same_wherever_one_stands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("r.pt", "pairs.csv", "groups.csv", "model"):
        (tmp_path / name).touch()
    settings = [
        "recognizer.start=r.pt",
        "selection.file=pairs.csv",
        "selection.strategy=list",
        "selection.groups=groups.csv",
        "arms.mine.recognizer.start=r.pt",
        "arms.mine.selector.start=r.pt",
        "arms.mine.selection.file=pairs.csv",
        "analysis.recognizers.other.start=r.pt",
    ]
    monkeypatch.chdir(tmp_path)
    exp = located(load(Experiment(), (), settings))
    mine = exp.arms["mine"]
    assert exp.recognizer.start == mine.recognizer["start"] == mine.selector["start"] == str(tmp_path / "r.pt")
    assert exp.selection.file == mine.selection["file"] == str(tmp_path / "pairs.csv")
    assert exp.selection.groups == str(tmp_path / "groups.csv")
    assert exp.analysis.recognizers["other"]["start"] == str(tmp_path / "r.pt")
    (tmp_path / "data").mkdir()
    own = located(Experiment(source="data", selection=Selection(groups="data")))
    assert own.source == str(tmp_path / "data") and own.selection.groups == "data"
    assert located(Experiment()) == Experiment()
