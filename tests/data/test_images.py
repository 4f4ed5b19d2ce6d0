import json
import subprocess
import sys

import numpy as np
import pytest

from scoremix.data.images import LabeledImages, concatenate, packed_file, write

COUNTS = [3, 1, 4, 2, 5, 2]
NAMES = list("abcdef")
SPLITS = {"train": [4, 0], "validation": [5, 2], "test": [1, 3]}


def stored(counts=COUNTS, channels=1, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (sum(counts), 6, 6, channels), np.uint8)


def whole():
    labels = np.repeat(np.arange(6, dtype=np.int32), COUNTS)
    return LabeledImages.of(stored(), labels, NAMES, SPLITS, groups=list("xxyyzz"))


def test_save_and_load_are_inverse(tmp_path):
    data = whole()
    for loaded in (data.save(tmp_path / "s"), LabeledImages.load(tmp_path / "s")):
        assert isinstance(loaded.images, np.memmap) and not loaded.images.flags.writeable
        assert np.array_equal(loaded.images, data.images) and loaded.class_names == tuple(NAMES)
        assert np.array_equal(loaded.labels, data.labels) and loaded.labels.dtype == np.int32
        assert loaded.groups == tuple("xxyyzz") and loaded.shape == (17, 6, 6, 1)
        assert {k: v.tolist() for k, v in loaded.splits.items()} == {k: sorted(v) for k, v in SPLITS.items()}
    # other tools read the files
    assert np.array_equal(np.load(tmp_path / "s" / "images.npy"), data.images)
    assert np.load(tmp_path / "s" / "labels.npy").tolist() == data.labels.tolist()
    assert json.loads((tmp_path / "s" / "classes.json").read_text())["names"] == NAMES
    assert sorted(p.name for p in (tmp_path / "s").iterdir()) == ["classes.json", "images.npy", "labels.npy"]


@pytest.mark.parametrize("which", ["train", "validation", "test", [4, 1, 3], [2], np.array([5, 0]), range(6)])
def test_a_view_is_a_selection_of_rows(which):
    data = whole()
    view = data.of_classes(which)
    classes = sorted(SPLITS[which]) if isinstance(which, str) else list(which)
    rows = np.concatenate([np.flatnonzero(data.labels == k) for k in classes])
    labels = np.repeat(np.arange(len(classes)), [COUNTS[k] for k in classes])
    assert len(view) == len(rows) and view.shape == (len(rows), 6, 6, 1)
    assert view.class_names == tuple(NAMES[k] for k in classes)
    assert view.groups == tuple("xxyyzz"[k] for k in classes)
    assert np.array_equal(view.labels, labels)
    some = np.random.default_rng(1).integers(0, len(view), 40)
    pixels, found = view.take(some)
    assert np.array_equal(pixels, data.images[rows[some]]) and np.array_equal(found, labels[some])
    assert found.dtype == np.int64 and type(pixels) is np.ndarray
    assert np.array_equal(np.concatenate([view.take(block)[0] for block in view.blocks(4)]), data.images[rows])
    for i, k in enumerate(classes):
        assert np.array_equal(view.of_class(i), data.of_class(k))
    if isinstance(which, str):
        assert {name: v.tolist() for name, v in view.splits.items()} == {which: list(range(len(classes)))}


def test_views_of_views_compose_and_share_the_images(tmp_path):
    data = whole().save(tmp_path)
    view = data.of_classes([5, 3, 1, 0]).of_classes([2, 0])
    assert view.class_names == ("b", "f") and view.stored is data.stored
    assert np.array_equal(view.take(np.arange(3))[0], data.stored[[3, 15, 16]])
    with pytest.raises(ValueError, match="not one array"):
        _ = view.images
    neighbours = data.of_classes([2, 3])
    assert np.shares_memory(neighbours.images, data.stored) and len(neighbours.images) == 6


def test_saving_a_view_writes_only_its_classes(tmp_path):
    view = whole().of_classes([4, 1])
    saved = view.save(tmp_path)
    assert np.array_equal(saved.images, view.take(np.arange(6))[0]) and saved.class_names == ("e", "b")


def test_concatenate(tmp_path):
    a = whole().of_classes("train")
    b = LabeledImages.of(stored([2, 2], seed=5), np.array([0, 0, 1, 1]), ["m1", "m2"])
    both = concatenate([a, b], tmp_path)
    assert both.class_names == ("a", "e", "m1", "m2") and both.groups == ("x", "z", "", "")
    assert both.labels.tolist() == [0] * 3 + [1] * 5 + [2, 2, 3, 3]
    assert both.splits["train"].tolist() == [0, 1]
    assert np.array_equal(both.images, np.concatenate([a.take(np.arange(8))[0], b.images]))
    with pytest.raises(ValueError, match="'a' is used more than once"):
        concatenate([a, a], tmp_path / "twice")
    assert not (tmp_path / "twice").exists()
    with pytest.raises(ValueError, match="shapes"):
        concatenate([a, LabeledImages.of(stored([1], channels=3), np.array([0]), ["q"])], tmp_path / "shapes")


def test_write_refuses_a_wrong_count_and_leaves_nothing(tmp_path):
    with pytest.raises(ValueError, match="2 images came, announced were 3 in"):
        write(tmp_path, shape=(3, 6, 6, 1), blocks=[stored([2])], counts=[3], class_names=["a"])
    assert list(tmp_path.iterdir()) == []


def test_a_packed_file_appears_whole_or_not_at_all(tmp_path):
    path, images = tmp_path / "x.npy", stored()
    order = np.random.default_rng(0).permutation(17)
    with packed_file(path, (6, 6, 1)) as packed:
        for rows in np.split(order, [5, 6, 12]):
            packed.put(images[rows], rows)
        assert not path.exists()
    assert np.array_equal(np.load(path), images)
    before = path.read_bytes()
    with pytest.raises(KeyboardInterrupt), packed_file(path, (6, 6, 1)) as packed:
        packed.put(images)
        raise KeyboardInterrupt
    assert path.read_bytes() == before and [p.name for p in tmp_path.iterdir()] == ["x.npy"]


def test_a_full_disk_leaves_nothing(tmp_path, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.replace", full)
    with pytest.raises(OSError, match="No space left"):
        whole().save(tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "change, message",
    [
        ({"labels": np.array([0, 0, 1, 0, 2])}, "descend"),
        ({"labels": np.array([0, 0, 0, 2, 2])}, "'b' has no images"),
        ({"labels": np.array([0, 0, 1, 2])}, r"must be \(5,\)"),
        ({"labels": np.array([0, 0, 1, 2, 3])}, "from 0 to 3, there are 3"),
        ({"images": np.zeros((5, 4, 4, 1), np.float32)}, "float32"),
        ({"images": np.zeros((5, 4, 4, 2), np.uint8)}, "1 or 3"),
        ({"images": np.zeros((5, 4, 4), np.uint8)}, "uint8"),
        ({"names": ["a", "b", "a"]}, "'a' is used more than once"),
        ({"splits": {"train": [0], "test": [0, 1]}}, "disjoint"),
        ({"splits": {"train": [0], "val": [1]}}, "train, validation, test"),
        ({"splits": {"train": [3]}}, "splits name class 3"),
        ({"groups": ["x"]}, "1 groups for 3"),
    ],
)
def test_inconsistent_sets_are_refused_by_name(change, message):
    arguments = {
        "images": np.zeros((5, 4, 4, 1), np.uint8),
        "labels": np.array([0, 0, 1, 2, 2]),
        "names": ["a", "b", "c"],
        "splits": {},
        "groups": None,
    }
    LabeledImages.of(*arguments.values())
    with pytest.raises(ValueError, match=message):
        LabeledImages.of(*(arguments | change).values())


@pytest.mark.parametrize("which", ["valid", [6], [-1], [], [1, 1]])
def test_unknown_or_repeated_classes_of_a_view_are_refused(which):
    with pytest.raises(ValueError, match=r"split 'valid'|^classes \[|more than once"):
        whole().of_classes(which)


def test_indices_outside_are_refused():
    for index in (-1, 17):
        with pytest.raises(IndexError, match="there are 17 images"):
            whole().take(np.array([0, index]))


@pytest.mark.parametrize("missing", ["images.npy", "labels.npy", "classes.json"])
def test_load_names_what_is_missing(tmp_path, missing):
    whole().save(tmp_path)
    (tmp_path / missing).unlink()
    with pytest.raises(ValueError, match=f"not a packed set of images: .*{missing}"):
        LabeledImages.load(tmp_path)


@pytest.mark.parametrize("key", ["names", "groups"])
def test_names_of_a_packed_set_are_text(tmp_path, key):
    whole().save(tmp_path)
    table = json.loads((tmp_path / "classes.json").read_text())
    (tmp_path / "classes.json").write_text(json.dumps(table | {key: [7, *table["names"][1:]]}))
    with pytest.raises(ValueError, match=f"packed set of images: classes.json has 7 among its {key}, must be text"):
        LabeledImages.load(tmp_path)


def test_memory_of_views_does_not_grow_with_images(tmp_path):
    code = """
import sys, tracemalloc, numpy as np
from pathlib import Path
from scoremix.data.images import LabeledImages, write
n = int(sys.argv[2]); folder = Path(sys.argv[1])
tracemalloc.start()
blocks = (np.full((1000, 4, 4, 1), i % 256, np.uint8) for i in range(n // 1000))
splits = {"train": [0, 2], "validation": [1], "test": [3]}
shape, counts = (n, 4, 4, 1), [n // 4] * 4
data = write(folder, shape=shape, blocks=blocks, counts=counts, class_names="abcd", splits=splits)
view = data.of_classes("train")
for start in range(0, 2000, 100): view.take(np.arange(start, start + 100))
LabeledImages.load(folder)
print(tracemalloc.get_traced_memory()[1])
"""
    peaks = [
        int(subprocess.check_output([sys.executable, "-c", code, str(tmp_path / str(n)), str(n)]))
        for n in (20_000, 2_000_000)
    ]
    assert peaks[1] < peaks[0] + 1_000_000
