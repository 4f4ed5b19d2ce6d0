"""Studies: shared steps are made once, budgets stop between steps, tables agree with the runs they come from."""

from __future__ import annotations

import contextlib
import csv
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import yaml

from scoremix import study
from scoremix.config import ConfigError, Runtime
from scoremix.config import generator as generator_settings
from scoremix.config.study import read_study
from scoremix.data.images import LabeledImages
from scoremix.execution.store import Store
from scoremix.report.study import StudyEstimate, StudyRow, Table
from support.runs import undrawn


def tree_of(settings: list[str]) -> dict[str, object]:
    tree: dict[str, object] = {}
    for setting in settings:
        path, _, text = setting.partition("=")
        nested = tree
        *parents, last = path.split(".")
        for part in parents:
            nested = nested.setdefault(part, {})  # type: ignore[assignment]
        nested[last] = yaml.safe_load(text)
    return tree


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory, tiny_npz: Path, tiny_settings: list[str]) -> Path:
    settings = [s for s in tiny_settings if not s.startswith(("source=", "name=", "seeds="))]
    tree = {
        "name": "small",
        "data": {"blobs": {"source": str(tiny_npz)}},
        "arms": ["real", "equal_steps", "scoremix", "averages"],
        "headline": ["scoremix"],
        "against": {"scoremix": "averages"},
        "generator_seeds": [0, 1],
        "seeds": [0, 1],
        "settings": tree_of([*settings, "recognizer.epochs=1", "evaluation.morphs=2"]),
    }
    path = tmp_path_factory.mktemp("study") / "small.yaml"
    path.write_text(yaml.safe_dump(tree))
    return path


def run(file: Path, out: Path, figures: bool = False, **changes: object) -> Path:
    config = read_study(file).model_copy(update=changes)
    with contextlib.nullcontext() if figures else undrawn():
        return study.execute(config, Runtime(out=out, device="cpu", quiet=True), Store(out / "store"))


@pytest.fixture(scope="module")
def finished(file: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("finished study")
    run(file, out, figures=True)
    return out


def test_a_group_of_arms_works_alone(file: Path) -> None:
    config, said = read_study(file).model_copy(update={"arms": ("table2",), "headline": (), "against": {}}), []
    for _, seed, exp in config.experiments(said.append):
        assert {*exp.arms} >= {"real", "equal_steps"} and (seed or "scoremix_3" in exp.arms)
    assert set(said) == {"arm equal_steps is added: the verdict needs it"}


@pytest.mark.parametrize("file", sorted((Path(__file__).parents[1] / "studies").glob("*.yaml")), ids=lambda f: f.stem)
def test_the_studies_of_the_repository_are_valid(file: Path) -> None:
    config = read_study(file)
    for _, seed, exp in config.experiments():
        wanted = {"real", *exp.evaluation.controls, *config.own}
        assert seed != config.generator_seeds[0] or wanted <= exp.arms.keys()


def made(out: Path, stage: str) -> int:
    return len(list((out / "store" / stage).glob("*/manifest.json")))


def test_what_generators_do_not_touch_is_made_once(finished: Path) -> None:
    # two seeds of real, averages and equal_steps, which is as long as mixes of any generator, once; of scoremix twice
    assert made(finished, "recognizer") == 2 * (3 + 2)
    assert made(finished, "generator") == 2
    assert made(finished, "compare") == 2


@pytest.mark.parametrize(
    ("settings", "times"),
    [({}, 1), ({"sampling": {"leak_gate": 0.1}}, 2), ({"selection": {"space": "condition"}}, 2)],
    ids=["known", "images dropped", "m-plets by the generator"],
)
def test_a_control_is_trained_once_where_no_generator_changes_its_length(
    file: Path, tmp_path: Path, settings: dict[str, object], times: int
) -> None:
    config = read_study(file)
    config = config.model_copy(update={"settings": {**config.settings, **settings}})
    progress = study.Progress(Store(tmp_path / "store"), Runtime(out=tmp_path, device="cpu", quiet=True))
    planned = [progress.steps(exp) for _, _, exp in study._experiments(config, progress.runtime)]
    for arm, wanted in (("equal_steps", times), ("real", 1), ("scoremix", 2)):
        trained = {step.key for steps in planned for step in steps if step.label.startswith(f"recognizer {arm}/")}
        assert len(trained) == wanted * len(config.seeds)


def test_nothing_is_left_out_of_a_page(finished: Path) -> None:
    pages = [finished / "small" / "study.html", *finished.glob("small.blobs.g*/report.html")]
    assert len(pages) == 3 and not [page for page in pages if "left out: " in page.read_text()]


def test_tables_are_means_over_runs(finished: Path) -> None:
    table = json.loads((finished / "small" / "study.json").read_text())["tables"][0]
    rows = {row["arm"]: row for row in table["rows"]}
    assert rows["scoremix"]["generator_seeds"] == [0, 1] and rows["averages"]["generator_seeds"] == [0]
    runs = {arm: len(row["metrics"][table["headline"]]["runs"]) for arm, row in rows.items()}
    assert runs == {"real": 2, "equal_steps": 2, "scoremix": 4, "averages": 2}  # real images are not twice two runs
    of_runs = {seed: json.loads((finished / f"small.blobs.g{seed}" / "report.json").read_text()) for seed in (0, 1)}
    for metric in table["metrics"]:
        seeds = [
            v
            for seed in (0, 1)
            for d in of_runs[seed]["differences"]
            if (d["arm"], d["control"], d["metric"]) == ("scoremix", "equal_steps", metric)
            for v in d["estimate"]["seeds"]
        ]
        cell = next(
            d for d in rows["scoremix"]["differences"] if (d["control"], d["metric"]) == ("equal_steps", metric)
        )
        assert cell["value"] == pytest.approx(np.mean(seeds), abs=1e-6)
        assert cell["runs"] == pytest.approx(seeds, abs=1e-6)
    morphed = [v for row in rows.values() for v in row["metrics"][table["headline"].replace("tar", "mmpmr")]["runs"]]
    assert all(0 <= v <= 1 for v in morphed) and len(set(morphed)) > 1
    arm, other, cells = table["pairs"][0]
    assert (arm, other) == ("scoremix", "averages")
    for metric in table["metrics"]:
        first = rows["scoremix"]["metrics"][metric]["runs"][:2]  # averages were run beside the first generator alone
        wanted = np.subtract(first, rows["averages"]["metrics"][metric]["runs"])
        assert cells[metric]["runs"] == pytest.approx(wanted.tolist(), abs=1e-6)
    with (finished / "small" / "study.csv").open() as stream:
        lines = list(csv.DictReader(stream))
    assert {line["arm"] for line in lines} == set(rows)
    assert "Beside the paper" in (finished / "small" / "study.html").read_text()


def test_second_run_makes_nothing(finished: Path, file: Path) -> None:
    before = {f: f.stat().st_mtime_ns for f in (finished / "store").rglob("manifest.json")}
    run(file, finished)
    assert {f: f.stat().st_mtime_ns for f in (finished / "store").rglob("manifest.json")} == before


def test_longer_study_takes_over_what_is_made(finished: Path, file: Path) -> None:
    before = {f: f.stat().st_mtime_ns for f in (finished / "store").rglob("recognizer/*/manifest.json")}
    run(file, finished, arms=("real", "equal_steps", "scoremix", "averages", "cutmixes"))
    after = {f: f.stat().st_mtime_ns for f in (finished / "store").rglob("recognizer/*/manifest.json")}
    assert before.items() <= after.items() and len(after) == len(before) + 2
    run(file, finished)


def test_an_arm_that_repeats_another_has_its_row_for_nothing(finished: Path, file: Path, tmp_path: Path) -> None:
    arms = ["real", "equal_steps", "scoremix", "averages", "same"]
    tree = {**yaml.safe_load(file.read_text()), "arms": arms, "own": {"same": {"note": "nothing differs"}}}
    (tmp_path / "same.yaml").write_text(yaml.safe_dump(tree))
    before = made(finished, "recognizer")
    found = json.loads((run(tmp_path / "same.yaml", finished) / "study.json").read_text())
    assert found["missing"] == [] and made(finished, "recognizer") == before
    rows = {row["arm"]: row for row in found["tables"][0]["rows"]}
    for metric, cell in rows["same"]["metrics"].items():
        assert cell["runs"] == rows["scoremix"]["metrics"][metric]["runs"][: len(cell["runs"])]
    run(file, finished)


@pytest.mark.slow
def test_budget_stops_between_steps_and_workers_share_the_rest(file: Path, tmp_path: Path) -> None:
    short = {"arms": ("real", "equal_steps", "scoremix"), "generator_seeds": (0,), "seeds": (0,)}
    folder = run(file, tmp_path / "one", **short, budget_hours=1e-9)
    stopped = json.loads((folder / "study.json").read_text())
    assert stopped["tables"] == [] and "small.blobs.g0: scoremix" in stopped["missing"]
    assert made(tmp_path / "one", "recognizer") == 0
    run(file, tmp_path / "one", **short)
    config = read_study(file).model_copy(update=short)
    out = tmp_path / "two"
    study.execute(config, Runtime(out=out, device="cpu", quiet=True, workers=2), Store(out / "store"))
    one, two = ((tmp_path / o / "small" / "study.csv").read_text() for o in ("one", "two"))
    assert one == two and one.count("\n") > 10


def test_unfinished_arms_are_left_out_and_named(finished: Path, file: Path, tmp_path: Path) -> None:
    config = read_study(file).model_copy(update={"arms": ("real", "equal_steps", "scoremix", "averages", "mixup")})
    folder = study.tables(config, Runtime(out=finished, device="cpu", quiet=True), Store(finished / "store"))
    found = json.loads((folder / "study.json").read_text())
    assert found["missing"] == ["small.blobs.g0: mixup"]
    assert [row["arm"] for row in found["tables"][0]["rows"]] == ["real", "equal_steps", "scoremix", "averages"]
    run(file, finished)


@pytest.mark.slow
def test_tables_alone_train_nothing(
    file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    own = {
        "equal_steps": {"images": "real", "steps_of": "other", "note": "the control"},
        "other": {"generator": {"lr": 0.005}, "note": "a generator of its own"},
    }
    tree = {
        **yaml.safe_load(file.read_text()),
        "arms": ["real", "equal_steps", "other"],
        "own": own,
        "headline": [],
        "against": {},
    }
    tree = {**tree, "seeds": [0], "generator_seeds": [0]}
    tree["settings"] = {
        **tree.get("settings", {}),
        "evaluation": {**tree.get("settings", {}).get("evaluation", {}), "treatment": "other"},
    }
    (tmp_path / "own.yaml").write_text(yaml.safe_dump(tree))
    with monkeypatch.context() as patched:  # ended before the tables, as by a kill
        patched.setattr(study, "tables", lambda *of, **how: tmp_path)
        run(tmp_path / "own.yaml", tmp_path / "out")
    assert made(tmp_path / "out", "generator") == 1
    config, runtime = read_study(tmp_path / "own.yaml"), Runtime(out=tmp_path / "out", device="cpu", quiet=True)
    folder = study.tables(config, runtime, Store(tmp_path / "out" / "store"), training=False)
    assert made(tmp_path / "out", "generator") == 1 and made(tmp_path / "out", "report") == 0
    assert "no report, which needs generator:" in capsys.readouterr().err
    first = json.loads((folder / "study.json").read_text())
    assert [row["arm"] for row in first["tables"][0]["rows"]] == ["real", "equal_steps", "other"]
    found = json.loads((run(tmp_path / "own.yaml", tmp_path / "out") / "study.json").read_text())
    assert made(tmp_path / "out", "generator") == 2 and made(tmp_path / "out", "report") == 1
    assert found["tables"][0]["gates"] == first["tables"][0]["gates"] != {}
    numbers = [[row["metrics"] for row in of["tables"][0]["rows"]] for of in (first, found)]
    assert numbers[0] == numbers[1]


def test_a_study_may_have_arms_of_its_own(file: Path, tmp_path: Path) -> None:
    own = {"faint": {"sampling": {"weights": [0.9, 0.1]}, "note": "mostly one class"}}
    tree = {**yaml.safe_load(file.read_text()), "arms": ["real", "equal_steps", "scoremix", "faint"], "own": own}
    (tmp_path / "own.yaml").write_text(
        yaml.safe_dump({**tree, "headline": ["faint"], "against": {"faint": "scoremix"}})
    )
    for _, _, exp in read_study(tmp_path / "own.yaml").experiments():
        assert exp.arms["faint"].sampling == {"weights": [0.9, 0.1]} and len(exp.arms) >= 3


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"arms": ["real", "scoremx"]}, "scoremx.*did you mean scoremix"),
        ({"headline": ["auggen"]}, "headline: 'auggen' is not among the arms"),
        ({"data": {}}, "at least one data set"),
        ({"generator_seeds": [1, 1]}, "distinct"),
        ({"settings": {"generator": {"seed": 3}}}, "settings.generator.seed 3"),
        ({"armz": []}, "armz: no such setting"),
    ],
)
def test_what_is_wrong_is_said(file: Path, tmp_path: Path, change: dict[str, object], says: str) -> None:
    wrong = tmp_path / "wrong.yaml"
    wrong.write_text(yaml.safe_dump({**yaml.safe_load(file.read_text()), **change}))
    with pytest.raises(ConfigError, match=says):
        read_study(wrong)


def test_a_data_set_of_other_images_takes_another_name(finished: Path, file: Path, tmp_path: Path) -> None:
    before = {path: path.read_bytes() for path in (finished / "runs").iterdir()}
    (tmp_path / "other.npz").write_bytes(Path(read_study(file).data["blobs"].source).read_bytes())
    data = read_study(file).data["blobs"].model_copy(update={"source": str(tmp_path / "other.npz")})
    with pytest.raises(ConfigError, match=r"'small.blobs.g0': its images are .*tiny.npz, not .*name the study or its"):
        run(file, finished, data={"blobs": data})
    with pytest.raises(ConfigError, match="its images are"):
        study.tables(
            read_study(file).model_copy(update={"data": {"blobs": data}}),
            Runtime(out=finished),
            Store(finished / "store"),
        )
    assert before == {path: path.read_bytes() for path in (finished / "runs").iterdir()}


def test_wrong_settings_name_the_data_set(file: Path) -> None:
    config = read_study(file).model_copy(update={"settings": {"sampling": {"stepz": 3}}})
    with pytest.raises(ConfigError, match=r"data\.blobs: sampling.stepz: no such setting; did you mean steps"):
        config.experiments()


def test_where_no_arm_is_generated_no_generator_is_judged(finished: Path, file: Path, tmp_path: Path) -> None:
    tree = yaml.safe_load(file.read_text())
    judging = {**tree["settings"]["evaluation"], "treatment": "short", "controls": ["real"]}
    own = {"short": {"images": "real", "recognizer": {"lr": 0.05}, "note": "another rate"}}
    tree |= {
        "arms": ["real", "short"],
        "own": own,
        "headline": [],
        "against": {},
        "generator_seeds": [0],
        "name": "alone",
    }
    tree["settings"] |= {"evaluation": judging, "gate": {"floor": 1.0}}
    (tmp_path / "alone.yaml").write_text(yaml.safe_dump(tree))
    folder = run(tmp_path / "alone.yaml", finished)
    table = json.loads((folder / "study.json").read_text())["tables"][0]
    assert table["gates"] == {} and "too weak" not in table["sentence"]
    assert "reproductions recognised" not in (folder / "study.html").read_text()


def test_a_cell_of_known_draws() -> None:
    rng = np.random.default_rng(0)
    draws = rng.normal(0.3, 0.1, (4, 20_001))
    cell = StudyEstimate.of(draws, 0.95)
    assert cell.low == pytest.approx(0.3 - 1.96 * 0.05, abs=3e-3)
    assert cell.high == pytest.approx(0.3 + 1.96 * 0.05, abs=3e-3)
    assert cell.p < 1e-3
    assert StudyEstimate.of(rng.normal(0, 0.1, (4, 20_001)), 0.95).p > 0.9


def test_draws_that_are_not_finite_count_in_neither_tail() -> None:
    draws = np.concatenate([np.full((2, 1), 0.1), np.tile(np.linspace(-0.1, 0.3, 101), (2, 1))], axis=1)
    holed = np.concatenate([draws, np.full((2, 300), np.nan)], axis=1)
    assert StudyEstimate.of(holed, 0.95) == StudyEstimate.of(draws, 0.95)
    assert StudyEstimate.of(np.array([[0.1, np.nan, np.nan]]), 0.95) is None


def test_too_few_resamples_for_holm_are_named(finished: Path, file: Path) -> None:
    cell = StudyEstimate.of(np.tile(np.linspace(0.1, 0.2, 101), (2, 1)), 0.95)
    assert cell is not None and cell.p == cell.finest == pytest.approx(2 / 101)

    def told(arms: int) -> str:
        rows = tuple(
            StudyRow(
                f"arm{k}", "", (0,), {"auc": cell}, {("real", "auc"): cell}, {}, {}, {"real": min(1.0, arms * cell.p)}
            )
            for k in range(arms)
        )
        gates = {0: {"top1": 1.0, "floor": 0.5}}
        return Table("d", "s", "test", 8, ("auc",), "auc", ("real",), 0.95, (0,), gates, rows, ()).sentence()

    assert told(2).endswith("after Holm's correction for 2 comparisons: all of them.")
    assert "among 3 comparisons 100 resamples are too few for Holm's correction" in told(3)


def test_a_generator_is_trained_for_as_long_as_its_classes_need(
    file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(generator_settings, "IMAGES_PER_CLASS", 10_000)
    config = read_study(file)
    auto = {**config.settings, "generator": {**config.settings["generator"], "images_seen": "auto"}}
    (_, _, exp), *_ = study._experiments(
        config.model_copy(update={"settings": auto}), Runtime(out=tmp_path, device="cpu")
    )
    progress = study.Progress(Store(tmp_path / "store"), Runtime(out=tmp_path, device="cpu", quiet=True))

    def seen() -> int:
        return next(step.config["images_seen"] for step in progress.steps(exp) if step.stage == "generator")

    assert seen() == 40_000  # no class is counted yet
    real = progress.run(exp, "ingest", progress.record(exp))
    assert seen() == 10_000 * len(LabeledImages.load(real.folder).splits["train"]) > 40_000
    assert progress.planner(exp) is progress.planner(exp)


def test_generators_and_their_guides_take_the_seeds_of_the_study(file: Path, tmp_path: Path) -> None:
    tree = yaml.safe_load(file.read_text())
    guided = tmp_path / "guided.yaml"
    guided.write_text(yaml.safe_dump({**tree, "settings": {**tree["settings"], "guide": {"images_seen": 64}}}))
    found = [(exp.generator.seed, exp.guide.seed) for _, _, exp in read_study(guided).experiments() if exp.guide]
    assert found == [(0, 0), (1, 1)]


@pytest.mark.slow
def test_processes_start_together_and_arms_without_real_classes_have_no_accuracy(file: Path, tmp_path: Path) -> None:
    tree = yaml.safe_load(file.read_text())
    settings = {**tree["settings"], "data": {**tree["settings"]["data"], "held_out": 0.34}}
    arms = ["real", "equal_steps", "scoremix", "scoremix_alone", "early"]
    early = {"generator": {"images_seen": 64, "snapshots": 2}, "note": "by a generator of its own"}
    short = {"arms": arms, "own": {"early": early}, "generator_seeds": [0], "seeds": [0]}
    shared = tmp_path / "shared.yaml"
    shared.write_text(yaml.safe_dump({**tree, **short, "headline": [], "against": {}, "settings": settings}))
    common = [sys.executable, "-m", "scoremix", "study", str(shared), "--out", str(tmp_path / "out"), "-q"]
    started = [
        subprocess.Popen([*common, "--device", "cpu", "--workers", "1"], stderr=subprocess.PIPE) for _ in range(2)
    ]
    said = [process.communicate(timeout=250)[1].decode() for process in started]
    assert [process.returncode for process in started] == [0, 0], said
    study.tables(
        read_study(shared), Runtime(out=tmp_path / "out", device="cpu", quiet=True), Store(tmp_path / "out" / "store")
    )
    text = (tmp_path / "out" / "small" / "study.json").read_text()
    rows = {
        row["arm"]: row for row in json.loads(text, parse_constant=lambda name: pytest.fail(name))["tables"][0]["rows"]
    }
    assert set(rows) == set(short["arms"])
    assert "accuracy" in rows["scoremix"]["metrics"] and "accuracy" not in rows["scoremix_alone"]["metrics"]
    assert not [d for d in rows["scoremix_alone"]["differences"] if d["metric"] == "accuracy"]
    steps = json.loads((tmp_path / "out" / "runs" / "small.blobs.g0.json").read_text())["steps"]
    gate = tmp_path / "out" / "store" / "check" / steps["check for early"]["key"][:12] / "gate.json"
    assert (
        rows["early"]["mix"]["gate"] == json.loads(gate.read_text())["top1"] and "gate" not in rows["scoremix"]["mix"]
    )
    assert "reproductions recognised</th>" in (tmp_path / "out" / "small" / "study.html").read_text()
