"""Conversions: round trips keep the bytes and the classes, other readers find what they expect, nothing is half written."""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from scoremix.data import export, images, recordio, verification, writers
from scoremix.data.decode import FORMATS
from scoremix.data.formats.archives import Shards
from scoremix.data.formats.folders import Folders
from scoremix.data.formats.records import Records
from scoremix.data.source import SUFFIXES, Form, SourceHints, extension
from scoremix.data.sources import format_of, open_source
from support.trainers import arcface_items

Files = dict[str, bytes]


def files_of(folder: Path) -> Files:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def encoded(k: int, i: int) -> bytes:
    buffer = io.BytesIO()
    pixels = np.random.default_rng((k, i)).integers(0, 256, (12, 12, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(buffer, "PNG" if i % 2 else "JPEG")
    return buffer.getvalue()


@pytest.fixture
def folders(tmp_path: Path) -> Path:
    """Five classes of 1 to 5 images, JPEG and PNG, one name with blanks."""
    root = tmp_path / "folders"
    for k, name in enumerate(["a", "b b", "c", "d", "e"]):
        (root / name).mkdir(parents=True)
        for i in range(k + 1):
            (root / name / f"{i}.{'png' if i % 2 else 'jpg'}").write_bytes(encoded(k, i))
    return root


def test_folders_to_records_and_back_keep_every_byte(folders: Path, tmp_path: Path) -> None:
    before = files_of(folders)
    written = export.convert(folders, tmp_path / "rec")
    assert (written.form, written.classes, written.images) == ("recordio", 5, 15)
    assert export.convert(tmp_path / "rec", tmp_path / "again").form == "folders"
    after = files_of(tmp_path / "again")
    del after["classes.tsv"]
    assert after == before
    source = Records(tmp_path / "rec")
    assert source.class_names == ("a", "b b", "c", "d", "e") and source.notes == []


def test_records_without_names_keep_their_labels_through_folders(tmp_path: Path) -> None:
    labels = [k for k in range(12) for _ in range(2)]
    with (tmp_path / "train.rec").open("wb") as file:
        writer = recordio.Writer(file)
        for i, k in enumerate(labels):
            writer.put(i, float(k), encoded(k, i))
    (tmp_path / "train.idx").write_bytes(writer.index())
    assert export.convert(tmp_path, tmp_path.with_name("f")).notes == ()
    export.convert(tmp_path.with_name("f"), tmp_path.with_name("r"))
    for k, source in enumerate((Records(tmp_path), Records(tmp_path.with_name("r")))):
        found = [(k, c) for k in range(12) for _, c in source.encoded(k, np.arange(2))]
        assert found == [(k, encoded(k, i)) for i, k in enumerate(labels)]


def test_golden_records_to_folders_and_back(golden: Callable[[str], Path], tmp_path: Path) -> None:
    export.convert(golden("recordio_faces"), tmp_path / "folders")
    export.convert(tmp_path / "folders", tmp_path / "rec")
    for name in ("train.idx", "property"):
        assert (tmp_path / "rec" / name).read_bytes() == golden(f"recordio_faces/{name}").read_bytes()
    assert (tmp_path / "rec" / "train.rec").read_bytes() == golden("recordio_faces/train.rec").read_bytes()


def test_records_hold_what_the_trainers_read(folders: Path, tmp_path: Path) -> None:
    export.convert(folders, tmp_path / "rec")
    assert arcface_items(tmp_path / "rec") == [(k, encoded(k, i)) for k in range(5) for i in range(k + 1)]
    rows = [line.split("\t") for line in (tmp_path / "rec" / "train.tsv").read_text().splitlines()]
    assert [int(row[0]) for row in rows] == list(range(1, 16)) and rows[1] == ["2", "b b/0.jpg", "1"]
    listed = [line.split("\t") for line in (tmp_path / "rec" / "train.lst").read_text().splitlines()]
    assert [(row[0], row[2], f"{float(row[1]):.0f}") for row in listed] == [tuple(row) for row in rows]
    assert (tmp_path / "rec" / "property").read_text() == "5,12,12"


def test_beyond_float32_nothing_is_announced(folders: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writers, "EXACT", 20)  # 15 images and 5 classes need 21
    notes = export.convert(folders, tmp_path / "rec").notes
    assert "2^24" in notes[0]
    source = Records(tmp_path / "rec")
    assert source.records.keys.tolist() == list(range(15)) and source.counts.tolist() == [1, 2, 3, 4, 5]
    monkeypatch.setattr(writers, "EXACT", 4)
    with pytest.raises(ValueError, match=r"5 classes: labels are float32, .* from 2\^24 on"):
        export.convert(folders, tmp_path / "none")
    assert not (tmp_path / "none").exists()


def test_shards_hold_every_image_once_in_mixed_order(
    folders: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writers, "SHARD", 4)
    export.convert(folders, tmp_path / "wds", "webdataset", seed=1)
    export.convert(folders, tmp_path / "same", "webdataset", seed=1)
    assert files_of(tmp_path / "wds") == files_of(tmp_path / "same")
    samples: dict[str, Files] = {}
    for shard in sorted((tmp_path / "wds").glob("*.tar")):
        with tarfile.open(shard) as tar:
            for member in tar:
                key, _, kind = member.name.partition(".")
                file = tar.extractfile(member)
                assert file is not None
                samples.setdefault(key, {})[kind] = file.read()
    labels = [int(sample["cls"]) for _, sample in sorted(samples.items())]
    found = sorted((int(s["cls"]), next(v for kind, v in s.items() if kind != "cls")) for s in samples.values())
    assert found == sorted((k, encoded(k, i)) for k in range(5) for i in range(k + 1))
    assert labels != sorted(labels) and len(list((tmp_path / "wds").glob("*.tar"))) == 4
    assert json.loads((tmp_path / "wds" / "dataset.json").read_text())["shards"] == 4


def test_webdataset_reads_the_shards(folders: Path, tmp_path: Path) -> None:
    wds = pytest.importorskip("webdataset")
    export.convert(folders, tmp_path / "wds", "webdataset")
    data = (
        wds.WebDataset(str(tmp_path / "wds" / "train-000000.tar"), shardshuffle=False)
        .decode("rgb8")
        .to_tuple("jpg;png", "cls")
    )
    found = sorted((label, pixels.sum()) for pixels, label in data)
    want = sorted((k, np.asarray(Image.open(io.BytesIO(encoded(k, i)))).sum()) for k in range(5) for i in range(k + 1))
    assert found == want


def test_shards_hold_images_of_any_name(tmp_path: Path) -> None:
    names = ["s1.happy", "s2.glasses", "s3.JFIF", "s4.a.jpe", "s5", "s6.json.x", "s7.PNG", "s8.cls.y"]
    for i, name in enumerate(names):
        path = tmp_path / "in" / "ab"[i % 2] / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(encoded(i % 2, i))
    export.convert(tmp_path / "in", tmp_path / "wds", "webdataset")
    source = open_source(tmp_path / "wds")
    assert isinstance(source, Shards) and source.class_names == ("a", "b") and source.ignored == 0
    found = sorted(source.content(item) for k in range(2) for item in source.items(k))
    assert found == sorted(encoded(i % 2, i) for i in range(len(names)))


def test_shards_keep_names_of_any_characters(tmp_path: Path) -> None:
    names = ['"Weird Al" Yankovic', '"a', " lead", "'b'", "c,d;e", "f\x85g\u2028h", "trail "]
    for k, name in enumerate(names):
        (tmp_path / "in" / name).mkdir(parents=True)
        (tmp_path / "in" / name / "0.png").write_bytes(encoded(k, 1))
    export.convert(tmp_path / "in", tmp_path / "wds", "webdataset")
    assert sorted(open_source(tmp_path / "wds").class_names) == sorted(names)
    (tmp_path / "wds" / "classes.tsv").write_text("label\tclass\n0\ta\tb\n")
    with pytest.raises(ValueError, match=r"classes.tsv: line 2 has 3 columns, must be label, class"):
        open_source(tmp_path / "wds")


@pytest.mark.parametrize("form", FORMATS)
def test_images_are_named_by_their_content(form: str) -> None:
    buffer = io.BytesIO()
    try:
        Image.new("RGB", (8, 8)).save(buffer, form)
    except (KeyError, OSError):
        pytest.skip(f"this Pillow writes no {form}")
    said = extension(buffer.getvalue())
    assert said in SUFFIXES and (said == ".img") == (form == "TGA")  # which has no magic


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("form", ["folders", "recordio", "webdataset"])
def test_synthetic_sets_leave_with_the_same_pixels(channels: int, form: export.Form, tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (6, 8, 8, channels), dtype=np.uint8)
    names = ["x/1 + y/2", "x/2 + y/1", "z"]
    images.LabeledImages.of(pixels, np.array([0, 0, 1, 1, 2, 2]), names, {"train": [0, 1, 2]}).save(tmp_path / "packed")
    export.convert(tmp_path / "packed", tmp_path / "out", form)
    table = (tmp_path / "out" / "classes.tsv").read_text().splitlines()
    assert table[1] == "0\tx_1 + y_2\tx/1 + y/2"
    if form == "webdataset":
        return
    source = open_source(tmp_path / "out")
    assert isinstance(source, (Folders, Records)) and source.class_names == ("x_1 + y_2", "x_2 + y_1", "z")
    again = [np.asarray(Image.open(io.BytesIO(c))) for k in range(3) for _, c in source.encoded(k, np.arange(2))]
    np.testing.assert_array_equal(np.stack(again).reshape(pixels.shape), pixels)


def test_npz_and_fonts_are_packed_on_the_way(tiny_npz: Path, tmp_path: Path) -> None:
    export.convert(tiny_npz, tmp_path / "out")
    data = np.load(tiny_npz)
    one = np.asarray(Image.open(tmp_path / "out" / "blob 03" / "000002.png"))
    np.testing.assert_array_equal(one, data["images"][data["labels"] == 3][2])
    assert sorted(p.name for p in (tmp_path / "out").iterdir())[-1] == "classes.tsv"


def test_classes_without_images_are_left_out_of_pixels_too(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (6, 8, 8), dtype=np.uint8)
    labels, names = np.array([3, 0, 1, 3, 1, 3]), np.array(["a", "b", "unused", "d"])
    np.savez(tmp_path / "set.npz", images=pixels, labels=labels, class_names=names)
    with pytest.raises(ValueError, match=r"class 'unused' of .*set.npz has no images \(--skip-bad leaves them out\)"):
        export.convert(tmp_path / "set.npz", tmp_path / "none")
    assert export.convert(tmp_path / "set.npz", tmp_path / "out", skip_bad=True).classes == 3
    keep = lambda source: export.chosen_classes(source, classes=None, least=2, most=None, seed=0)
    assert export.convert(tmp_path / "set.npz", tmp_path / "some", keep=keep).images == 5
    for out, kept in (("out", {"a": 0, "b": 1, "d": 3}), ("some", {"b": 1, "d": 3})):
        table = (tmp_path / out / "classes.tsv").read_text().splitlines()[1:]
        assert table == [f"{k}\t{name}\t{name}" for k, name in enumerate(kept)]
        for name, label in kept.items():
            files = [np.asarray(Image.open(file)) for file in sorted((tmp_path / out / name).iterdir())]
            np.testing.assert_array_equal(np.stack(files), pixels[labels == label])


def test_some_batches_of_cifar_have_not_every_class(tmp_path: Path) -> None:
    rows = np.random.default_rng(0).integers(0, 256, (4, 3073), dtype=np.uint8)
    rows[:, 0] = [0, 9, 9, 0]
    (tmp_path / "set").mkdir()
    (tmp_path / "set" / "batches.meta.txt").write_text("".join(f"class {k}\n" for k in range(10)))
    (tmp_path / "set" / "data_batch_1.bin").write_bytes(rows.tobytes())
    written = export.convert(tmp_path / "set", tmp_path / "out", skip_bad=True)
    assert (written.classes, written.images) == (2, 4)
    one = np.asarray(Image.open(tmp_path / "out" / "class 9" / "000001.png"))
    np.testing.assert_array_equal(one, rows[2, 1:].reshape(3, 32, 32).transpose(1, 2, 0))
    every = open_source(tmp_path / "set").every_block(32)
    assert [(len(block.images), set(block.classes.tolist())) for block in every] == [(2, {0}), (2, {9})]


def test_oblong_pixels_leave_as_a_run_reads_them_and_that_is_said(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (2, 16, 24), dtype=np.uint8)
    np.savez(tmp_path / "set.npz", images=pixels, labels=np.array([0, 1]))
    written = export.convert(tmp_path / "set.npz", tmp_path / "out")
    assert written.notes == ("images are 24 x 16: of each the centred square is written, which is what a run reads",)
    np.testing.assert_array_equal(np.asarray(Image.open(tmp_path / "out" / "1" / "000000.png")), pixels[1, :, 4:20])


def test_a_size_makes_squares_of_it(folders: Path, tmp_path: Path) -> None:
    export.convert(folders, tmp_path / "out", size=16)
    assert (tmp_path / "out" / "property").read_text() == "5,16,16"
    _, content = next(Records(tmp_path / "out").encoded(0, np.array([0])))
    assert Image.open(io.BytesIO(content)).size == (16, 16) and content.startswith(b"\x89PNG")


def test_images_whose_names_become_alike_get_numbers(tmp_path: Path) -> None:
    (tmp_path / "set" / "c").mkdir(parents=True)
    for i, name in enumerate(["1.jpg", "1.png", "1_2.jpg"]):
        Image.fromarray(np.full((8, 8), 80 * i, np.uint8)).save(tmp_path / "set" / "c" / name)
    export.convert(tmp_path / "set", tmp_path / "out", "folders", size=8, made=lambda _, place: ([str(place)], [1.0]))
    told = [json.loads(line) for line in (tmp_path / "out" / "provenance.jsonl").read_text().splitlines()]
    assert [(of["image"], of["sources"]) for of in told] == [
        ("c/1.png", ["0"]),
        ("c/1_2.png", ["1"]),
        ("c/1_2_2.png", ["2"]),
    ]
    for of in told:
        assert np.asarray(Image.open(tmp_path / "out" / of["image"])).mean() // 80 == int(of["sources"][0])


def test_images_of_one_name_in_two_folders_are_of_one_class(tmp_path: Path) -> None:
    for k, folder in enumerate("xy"):
        (tmp_path / "set" / folder).mkdir(parents=True)
        (tmp_path / "set" / folder / "0.png").write_bytes(encoded(k, 1))
    (tmp_path / "set" / "labels.csv").write_text("path,label\nx/0.png,a\ny/0.png,a\n")
    for form in ("recordio", "folders"):
        export.convert(tmp_path / "set" / "labels.csv", tmp_path / form, form)
    assert (tmp_path / "recordio" / "train.tsv").read_text() == "1\ta/0.png\t0\n2\ta/0_2.png\t0\n"
    for k, name in enumerate(["0.png", "0_2.png"]):
        assert (tmp_path / "folders" / "a" / name).read_bytes() == encoded(k, 1)


def test_subset_is_a_rule_and_a_seed(folders: Path, tmp_path: Path) -> None:
    def chosen(seed: int, **wanted: int | None) -> list[str]:
        source = Folders(folders)
        limits = {"classes": None, "least": 1, "most": None} | wanted
        return [source.class_names[k] for k in export.chosen_classes(source, seed=seed, **limits)]  # type: ignore[arg-type]

    assert chosen(0, least=2, most=4) == ["b b", "c", "d"]
    picks = {tuple(chosen(seed, classes=2, least=2)) for seed in range(20)}
    assert len(picks) > 3 and all(len(p) == 2 and "a" not in p for p in picks)
    assert chosen(3, classes=2) == chosen(3, classes=2)
    assert set(chosen(3, classes=2)) <= set(chosen(3, classes=3))  # nested
    with pytest.raises(ValueError, match="2 of 5 classes have 4 to any number of images, 3 are asked for"):
        chosen(0, classes=3, least=4)
    keep = lambda s: export.chosen_classes(s, classes=2, least=2, most=None, seed=0)
    export.convert(folders, tmp_path / "rec")
    export.convert(tmp_path / "rec", tmp_path / "a", "recordio", keep=keep)
    export.convert(folders, tmp_path / "b", "recordio", keep=keep)
    assert files_of(tmp_path / "a") == files_of(tmp_path / "b")  # whatever form it is drawn from


@pytest.mark.parametrize("flavour", ["bytes_p4", "numpy_np1_p2", "py2str_p2"])
def test_pairs_there_and_back(flavour: str, golden: Callable[[str], Path], tmp_path: Path) -> None:
    source = golden(f"verification_bin/{flavour}.bin")
    export.convert(source, tmp_path / "pairs")
    export.convert(tmp_path / "pairs" / "pairs.txt", tmp_path / "again.bin")
    export.convert(source, tmp_path / "direct.bin")
    assert (tmp_path / "again.bin").read_bytes() == (tmp_path / "direct.bin").read_bytes()
    before, after = verification.read(source), verification.read(tmp_path / "again.bin")
    assert before.images == after.images and before.same.tolist() == after.same.tolist()


@pytest.mark.parametrize(
    "given",
    [{"size": 8}, {"seed": 1}, {"skip_bad": True}, {"hints": SourceHints(7)}, {"hints": SourceHints(None, "a")}],
)
def test_pairs_take_nothing_that_is_for_classes(
    given: dict[str, Any], golden: Callable[[str], Path], tmp_path: Path
) -> None:
    with pytest.raises(ValueError, match=r"bytes_p4.bin holds pairs: .* --skip-bad, --class-level, .* go with classes"):
        export.convert(golden("verification_bin/bytes_p4.bin"), tmp_path / "out", **given)
    assert not (tmp_path / "out").exists()


def test_parts_of_a_set(folders: Path, tmp_path: Path) -> None:
    root = tmp_path / "set"
    for part, names in (("train", ["a", "c"]), ("test", ["a", "d"])):
        for name in names:
            (root / part / name).mkdir(parents=True)
            (root / part / name / "0.png").write_bytes(encoded(ord(name), len(part)))
    source = Folders(root)
    assert source.class_names == ("a", "c", "d") and source.counts.tolist() == [2, 1, 1]
    assert [name for name, _ in source.encoded(0, np.arange(2))] == ["test_0.png", "train_0.png"]
    export.convert(root, tmp_path / "rec")
    assert Records(tmp_path / "rec").counts.tolist() == [2, 1, 1]
    (root / "test").rename(root / "0")
    with pytest.raises(ValueError, match="holds 'train' and beside it '0' with images"):
        Folders(root)


def collide(folders: Path) -> None:
    (folders / "b_b").mkdir()
    (folders / "b_b" / "0.png").write_bytes(encoded(9, 9))
    (folders / "b b").rename(folders / "b\\b")


@pytest.mark.parametrize(
    ("change", "wrong"),
    [
        (lambda f: (f / "f").mkdir(), "class 'f' of .* has no images"),
        (lambda f: (f / "c" / "0.jpg").write_bytes(b""), r"c/0.jpg: empty file"),
        (lambda f: (f / "a" / "0.jpg").write_bytes(b"junk"), r"0.jpg: not an image"),
        (collide, "would both be folder 'b_b'"),
    ],
)
def test_what_cannot_be_written_leaves_nothing(
    change: Callable[[Path], object], wrong: str, folders: Path, tmp_path: Path
) -> None:
    change(folders)
    with pytest.raises(ValueError, match=wrong) as caught:
        export.convert(folders, tmp_path / "out" / "rec")
    assert str(caught.value).count("\n") == ("unreadable" in str(caught.value))
    assert list((tmp_path / "out").iterdir()) == []


def test_a_class_is_not_named_like_a_file_beside_the_classes(folders: Path, tmp_path: Path) -> None:
    (folders / "c").rename(folders / "classes.tsv")
    with pytest.raises(
        ValueError, match=r"^class 'classes.tsv' of .*folders: classes.tsv is a file beside the class folders"
    ):
        export.convert(folders, tmp_path / "out", "folders")
    assert not (tmp_path / "out").exists()
    assert export.convert(folders, tmp_path / "rec").classes == 5  # makes no folders
    (folders / "classes.tsv").rename(folders / "README.md")
    assert export.convert(folders, tmp_path / "out", "folders").classes == 5  # no card is written


@pytest.mark.parametrize("form", ["recordio", "webdataset", "folders"])
def test_unreadable_images_are_left_out_where_that_is_asked_for(form: Form, folders: Path, tmp_path: Path) -> None:
    whole = export.convert(folders, tmp_path / "whole", form)
    largest = max(folders.iterdir(), key=lambda of: len(list(of.iterdir())))
    next(largest.iterdir()).write_bytes(b"junk")
    (folders / "f").mkdir()
    (folders / "f" / "cut.png").write_bytes(encoded(9, 9)[:60])
    with pytest.raises(ValueError, match="2 unreadable image files") as caught:
        export.convert(folders, tmp_path / "out", form)
    assert "f/cut.png: " in str(caught.value) and not (tmp_path / "out").exists()
    written = export.convert(folders, tmp_path / "out", form, skip_bad=True)
    assert (written.images, written.classes) == (whole.images - 1, whole.classes)
    assert "2 unreadable images left out" in written.notes


def test_places_that_are_taken_are_left_alone(folders: Path, tmp_path: Path) -> None:
    before = files_of(folders)
    for out, wrong in (
        (folders, "exists already"),
        (folders / "a" / "out", "lies inside"),
        (tmp_path / "x.bin", "holds pairs"),
        (tmp_path / "x.zip", "is named like a file.* such as .*/x$"),
        (tmp_path / "x.tar.gz", "is named like a file.* such as .*/x$"),
    ):
        with pytest.raises(ValueError, match=wrong):
            export.convert(folders, out)
    assert files_of(folders) == before
    (tmp_path / "pairs.txt").write_text("folders/a/0.jpg folders/a/nine.jpg 1\n")
    with pytest.raises(ValueError, match=r"pairs.txt names .*nine.jpg, which is not there"):
        export.convert(tmp_path / "pairs.txt", tmp_path / "x.bin")
    assert not (tmp_path / "x.bin").exists() and format_of(folders).kind == "folders"
