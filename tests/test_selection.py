"""Selection as a stage: both spaces, groups, what waits for the generator, and what is written for a reader."""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from scoremix.config import Arm, ConfigError, Experiment, Runtime, Sampling, Selection, load
from scoremix.data.lists import read_groups
from scoremix.diffusion import checkpoints
from scoremix.diffusion.unet import EDM2, condition_matrix
from scoremix.execution import progress, runner
from scoremix.execution.artifacts import Artifact, External
from scoremix.execution.runner import decided
from scoremix.execution.store import Step, Store
from scoremix.execution.work import Work
from scoremix.outputs.networks import GeneratorSummary, RecognizerSummary
from scoremix.stages.mix.describe import describe_mplets
from scoremix.stages.mix.select import default_count, files_of, refuse_too_few, select_mplets
from scoremix.stages.mix.weights import weights_for

N = 30
NAMES = [f"{'abc'[k % 3]}/class {k:02d}" for k in range(N)]


@pytest.fixture
def recognizer(tmp_path: Path) -> Artifact:
    folder = tmp_path / "recognizer"
    folder.mkdir()
    x = np.random.default_rng(0).standard_normal((N, 6)).astype(np.float32)
    np.save(folder / "centers.npy", x / np.linalg.norm(x, axis=1, keepdims=True))
    (folder / "recognizer.json").write_text(json.dumps(asdict(RecognizerSummary(N, N, 1, NAMES, 1, 0.0))))
    return Artifact("recognizer", "r", folder)


@pytest.fixture
def generator(tmp_path: Path) -> Artifact:
    """Its classes stand in another order than the recognizer's."""
    folder = tmp_path / "generator"
    folder.mkdir()
    network: dict[str, Any] = dict(img_resolution=8, img_channels=1, label_dim=N, model_channels=8, channel_mult=[1])
    torch.manual_seed(0)
    state = EDM2(**network).state_dict()
    (folder / "s.safetensors").write_bytes(checkpoints.to_bytes(state, network, checkpoints.Pixels()))
    summary = GeneratorSummary(1, {"0.050": "s.safetensors"}, {}, 1, [], NAMES[::-1], 1, 1, 0.0)
    (folder / "generator.json").write_text(json.dumps(asdict(summary)))
    return Artifact("generator", "g", folder)


def chosen(
    tmp_path: Path, recognizer: Artifact, more: Mapping[str, Artifact | External] | None = None, **fields: Any
) -> Artifact:
    folder = tmp_path / f"selection-{len(list(tmp_path.iterdir()))}"
    folder.mkdir()
    work = Work(folder, Runtime(quiet=True), "select")
    select_mplets(Selection(**fields), recognizer, more or {}, work=work)
    return Artifact("select", "s", folder)


def cosine(x: np.ndarray) -> np.ndarray:
    unit = x / np.linalg.norm(x, axis=1, keepdims=True)
    return np.asarray(1 - unit @ unit.T, np.float64)


def extreme_pairs(table: np.ndarray, count: int, largest: bool) -> np.ndarray:
    i, j = np.triu_indices(N, 1)
    order = np.argsort(-table[i, j] if largest else table[i, j], kind="stable")[:count]
    return np.stack([i, j], axis=1)[order]


@pytest.mark.parametrize("strategy", ["far", "close", "joint_top", "joint_worst"])
def test_reads_the_condition_matrix_by_class_name(
    tmp_path: Path, recognizer: Artifact, generator: Artifact, strategy: str
) -> None:
    net, _ = checkpoints.load(generator / "s.safetensors")
    table = cosine(condition_matrix(net).numpy()[::-1])
    fields: dict[str, Any] = {"space": "condition"}
    if strategy.startswith("joint"):
        centers, fields = cosine(np.load(recognizer / "centers.npy")), {}
        i, j = np.triu_indices(N, 1)
        z = [(t - t[i, j].mean()) / t[i, j].std() for t in (centers, table)]
        table = z[0] - z[1]
    found = chosen(tmp_path, recognizer, {"generator": generator}, strategy=strategy, count=7, **fields)
    expected = extreme_pairs(table, 7, strategy in ("far", "joint_top"))
    np.testing.assert_array_equal(np.load(found / "classes.npy"), expected)
    values = found.json("mplets.json")["values"]
    np.testing.assert_allclose(values, table[expected[:, 0], expected[:, 1]], rtol=1e-4)
    with np.load(found / "distances-condition.npz") as file:
        assert file["counts"].sum() == N * (N - 1) // 2
        assert file["chosen"].shape == (7, 1)


def test_groups_come_from_names_or_a_file(tmp_path: Path, recognizer: Artifact) -> None:
    of_class = {name: name[0] for name in NAMES}
    listed = tmp_path / "groups.csv"
    listed.write_text("class,group\n" + "".join(f"{name},{group}\n" for name, group in of_class.items()) + "x,y\n")
    nested = tmp_path / "groups.json"
    nested.write_text(json.dumps({g: [n for n in NAMES if n[0] == g] for g in "abc"}))
    assert read_groups(listed, NAMES) == read_groups(nested, NAMES) == list(of_class.values())
    for across in (True, False):
        by_name = chosen(tmp_path, recognizer, groups="name", across=across, m=3, count=9)
        classes = np.load(by_name / "classes.npy")
        kinds = [len({NAMES[c][0] for c in row}) for row in classes]
        assert kinds == [3 if across else 1] * 9
        by_file = chosen(
            tmp_path, recognizer, files_of(Selection(groups=str(listed))), groups="file", across=across, m=3, count=9
        )
        np.testing.assert_array_equal(np.load(by_file / "classes.npy"), classes)


def test_groups_that_cannot_be_told_are_refused(tmp_path: Path) -> None:
    from scoremix.data.lists import groups_by_name

    with pytest.raises(ValueError, match=r"'bare'.*have no '/'"):
        groups_by_name(["a/x", "bare"])
    file = tmp_path / "g.csv"
    file.write_text("a/class 00,a\n")
    with pytest.raises(ValueError, match="names no group for 'b/class 01'"):
        read_groups(file, NAMES)
    file.write_text("a/class 00,a\na/class 00,b\n")
    with pytest.raises(ValueError, match="more than once"):
        read_groups(file, NAMES[:1])
    file.write_text("a/class 00\n")
    with pytest.raises(ValueError, match="must be class,group"):
        read_groups(file, NAMES[:1])
    with pytest.raises(ValueError, match="no such file"):
        files_of(Selection(groups=str(tmp_path / "absent.csv")))


def test_a_cap_and_what_it_costs_reach_the_reader(tmp_path: Path, recognizer: Artifact) -> None:
    found = chosen(tmp_path, recognizer, m=3, count=10, max_degree=1)
    work = Work(tmp_path / "described", Runtime(quiet=True), "describe")
    work.folder.mkdir()
    describe_mplets(Sampling(), recognizer, found, work=work)
    rows = list(csv.DictReader((work / "mplets.csv").open()))
    assert len(rows) == 10
    assert {float(row["weight_2"]) for row in rows} == {1 / 3}
    assert rows[0]["name_0"] == NAMES[int(rows[0]["class_0"])]
    uses = {row["name"]: int(row["mplets"]) for row in csv.DictReader((work / "coverage.csv").open())}
    assert list(uses) == NAMES and set(uses.values()) == {1}
    text = (work / "summary.txt").read_text()
    assert (
        "10 triples of 30 classes" in text
        and "classes used: 30 of 30" in text
        and "greedy, without a certificate" in text
    )
    svg = (work / "distances-embedding.svg").read_text()
    assert svg.startswith("<svg") and "var(" not in svg
    free = chosen(tmp_path, recognizer, m=3, count=10)
    info = found.json("mplets.json")
    assert info["mean_value_without_constraint"] == pytest.approx(np.mean(free.json("mplets.json")["values"]))
    assert info["certificate"] is None and free.json("mplets.json")["certificate"]["sets"] == 4060
    verification = free.json("mplets.json")["verification"]
    assert info["verification"] is None and verification["known"] > verification["new"] == 0


def test_impossible_choices_say_which_selection(tmp_path: Path, recognizer: Artifact) -> None:
    with pytest.raises(ValueError, match=r"selection of 436 m-plets: k must lie between 1 and .* 435"):
        chosen(tmp_path, recognizer, count=436)
    with pytest.raises(ValueError, match="only 0 m-plets"):
        chosen(tmp_path, recognizer, strategy="window", window=(0.5, 0.5001), m=3, count=4)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"m": 4}, "selection.m 4: there are 3 training classes"),
        ({"count": 5}, "selection.count 5: 3 training classes have 3 m-plets of 2"),
    ],
)
def test_more_than_the_training_classes_have_is_refused_by_its_setting(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        refuse_too_few(Selection(**settings), 3, None)
    refuse_too_few(Selection(m=3, count=1), 3, None)
    refuse_too_few(Selection(m=4, count=7, strategy="each"), 3, None)


def plans(tmp_path: Path, *settings: str) -> list[Step]:
    return runner.plan_all(
        decided(load(Experiment(), (), settings), "cpu"), External("here", "k"), Store(tmp_path / "store")
    )


def test_selection_waits_for_the_generator_only_where_it_reads_it(tmp_path: Path) -> None:
    def stages(*settings: str) -> list[str]:
        return [plan.stage for plan in runner.needed(plans(tmp_path, *settings), "describe")]

    assert stages() == ["ingest", "recognizer", "select", "describe"]
    assert stages("selection.groups=data", "selection.m=3") == ["ingest", "recognizer", "select", "describe"]
    for setting in ("selection.space=condition", "selection.strategy=joint_top", "selection.strategy=joint_worst"):
        assert stages(setting) == ["ingest", "recognizer", "generator", "select", "describe"]
    every = plans(tmp_path)
    assert [plan.key for plan in runner.needed(every, None)] == list(dict.fromkeys(plan.key for plan in every))


def test_arms_choose_for_themselves(tmp_path: Path) -> None:
    joint = Arm(selection={"strategy": "joint_top"})
    exp = Experiment(arms={**Experiment().arms, "joint": joint})
    made = runner.plan_all(decided(exp, "cpu"), External("here", "k"), Store(tmp_path / "store"))
    first, second = [plan for plan in made if plan.stage == "select" and plan.config["strategy"] != "each"]
    assert (first.config["strategy"], second.config["strategy"]) == ("far", "joint_top")
    assert set(second.inputs) == {"0", "1:generator"} and set(first.inputs) == {"0"}


def test_the_key_covers_the_groups_file_and_not_its_place(tmp_path: Path) -> None:
    def key(name: str, text: str) -> str:
        (tmp_path / name).write_text(text)
        found = plans(tmp_path, f"selection.groups={tmp_path / name}")
        return next(plan.key for plan in found if plan.label == "select")

    assert key("one.csv", "a,b\n") == key("two.csv", "a,b\n") != key("one.csv", "a,c\n")


@pytest.mark.parametrize(
    ("settings", "names"),
    [
        (["selection.m=1"], ["at least 2 classes"]),
        (["selection.m=7"], ["selection.m", "6"]),
        (["selection.m=3", "selection.objective=max"], ["degenerate", "'min'"]),
        (["selection.m=3", "selection.objective=min", "selection.strategy=close"], ["degenerate", "'max'"]),
        (["selection.objective=std"], ["0 for every pair"]),
        (["selection.window=[0.4, 0.2]"], ["window"]),
        (["selection.across=false"], ["needs groups"]),
        (["selection.max_degree=2", "selection.min_degree=1"], ["exclude"]),
        (["selection.min_degree=1", "selection.strategy=random"], ["min_degree needs"]),
        (["selection.space=condition", "selection.strategy=joint_top"], ["both spaces"]),
        (["selection.space=condition", "selection.ema=0.07"], ["0.07", "generator.ema"]),
        (["selection.m=3", "sampling.weights=[0.5, 0.5]"], ["3 classes are mixed"]),
    ],
)
def test_senseless_selections_are_refused_before_anything_runs(settings: list[str], names: list[str]) -> None:
    with pytest.raises(ConfigError) as caught:
        load(Experiment(), (), settings)
    for name in names:
        assert name in str(caught.value)


def test_weights_are_equal_unless_given() -> None:
    assert weights_for(Sampling(), 2) == (0.5, 0.5)
    assert weights_for(Sampling(), 3) == (1 / 3,) * 3
    assert weights_for(Sampling(), 1) == (1.0,)
    assert weights_for(Sampling(weights=(0.2, 0.8)), 2) == (0.2, 0.8)


def test_a_list_of_m_plets_is_taken_as_it_stands(tmp_path: Path, tiny_settings: list[str]) -> None:
    exp = load(Experiment(), (), tiny_settings)
    store = Store(tmp_path / "store")
    runtime = Runtime(out=tmp_path, device="cpu", quiet=True)
    progress.execute(exp, runtime, store, "select")
    names = json.loads(next((store.root / "recognizer").rglob("recognizer.json")).read_text())["class_names"]
    file = tmp_path / "pairs.csv"
    file.write_text(f"{names[5]},{names[2]}\n{names[0]},{names[9]}\n")
    listed = load(exp, (), ["selection.strategy=list", f"selection.file={file}"])
    folder = progress.execute(listed, runtime, store, "select")
    assert np.load(folder / "classes.npy").tolist() == [[5, 2], [0, 9]]
    file.write_text(f"{names[5]},nobody\n")
    with pytest.raises(ValueError, match="names 'nobody', not among"):
        progress.execute(listed, runtime, store, "select")
    with pytest.raises(ConfigError, match="go together"):
        load(exp, (), ["selection.strategy=list"])


def test_default_count_is_what_there_is() -> None:
    assert default_count(2, 2) == 1
    assert default_count(100, 2) == 100
    assert default_count(4, 3) == 4
