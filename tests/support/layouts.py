"""Every layout of docs/formats.md, made on disk: sixteen images of eight classes."""

from __future__ import annotations

import io
import json
import pickle
import shutil
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from scoremix.data.export import convert
from scoremix.data.source import SourceHints

CLASSES = tuple("abcdefgh")
Make = Callable[[Path], Path | None]  # writes a layout into a folder; returns the place if it is not that folder
PLAIN = SourceHints()
MAKE: dict[str, tuple[Make, SourceHints]] = {}


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


def made(name: str, hints: SourceHints = PLAIN) -> Callable[[Make], Make]:
    def keep(make: Make) -> Make:
        MAKE[name] = make, hints
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
def sessions(root: Path) -> None:
    for k, name in enumerate(CLASSES):
        for i in range(2):
            put(root / name / f"session{i}" / "image.png", png(k, i))


@made("split, person/session/image")
def _split_sessions(root: Path) -> None:
    for k, name in enumerate(CLASSES):
        for i in range(2):
            put(root / ("train", "test")[k > 4] / name / f"{i}" / "image.png", png(k, i))


@made("taxonomy by class_level", SourceHints(class_level=2))
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


@made("table with a split", SourceHints(label_column="who"))
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


@made("parquet columns by name", SourceHints(image_column="photo", label_column="who"))
def _parquet(root: Path) -> Path:
    pa, pq = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    images = [{"bytes": png(k, i), "path": None} for k in range(8) for i in range(2)]
    pq.write_table(pa.table({"photo": images, "who": LETTERS[arrays()[1]].tolist()}), root / "set.parquet")
    return root / "set.parquet"


@made("parquet of the Hub")
def _hub(root: Path) -> None:
    pa, pq = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    (root / "plain_text").mkdir(parents=True)
    for part, of in (("train", range(4)), ("validation", range(4, 6)), ("test", range(6, 8))):
        rows = [{"image": {"bytes": png(k, i), "path": None}, "label": CLASSES[k]} for k in of for i in range(2)]
        pq.write_table(pa.Table.from_pylist(rows), root / "plain_text" / f"{part}-00000-of-00001.parquet")


@made("zip of class folders")
def _zip(root: Path) -> Path:
    put_classes(root / "in" / "set")
    put(root / "in" / "set" / "__MACOSX" / "a" / "0.png", b"x")
    return Path(shutil.make_archive(str(root / "packed"), "zip", root / "in"))


@made("tar of a split")
def _tar(root: Path) -> Path:
    put_classes(root / "in" / "train", "abcd")
    put_classes(root / "in" / "val", "ef")
    put_classes(root / "in" / "test", "gh")
    return Path(shutil.make_archive(str(root / "packed"), "tar", root / "in"))


@made("a tar for each class")
def _tars(root: Path) -> None:
    for name in CLASSES:
        put_classes(root.parent / "in", name)
        shutil.make_archive(str(root / name), "tar", root.parent / "in" / name)


@made("WebDataset shards")
def _shards(root: Path) -> Path:
    put_classes(root / "folders")
    convert(root / "folders", root / "shards", "webdataset", seed=1)
    return root / "shards"


@made("WebDataset with json", SourceHints(label_column="who"))
def _shard(root: Path) -> Path:
    with tarfile.open(root / "00000.tar", "w") as tar:
        for at, (k, i) in enumerate(np.ndindex(8, 2)):
            for kind, content in (("png", png(k, i)), ("json", json.dumps({"who": CLASSES[k]}).encode())):
                info = tarfile.TarInfo(f"./x/{at:05d}.{kind}")
                info.size = len(content)
                tar.addfile(info, io.BytesIO(content))
    return root / "00000.tar"


@made("save_to_disk")
def _saved(root: Path) -> None:
    pa = pytest.importorskip("pyarrow")
    put(root / "dataset_dict.json", json.dumps({"splits": ["train", "validation", "test"]}))
    for part, of in (("train", range(4)), ("validation", range(4, 6)), ("test", range(6, 8))):
        rows = [{"image": {"bytes": png(k, i), "path": None}, "label": CLASSES[k]} for k in of for i in range(2)]
        table = pa.Table.from_pylist(rows)
        put(root / part / "state.json", json.dumps({"_data_files": [{"filename": "data-0.arrow"}]}))
        with pa.OSFile(str(root / part / "data-0.arrow"), "wb") as file, pa.ipc.new_stream(file, table.schema) as out:
            out.write_table(table, max_chunksize=3)


def planes() -> np.ndarray:
    """Sixteen images of CIFAR: the three colours of each one after the other."""
    colours = np.stack([pixels(k, i)[0, 0] for k in range(8) for i in range(2)])
    return np.repeat(colours, 1024, axis=1)


@made("CIFAR-10, python version")
def _cifar(root: Path) -> None:
    labels = arrays()[1].tolist()
    for name, of in (("data_batch_1", slice(0, 10)), ("test_batch", slice(10, 16))):
        put(root / name, pickle.dumps({b"data": planes()[of], b"labels": labels[of]}, protocol=2))
    put(root / "batches.meta", pickle.dumps({b"label_names": [name.encode() for name in CLASSES]}, protocol=2))


@made("CIFAR-100, binary version")
def cifar_binary(root: Path) -> None:
    fine = arrays()[1].astype(np.uint8)[:, None]
    rows = np.concatenate([fine // 4, fine, planes()], axis=1)
    put(root / "train.bin", rows[:10].tobytes())
    put(root / "test.bin", rows[10:].tobytes())
    put(root / "fine_label_names.txt", "\n".join(CLASSES) + "\n")
    put(root / "coarse_label_names.txt", "early\nlate\n")
