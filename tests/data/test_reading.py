import json
import os
import shutil
import threading

import numpy as np
import pytest
from PIL import Image

from scoremix.data.images import LabeledImages
from scoremix.data.reading import UnreadableImages, Wanted, read
from scoremix.data.sources import fingerprint, format_of
from scoremix.stages.train.ingest import content_key

CLASSES = [f"c{i}" for i in range(8)]


def image_of(k, i, h=12, w=12, colour=False):
    rng = np.random.default_rng(100 * k + i)
    return Image.fromarray(rng.integers(0, 256, (h, w, 3) if colour else (h, w), np.uint8))


@pytest.fixture
def folder(tmp_path):
    """Eight classes of five grey images, in four formats."""
    root = tmp_path / "in"
    for k, name in enumerate(CLASSES):
        (root / name).mkdir(parents=True)
        for i in range(5):
            image_of(k, i).save(root / name / f"{i}.{('png', 'bmp', 'tiff', 'pgm')[i % 4]}")
    return root


def resized(image, size=8):
    return np.asarray(image.convert("RGB").resize((size, size), Image.Resampling.LANCZOS))[..., 0]


def pixels(data, name):
    return data.of_class(data.class_names.index(name))


def test_folders_become_a_packed_set(folder, tmp_path):
    calls = []
    data, reading = read(folder, tmp_path / "out", Wanted(size=12), progress=lambda *a: calls.append(a))
    assert data.class_names == tuple(CLASSES) and data.shape == (40, 12, 12, 1)
    for k, name in enumerate(CLASSES):
        assert np.array_equal(pixels(data, name)[..., 0], [np.asarray(image_of(k, i)) for i in range(5)])
    assert sorted(np.concatenate(list(data.splits.values()))) == list(range(8))
    assert (reading.unreadable, reading.empty_classes, reading.unsplit_classes, reading.ignored_files) == (
        (),
        (),
        0,
        0,
    )
    assert calls == [(i, 40) for i in range(1, 41)]
    assert np.array_equal(LabeledImages.load(tmp_path / "out").images, data.images)
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == [
        "classes.json",
        "images.npy",
        "labels.npy",
    ]


@pytest.mark.parametrize("workers", [1, 5])
def test_result_does_not_depend_on_workers_or_creation_order(folder, tmp_path, workers):
    copy = tmp_path / "copy"
    for name in reversed(CLASSES):
        (copy / name).mkdir(parents=True)
        for file in sorted((folder / name).iterdir(), reverse=True):
            shutil.copy(file, copy / name)
    read(folder, tmp_path / "a", Wanted(size=8, classes=7, images_per_class=3), workers=2)
    read(copy, tmp_path / "b", Wanted(size=8, classes=7, images_per_class=3), workers=workers)
    for name in ("images.npy", "labels.npy", "classes.json"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()
    assert fingerprint(folder) == fingerprint(copy)


def test_channels_are_found_by_looking_at_every_pixel(folder, tmp_path):
    assert read(folder, tmp_path / "1", Wanted(size=12))[0].channels == 1
    assert read(folder, tmp_path / "2", Wanted(size=12, channels=3))[0].channels == 3
    last = folder / CLASSES[-1] / "9.png"
    image = image_of(7, 4).convert("RGB")
    image.putpixel((3, 3), (255, 0, 0))
    image.save(last)
    data, _ = read(folder, tmp_path / "3", Wanted(size=12))
    assert data.channels == 3 and tuple(pixels(data, CLASSES[-1])[-1, 3, 3]) == (255, 0, 0)
    assert np.array_equal(pixels(data, CLASSES[0])[0, ..., 1], np.asarray(image_of(0, 0)))
    assert read(folder, tmp_path / "4", Wanted(size=12, channels=1))[0].channels == 1


def test_mixed_sizes(folder, tmp_path):
    image_of(0, 9, 30, 50, colour=True).save(folder / "c0" / "9.jpg")
    assert read(folder, tmp_path / "out", Wanted(size=16))[0].shape == (41, 16, 16, 3)


FACES_NEED = "published face networks take no other size, and detail that is not there is not gained"


def test_images_that_are_made_much_larger_are_counted(folder, tmp_path):
    image_of(0, 9, 3, 20).save(folder / "c0" / "9.png")
    said = "1 image is smaller than 12 px (the smallest 3 px) and enlarged to 24: a smaller data.size shows as much"
    assert read(folder, tmp_path / "a", Wanted(size=24))[1].notes == (said,)
    assert read(folder, tmp_path / "f", Wanted(size=112))[1].notes[0].endswith("enlarged to 112: " + FACES_NEED)
    assert read(folder, tmp_path / "b", Wanted(size=6))[1].notes == ()


def test_every_unreadable_file_is_listed(folder, tmp_path):
    (folder / "c1" / "zero.png").touch()
    (folder / "c3" / "text.jpg").write_text("hello")
    (folder / "c3" / "strange.xyz").write_text("hello")
    data = (folder / "c5" / "0.png").read_bytes()
    (folder / "c5" / "cut.png").write_bytes(data[: len(data) // 2])
    (folder / "c6" / "link.png").symlink_to("nowhere")
    with pytest.raises(UnreadableImages) as caught:
        read(folder, tmp_path / "out", Wanted(size=12))
    names = [os.path.relpath(path, folder) for path, _ in caught.value.bad]
    assert names == ["c1/zero.png", "c3/strange.xyz", "c3/text.jpg", "c5/cut.png", "c6/link.png"]
    assert all(f"{path}: {reason}" in str(caught.value) for path, reason in caught.value.bad)
    assert str(caught.value).startswith("5 unreadable image files")
    assert list((tmp_path / "out").iterdir()) == []
    got, reading = read(folder, tmp_path / "out", Wanted(size=12, skip_bad=True))
    assert len(got) == 40 and reading.unreadable == tuple(caught.value.bad)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
def test_pipes_and_links_to_parents_do_not_hang(folder, tmp_path):
    os.mkfifo(folder / "c0" / "pipe.png")
    done = threading.Event()

    def work():
        with pytest.raises(UnreadableImages, match="not a regular file"):
            read(folder, tmp_path / "out", Wanted(size=12))
        assert len(fingerprint(folder)) == 64
        done.set()

    threading.Thread(target=work, daemon=True).start()
    assert done.wait(20)
    (folder / "loop").symlink_to(folder)
    with pytest.raises(ValueError, match="loop is a link to a folder that it lies in"):
        read(folder, tmp_path / "out", Wanted(size=12))


def test_what_is_not_an_image_is_passed_over_and_counted(folder, tmp_path):
    (folder / "README.md").write_text("x")
    (folder / "c0" / "labels.csv").write_text("x")
    (folder / "c0" / ".DS_Store").write_text("x")
    (folder / "c0" / ".thumbs").mkdir()
    (folder / "__MACOSX").mkdir()
    shutil.copy(folder / "c0" / "0.png", folder / "c0" / "no_suffix")
    before = fingerprint(folder)
    data, reading = read(folder, tmp_path / "out", Wanted(size=12))
    assert len(data) == 41 and reading.ignored_files == 2
    (folder / "c0" / "labels.csv").write_text("y")
    assert fingerprint(folder) == before


def lines(tmp_path, change):
    root = tmp_path / "bad"
    change(root)
    with pytest.raises(ValueError) as caught:
        read(root, tmp_path / "out", Wanted(size=8))
    assert "\n" not in str(caught.value)
    out = tmp_path / "out"
    assert not out.exists() or list(out.iterdir()) == []
    return str(caught.value)


def test_one_clear_line_each(tmp_path, folder):
    bad = tmp_path / "bad"
    assert "does not exist" in lines(tmp_path, lambda root: None)
    assert "an empty folder" in lines(tmp_path, lambda root: root.mkdir())
    assert "2 files but no folders" in lines(tmp_path, lambda r: [image_of(0, i).save(r / f"{i}.png") for i in (0, 1)])
    shutil.rmtree(bad)
    assert "one class only, 'c0'" in lines(tmp_path, lambda root: shutil.copytree(folder / "c0", root / "c0"))
    shutil.rmtree(bad)
    two = lines(tmp_path, lambda root: [shutil.copytree(folder / n, root / n) for n in ("c0", "c1")])
    assert "2 classes cannot be split" in two and "at least 6" in two
    shutil.rmtree(bad)

    def with_empty(root):
        shutil.copytree(folder, root)
        (root / "c8").mkdir()
        (root / "c9").mkdir()

    assert "class 'c8'" in (said := lines(tmp_path, with_empty)) and "nor have 1 more" in said
    data, reading = read(bad, tmp_path / "out", Wanted(size=8, skip_bad=True))
    assert len(data.class_names) == 8 and reading.empty_classes == ("c8", "c9")
    shutil.rmtree(bad)
    shutil.rmtree(tmp_path / "out")
    nested = lines(tmp_path, lambda root: (shutil.copytree(folder, root), (root / "c3" / "more").mkdir()))
    assert "c3/more is a folder inside a class folder" in nested
    shutil.rmtree(bad)
    mixed = lines(
        tmp_path, lambda root: (shutil.copytree(folder, root / "a"), shutil.copytree(folder / "c0", root / "b"))
    )
    assert "holds images 1 to 2 folders deep" in mixed and "--class-level 1" in mixed
    shutil.rmtree(bad)
    assert "none of: folder" in lines(tmp_path, lambda root: root.write_text("x"))
    with pytest.raises(ValueError, match=r"^size is None"):
        read(folder, tmp_path / "out")
    for name in ("size", "classes", "images_per_class"):
        with pytest.raises(ValueError, match=f"^{name} is 0"):
            read(folder, tmp_path / "out", Wanted(**{"size": 8} | {name: 0}))
    with pytest.raises(ValueError, match=r"^channels is 2"):
        read(folder, tmp_path / "out", Wanted(size=8, channels=2))


def test_a_class_whose_images_are_all_bad_is_left_out_only_if_asked(folder, tmp_path):
    (tmp_path / "l.json").write_text(json.dumps({"train": CLASSES[:4], "val": CLASSES[4:6], "test": CLASSES[6:]}))
    for file in (folder / "c2").iterdir():
        file.write_bytes(b"")
    with pytest.raises(UnreadableImages):
        read(folder, tmp_path / "out", Wanted(size=8, split_list=tmp_path / "l.json"))
    data, reading = read(folder, tmp_path / "out", Wanted(size=8, split_list=tmp_path / "l.json", skip_bad=True))
    assert "c2" not in data.class_names and reading.empty_classes == ("c2",)
    assert {p: m.tolist() for p, m in data.splits.items()} == {
        "train": [0, 1, 2],
        "validation": [3, 4],
        "test": [5, 6],
    }
    assert np.array_equal(pixels(data, "c3")[0, ..., 0], resized(image_of(3, 0)))


def test_a_split_ruined_by_bad_files_is_refused_and_nothing_is_left(folder, tmp_path):
    table = {"train": CLASSES[:4], "val": CLASSES[4:6], "test": CLASSES[6:]}
    (tmp_path / "l.csv").write_text("\n".join(f"{n},{part}" for part, names in table.items() for n in names))
    for file in (folder / "c7").iterdir():
        file.write_bytes(b"")
    with pytest.raises(ValueError, match="puts 1 classes in test"):
        read(folder, tmp_path / "out", Wanted(size=8, skip_bad=True, split_list=tmp_path / "l.csv"))
    assert list((tmp_path / "out").iterdir()) == []


def test_a_list_decides_the_split_and_drops_the_rest(folder, tmp_path):
    table = {"test": ["c7", "c0"], "train": ["c3", "c1"], "validation": ["c2", "c5"]}
    (tmp_path / "l.csv").write_text("\n".join(f"{n},{part}" for part, names in table.items() for n in names))
    data, reading = read(folder, tmp_path / "out", Wanted(size=8, split_list=tmp_path / "l.csv"))
    assert {p: sorted(data.class_names[k] for k in m) for p, m in data.splits.items()} == {
        p: sorted(n) for p, n in table.items()
    }
    assert reading.unsplit_classes == 2 and len(data.class_names) == 6


def test_groups_come_from_a_list_for_the_classes_that_are_read(folder, tmp_path):
    names = CLASSES
    listed = tmp_path / "groups.csv"
    listed.write_text("".join(f"{name},{'even' if k % 2 else 'odd'}\n" for k, name in enumerate(names)))
    images, _ = read(folder, tmp_path / "grouped", Wanted(size=8, groups=str(listed)))
    assert images.groups == tuple("even" if names.index(name) % 2 else "odd" for name in images.class_names)
    listed.write_text(f"{names[0]},a\n")
    with pytest.raises(ValueError, match="names no group for"):
        read(folder, tmp_path / "short", Wanted(size=8, groups=str(listed)))
    assert not (tmp_path / "short" / "images.npy").exists()
    keys = {content_key(str(folder), None, groups) for groups in (None, "name", str(listed))}
    assert len(keys) == 3
    with pytest.raises(ValueError, match=r"groups nowhere.csv: cannot be read .*nor is it 'name'"):
        content_key(str(folder), None, "nowhere.csv")


def test_caps_are_seeded_subsets(folder, tmp_path):
    full, _ = read(folder, tmp_path / "full", Wanted(size=12))
    some, _ = read(folder, tmp_path / "some", Wanted(size=12, classes=6, images_per_class=2, seed=0))
    assert len(some.class_names) == 6 and some.counts.tolist() == [2] * 6
    assert {p: len(m) for p, m in some.splits.items()} == {"train": 2, "validation": 2, "test": 2}
    for name in some.class_names:
        rows = [[np.array_equal(a, b) for b in pixels(full, name)].index(True) for a in pixels(some, name)]
        assert rows == sorted(set(rows))
    # a class's images do not depend on which other classes are kept
    alone, _ = read(folder, tmp_path / "alone", Wanted(size=12, images_per_class=2, seed=0))
    assert all(np.array_equal(pixels(alone, n), pixels(some, n)) for n in some.class_names)
    other, _ = read(folder, tmp_path / "other", Wanted(size=12, images_per_class=2, seed=1))
    assert any(not np.array_equal(pixels(alone, n), pixels(other, n)) for n in CLASSES)


def test_fingerprint_covers_names_and_contents_only(folder, tmp_path):
    before = fingerprint(folder)
    os.utime(folder / "c0" / "0.png", (0, 0))
    shutil.move(folder, tmp_path / "elsewhere")
    folder = tmp_path / "elsewhere"
    assert fingerprint(folder) == before
    file = folder / "c0" / "0.png"
    data = file.read_bytes()
    file.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    changed = fingerprint(folder)
    file.write_bytes(data)
    assert changed != before == fingerprint(folder)
    file.rename(folder / "c0" / "00.png")
    assert fingerprint(folder) != before
    (folder / "c0" / "00.png").rename(folder / "c1" / "00.png")
    assert fingerprint(folder) not in (before, changed)


def npz(tmp_path, **change):
    rng = np.random.default_rng(0)
    labels = np.repeat(np.arange(8), 4)
    arrays = {
        "images": rng.integers(0, 256, (32, 10, 10), np.uint8),
        "labels": labels,
        "class_names": np.array(CLASSES),
    }
    arrays |= {
        "train_classes": np.array([0, 3]),
        "val_classes": np.array([1, 2]),
        "test_classes": np.array([4, 5, 6, 7]),
    }
    arrays |= {"class_alphabet": labels[::4] % 2, "alphabet_names": np.array(["even", "odd"])}
    arrays = {name: value for name, value in (arrays | change).items() if value is not None}
    np.savez_compressed(tmp_path / "x.npz", **arrays)
    return tmp_path / "x.npz", arrays


@pytest.mark.parametrize("shuffled", [False, True])
def test_npz(tmp_path, shuffled, monkeypatch):
    monkeypatch.setattr("scoremix.data.formats.npz.BLOCK_BYTES", 700)
    order = np.random.default_rng(1).permutation(32) if shuffled else np.arange(32)
    file, arrays = npz(tmp_path, labels=np.repeat(np.arange(8), 4)[order])
    assert format_of(file).kind == "npz"
    data, reading = read(file, tmp_path / "out")
    assert data.shape == (32, 10, 10, 1) and data.class_names == tuple(CLASSES)
    assert data.groups == ("even", "odd") * 4 and reading.unreadable == ()
    assert {p: m.tolist() for p, m in data.splits.items()} == {
        "train": [0, 3],
        "validation": [1, 2],
        "test": [4, 5, 6, 7],
    }
    for k in range(8):
        assert np.array_equal(data.of_class(k)[..., 0], arrays["images"][arrays["labels"] == k])
    few, _ = read(file, tmp_path / "few", Wanted(classes=6, images_per_class=3, size=5))
    assert few.shape == (18, 5, 5, 1) and [len(few.splits[p]) for p in ("train", "validation", "test")] == [
        2,
        2,
        2,
    ]
    for name in few.class_names:
        all_of = arrays["images"][arrays["labels"] == CLASSES.index(name)]
        means = np.floor(all_of.reshape(4, 5, 2, 5, 2).mean((2, 4)) + 0.5)
        assert all((means == image[..., 0]).all((1, 2)).any() for image in few.of_class(few.class_names.index(name)))


def test_npz_without_names_or_split_and_in_colour(tmp_path):
    colour = np.random.default_rng(0).integers(0, 256, (32, 10, 10, 3), np.uint8)
    none = dict.fromkeys(["class_names", "train_classes", "val_classes", "test_classes", "class_alphabet"])
    file, _ = npz(tmp_path, images=colour, labels=np.repeat(np.arange(8), 4) * 10, **none)
    data, _ = read(file, tmp_path / "out")
    assert data.class_names == tuple(str(10 * k) for k in range(8)) and data.channels == 3 and data.groups is None
    assert np.array_equal(data.images, colour)
    grey = colour[..., :1].repeat(3, -1)
    assert read(npz(tmp_path, images=grey)[0], tmp_path / "grey")[0].channels == 1


@pytest.mark.parametrize(
    "change, message",
    [
        ({"labels": None}, "no array 'labels'"),
        ({"images": None}, "no array 'images'"),
        ({"images": np.zeros((32, 10, 10))}, "images are float64"),
        ({"images": np.zeros((32, 10, 10, 4), np.uint8)}, "must be uint8"),
        ({"images": np.zeros((0, 10, 10), np.uint8)}, "images are empty"),
        ({"labels": np.zeros(31, np.int32)}, r"labels are int32 \(31,\)"),
        ({"labels": np.full(32, 0.5)}, "labels are float64"),
        ({"labels": np.repeat(np.arange(8), 4) + 1}, "from 1 to 8, class_names has 8"),
        ({"labels": np.zeros(32, int)}, "'c1' .* has no images, nor have 6 more"),
        ({"val_classes": None}, r"has the splits \['test', 'train'\]"),
        ({"val_classes": np.array([0, 1])}, "names 'c0' more than once"),
        ({"val_classes": np.array([2, 9])}, "splits class 9"),
        ({"class_alphabet": np.zeros(3, int)}, "class_alphabet"),
        ({"class_names": np.array(["x"] * 8)}, "'x' more than once"),
        ({"labels": np.array([None] * 32)}, "Python objects"),
    ],
)
def test_bad_npz_are_refused_by_array(tmp_path, change, message):
    file, _ = npz(tmp_path, **change)
    with pytest.raises(ValueError, match=message) as caught:
        read(file, tmp_path / "out")
    assert "x.npz" in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "damage", [lambda d: d[: len(d) // 2], lambda d: b"", lambda d: d[:300] + b"\xff" * 64 + d[364:]]
)
def test_damaged_npz(tmp_path, damage):
    file, _ = npz(tmp_path)
    file.write_bytes(damage(file.read_bytes()))
    with pytest.raises(ValueError, match=r"x\.npz is not a readable \.npz"):
        read(file, tmp_path / "out")
    assert not (tmp_path / "out").exists() or list((tmp_path / "out").iterdir()) == []


def test_omniglot(shared_data, tmp_path):
    file = shared_data("omniglot.npz")
    data, _ = read(file, tmp_path, Wanted(size=16))
    with np.load(file, allow_pickle=False) as arrays:
        images = arrays["images"][arrays["labels"] == 500].astype(float)
        assert data.splits["validation"].tolist() == sorted(arrays["val_classes"].tolist())
    assert data.shape == (16833, 16, 16, 1) and data.groups[0] == "Arcadian"
    assert np.array_equal(data.of_class(500)[..., 0], np.floor(images.reshape(-1, 16, 2, 16, 2).mean((2, 4)) + 0.5))
