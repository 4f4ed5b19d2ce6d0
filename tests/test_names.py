"""What may be a name, and what needs no images: nothing fails after hours that could have been said before."""

from __future__ import annotations

import os
import re
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import scoremix
from scoremix.config import ConfigError, Experiment, Runtime, presets
from scoremix.data.audit import audit
from scoremix.data.export import convert
from scoremix.data.reading import Wanted, read
from scoremix.execution import records
from scoremix.execution.artifacts import External
from scoremix.execution.store import Step
from scoremix.execution.work import Work

NAMES = ["2024", "1e5", "true", "null", "0x1f", "2020-01-01", "1e2faces"]


@pytest.mark.parametrize("place", NAMES)
def test_a_run_is_named_as_its_folder(place: str) -> None:
    exp = presets.experiment(None, data=f"sets/{place}")
    assert (exp.name, exp.source) == (place, f"sets/{place}")
    assert presets.experiment("demo", settings=[f"name={place}"]).name == place


@pytest.mark.parametrize(
    ("place", "name"),
    [("_x", "x"), ("runs", "of-runs"), ("Store", "of-Store"), ("a" * 200, "a" * 100), ("日本", "run")],
)
def test_a_folder_whose_name_no_run_can_have(place: str, name: str) -> None:
    assert presets.experiment(None, data=place).name == name


def test_home(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/me")
    assert presets.experiment(None, data="~/faces").source == "/home/me/faces"


@pytest.mark.parametrize("name", ["runs", "store", "Store", "a" * 101, "", "a/b"])
def test_names_that_break_the_folder_are_refused(name: str) -> None:
    with pytest.raises(ConfigError, match="name"):
        presets.experiment("demo", settings=[f"name={name!r}"])


def test_arms_are_free_text_that_can_be_printed() -> None:
    arms = {name: {"images": "real"} for name in ("far", "file", "name", "self", "Ähnlich +1", "scoremix")}
    assert set(presets.experiment("demo", [{"arms": arms}], settings=["evaluation.controls=[far]"]).arms) >= set(arms)
    for name in ("", "a\x1b[31m", "a\n", "a" * 101):
        with pytest.raises(ConfigError, match="can be printed"):
            presets.experiment("demo", [{"arms": {name: {}}}])


def test_arrays_of_any_name(tmp_path: Path) -> None:
    work = Work(tmp_path, Runtime(quiet=True), "x")
    arrays = {name: np.arange(i) for i, name in enumerate(("far", "file", "name", "self", "allow_pickle", "a/b"))}
    with np.load(work.write_arrays("all.npz", **arrays)) as file:
        assert {name: len(file[name]) for name in file.files} == {name: len(array) for name, array in arrays.items()}
    np.savez(tmp_path / "numpys.npz", x=np.arange(3))
    assert work.write_arrays("own.npz", x=np.arange(3)).read_bytes() == (tmp_path / "numpys.npz").read_bytes()


def test_a_class_folder_whose_name_is_not_text(tmp_path: Path) -> None:
    for i in range(8):
        folder = os.path.join(os.fsencode(tmp_path / "set"), b"c%d" % i if i else b"caf\xe9")
        os.makedirs(folder)
        Image.new("RGB", (8, 8)).save(os.fsdecode(os.path.join(folder, b"a.png")))
    said = f"{tmp_path / 'set'}: the class b'caf\\xe9' has a name that is not UTF-8: rename it"
    with pytest.raises(ValueError, match=re.escape(said)):
        read(tmp_path / "set", tmp_path / "out", Wanted(size=8))
    with pytest.raises(ValueError, match=re.escape(said)):
        convert(tmp_path / "set", tmp_path / "other")
    assert said in audit(tmp_path / "set")["problems"]


def recorded(out: Path, exp: Experiment) -> None:
    step = Step("ingest", "ingest", {}, {"0": "the key"}, "code")
    record = records.RunRecord(out, exp, [step])
    record.done(step)


def test_images_that_moved_have_the_hash_of_their_time(tmp_path: Path) -> None:
    exp = Experiment(name="moved", source=str(tmp_path / "gone"))
    recorded(tmp_path, exp)
    assert records.source_of(exp, tmp_path) == External(exp.source, "the key")
    with pytest.raises(ValueError, match="does not exist"):
        records.source_of(exp)
    with pytest.raises(ValueError, match="does not exist"):
        records.source_of(exp.model_copy(update={"name": "other"}), tmp_path)


def test_a_run_is_not_replaced_by_one_on_other_images(tmp_path: Path) -> None:
    one, two = (tmp_path / name / "train" for name in ("a", "b"))
    one.mkdir(parents=True)
    two.mkdir(parents=True)
    first, second = (presets.experiment(None, data=str(place)) for place in (one, two))
    recorded(tmp_path, first)
    records.refuse_other_data(tmp_path, first)
    with pytest.raises(ConfigError, match=r"run 'train': its images are .*a/train, not .*b/train; name this one"):
        records.refuse_other_data(tmp_path, second)
    one.rename(tmp_path / "elsewhere")
    records.refuse_other_data(tmp_path, second)


def test_no_two_classes_share_a_name() -> None:
    files = Path(scoremix.__file__).parent.rglob("*.py")
    named = Counter(name for file in files for name in re.findall(r"^class (\w+)", file.read_text(), re.MULTILINE))
    assert len(named) > 100 and [name for name, times in named.items() if times > 1] == []
