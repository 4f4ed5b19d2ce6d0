"""The command line as a stranger meets it: help, one line per mistake, status 2."""

from __future__ import annotations

import errno
import os
import shlex
import signal
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from scoremix import __version__
from scoremix import commands as cli
from scoremix.commands.errors import explained
from scoremix.data import export
from scoremix.data.outgoing import OutgoingImages
from scoremix.execution import progress, records, stopping
from scoremix.execution.store import Store
from support.runs import command


def refused(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """The one line a wrong call prints; its status is 2."""
    assert command(*arguments) == 2
    said = capsys.readouterr().err
    assert "Traceback" not in said
    return said[said.index("scoremix: ") :].strip()


@pytest.mark.parametrize(
    "verb", ["", "run", "ingest", "generator", "select", "sample", "evaluate", "benchmark", "report", "show"]
)
def test_help_names_the_verb(verb: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert command(*([verb] if verb else []), "--help") == 0
    assert "Usage" in (said := capsys.readouterr().out) and verb in said


def test_help_shows_every_preset_and_whole_summaries(capsys: pytest.CaptureFixture[str]) -> None:
    from scoremix.commands.options import PRESET_NAMES
    from scoremix.config.presets import PRESETS

    assert tuple(PRESETS) == PRESET_NAMES
    command("run", "--help")
    words = "".join(capsys.readouterr().out.split())
    assert all(name in words for name in PRESET_NAMES)
    command("--help")
    said = " ".join(capsys.readouterr().out.split())
    assert (
        "Train the recognizer in every way (arm) and compare them on unseen classes. Runs what it needs and stops there."
        in said
    )
    assert "WebFace160K: 10200 classes of 11 to 24" in said


@pytest.mark.parametrize("verb", cli.ORDER)
def test_every_command_can_be_quiet(verb: str, capsys: pytest.CaptureFixture[str]) -> None:
    command(verb, "--help")
    assert "--quiet" in capsys.readouterr().out


@pytest.mark.parametrize("verb", ["embed", "convert"])
def test_what_is_there_already_is_not_replaced(verb: str, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    there, data = tmp_path / ("there.npz" if verb == "embed" else "there"), folder(tmp_path / "images", 2)
    there.write_text("mine")
    arguments = ["embed", "a/b", str(data), str(there)] if verb == "embed" else ["convert", str(data), str(there)]
    assert f"{there.name} exists already: name another place" in refused(capsys, *arguments)
    assert there.read_text() == "mine"


@pytest.mark.parametrize("verb", ["ingest", "plan", "convert"])
def test_an_empty_class_gets_the_same_answer_everywhere(
    verb: str, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    data = folder(tmp_path / "images", 6)
    (data / "nobody").mkdir()
    wanted = ["--data", str(data), "--out", str(tmp_path / "out")]
    arguments = [str(data), str(tmp_path / "out")] if verb == "convert" else wanted
    said = refused(capsys, verb, *arguments, "--quiet")
    assert "class 'nobody' of" in said and "has no images (--skip-bad leaves them out)" in said


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert command("--version") == 0
    assert capsys.readouterr().out == f"scoremix {__version__}\n"


def test_closed_output_is_no_error_and_a_deleted_folder_is_named(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as closed:
        closed.setattr(sys, "stdout", None)
        assert command("--version") == 0
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    (tmp_path / "gone").rmdir()
    assert command("--version") == 2 and "current folder was deleted" in capsys.readouterr().err


def test_help_imports_nothing_heavy() -> None:
    code = "import sys, scoremix.commands; print([m for m in ('torch', 'matplotlib', 'numba', 'pydantic') if m in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"


@pytest.mark.parametrize(
    ("arguments", "names"),
    [
        (["run"], ["--data"]),
        (["run", "nonsense"], ["nonsense", "demo"]),
        (["run", "demo", "--set", "generator.rate=1"], ["generator.rate", "no such setting"]),
        (["run", "demo", "--set", "generator.zzz=1"], ["generator.zzz", "allowed: diffusers, "]),
        (["run", "demo", "--set", "data.size=33"], ["data.size 33", "levels of channel_mult", "multiple of 2"]),
        (["run", "demo", "--set", "generator.lr=fast"], ["generator.lr", "fast"]),
        (["run", "demo", "--set", "sampling.weights=[0.9, 0.9]"], ["1.8", "convex: false"]),
        (["run", "demo", "--config", "/nowhere.yaml"], ["/nowhere.yaml"]),
        (["run", "demo", "--device", "tpu"], ["--device 'tpu'", "auto, cpu, cuda"]),
        (["run", "demo", "--device", "mps"], ["--device", "mps", "float64", "cpu"]),
        (["run", "demo", "--device", "cuda:99"], ["'cuda:99'", "no such GPU"]),
        (["convert", "a", "b", "--seed", "-1"], ["--seed"]),
        (["run", "--data", "/nowhere"], ["/nowhere", "does not exist"]),
        (["show", "--out", "/nowhere"], ["/nowhere", "no runs"]),
        (["run", "."], ["--data ."]),
        (["run", "./faces"], ["'./faces': no such preset; for the images there, say --data ./faces"]),
        (["run", "demo", "--arms", ""], ["--arms", "''", "table2"]),
        (["ingest", "folder"], ["'folder'", "--data", "source:"]),
        (["ingest", "edm2-s"], ["'edm2-s'", "--data", "source:"]),
        (["plan", "repro-aligned"], ["'repro-aligned'", "--data"]),
        (["benchmark", "demo", "--colour", "bgr"], ["--colour bgr", "checkpoint"]),
        (["benchmark", "demo", "--colour", "bgr", "--sets", "lfw"], ["--colour bgr", "checkpoint"]),
        (["evaluate", "demo", "--root", "."], ["--root .", "--sets"]),
        (["evaluate", "demo", "--protocol", "adaface"], ["--protocol adaface", "--sets"]),
        (["evaluate", "demo", "--batch", "8"], ["--batch 8", "--sets"]),
        (["evaluate", "some/arm", "--sets", "/nowhere"], ["`scoremix benchmark some/arm --sets /nowhere`"]),
        (["benchmark", "some/arm", "--sets", "/nowhere"], ["some/arm", "neither"]),
        (["benchmark", "demo"], ["demo", "--sets"]),
        (["evaluate", "real.pt"], ["real.pt", "scoremix benchmark"]),
        (["embed", "nothing", "."], ["nothing", "--out says"]),
        (["verify-data", "glyphs", "--json", "/nowhere/x.json"], ["--json", "folder /nowhere does not exist"]),
        (["fit", "demo"], ["no runs here", "scoremix run"]),
        (["fit", "demo", "--out", "model"], ["holds no runs", "named last"]),
        (["verify", "nowhere", "a.png", "b.png"], ["nowhere", "recognizer.onnx"]),
        (["enroll", "m", "images", "--out", "g.txt"], ["g.txt", ".npz"]),
        (["identify", "m", "g.npz", "p", "--out", "page.pdf"], ["page.pdf", ".html, .png, .csv"]),
        (["run", "demo", "--set", "evaluation.controls=[]"], ["evaluation.controls"]),
        (["run", "demo", "--set", "evaluation.controls=[coherent_first]"], ["evaluation.controls", "coherent_first"]),
    ],
)
def test_wrong_calls_are_one_line(
    arguments: list[str],
    names: list[str],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
) -> None:
    monkeypatch.chdir(tmp_path)
    said = refused(capsys, *arguments)
    assert "\n" not in said
    for name in names:
        assert name in said
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("arguments", "names"),
    [
        (["sheets", "--pairs", "0"], ["--pairs", "0", "1"]),
        (["ema", "--std", "abc"], ["--std", "abc"]),
        (["ema"], ["--std", "such as 0.075"]),
        (["ema", "--std"], ["--std"]),
        (["embed"], ["CHECKPOINT", "RUN/ARM"]),
        (["subset", "a", "b", "--classes", "-3"], ["--classes", "-3", "1"]),
        (["convert", "a", "b", "--size", "4"], ["--size", "4", "8"]),
        (["run", "demo", "--sett", "a=b"], ["--sett", "did you mean --set?"]),
        (["run", "demo", "--zzz"], ["--zzz", "--data"]),
        (["run", "demo", "more"], ["more", "run --help"]),
        (["runn", "demo"], ["runn", "did you mean run?"]),
        (["xyz"], ["xyz: no such command", "verify-data, run"]),
        (["verify", "m", "a.png"], ["B: missing"]),
        (["run", "--data", "a", "--data", "b"], ["--data", "given 2 times", "once"]),
        (["embed", "a/b", ".", "--runs", "."], ["--runs is now --out"]),
        (["embed", "a/b", ".", "--out", "e.npz"], ["e.npz", "named last"]),
        (["export", "a/b", "r.onnx", "--out", "e.onnx"], ["e.onnx", "named last"]),
    ],
)
def test_wrong_usage_is_one_line(arguments: list[str], names: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert command(*arguments) == 2
    captured = capsys.readouterr()
    assert captured.out == "" and captured.err.startswith("scoremix: ") and captured.err.count("\n") == 1
    for name in names:
        assert name in captured.err


def test_a_call_without_arguments_gets_the_help(capsys: pytest.CaptureFixture[str]) -> None:
    assert command() == 2
    assert capsys.readouterr().err.startswith("Usage")


def test_ctrl_c_is_status_130(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    def stopped(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(progress, "execute", stopped)
    assert command("run", "demo", "--out", str(tmp_path)) == 130
    assert "the next run continues" in capsys.readouterr().err


END = (signal.SIGTERM, signal.SIGHUP, signal.SIGINT)


@pytest.mark.parametrize("number", END)
def test_a_conversion_that_is_asked_to_end_leaves_nothing(
    number: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    data = folder(tmp_path / "images", 8)
    write, before = export.write_records, {n: signal.getsignal(n) for n in (*END, signal.SIGALRM)}

    def asked(part: Path, images: OutgoingImages) -> list[str]:
        signal.raise_signal(number)
        return write(part, images)

    monkeypatch.setattr(export, "write_records", asked)
    monkeypatch.setattr(stopping, "_asked", [])
    try:
        assert command("convert", str(data), str(tmp_path / "out")) == 128 + number
    finally:
        signal.alarm(0)
        for each, handler in before.items():
            signal.signal(each, handler)
    assert "nothing was written" in capsys.readouterr().err and list(tmp_path.iterdir()) == [data]


def test_a_config_without_images_is_refused(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    (tmp_path / "c.yaml").write_text("data: {size: 16}\n")
    assert "source:" in refused(capsys, "ingest", "--config", str(tmp_path / "c.yaml"))


def test_a_missing_device_is_said_before_anything_is_made(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    said = refused(capsys, "run", "demo", "--device", "cuda", "--out", str(tmp_path / "out"))
    assert "cuda" in said and "'cpu'" in said and not (tmp_path / "out").exists()


@pytest.mark.parametrize(("seen", "shown"), [("", "1"), ("3,5", "5"), ("GPU-a, GPU-b", "GPU-b")])
def test_one_gpu_of_several_is_the_only_one_that_is_seen(
    seen: str, shown: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from scoremix.execution import processes

    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", seen)
    monkeypatch.setattr("torch.cuda.device_count", lambda: 2)
    assert processes.only("cuda:1") == "cuda" and os.environ["CUDA_VISIBLE_DEVICES"] == shown
    with pytest.raises(ValueError, match="no such GPU is visible"):
        processes.only("cuda:2")


def test_the_folder_of_runs_among_the_images_is_none_of_them(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.chdir(folder(tmp_path / "images", 8))
    for _ in range(2):
        assert command("ingest", "--data", ".", "--set", "data.size=8", "-q") == 0
    assert "1 of 1 steps are done already" in capsys.readouterr().err
    assert command("verify-data", ".") == 0
    assert "passed over, for they hold runs: 'scoremix_runs'" in capsys.readouterr().out
    before = sorted(path.name for path in Path().iterdir())
    for verb in ("ingest", "run", "plan"):
        said = refused(capsys, verb, "--data", ".", "--out", "a/runs")
        assert f"--out a/runs: lies inside the images, {tmp_path / 'images'}" in said
    other = shlex.split(said.partition("such as ")[2])
    assert command("ingest", "--data", ".", "--set", "data.size=8", "-q", *other) == 0
    assert sorted(path.name for path in Path().iterdir()) == before


def test_an_unknown_checkpoint_names_the_option_that_says_where_runs_are(tmp_path: Path) -> None:
    for option in ("--out", "out"):
        with pytest.raises(ValueError, match=f"{option} says where they are"):
            records.checkpoint_of(tmp_path, "a/b", option)


@pytest.mark.parametrize(
    ("settings", "names"),
    [
        (["selection.groups=wrong.csv"], ["wrong.csv", "class"]),
        (["selection.file=wrong.csv", "selection.strategy=list"], ["wrong.csv", "class"]),
        (["selection.count=99"], ["selection.count 99", "21 m-plets of 2"]),
        (["selection.max_degree=1"], ["7 2-plets use 14 classes", "max_degree=1 allows 7"]),
        (["selection.strategy=random", "selection.max_degree=1"], ["max_degree=1 allows 7"]),
        (["selection.count=5", "selection.min_degree=3"], ["min_degree=3 of 7 classes needs at least 11"]),
    ],
)
@pytest.mark.parametrize("quick", [[], ["--quick"]])
def test_a_selection_that_the_classes_do_not_allow_is_refused_right_after_ingest(
    settings: list[str],
    names: list[str],
    quick: list[str],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
) -> None:
    data = folder(tmp_path / "images", 12)
    (tmp_path / "wrong.csv").write_text("class0,nobody\n")
    monkeypatch.chdir(tmp_path)
    arguments = ["run", "--data", str(data), "--out", "out", "--quiet", *quick]
    said = refused(capsys, *arguments, *(a for s in ["data.size=8", *settings] for a in ("--set", s)))
    assert all(name in said for name in names), said
    assert not (tmp_path / "out" / "store" / "recognizer").exists() and not list((tmp_path / "out" / "runs").iterdir())


def folder(path: Path, classes: int, images: int = 3) -> Path:
    for k in range(classes):
        (path / f"class{k}").mkdir(parents=True)
        for i in range(images):
            pixels = np.random.default_rng((k, i)).integers(0, 256, (12, 12), dtype=np.uint8)
            Image.fromarray(pixels).save(path / f"class{k}" / f"{i}.png")
    return path


@pytest.mark.parametrize("case", ["empty", "one class", "too few", "corrupt", "zero bytes"])
def test_bad_folders_are_named(case: str, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    data = tmp_path / "images"
    data.mkdir()
    folder(data, {"empty": 0, "one class": 1, "too few": 4}.get(case, 8))
    wanted = (
        "4 classes cannot be split into train, validation, test, at least 6 are needed"
        if case == "too few"
        else str(data)
    )
    if case in ("corrupt", "zero bytes"):
        bad = data / "class3" / "broken.png"
        bad.write_bytes(b"not an image" if case == "corrupt" else b"")
        wanted = str(bad)
    said = refused(capsys, "run", "--data", str(data), "--out", str(tmp_path / "out"), "--quiet")
    assert wanted in said
    assert not list((tmp_path / "out").rglob("manifest.json"))


def test_a_store_of_another_version_is_refused(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    store = tmp_path / "out" / "store"
    store.mkdir(parents=True)
    (store / "store.json").write_text('{"format": 99}')
    assert command("run", "demo", "--out", tmp_path / "out") == 1
    assert "format 99" in capsys.readouterr().err


def test_what_fails_is_explained_in_one_line() -> None:
    status, text = explained(OSError(errno.ENOSPC, "No space left on device", "store/x"))
    assert status == 1 and "disk is full" in text and "safe" in text
    assert explained(FloatingPointError("the generator's loss is nan at 64 images seen")) == (
        1,
        "the generator's loss is nan at 64 images seen",
    )
    partial = f"e.npz.{'0a' * 16}.partial"
    assert explained(OSError(errno.EROFS, "Read-only file system", partial)) == (2, "e.npz: Read-only file system")
    assert explained(ValueError("a.b: too large")) == (2, "a.b: too large")


def test_unreadable_files_are_left_out_on_demand_and_counted(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    data = folder(tmp_path / "images", 8)
    (data / "class3" / "0.png").write_bytes(b"")
    arguments = ["ingest", "--data", str(data), "--out", str(tmp_path / "out"), "--set", "data.size=8", "--quiet"]
    assert "--skip-bad" in refused(capsys, *arguments)
    assert command(*arguments, "--skip-bad") == 0
    assert "1 unreadable file left out" in capsys.readouterr().err


def test_classes_without_a_genuine_pair_are_refused_before_training(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    data = folder(tmp_path / "images", 12, images=1)
    said = refused(capsys, "run", "--data", str(data), "--out", str(tmp_path / "out"), "--quiet")
    assert "test classes have one image" in said
    assert not list((tmp_path / "out" / "runs").iterdir())  # refused, so not among the runs
    record = tmp_path / "out" / "runs" / "images.json"
    record.write_text(before := '{"experiment": {}, "steps": {}}')
    refused(capsys, "run", "--data", str(data), "--out", str(tmp_path / "out"), "--quiet")
    assert record.read_text() == before
    assert not (tmp_path / "out" / "store" / "recognizer").exists()


@pytest.mark.parametrize("mark", ["[]", '{"format": 99}', ""])
def test_a_damaged_or_other_store_is_named(mark: str, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    (tmp_path / "store").mkdir()
    (tmp_path / "store" / "store.json").write_text(mark)
    assert command("run", "demo", "--out", str(tmp_path)) == 1
    said = capsys.readouterr().err.strip()
    assert "\n" not in said and str(tmp_path / "store") in said and "Error" not in said


@pytest.mark.parametrize("record", ["{", "[]", '{"experiment": {"seeds": "x"}, "steps": {}}'])
def test_a_damaged_record_of_a_run_is_named(record: str, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    Store(tmp_path / "store")
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs" / "mine.json").write_text(record)
    assert command("show", "--out", str(tmp_path)) in (1, 2)
    said = capsys.readouterr().err.strip()
    assert "\n" not in said and "mine" in said and "Error" not in said


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no /dev/full")
def test_a_full_disk_is_named_with_the_file(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    data = folder(tmp_path / "images", 8)
    (tmp_path / "out" / "runs").mkdir(parents=True)
    record = tmp_path / "out" / "runs" / "images.json"
    monkeypatch.setattr("uuid.uuid4", lambda: SimpleNamespace(hex="1"))
    Path(f"{record}.1.partial").symlink_to("/dev/full")
    assert command("ingest", "--data", str(data), "--out", str(tmp_path / "out"), "--quiet") == 1
    said = capsys.readouterr().err.strip().splitlines()[-1]
    assert str(record) in said and "disk is full" in said and "safe" in said
