"""`scoremix benchmark CHECKPOINT --sets ...` on small synthetic sets in the exact layouts of the public ones."""

from __future__ import annotations

import csv
import io
import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from scoremix import commands as cli
from scoremix.config import Embedding, Runtime, load
from scoremix.config.presets import PRESETS
from scoremix.data.faces import open_set
from scoremix.data.facesets import TemplateSet
from scoremix.execution import benchmarks, records
from scoremix.execution.artifacts import Artifact
from scoremix.execution.store import Store
from scoremix.outputs.benchmarks import Benchmarks, Result
from scoremix.recognition import checkpoints
from scoremix.recognition.heads import ArcFace
from support.faces import PEOPLE, face, make_ijb

Call = Callable[..., str]


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    description = checkpoints.small(16, 3, (8, 16), (1, 1), 12)
    net = checkpoints.make(description)
    path = tmp_path_factory.mktemp("checkpoint") / "tiny.safetensors"
    path.write_bytes(checkpoints.to_bytes(net, ArcFace(12, 3), description))
    return path


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("faces")
    make_ijb(root)
    aligned = root / "tinyface" / "aligned_pad_0.1_pad_high"
    for part in ("Probe", "Gallery_Match", "Gallery_Distractor"):
        (aligned / part).mkdir(parents=True)
    for p in range(PEOPLE):
        face(p, 1).save(aligned / "Probe" / f"{p}_1.jpg")
        face(p, 2).save(aligned / "Gallery_Match" / f"{p}_2.jpg")
        face(p + 50, 3).save(aligned / "Gallery_Distractor" / f"{p}.jpg")
    own = root / "own"
    own.mkdir()
    for p in range(PEOPLE):
        for take in range(4):
            face(p, take, 96).save(own / f"{p}_{take}.png")
    lines = [f"{p}_0.png\t{p}_1.png\t1" for p in range(PEOPLE)] + [
        f"{p}_2.png\t{p - 1}_3.png\t0" for p in range(1, PEOPLE)
    ]
    (own / "pairs.txt").write_text("\n".join(lines))
    gallery = [f"{p}_0.png,person {p}" for p in range(3)]
    (own / "gallery.csv").write_text("\n".join(["image,subject", *gallery]))
    probes = [f"{p}_{take}.png,person {p},{p}-{take // 3}" for p in range(PEOPLE) for take in (1, 2, 3)]
    (own / "probes.csv").write_text("\n".join(["image,subject,template", *probes]))
    return root


@pytest.fixture
def call(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path, root: Path) -> Call:
    def run(*arguments: object, status: int = 0) -> str:
        fixed = ["--root", root, "--out", tmp_path / "out", "--device", "cpu", "-q"]
        monkeypatch.setattr(sys, "argv", ["scoremix", "benchmark", *map(str, [*arguments, *fixed])])
        with pytest.raises(SystemExit) as caught:
            cli.main()
        said = capsys.readouterr()
        assert int(caught.value.code or 0) == status, said.err
        return said.err if status else said.out

    return run


def results(folder: Path, name: str = "tiny") -> Sequence[Result]:
    return Benchmarks.load(Artifact("", "", folder / "out" / "benchmarks" / name)).results


def test_every_kind_of_set_in_one_call(call: Call, checkpoint: Path, root: Path, tmp_path: Path) -> None:
    said = call(checkpoint, "--sets", "ijbc,tinyface", "--sets", f"{root / 'own' / 'pairs.txt'},own")
    (of,) = results(tmp_path)
    found = of.sets
    kinds = [(e.set, e.kind, e.protocol.name) for e in found]
    three = ["arcface_torch", "adaface", "cvlface"]
    assert kinds == [
        *(("ijbc", "1:1", p) for p in three),
        *(("ijbc", "1:N", p) for p in three),
        ("tinyface", "identification", "common"),
        ("pairs", "pairs", "common"),
        ("own", "1:N", "adaface"),  # without detector scores two of the three protocols are one
        ("own", "1:N", "cvlface,detector=off"),
    ]
    assert found[0].counts == {"images": 60, "templates": 18, "pairs": 153, "genuine": 18}
    assert "instead of 469,375" in found[0].unlike_published and "not the published set" in said
    for switch in ("flip on", "norm kept", "norm removed", "detector on", "detector off", "aggregation media"):
        assert switch in said
    for line in (
        "TAR at FAR 0.1, nearest point",
        "of 135 impostors",
        "TPIR at FPIR 0.01, not above, G1",
    ):
        assert line in said
    values = {(m.metric, m.level, m.rule): m.value for m in found[6].measures}
    assert values["rank", 1, None] > 0.5  # patterns are easy to tell apart, also for an untrained network
    rows = list(csv.DictReader((tmp_path / "out" / "benchmarks" / "tiny" / "measures.csv").open()))
    assert sum(row["threshold"] != "" for row in rows) > 20


def test_verification_bin_of_all_flavours(
    golden: Callable[[str], Path], call: Call, checkpoint: Path, tmp_path: Path
) -> None:
    (tmp_path / "sets").mkdir()
    for file in sorted(golden("verification_bin").iterdir()):
        (tmp_path / "sets" / "lfw.bin").write_bytes(file.read_bytes())
        said = call(checkpoint, "--sets", tmp_path / "sets" / "lfw.bin")
        assert "12 images, 6 pairs, 3 genuine" in said and "accuracy" in said
    with np.load(golden("verification_bin_expected.npz")) as expected:
        faces = open_set("lfw", tmp_path / "sets")
        assert "6 pairs instead of 6,000" in faces.unlike
        decoded = expected["decoded_first4_rgb"]  # tests/golden has the first alone
        block = next(faces.images.blocks(0, len(decoded), 112, 1))
        np.testing.assert_allclose(block.astype(int), decoded, atol=3)


def test_pair_sets_give_the_golden_accuracy(golden: Callable[[str], Path], tmp_path: Path) -> None:
    """Flip sum and last batch as in the reference's own run of a linear network."""
    from scoremix.data.facesets import FaceImages, PairSet
    from scoremix.evaluation.benchmarks import pair_measures
    from scoremix.stages.judge import benchmark

    with np.load(golden("verification_test.npz")) as g:
        net = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(192, 24))
        net[1].load_state_dict({"weight": torch.from_numpy(g["W"]), "bias": torch.from_numpy(g["b"])})
        files = []
        for pixels in g["images_u8"]:
            buffer = io.BytesIO()
            Image.fromarray(pixels.transpose(1, 2, 0)).save(buffer, "png")
            files.append(buffer.getvalue())
        first = 2 * np.arange(len(g["issame"]))
        faces = PairSet("golden", FaceImages(None, files), first, first + 1, g["issame"])
        recognizer = benchmark.OpenedRecognizer(net, checkpoints.small(8, 3, (8,), (1,), 24), "0")
        runtime = Runtime(out=tmp_path, device="cpu", quiet=True)
        x = benchmark.embeddings(recognizer, faces, Embedding(batch=64), Store(tmp_path / "s"), runtime)
        np.testing.assert_allclose(x, g["emb"] + g["emb_flip"], atol=1e-5)
        accuracy, deviation = pair_measures(x[first], x[first + 1], faces.same)[:2]
        assert (accuracy.value, deviation.value) == pytest.approx((float(g["acc"]), float(g["std"])), abs=1e-6)


def test_embeddings_are_cached_and_do_not_depend_on_the_batch(
    call: Call, checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    arguments = (checkpoint, "--sets", "ijbc", "--protocol", "arcface_torch")
    call(*arguments, "--batch", 7)
    first = results(tmp_path)
    stored = sorted((tmp_path / "out" / "store" / "embed").iterdir())
    call(*arguments, "--batch", 7)
    assert results(tmp_path) == first
    assert sorted((tmp_path / "out" / "store" / "embed").iterdir()) == stored
    call(*arguments, "--batch", 60)
    a, b = (np.load(next(iter(f.glob("embeddings.npy")))) for f in (tmp_path / "out" / "store" / "embed").iterdir())
    cosine = (a * b).sum(1) / np.linalg.norm(a, axis=1) / np.linalg.norm(b, axis=1)
    assert cosine.min() > 1 - 1e-6
    for one, other in zip(first[0].sets, results(tmp_path)[0].sets, strict=True):
        for m, n in zip(one.measures, other.measures, strict=True):
            assert m.value == n.value and m.decided_by == n.decided_by
            assert (m.threshold or 0) == pytest.approx(n.threshold or 0, abs=1e-5)


def test_workers_share_the_images_of_a_set(
    checkpoint: Path, root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from scoremix.execution import workers
    from scoremix.stages.judge import benchmark, embed

    faces, config = open_set("ijbc", root), Embedding(batch=8)
    recognizer = benchmark.open_recognizer(checkpoint, None)
    runtime = Runtime(out=tmp_path, device="cpu", quiet=True)
    alone = benchmark.embeddings(recognizer, faces, config, Store(tmp_path / "a"), runtime)
    monkeypatch.setattr(embed, "BLOCK", 16)
    call, made = benchmark.embedding(recognizer, faces, config), list[int]()
    handle = recognizer.net.register_forward_pre_hook(lambda *_: made.append(1))
    for k in range(2):
        workers.perform(workers.Task(call, (k, 2)), tmp_path / "b", runtime)
    assert len(made) == 2 * 8  # two passes over eight batches
    gathered = benchmark.embeddings(recognizer, faces, config, Store(tmp_path / "b"), runtime)
    handle.remove()
    assert len(made) == 2 * 8
    np.testing.assert_array_equal(alone, gathered)


def test_an_interrupted_embedding_goes_on(
    checkpoint: Path, root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from scoremix.stages.judge import benchmark, embed

    monkeypatch.setattr(embed, "BLOCK", 8)

    faces = open_set("ijbc", root)
    recognizer = benchmark.open_recognizer(checkpoint, None)
    runtime = Runtime(out=tmp_path, device="cpu", quiet=True)
    whole = benchmark.embeddings(recognizer, faces, Embedding(batch=8), Store(tmp_path / "a"), runtime)
    net = recognizer.net
    calls = []

    def stops(module: torch.nn.Module, inputs: object) -> None:
        calls.append(1)
        if len(calls) == 7:
            raise KeyboardInterrupt

    handle = net.register_forward_pre_hook(stops)
    with pytest.raises(KeyboardInterrupt):
        benchmark.embeddings(recognizer, faces, Embedding(batch=8), Store(tmp_path / "b"), runtime)
    again = benchmark.embeddings(recognizer, faces, Embedding(batch=8), Store(tmp_path / "b"), runtime)
    handle.remove()
    np.testing.assert_array_equal(whole, again)
    assert len(calls) == 7 + 2 * (8 - 3)  # three of eight batches were kept; two passes each


def test_no_flip_is_another_embedding(call: Call, checkpoint: Path, tmp_path: Path) -> None:
    call(checkpoint, "--sets", "ijbc", "--protocol", "adaface", "--protocol", "adaface,flip=off")
    (found,) = results(tmp_path)
    assert [(e.kind, e.protocol.flip) for e in found.sets] == [
        ("1:1", "on"),
        ("1:1", "off"),
        ("1:N", "on"),
        ("1:N", "off"),
    ]
    assert len(list((tmp_path / "out" / "store" / "embed").iterdir())) == 2


def edited(root: Path, tmp_path: Path, file: str, change: Callable[[list[str]], list[str]]) -> Path:
    """A copy of the IJB folder with one text file changed."""
    import shutil

    copy = tmp_path / "copy" / "IJBC"
    shutil.copytree(root / "IJBC", copy)
    path = copy / "meta" / file
    path.write_text("\n".join(change(path.read_text().splitlines())) + "\n")
    return copy


@pytest.mark.parametrize(
    ("file", "change", "said"),
    [
        (
            "ijbc_template_pair_label.txt",
            lambda x: [*x[:4], "999 3 0", *x[4:]],
            "line 5: template 999 is not in ijbc_face_tid_mid.txt",
        ),
        ("ijbc_template_pair_label.txt", lambda x: [*x, "3 13"], "line 154: '3 13' is not 3 integers"),
        ("ijbc_template_pair_label.txt", lambda x: [*x, "3 13 x"], "line 154: '3 13 x' is not 3 integers"),
        ("ijbc_template_pair_label.txt", lambda x: [*x, "3 13 7"], "line 154: label 7 is neither 0 nor 1"),
        ("ijbc_face_tid_mid.txt", lambda x: x[::-1], "line 1 names other images"),
        ("ijbc_face_tid_mid.txt", lambda x: x[:-1], "60 and 59 lines"),
        ("ijbc_face_tid_mid.txt", lambda x: ["1.jpg 3", *x[1:]], "line 1: 1 numbers after the name, must be 2"),
        ("ijbc_name_5pts_score.txt", lambda x: ["1.jpg " + "a " * 11, *x[1:]], "line 1: .* no number"),
        ("ijbc_1N_gallery_G1.csv", lambda x: [*x, "77,1,y.jpg"], "line 6: template 77 is not in"),
        ("ijbc_1N_gallery_G1.csv", lambda x: [*x, "3,9,y.jpg"], "template 3 has two subjects"),
        ("ijbc_1N_probe_mixed.csv", lambda x: [*x, "what"], "line 14: 'what' does not start with template,subject"),
    ],
)
def test_wrong_metadata_is_one_line(
    file: str, change: Callable[[list[str]], list[str]], said: str, root: Path, tmp_path: Path
) -> None:
    folder = edited(root, tmp_path, file, change)
    with pytest.raises(ValueError, match=said) as caught:
        open_set(str(folder), tmp_path)
    assert "\n" not in str(caught.value) and file.partition(".")[0] in str(caught.value)


def test_wrong_calls_are_one_line(call: Call, checkpoint: Path, root: Path, tmp_path: Path) -> None:
    (root / "IJBC" / "loose_crop" / "7.jpg").rename(root / "IJBC" / "7.jpg")
    try:
        assert "loose_crop lacks 1 of 60 images, the first is 7.jpg" in call(checkpoint, "--sets", "ijbc", status=2)
    finally:
        (root / "IJBC" / "7.jpg").rename(root / "IJBC" / "loose_crop" / "7.jpg")
    (tmp_path / "list.csv").write_text("a.png,b.png,1\na.png,b.png,yes\n")
    (tmp_path / "there.csv").write_text("a.png,b.png,1\n")
    torch.save({"patch_embed.proj.weight": torch.ones(1)}, tmp_path / "vit.pt")
    for arguments, said in (
        ((checkpoint,), "--sets"),
        ((tmp_path / "vit.pt", "--sets", "tinyface"), "looks like a vision transformer"),
        (("tiny/real", "--sets", "lfw"), "neither a file nor RUN/ARM"),
        ((tmp_path / "none.pt", "--sets", "lfw"), "none.pt: no such checkpoint"),
        ((checkpoint, "--sets", "lfw"), "neither lfw.bin nor lfw/ of save_to_disk in"),
        ((checkpoint, "--sets", "nothing"), "neither one of lfw"),
        ((checkpoint, "--sets", tmp_path), "holds neither meta/"),
        ((checkpoint, "--sets", tmp_path / "list.csv"), "line 2: 'a.png,b.png,yes' is not: image image 0|1"),
        ((checkpoint, "--sets", tmp_path / "there.csv"), "lacks 2 of 2 images, the first is a.png"),
        ((checkpoint, "--sets", "ijbc", "--protocol", "magface"), "allowed are arcface_torch, adaface, cvlface"),
        ((checkpoint, "--sets", "ijbc", "--colour", "grey"), "--colour 'grey': allowed are rgb, bgr"),
        ((checkpoint, "--sets", "ijbc", "--colour", "bgr"), "expects rgb images, bgr was asked for"),
        ((checkpoint, "--sets", "ijbc", "--set", "data.size=3"), "takes no --config"),
    ):
        error = call(*arguments, status=2)
        assert error.count("\n") == 1 and said in error, error


def test_a_damaged_image_is_named(call: Call, checkpoint: Path, root: Path, tmp_path: Path) -> None:
    import shutil

    shutil.copytree(root / "IJBC", tmp_path / "x" / "IJBC")
    (tmp_path / "x" / "IJBC" / "loose_crop" / "7.jpg").write_bytes(b"not an image")
    error = call(checkpoint, "--sets", tmp_path / "x" / "IJBC", status=2)
    assert error.count("\n") == 1 and "7.jpg cannot be read (not an image format that is read (JPEG," in error
    assert not list((tmp_path / "out").rglob("embeddings.npy")) or not list((tmp_path / "out").rglob("manifest.json"))


def test_published_metadata_layout_is_read(golden: Callable[[str], Path], tmp_path: Path) -> None:
    """The reference's text files: their first lines stand alone, so pairs point to templates that are not there."""
    (tmp_path / "IJBC" / "meta").mkdir(parents=True)
    for file in golden("ijb_meta_example").iterdir():
        (tmp_path / "IJBC" / "meta" / file.name).write_bytes(file.read_bytes())
    with pytest.raises(
        ValueError, match=r"template_pair_label.txt line 3: template \d+ is not in ijbc_face_tid_mid.txt"
    ):
        open_set("ijbc", tmp_path)
    pairs = tmp_path / "IJBC" / "meta" / "ijbc_template_pair_label.txt"
    known = {line.split()[1] for line in (pairs.parent / "ijbc_face_tid_mid.txt").read_text().splitlines()}
    kept = [line for line in pairs.read_text().splitlines() if set(line.split()[:2]) <= known]
    pairs.write_text("\n".join(kept))
    found = open_set("ijbc", tmp_path)
    assert isinstance(found, TemplateSet) and found.pairs is not None and len(found.pairs) == len(kept) > 100
    pairs.unlink()
    with pytest.raises(ValueError, match=r"holds neither ijbc_template_pair_label.txt \(1:1\) nor"):
        open_set("ijbc", tmp_path)
    assert len(found.images) == len(found.templates) > 50
    assert found.images.points is not None and found.images.points[0, 0].tolist() == [87.445, 87.819]
    assert found.detector is not None and found.detector[0] == 0.7139949


def test_arms_of_a_run_with_what_they_need_and_no_more(tiny_settings: list[str], tmp_path: Path) -> None:
    """Also those that share their training with another step, as the first arm does with the baseline."""
    exp = load(PRESETS["folder"](), (), tiny_settings)
    runtime = Runtime(out=tmp_path, device="cpu", quiet=True)
    found = benchmarks.recognizers_of(exp, ["real"], runtime)
    assert [name for name, _ in found] == ["tiny/real/0", "tiny/real/1"]
    assert all(path.exists() for _, path in found)
    made = sorted(p.name for p in (tmp_path / "store").iterdir() if p.is_dir())
    assert made == ["ingest", "recognizer"]  # no generator for an arm of real images
    for _ in range(2):  # asking again changes nothing
        steps = json.loads((tmp_path / "runs" / "tiny.json").read_text())["steps"]
        assert set(steps) == {"ingest", "baseline", "recognizer real/0", "recognizer real/1"}
        assert records.checkpoint_of(tmp_path, "tiny/real/0") == found[0][1]
        assert benchmarks.recognizers_of(exp, ["real"], runtime) == found


ARMS = [f"tiny/{arm}/{seed}" for arm in ("real", "auggen") for seed in (0, 1)]


@pytest.mark.slow
def test_every_arm_of_a_run_on_public_sets(call: Call, tiny_settings: list[str], root: Path, tmp_path: Path) -> None:
    settings = [f"--set={s}" for s in [*tiny_settings, "data.channels=3"]]
    said = call("folder", *settings, "--sets", "own/pairs.txt", "--protocol", "adaface", "--arms", "real,auggen")
    assert [r.checkpoint.name for r in results(tmp_path, "tiny-real-auggen")] == ARMS
    assert said.count("accuracy") == len(ARMS)


@pytest.mark.parametrize(
    ("line", "cells"),
    [
        ("a.png  b.png 1", ["a.png", "b.png", "1"]),
        ("a b.png\tc.png\t1", ["a b.png", "c.png", "1"]),
        ('"a b.png" "c,d.png" 0', ["a b.png", "c,d.png", "0"]),
        ('a.png, "my b.png", 1', ["a.png", "my b.png", "1"]),
        ("it's.png b's.png 1", ["it's.png", "b's.png", "1"]),
    ],
)
def test_own_lists_take_spaces_tabs_commas_and_quotes(line: str, cells: list[str]) -> None:
    from scoremix.data.faces import _cells

    assert _cells(line) == cells
