import shutil
import unicodedata

import numpy as np
import pytest

from scoremix.data import glyphs
from scoremix.data.glyphs import Alphabet, alphabet, distinct, font_files, render
from scoremix.data.reading import Wanted, read
from scoremix.data.sources import fingerprint, format_of


@pytest.fixture(scope="module")
def builtin() -> Alphabet:
    return alphabet(font_files("glyphs"), least_faces=glyphs.BUILTIN_LEAST_FACES)


def correlation(a, b):
    return np.corrcoef(a.ravel().astype(float), b.ravel().astype(float))[0, 1]


def test_enough_characters_of_several_scripts(builtin):
    assert len(builtin.characters) >= 300
    for script, least in (
        ("Latin", 100),
        ("Greek", 20),
        ("Cyrillic", 40),
        ("Georgian", 40),
        ("Armenian", 20),
        ("Digit", 9),
    ):
        assert builtin.scripts.count(script) >= least, script
    assert list(builtin.characters) == sorted(set(builtin.characters))
    assert all(len(set(faces)) >= 6 for faces in builtin.faces)
    assert "U+0416 CYRILLIC CAPITAL LETTER ZHE" in builtin.names and len(set(builtin.names)) == len(builtin.names)
    assert builtin.left_out == ()


@pytest.mark.parametrize(
    "same",
    ["AΑА", "BΒВ", "CС", "EΕЕ", "HΗН", "IΙІ", "KΚК", "MΜМ", "PΡР", "TΤТ", "XΧХ", "aа", "eе", "sѕ", "pр"],
)
def test_one_of_the_identical_letters_of_other_scripts_remains(builtin, same):
    assert sum(c in builtin.characters for c in same) <= 1


def test_pairs_that_differ_in_size_only_are_one_class(builtin):
    for pair in ("Oo", "Cc", "Ss", "Vv", "Xx", "Zz", "0O", "Οο"):
        assert sum(c in builtin.characters for c in pair) <= 1, pair
    for pair in ("Aa", "Gg", "Qq", "ДЖ", "b6", "ΔΩ"):
        assert sum(c in builtin.characters for c in pair) >= 1, pair


def test_no_two_classes_are_alike_in_what_is_drawn(builtin):
    some = np.random.default_rng(0).choice(len(builtin.characters), 120, replace=False).tolist()
    means = np.stack([render(builtin, k, 16, size=16, seed=0).mean(0).ravel() for k in some])
    likeness = np.corrcoef(means)
    np.fill_diagonal(likeness, 0)
    i, j = np.unravel_index(likeness.argmax(), likeness.shape)
    assert likeness.max() < 0.95, (builtin.names[some[i]], builtin.names[some[j]])


def test_images_are_full_bright_distinct_and_varied(builtin):
    for k in range(0, len(builtin.characters), 40):
        images = render(builtin, k, 24, size=16, seed=0)
        assert images.shape == (24, 16, 16, 1) and images.dtype == np.uint8
        assert images.max((1, 2, 3)).min() > 150 and (images.min((1, 2, 3)) == 0).all()
        ink = images[..., 0] > 60
        extent = np.maximum(ink.any(2).sum(1), ink.any(1).sum(1))
        assert extent.min() >= 10  # fills the box
        border = np.concatenate([images[:, 0], images[:, -1], images[:, :, 0], images[:, :, -1]], 1)
        assert border.mean() < 40  # and is not cut
        within = [correlation(images[0], other) for other in images[1:]]
        assert max(within) < 0.999 and np.mean(within) > 0.25


def test_within_a_class_is_closer_than_between(builtin):
    some = np.random.default_rng(1).choice(len(builtin.characters), 40, replace=False).tolist()
    flat = np.stack([render(builtin, k, 8, size=16, seed=0).reshape(8, -1) for k in some]).astype(float)
    likeness = np.corrcoef(flat.reshape(320, -1)).reshape(40, 8, 40, 8).mean((1, 3))
    within = np.diag(likeness).mean()
    between = likeness[~np.eye(40, dtype=bool)]
    assert within > between.mean() + 0.25 and (np.diag(likeness)[:, None] > likeness).mean() > 0.97


def test_deterministic_and_extended_by_more_images(builtin):
    few = render(builtin, 30, 5, size=16, seed=3)
    assert np.array_equal(render(builtin, 30, 30, size=16, seed=3)[:5], few)
    assert not np.array_equal(render(builtin, 30, 5, size=16, seed=4), few)
    faces = len(builtin.faces[30])
    assert len(np.unique(render(builtin, 30, 3 * faces, size=16, seed=3).reshape(3 * faces, -1), axis=0)) == 3 * faces


@pytest.mark.parametrize("size", [8, 32, 64])
def test_other_sizes_show_the_same(builtin, size):
    large = render(builtin, 50, 3, size=64, seed=0).astype(float)
    small = render(builtin, 50, 3, size=size, seed=0)
    means = large.reshape(3, size, 64 // size, size, 64 // size, 1).mean((2, 4))
    assert correlation(means, small) > 0.95


def test_boxes_blanks_and_last_resort_fonts_are_left_out(tmp_path):
    fonts = font_files("glyphs")[:4]
    last_resort = fonts[0].with_name("LastResortHE-Regular.ttf")
    if not last_resort.exists():
        pytest.skip("this matplotlib ships no last-resort font")
    for file in [*fonts, last_resort]:
        shutil.copy(file, tmp_path)
    (tmp_path / "broken.ttf").write_bytes(b"not a font")
    got = alphabet(font_files(tmp_path))
    reasons = {path.name: reason for path, reason in got.left_out}
    assert set(reasons) == {"broken.ttf", last_resort.name}
    assert "letters of its own" in reasons[last_resort.name] and "not a font" in reasons["broken.ttf"]
    assert not any(path.name == last_resort.name for faces in got.faces for path, _ in faces)
    face = (fonts[0], 0)
    assert glyphs._really_drawn(face, ["A", "\u3042", "\u00a0", "B"]) == [
        "A",
        "B",
    ]  # unmapped hiragana, blank space
    assert not any(unicodedata.normalize("NFKD", c) != c for c in got.characters)


def test_distinct_against_plain_loops():
    rng = np.random.default_rng(0)
    base = rng.normal(size=(60, 20))
    shapes = base[rng.integers(0, 60, 300)] + 0.35 * rng.normal(size=(5, 300, 20))
    shapes -= shapes.mean(-1, keepdims=True)
    shapes /= np.linalg.norm(shapes, axis=-1, keepdims=True)
    has = rng.random((5, 300)) < 0.7
    has[0] = True
    shapes[~has] = 0
    means = shapes.sum(0)
    means /= np.linalg.norm(means, axis=-1, keepdims=True)
    kept = []
    for i in range(300):
        for k in kept:
            common = [f for f in range(5) if has[f, i] and has[f, k]]
            each = [shapes[f, i] @ shapes[f, k] for f in common]
            mean = np.mean(each) if len(common) >= 3 else means[i] @ means[k]
            if mean >= 0.8 or sum(c >= 0.93 for c in each) >= len(common) / 4:
                break
        else:
            kept.append(i)
    assert 20 < len(kept) < 200
    assert distinct(shapes.astype(np.float32), has, means.astype(np.float32), 0.8, 0.93) == kept


def test_reading_the_demo_set(builtin, tmp_path):
    assert format_of("glyphs").kind == "fonts"
    data, reading = read("glyphs", tmp_path / "a", Wanted(classes=30, images_per_class=4, seed=2))
    assert data.shape == (120, 16, 16, 1) and len(data.class_names) == 30 and reading.ignored_files == 0
    for i in (0, 29):
        k = builtin.names.index(data.class_names[i])
        assert np.array_equal(data.of_class(i), render(builtin, k, 4, size=16, seed=2))
        assert data.groups[i] == builtin.scripts[k]


def test_a_folder_of_fonts(tmp_path):
    root = tmp_path / "fonts"
    for i, file in enumerate(f for f in font_files("glyphs") if "STIX" in f.name):
        (root / str(i % 2)).mkdir(parents=True, exist_ok=True)
        shutil.copy(file, root / str(i % 2))
    (root / "LICENSE").write_text("free")
    assert format_of(root).kind == "fonts"
    before = fingerprint(root)
    data, _ = read(root, tmp_path / "out", Wanted(size=24, images_per_class=3, classes=20, seed=1))
    assert data.shape == (60, 24, 24, 1)
    next((root / "0").iterdir()).unlink()
    assert fingerprint(root) != before
    with pytest.raises(ValueError, match="usable font faces have no character in at least 4"):
        read(root, tmp_path / "few")
    (tmp_path / "none").mkdir()
    with pytest.raises(ValueError, match="holds no font files"):
        font_files(tmp_path / "none")
