"""Every layout of docs/formats.md: made on disk, then read back or refused with the line that mends it."""

from __future__ import annotations

import io
import json
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from scoremix.data import faces
from scoremix.data.export import convert
from scoremix.data.reading import read
from scoremix.data.source import Opening, Told
from scoremix.data.sources import fingerprint, open_source

CLASSES = tuple("abcdefgh")
Make = Callable[[Path], Path | None]  # writes a layout into a folder; returns the place if it is not that folder
PLAIN = Told()
MAKE: dict[str, tuple[Make, Told]] = {}


def pixels(k: int, i: int) -> np.ndarray:
    """Image i of class k, which tells both."""
    return np.broadcast_to(np.array([10 * k, 20 * i, 255 - 10 * k], np.uint8), (8, 8, 3))


def png(k: int, i: int) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels(k, i)).save(buffer, "PNG")
    return buffer.getvalue()


def put(path: Path, content: bytes | str = b"") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content.encode() if isinstance(content, str) else content)


def put_classes(root: Path, names: str = "abcdefgh", images: tuple[int, ...] = (0, 1)) -> None:
    for name in names:
        for i in images:
            put(root / name / f"{i}.png", png(CLASSES.index(name), i))


def made(name: str, told: Told = PLAIN) -> Callable[[Make], Make]:
    def keep(make: Make) -> Make:
        MAKE[name] = make, told
        return make

    return keep


@made("class folders among litter")
def _litter(root: Path) -> None:
    put_classes(root)
    for name in ("@eaDir/0.png", "lost+found/x.png", "__MACOSX/0.png", ".DS_Store", "a/Thumbs.db", "a/@eaDir/0.png"):
        put(root / name, b"x")


@made("split in folders")
def _split(root: Path) -> None:
    put_classes(root / "Train", "abcd")
    put_classes(root / "VALIDATION", "ef")
    put_classes(root / "testing", "gh")


@made("ImageNet")
def _imagenet(root: Path) -> None:
    put_classes(root / "ILSVRC" / "Data" / "CLS-LOC" / "train", images=(0,))
    put_classes(root / "ILSVRC" / "Data" / "CLS-LOC" / "val", images=(1,))
    put(root / "ILSVRC" / "Data" / "CLS-LOC" / "test" / "0.png", png(0, 0))
    put(root / "ILSVRC" / "Annotations" / "CLS-LOC" / "train" / "a" / "0.xml", "x")
    put(root / "ILSVRC" / "ImageSets" / "CLS-LOC" / "train.txt", "x")


@made("a folder too many")
def _wrapped(root: Path) -> None:
    put_classes(root / "data")


@made("parts of a set")
def _parts(root: Path) -> None:
    put_classes(root / "0", "abcd")
    put_classes(root / "1", "efgh")


@made("person/session/image")
def _sessions(root: Path) -> None:
    for k, name in enumerate(CLASSES):
        for i in range(2):
            put(root / name / f"session{i}" / "image.png", png(k, i))


@made("split, person/session/image")
def _split_sessions(root: Path) -> None:
    for k, name in enumerate(CLASSES):
        for i in range(2):
            put(root / ("train", "test")[k > 4] / name / f"{i}" / "image.png", png(k, i))


@made("taxonomy by class_level", Told(class_level=2))
def _taxonomy(root: Path) -> None:
    for k, name in enumerate(CLASSES):
        for i in range(2):
            put(root / ("x", "y")[k > 4] / name / f"{name}{i}" / "deep" / "image.png", png(k, i))


def put_loose(root: Path) -> list[tuple[str, str, int]]:
    """Sixteen images in one folder; (path, class, number) of each."""
    rows = [(f"images/{name}{i}.png", name, i) for name in CLASSES for i in range(2)]
    for path, name, i in rows:
        put(root / path, png(CLASSES.index(name), i))
    return rows


@made("table of path,label")
def _csv(root: Path) -> Path:
    put(root / "list.csv", "".join(f"{path},{name}\n" for path, name, _ in put_loose(root)))
    return root / "list.csv"


@made("table with a split", Told(label_column="who"))
def _tsv(root: Path) -> Path:
    lines = (
        f"{path}\t{name}\t{('train', 'val', 'Test')[(name > 'd') + (name > 'f')]}" for path, name, _ in put_loose(root)
    )
    put(root / "list.tsv", "\n".join(["path\twho\tsplit", *lines]))
    return root / "list.tsv"


@made("imagefolder's metadata")
def _metadata(root: Path) -> None:
    lines = (json.dumps({"file_name": path, "label": name}) for path, name, _ in put_loose(root / "train"))
    put(root / "train" / "metadata.jsonl", "\n".join(lines))


def arrays() -> tuple[np.ndarray, np.ndarray]:
    """Sixteen images and the number of the class of each."""
    return np.stack([pixels(k, i) for k in range(8) for i in range(2)]), np.repeat(np.arange(8), 2)


def put_npz(root: Path, labels: Any, **names: Any) -> Path:
    np.savez(root / "set.npz", x=arrays()[0], y=labels, **names)
    return root / "set.npz"


LETTERS = np.array(CLASSES)
made("npz: labels that are text")(lambda root: put_npz(root, LETTERS[arrays()[1]]))
made("npz: labels (N, 1)")(lambda root: put_npz(root, arrays()[1][:, None], class_names=LETTERS))
made("npz: labels that are floats")(lambda root: put_npz(root, arrays()[1].astype(np.float32), class_names=LETTERS))
made("npz: one-hot labels")(lambda root: put_npz(root, np.eye(8)[arrays()[1]], class_names=LETTERS))


@made(".rec without .idx")
def _rec(root: Path) -> Path:
    put_classes(root / "folders")
    convert(root / "folders", root / "rec", "recordio")
    (root / "rec" / "train.idx").unlink()
    return root / "rec"


@made("parquet columns by name", Told(image_column="photo", label_column="who"))
def _parquet(root: Path) -> Path:
    pa, pq = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    images = [{"bytes": png(k, i), "path": None} for k in range(8) for i in range(2)]
    pq.write_table(pa.table({"photo": images, "who": LETTERS[arrays()[1]].tolist()}), root / "set.parquet")
    return root / "set.parquet"


@pytest.mark.parametrize("name", MAKE)
def test_a_layout_is_read(name: str, tmp_path: Path) -> None:
    make, told = MAKE[name]
    root = tmp_path / "set"
    root.mkdir()
    place = make(root) or root
    source = open_source(place, Opening(told=told))
    assert source.class_names == CLASSES and source.counts.tolist() == [2] * 8
    images, _ = read(place, tmp_path / "out", size=8, told=told)
    for k, letter in enumerate(CLASSES):
        found = images.of_class(images.class_names.index(letter))
        np.testing.assert_array_equal(sorted(found[:, 0, 0].tolist()), [pixels(k, i)[0, 0] for i in range(2)])
    assert len(fingerprint(place, told)) == 64
    names, labels = source.listed()
    assert len(set(names)) == 16 and sorted(labels) == sorted(list(range(8)) * 2)


@pytest.mark.parametrize(
    ("name", "test"), [("split in folders", "gh"), ("split, person/session/image", "fgh"), ("table with a split", "gh")]
)
def test_the_split_of_the_set_is_kept(name: str, test: str, tmp_path: Path) -> None:
    make, told = MAKE[name]
    place = make(tmp_path / "set") or tmp_path / "set"
    images, reading = read(place, tmp_path / "out", size=8, told=told)
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


def _zip(root: Path) -> Path:
    put_classes(root / "set")
    return Path(shutil.make_archive(str(root / "packed"), "zip", root / "set"))


def _tar(root: Path) -> Path:
    put_classes(root / "set")
    return Path(shutil.make_archive(str(root / "packed"), "gztar", root / "set"))


@pytest.mark.parametrize("make", [_keras, _medmnist, _zip, _tar])
def test_the_command_of_a_refusal_makes_it_readable(make: Callable[[Path], Path], tmp_path: Path) -> None:
    place = make(tmp_path / "in")
    with pytest.raises(ValueError, match=": python -") as caught:
        open_source(place)
    command = shlex.split(str(caught.value)[str(caught.value).index("python -") :])
    subprocess.run([sys.executable, *command[1:]], check=True)
    source = open_source(command[-1])
    assert source.counts.tolist() == [2] * 8


@pytest.mark.parametrize(
    "text",
    [
        "a/0.png,a/1.png,1\na/0.png,b/0.png,0\n",
        "1 a/0.png a/1.png\n0 a/0.png b/0.png\n",
        "first;second;same\na/0.png;a/1.png;True\na/0.png;b/0.png;False\n",
        "a/0.png\ta/1.png\t1\na/0.png\tb/0.png\t-1\n",
        "1 1\na\t0\t1\na\t0\tb\t0\n",
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
        (_deep, "holds images 3 folders deep, such as x/a/1: --set data.class_level=1 "),
        (_beside, "holds 'train' and beside it 'unlabelled' with images: .* data.class_level=1"),
        (_no_label, "has columns path, who: name the one by --set data.label_column=COLUMN"),
    ],
)
def test_a_layout_is_refused_with_what_mends_it(make: Make, line: str, tmp_path: Path) -> None:
    place = make(tmp_path / "set") or tmp_path / "set"
    with pytest.raises(ValueError, match=line) as caught:
        open_source(place)
    assert "\n" not in str(caught.value)
