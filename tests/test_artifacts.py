"""Artifacts: done once, keyed by what decides them, never half written."""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import sys
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from scoremix.config import Experiment, Runtime, Slice
from scoremix.data.files import whole, write_file
from scoremix.execution import code, records
from scoremix.execution.artifacts import Artifact, StoreError
from scoremix.execution.store import Step, Store
from scoremix.execution.work import Work


class Number(Slice):
    value: int = 1


CALLS: list[int] = []


def double(config: Number, *, work: Work) -> None:
    CALLS.append(config.value)
    work.write_json("out.json", 2 * config.value)
    work.count("evaluations", 10)


def plan(value: int = 1, code: str = "c", inputs: dict[str, str] | None = None) -> Step:
    return Step("double", "double", {"value": value}, inputs or {}, code)


def run(store: Store, value: int = 1) -> Artifact:
    return store.run(plan(value), double, Number(value=value), (), Runtime(quiet=True))


def test_done_once(tmp_path: Path) -> None:
    store = Store(tmp_path / "s")
    CALLS.clear()
    first, second = run(store), run(Store(tmp_path / "s"))
    assert CALLS == [1]
    assert first == second and second.json("out.json") == 2


def test_manifest_lists_what_was_written(tmp_path: Path) -> None:
    artifact = run(Store(tmp_path / "s"))
    manifest = artifact.manifest
    content = (artifact / "out.json").read_bytes()
    assert manifest["outputs"] == {"out.json": {"bytes": len(content), "sha256": code.file_hash(artifact / "out.json")}}
    assert manifest["cost"]["evaluations"] == 10
    assert manifest["cost"]["peak_mib"] > 1
    assert manifest["config"] == {"value": 1}


@pytest.mark.parametrize(
    "other",
    [plan(value=2), plan(code="d"), plan(inputs={"0": "k"}), Step("other", "double", {"value": 1}, {}, "c")],
)
def test_key_follows_everything_that_decides_the_result(other: Step) -> None:
    assert other.key != plan().key
    assert plan().key == Step("double", "another label", {"value": 1}, {}, "c").key


def test_failed_stage_is_not_done_and_continues(tmp_path: Path) -> None:
    store = Store(tmp_path / "s")

    def fails_first(config: Number, *, work: Work) -> None:
        if not (work.progress / "half").exists():
            work.count("evaluations", 3)
            work.keep("half", "1")
            raise RuntimeError("stopped")
        work.count("evaluations", 4)
        work.write("out.txt", "whole")

    with pytest.raises(RuntimeError):
        store.run(plan(), fails_first, Number(), (), Runtime(quiet=True))
    assert not store.artifact(plan()).done
    artifact = store.run(plan(), fails_first, Number(), (), Runtime(quiet=True))
    assert artifact.done and not (artifact / "progress").exists()
    assert artifact.manifest["cost"]["evaluations"] == 7


def test_two_writers_are_refused(tmp_path: Path) -> None:
    store = Store(tmp_path / "s")

    def nested(config: Number, *, work: Work) -> None:
        store.run(plan(), double, Number(), (), Runtime(quiet=True))

    with pytest.raises(StoreError, match="another process"):
        store.run(plan(), nested, Number(), (), Runtime(quiet=True))


def test_foreign_and_old_stores_are_refused(tmp_path: Path) -> None:
    (tmp_path / "photo.png").write_bytes(b"1")
    with pytest.raises(StoreError, match="not a scoremix store"):
        Store(tmp_path)
    Store(tmp_path / "s")
    assert not (tmp_path / "s").exists()
    run(Store(tmp_path / "s"))
    (tmp_path / "s" / "store.json").write_text(json.dumps({"format": 999}))
    with pytest.raises(StoreError, match="999"):
        Store(tmp_path / "s")


def test_damaged_manifest_is_named(tmp_path: Path) -> None:
    artifact = run(Store(tmp_path / "s"))
    (artifact / "manifest.json").write_text("{")
    with pytest.raises(StoreError, match=r"manifest\.json"):
        _ = artifact.manifest


def _write_and_die(path: Path) -> None:
    real = os.replace
    os.replace = lambda *a: os.kill(os.getpid(), signal.SIGKILL)  # type: ignore[assignment]
    write_file(path, "new")
    os.replace = real


def test_a_killed_write_leaves_the_old_file(tmp_path: Path) -> None:
    path = write_file(tmp_path / "f", "old")
    process = multiprocessing.get_context("fork").Process(target=_write_and_die, args=(path,))
    process.start()
    process.join()
    assert process.exitcode == -signal.SIGKILL
    assert path.read_text() == "old"


def _write_often(path: Path, content: str) -> None:
    for _ in range(300):
        write_file(path, content)


def _note_steps(out: Path, exp: Experiment, plans: list[Step], own: list[Step]) -> None:
    record = records.RunRecord(out, exp, plans)
    for step in own:
        record.done(step)


def together(*calls: tuple[Callable[..., None], tuple[object, ...]]) -> list[int | None]:
    """Exit codes of functions that run at the same time, each in a process of its own."""
    context = multiprocessing.get_context("fork")
    processes = [context.Process(target=function, args=arguments) for function, arguments in calls]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    return [process.exitcode for process in processes]


def test_a_file_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="No such file") as caught:
        write_file(tmp_path / "none" / "x", b"")
    assert caught.value.filename == str(tmp_path / "none" / "x")


def test_processes_that_write_one_file_leave_it_whole(tmp_path: Path) -> None:
    path, contents = tmp_path / "f", ["a" * 100, "b" * 5000]
    assert together(*((_write_often, (path, content)) for content in contents)) == [0, 0]
    assert path.read_text() in contents
    assert list(tmp_path.iterdir()) == [path]


def test_processes_that_share_a_run_keep_each_others_steps(tmp_path: Path) -> None:
    exp = Experiment(name="shared")
    plans = [Step("double", f"step {number}", {"value": number}, {}, "c") for number in range(80)]
    parts = [plans[part::2] for part in (0, 1)]
    assert together(*((_note_steps, (tmp_path, exp, plans, part)) for part in parts)) == [0, 0]
    stored = json.loads((tmp_path / "runs" / "shared.json").read_text())
    assert stored["experiment"] == exp.model_dump(mode="json")
    assert {label: step["key"] for label, step in stored["steps"].items()} == {p.label: p.key for p in plans}


def test_processes_that_make_a_store_at_the_same_time_all_have_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The other process makes it between a look for the mark and one at the folder."""
    seen = Path.iterdir

    def late(root: Path) -> Iterator[Path]:
        monkeypatch.setattr(Path, "iterdir", seen)
        run(Store(root))
        return seen(root)

    (tmp_path / "s").mkdir()
    monkeypatch.setattr(Path, "iterdir", late)
    assert run(Store(tmp_path / "s")).done


def test_code_hash_follows_code_and_imports_but_not_comments(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A package of two modules on the path stands for a stage and the maths it calls."""
    package = tmp_path / "scoremix_probe"
    package.mkdir()
    (package / "__init__.py").write_text("")
    stage, maths = package / "stage.py", package / "maths.py"
    stage.write_text("from scoremix_probe.maths import f\n\n\ndef g():\n    return f()\n")
    maths.write_text('def f():\n    """Doc."""\n    return 1  # one\n')
    monkeypatch.syspath_prepend(str(tmp_path))

    def fresh() -> str:
        code.parsed.cache_clear()
        for name in [n for n in sys.modules if n.startswith("scoremix_probe")]:
            del sys.modules[name]
        return code.closure_hash("scoremix_probe.stage")

    first = fresh()
    maths.write_text('def f():\n    """Other words."""\n    # another remark\n    return 1\n')
    assert fresh() == first
    maths.write_text(textwrap.dedent("def f():\n    return 2\n"))
    assert fresh() != first
    code.parsed.cache_clear()


def test_code_hash_follows_the_template_beside_a_module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = tmp_path / "scoremix_page"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "page.py").write_text("LOADER = 1\n")
    (package / "plain.py").write_text("X = 1\n")
    (package / "stage.py").write_text("from scoremix_page.page import LOADER\n")
    template = package / "page.html"
    template.write_text("one")
    monkeypatch.syspath_prepend(str(tmp_path))

    def hashes() -> list[str]:
        code.parsed.cache_clear()
        return [code.closure_hash(f"scoremix_page.{module}") for module in ("stage", "page", "plain")]

    before = hashes()
    template.write_text("two")
    after = hashes()
    code.parsed.cache_clear()
    assert [a == b for a, b in zip(before, after, strict=True)] == [False, False, True]


def test_killed_right_after_the_manifest_leaves_no_progress(tmp_path: Path) -> None:
    store = Store(tmp_path / "s")
    artifact = run(store)
    (artifact / "progress").mkdir()
    (artifact / "progress" / "half.npy").write_bytes(b"x")
    CALLS.clear()
    run(store)
    assert CALLS == [] and not (artifact / "progress").exists()


def test_killed_while_the_store_is_made_leaves_a_usable_folder(tmp_path: Path) -> None:
    (tmp_path / "s").mkdir()
    (tmp_path / "s" / "store.json.partial").write_text("{")
    assert run(Store(tmp_path / "s")).done
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "thesis.txt").write_text("mine")
    with pytest.raises(StoreError, match="not a scoremix store"):
        Store(tmp_path / "other")


def test_what_a_killed_process_half_wrote_is_removed(tmp_path: Path) -> None:
    store = Store(tmp_path / "s")
    folder = store.artifact(plan()).folder
    folder.mkdir(parents=True)
    for name in ("images.npy.part", "centers.npy.partial"):
        (folder / name).write_bytes(b"half")
    assert list(run(store).manifest["outputs"]) == ["out.json"]


@pytest.mark.parametrize(("first", "second"), [(2, 1), (1, 2)])
def test_the_manifest_says_how_many_processes_took_part(first: int, second: int, tmp_path: Path) -> None:
    def killed(config: Number, *, work: Work) -> None:
        work.count("images", 3)
        work.keep("half", "done")
        raise KeyboardInterrupt

    store, inputs = Store(tmp_path / "s"), (Number(value=1), (), Runtime(quiet=True))
    with pytest.raises(KeyboardInterrupt):
        store.run(plan(), killed, *inputs, begin=lambda made: first)
    manifest = store.run(plan(), double, *inputs, begin=lambda made: second).manifest
    assert manifest["processes"] == 2
    assert manifest["cost"]["images"] == 3 and "processes" not in manifest["cost"]


def kept(tmp_path: Path) -> Work:
    return Work(tmp_path, Runtime(quiet=True), "x")


@pytest.mark.parametrize("damage", [b"", b"x", None])
def test_what_is_kept_is_sealed(damage: bytes | None, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    work = kept(tmp_path)
    assert work.kept("state") is None
    work.keep_two("state", b"first")
    work.keep_two("state", b"second")
    assert work.kept("state") == b"second" and not capsys.readouterr().err
    path = work.progress / "state"
    path.write_bytes(bytes([path.read_bytes()[0] ^ 1]) + path.read_bytes()[1:] if damage is None else damage)
    assert work.kept("state") == b"first"
    assert str(path) in capsys.readouterr().err
    path.with_name("state.before").write_bytes(b"")
    assert work.kept("state") is None
    with pytest.raises(StoreError, match="state"):
        work.surely_kept("state")


def triple(config: Number, first: Artifact, *, work: Work) -> None:
    work.write_json("out.json", 3 * first.json("out.json"))


@pytest.mark.parametrize("damage", ["3", "22", None, "manifest"])
def test_a_damaged_input_is_named_and_made_again(damage: str | None, tmp_path: Path) -> None:
    store = Store(tmp_path / "s")
    first = run(store)
    step = plan(code="d", inputs={"0": first.key})
    assert not first.damaged()
    if damage is None:
        (first / "out.json").unlink()
    else:
        (first / ("manifest.json" if damage == "manifest" else "out.json")).write_text(damage)
    with pytest.raises(StoreError, match=r"double/\w+: (out|manifest).json .*; the next run makes it again"):
        store.run(step, triple, Number(), (first,), Runtime(quiet=True))
    assert not first.done
    (first / "left over").write_text("")
    assert run(store).json("out.json") == 2 and not (first / "left over").exists()
    assert store.run(step, triple, Number(), (first,), Runtime(quiet=True)).json("out.json") == 6


def test_a_damaged_archive_is_named(tmp_path: Path) -> None:
    (tmp_path / "measures.npz").write_bytes(b"PK")
    with pytest.raises(StoreError, match=r"measures\.npz: damaged"):
        Artifact("x", "k", tmp_path).arrays("measures.npz")


def test_what_a_killed_process_left_of_a_folder_is_removed_and_what_another_writes_is_not(tmp_path: Path) -> None:
    left = tmp_path / f".made.{'0a' * 16}.part"
    left.mkdir()
    (left / "image.png").write_bytes(b"1")
    with whole(tmp_path / "made", folder=True) as first:
        with pytest.raises(KeyError), whole(tmp_path / "made", folder=True) as second:
            assert not left.exists() and first.is_dir() and second.is_dir()
            raise KeyError
        (first / "image.png").write_bytes(b"2")
    assert [file.name for file in tmp_path.rglob("*")] == ["made", "image.png"]


def test_what_a_killed_process_left_of_a_file_is_removed_and_what_another_writes_is_not(tmp_path: Path) -> None:
    (tmp_path / f"page.html.{'0a' * 16}.partial").write_text("ha")
    (tmp_path / f"other.html.{'0a' * 16}.partial").write_text("ha")
    with whole(tmp_path / "page.html") as first:
        first.write_text("half")
        write_file(tmp_path / "page.html", "another's")
        assert first.read_text() == "half"
        first.write_text("whole")
    assert sorted(file.name for file in tmp_path.iterdir()) == [f"other.html.{'0a' * 16}.partial", "page.html"]
    assert (tmp_path / "page.html").read_text() == "whole"
