"""Every layout of docs/formats.md: made on disk, then read back or refused with the line that mends it."""

from __future__ import annotations

import io
import json
import os
import shlex
import shutil
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from scoremix.data import faces
from scoremix.data.reading import Wanted, read
from scoremix.data.source import Opening, SourceHints
from scoremix.data.sources import fingerprint, open_source
from scoremix.data.tables import names_of
from support.layouts import CLASSES, MAKE, Make, arrays, cifar_binary, pixels, png, put, put_classes, sessions


@pytest.mark.parametrize("name", MAKE)
def test_a_layout_is_read(name: str, tmp_path: Path) -> None:
    make, hints = MAKE[name]
    root = tmp_path / "set"
    root.mkdir()
    place = make(root) or root
    source = open_source(place, Opening(hints=hints))
    assert source.class_names == CLASSES and source.counts.tolist() == [2] * 8
    images, _ = read(place, tmp_path / "out", Wanted(size=8, hints=hints))
    for k, letter in enumerate(CLASSES):
        found = images.of_class(images.class_names.index(letter))
        np.testing.assert_array_equal(sorted(found[:, 0, 0].tolist()), [pixels(k, i)[0, 0] for i in range(2)])
    assert len(fingerprint(place, hints)) == 64
    names, labels = source.listed()
    assert len(set(names)) == 16 and sorted(labels) == sorted(list(range(8)) * 2)


@pytest.mark.parametrize(
    ("name", "test"),
    [
        ("split in folders", "gh"),
        ("split, person/session/image", "fgh"),
        ("table with a split", "gh"),
        ("tar of a split", "gh"),
        ("save_to_disk", "gh"),
        ("parquet of the Hub", "gh"),
    ],
)
def test_the_split_of_the_set_is_kept(name: str, test: str, tmp_path: Path) -> None:
    make, hints = MAKE[name]
    place = make(tmp_path / "set") or tmp_path / "set"
    images, reading = read(place, tmp_path / "out", Wanted(size=8, hints=hints))
    assert [images.class_names[k] for k in images.splits["test"]] == list(test)
    assert [len(images.splits[part]) for part in ("train", "validation")] == [6 - len(test), 2]
    assert any("the split is that of" in note for note in reading.notes)


def _deep(root: Path) -> None:
    put(root / "x" / "a" / "1" / "0.png", png(0, 0))
    put(root / "y" / "b" / "1" / "0.png", png(1, 0))


def _beside(root: Path) -> None:
    put_classes(root / "train")
    put_classes(root / "unlabelled")


def _no_label(root: Path) -> Path:
    put(root / "list.csv", "path,who\nx.png,a\n")
    return root / "list.csv"


def _keras(root: Path) -> Path:
    root.mkdir()
    x, y = arrays()
    np.savez(root / "set.npz", x_train=x[:8], y_train=y[:8], x_test=x[8:], y_test=y[8:])
    return root / "set.npz"


def _medmnist(root: Path) -> Path:
    root.mkdir()
    x, y = arrays()
    parts = {part: slice(at, at + 6) for part, at in (("train", 0), ("val", 6), ("test", 12))}
    named = {f"{part}_images": x[of] for part, of in parts.items()} | {
        f"{p}_labels": y[of, None] for p, of in parts.items()
    }
    np.savez(root / "set.npz", **named)
    return root / "set.npz"


@pytest.mark.parametrize("make", [_keras, _medmnist])
def test_the_command_of_a_refusal_makes_it_readable(make: Callable[[Path], Path], tmp_path: Path) -> None:
    place = make(tmp_path / "in")
    with pytest.raises(ValueError, match=": python -") as caught:
        open_source(place)
    command = shlex.split(str(caught.value)[str(caught.value).index("python -") :])
    subprocess.run([sys.executable, *command[1:]], check=True)
    source = open_source(command[-1])
    assert source.counts.tolist() == [2] * 8


def test_a_compressed_tar_is_refused_with_what_makes_it_readable(tmp_path: Path) -> None:
    put_classes(tmp_path / "in")
    place = Path(shutil.make_archive(str(tmp_path / "my set"), "gztar", tmp_path / "in"))
    with pytest.raises(ValueError, match="is compressed as a whole: `gunzip -k ") as caught:
        open_source(place)
    subprocess.run(str(caught.value).split("`")[1], shell=True, check=True)
    assert open_source(place.with_suffix("")).counts.tolist() == [2] * 8
    with pytest.raises(ValueError, match=r"as a whole: give .*my set.tar, which lies beside it$"):
        open_source(place)


def test_an_archive_of_images_alone_is_embedded_and_not_trained_on(tmp_path: Path) -> None:
    put(tmp_path / "in" / "0.png", png(0, 0))
    place = shutil.make_archive(str(tmp_path / "packed"), "zip", tmp_path / "in")
    with pytest.raises(ValueError, match="holds 1 images but no folders"):
        open_source(place)
    source = open_source(place, Opening(every=True))
    assert not source.labelled and source.listed()[0] == ("0.png",)
    assert [len(block.images) for block in source.every_block(8)] == [1]


def test_nobody_is_in_two_parts_where_sessions_are_classes(tmp_path: Path) -> None:
    sessions(tmp_path / "set")
    images, reading = read(tmp_path / "set", tmp_path / "out", Wanted(size=8, hints=SourceHints(class_level=2)))
    assert len(images.class_names) == 16 and images.groups is not None
    assert [name.split("/")[0] for name in images.class_names] == list(images.groups)
    people = [{images.groups[k] for k in images.splits[part]} for part in ("train", "validation", "test")]
    assert sum(map(len, people)) == 8 and all(len(images.splits[p]) >= 4 for p in images.splits)
    assert any("nobody is in two parts" in note for note in reading.notes)


def test_the_coarse_labels_of_cifar_are_groups(tmp_path: Path) -> None:
    cifar_binary(tmp_path)
    assert open_source(tmp_path).groups == ("early",) * 4 + ("late",) * 4


def test_a_zip_that_stands_for_more_is_refused_before_it_is_unfolded(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a/0.png", png(0, 0))
        with archive.open("a/1.png", "w", force_zip64=True) as file:
            for _ in range(257):
                file.write(bytes(1 << 20))
    ((_, reason),) = [bad for block in open_source(tmp_path / "a.zip").every_block(8) for bad in block.bad]
    assert "269,484,032 bytes, the limit of an image in an archive" in reason


def put_shards(root: Path, kind: str, labels: list[bytes]) -> Path:
    """A folder of one shard: an image each with these contents of its .cls or .json."""
    root.mkdir()
    with tarfile.open(root / "train-0.tar", "w") as tar:
        for i, label in enumerate(labels):
            for suffix, content in (("png", png(i, 0)), (kind, label)):
                info = tarfile.TarInfo(f"{i}.{suffix}")
                info.size = len(content)
                tar.addfile(info, io.BytesIO(content))
    return root


@pytest.mark.parametrize("label", ["null", '""', '["q"]', "{}", r'"\ud83d"'])
def test_a_label_that_is_none_is_refused_in_shards_as_in_lists(label: str, tmp_path: Path) -> None:
    rows = ['{"file_name": "0.png", "label": "a"}', f'{{"file_name": "1.png", "label": {label}}}']
    put(tmp_path / "list.jsonl", "\n".join(rows))
    shards = put_shards(tmp_path / "shards", "json", [row.encode() for row in rows])
    for place, where in ((tmp_path / "list.jsonl", "list.jsonl, row 2"), (shards, "train-0.tar, sample 1")):
        with pytest.raises(ValueError, match=f"{where}: column 'label' has .*, must be text or a number"):
            open_source(place)


def test_numbers_are_labels_in_shards_as_in_lists(tmp_path: Path) -> None:
    rows = [f'{{"file_name": "{i}.png", "label": {label}}}' for i, label in enumerate(["3.0", "3", "4"])]
    put(tmp_path / "list.jsonl", "\n".join(rows))
    shards = put_shards(tmp_path / "shards", "json", [row.encode() for row in rows])
    assert open_source(shards).counts.tolist() == open_source(tmp_path / "list.jsonl").counts.tolist() == [2, 1]


def test_a_path_that_no_file_can_have_is_named_with_its_row(tmp_path: Path) -> None:
    put(tmp_path / "list.jsonl", '{"file_name": "0.png", "label": 1}\n{"file_name": "\\ud83d.png", "label": 1}')
    with pytest.raises(ValueError, match=r"list.jsonl, row 2: column 'file_name' has '\\ud83d.png', must be") as caught:
        fingerprint(tmp_path / "list.jsonl")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("kind", "content", "why"),
    [
        ("json", b"{", "Expecting"),
        ("json", b"[1]", "no object"),
        ("json", b"{}", "has columns"),
        ("cls", b"\xff", "utf-8"),
    ],
)
def test_a_damaged_sample_of_a_shard_is_named(kind: str, content: bytes, why: str, tmp_path: Path) -> None:
    good = b'{"label": 1}' if kind == "json" else b"1"
    with pytest.raises(ValueError, match=f"train-0.tar, sample 1.*{why}") as caught:
        open_source(put_shards(tmp_path / "set", kind, [good, content]))
    assert "\n" not in str(caught.value) and str(caught.value).count("sample 1") == 1


@pytest.mark.parametrize("name", ["..", ".", "", "a/b", 7])
def test_a_saved_set_names_nothing_outside_itself(name: object, tmp_path: Path) -> None:
    MAKE["save_to_disk"][0](tmp_path)
    put(tmp_path / "test" / "dataset_dict.json", json.dumps({"splits": [name]}))
    with pytest.raises(ValueError, match=r"splits names .*, must be what lies beside it"):
        open_source(tmp_path / "test")


@pytest.mark.parametrize("name", [".", "/", "./", "..", "a/.."])
def test_a_file_of_a_tar_that_has_no_name_is_passed_over(name: str, tmp_path: Path) -> None:
    put_classes(tmp_path / "in")
    for of in (tmp_path / "set.tar", tmp_path / "several" / "abc.tar"):
        of.parent.mkdir(exist_ok=True)
        with tarfile.open(of, "w") as tar:
            tar.add(tmp_path / "in", "")
            tar.addfile(tarfile.TarInfo(name))
    source = open_source(tmp_path / "set.tar")
    assert source.counts.tolist() == [2] * 8 and source.ignored == 1
    source = open_source(tmp_path / "several")
    assert source.counts.tolist() == [2] * 8 and source.ignored == 1


@pytest.mark.parametrize("kind", ["zip", "tar"])
def test_archives_of_a_folder_are_open_only_while_they_are_read(kind: str, tmp_path: Path) -> None:
    for name in CLASSES:
        put_classes(tmp_path / name, name)
        shutil.make_archive(str(tmp_path / "set" / name), kind, tmp_path / name / name)
    before = len(os.listdir("/dev/fd"))
    source = open_source(tmp_path / "set")
    assert source.counts.tolist() == [2] * 8 and len(os.listdir("/dev/fd")) == before
    assert sum(len(block.images) for block in source.every_block(8)) == 16


@pytest.mark.parametrize(
    "text",
    [
        "a/0.png,a/1.png,1\na/0.png,b/0.png,0\n",
        "1 a/0.png a/1.png\n0 a/0.png b/0.png\n",
        "first;second;same\na/0.png;a/1.png;True\na/0.png;b/0.png;False\n",
        "a/0.png\ta/1.png\t1\na/0.png\tb/0.png\t-1\n",
        "1 1\na\t0\t1\na\t0\tb\t0\n",
        '"a/0.png"  "a/1.png" 1\n"a/0.png" "b/0.png"   0\n',
        '"a/0.png","a/1.png","1"\n"a/0.png","b/0.png","0"\n',
    ],
)
def test_lists_of_pairs(text: str, tmp_path: Path) -> None:
    put_classes(tmp_path, "ab")
    for name in "ab":
        for i in range(2):
            put(tmp_path / "lfw" / name / f"{name}_{i:04d}.jpg", png(CLASSES.index(name), i))
    put(tmp_path / "pairs.txt", text)
    pairs = faces.pair_list(tmp_path / "pairs.txt")
    assert pairs.same.tolist() == [True, False] and (pairs.first.tolist(), pairs.second.tolist()) == ([0, 0], [1, 2])


@pytest.mark.parametrize(
    ("make", "line"),
    [
        (_deep, "holds images 3 folders deep, such as x/a/1: --class-level 1 "),
        (_beside, "holds 'train' and beside it 'unlabelled' with images: .*--class-level 1"),
        (_no_label, "has columns path, who: name the one by --label-column COLUMN"),
    ],
)
def test_a_layout_is_refused_with_what_mends_it(make: Make, line: str, tmp_path: Path) -> None:
    place = make(tmp_path / "set") or tmp_path / "set"
    with pytest.raises(ValueError, match=line) as caught:
        open_source(place)
    assert "\n" not in str(caught.value)


def test_an_archive_of_nothing_beside_others_disturbs_none(tmp_path: Path) -> None:
    for name in ("a", "b"):
        with zipfile.ZipFile(tmp_path / f"{name}.zip", "w") as archive:
            archive.writestr("1.png", b"is not read here")
    zipfile.ZipFile(tmp_path / "c.zip", "w").close()
    assert open_source(tmp_path).class_names == ("a", "b")


def test_a_table_of_names_that_a_person_wrote_is_read_as_any_table(tmp_path: Path) -> None:
    for text in ("label,class\n0,A\n1,B\n", "label\tclass \n0 \t A\n1\tB\n"):
        (tmp_path / "classes.tsv").write_text(text)
        assert names_of(tmp_path / "classes.tsv", ["0", "1"]) == ("A", "B")
