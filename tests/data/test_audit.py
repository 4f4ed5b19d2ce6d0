"""verify-data's findings: duplicates against brute force, the columns of Table 4, and every trap planted in a set."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageEnhance

from scoremix.commands.verify_data import verify
from scoremix.data import audit, duplicates, recordio, verification
from scoremix.data.export import convert
from scoremix.data.reading import UnreadableImages, Wanted, read


def photo(seed: int, side: int = 64) -> Image.Image:
    """Smooth random areas with edges and noise."""
    rng = np.random.default_rng(seed)
    rough = Image.fromarray(rng.integers(0, 256, (9, 9, 3), dtype=np.uint8)).resize(
        (side, side), Image.Resampling.BICUBIC
    )
    return Image.fromarray(np.clip(np.asarray(rough) + rng.normal(0, 3, (side, side, 3)), 0, 255).astype(np.uint8))


def coded(image: Image.Image, form: str = "PNG", **options: int) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, form, **options)
    return buffer.getvalue()


@pytest.fixture
def folders(tmp_path: Path) -> Path:
    for k, count in enumerate([1, 2, 3, 4, 7]):
        (tmp_path / "set" / f"c{k}").mkdir(parents=True)
        for i in range(count):
            (tmp_path / "set" / f"c{k}" / f"{i}.png").write_bytes(coded(photo(100 * k + i)))
    return tmp_path / "set"


def hashes_at(distances: list[int], rng: np.random.Generator) -> np.ndarray:
    """Hashes with many set bits, with few and with few bands that are not blank, some of them close to another."""
    first = np.arange(256) < rng.choice([32, 64, 256])
    bits = first & (rng.random(256) < rng.choice([0, 0.01, 0.1, 0.5, 1]))
    rows = [np.packbits(bits).view(np.uint64)]
    for distance in distances:
        bits = np.unpackbits(rows[rng.integers(len(rows))].view(np.uint8))
        bits[rng.choice(rng.choice([32, 256]), distance, replace=False)] ^= 1
        rows.append(np.packbits(bits).view(np.uint64))
    return np.stack(rows)


@given(st.lists(st.integers(0, 12), max_size=40), st.integers(0, 2**31))
def test_near_duplicates_are_all_pairs_within_the_distance(distances: list[int], seed: int) -> None:
    rng = np.random.default_rng(seed)
    hashes = hashes_at(distances, rng)
    owners, among = rng.integers(0, 3, len(hashes)), rng.random(len(hashes)) < 0.9
    found = duplicates.near_duplicates(hashes, among.copy(), owners)
    differ = np.bitwise_count(hashes[:, None] ^ hashes[None]).sum(2)
    either = np.bitwise_count(hashes[:, None] | hashes[None]).sum(2)
    among &= hashes.any(1)
    close = np.triu((differ <= 7) & (8 * differ.astype(int) <= either), 1) & among[:, None] & among[None]
    a, b = np.nonzero(close)
    assert found.pairs == len(a) and found.across == np.count_nonzero(owners[a] != owners[b])
    np.testing.assert_array_equal(found.repeated, close.any(0))
    assert set(found.examples) <= set(zip(a.tolist(), b.tolist(), strict=True))


@pytest.mark.parametrize("most", [0, 2])
def test_smooth_images_are_not_all_compared_with_each_other(most: int, monkeypatch: pytest.MonkeyPatch) -> None:
    thumbs = np.zeros((1000, 16, 17), np.uint8)
    for i in range(1000):
        y, x = np.random.default_rng(i).integers(0, 16, (2, most))
        thumbs[i, y, x + 1] = 200
    compared, sharing = 0, duplicates._sharing

    def counted(keys: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        nonlocal compared
        for a, b in sharing(keys):
            compared += len(a)
            yield a, b

    monkeypatch.setattr(duplicates, "_sharing", counted)
    found = duplicates.near_duplicates(duplicates.difference_hash(thumbs), np.ones(1000, bool), np.zeros(1000, int))
    assert compared < 1000 * 10 and (most or not found.pairs)


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 2), st.booleans()), max_size=30))
def test_exact_duplicates_are_later_images_of_their_kind(rows: list[tuple[int, int, bool]]) -> None:
    digests = np.array([[d, 7] for d, _, _ in rows], np.uint64).reshape(-1, 2)
    owners, readable = np.array([o for _, o, _ in rows], int), np.array([r for _, _, r in rows], bool)
    found = duplicates.exact_duplicates(digests, readable, owners)
    first: dict[int, int] = {}
    pairs = [(first[d], i) for i, (d, _, r) in enumerate(rows) if r and first.setdefault(d, i) != i]
    assert found.pairs == len(pairs) and found.across == sum(owners[a] != owners[b] for a, b in pairs)
    assert np.flatnonzero(found.repeated).tolist() == [b for _, b in pairs]


def test_the_hash_knows_an_image_again_and_no_other() -> None:
    images = [photo(seed, 112) for seed in range(60)]
    hashes = lambda of: duplicates.difference_hash(np.stack([duplicates.small_grey(image) for image in of]))
    differ = lambda of: np.bitwise_count(hashes(images) ^ hashes(of)).sum(1)
    again = [
        [Image.open(io.BytesIO(coded(image, "JPEG", quality=50))) for image in images],
        [image.resize((96, 96), Image.Resampling.LANCZOS) for image in images],
        [ImageEnhance.Brightness(image).enhance(1.05) for image in images],
    ]
    assert all(np.mean(differ(of) <= duplicates.NEAR) > 0.9 for of in again)
    assert differ(images[1:] + images[:1]).min() > 3 * duplicates.NEAR


def test_table_4() -> None:
    counts = np.random.default_rng(0).integers(1, 60, 1000)
    sizes = audit.class_sizes(counts)
    assert [sizes[c] for c in ("min", "25%", "50%", "75%", "max")] == np.quantile(
        counts, [0, 0.25, 0.5, 0.75, 1]
    ).tolist()
    assert sum(size * n for size, n in sizes["histogram"].items()) == counts.sum()


def test_a_sound_set(folders: Path) -> None:
    found = audit.audit(folders)
    assert (found["classes"], found["images"], found["problems"]) == (5, 17, [])
    assert found["exact_duplicates"]["pairs"] == found["near_duplicates"]["pairs"] == 0
    assert found["image_shapes"] == {"64 x 64 PNG": 17} and found["class_sizes"]["max"] == 7
    assert any("1 class of a single image" in note for note in found["notes"])
    assert any("112 x 112" in note for note in found["notes"])


def test_what_is_planted_is_found(folders: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folders / "c0" / "copy.png").write_bytes((folders / "c4" / "3.png").read_bytes())
    (folders / "c4" / "again.png").write_bytes((folders / "c4" / "5.png").read_bytes())
    (folders / "c1" / "re.jpg").write_bytes(coded(photo(300), "JPEG", quality=70))  # of c3
    (folders / "c2" / "cut.png").write_bytes((folders / "c2" / "1.png").read_bytes()[:200])
    (folders / "c2" / "junk.png").write_bytes(b"junk")
    (folders / "c2" / "none.png").write_bytes(b"")
    (folders / "c10").mkdir()
    assert not verify(str(folders), tmp_path / "out.json", quiet=True)
    found = json.loads((tmp_path / "out.json").read_text())
    assert [found["exact_duplicates"][n] for n in ("pairs", "between_classes")] == [2, 1]
    assert found["exact_duplicates"]["examples"][0] == ["c0/copy.png", "c4/3.png"]
    assert found["near_duplicates"]["examples"] == [["c1/re.jpg", "c3/0.png"]]
    wrong = [str(folders / "c2" / name) for name in ("cut.png", "junk.png", "none.png")]
    assert [where for where, _ in found["unreadable"]] == wrong
    problems = " ".join(found["problems"])
    assert all(
        text in problems for text in ("3 images cannot be read", "1 class without images", "same bytes in different")
    )
    assert any("sort differently" in note for note in found["notes"])
    said = capsys.readouterr().out
    assert said.count("PROBLEM") == 3 and "c0/copy.png = c4/3.png" in said and "c2/none.png: empty" in said


@pytest.mark.parametrize(
    ("top", "times"), [(4095, "12 bits do: they are read 16 times"), (255, "8 bits do"), (65535, "")]
)
@pytest.mark.parametrize(("kind", "form"), [(np.uint16, "png"), (np.uint16, "tif"), (np.int32, "tif")])
def test_values_that_do_not_fill_their_bits_are_noted(
    top: int, times: str, kind: type, form: str, tmp_path: Path
) -> None:
    for k in range(6):
        (tmp_path / "set" / f"c{k}").mkdir(parents=True)
        pixels = np.linspace(0, top if k == 3 else top // 2, 64).reshape(8, 8).astype(kind)
        Image.fromarray(pixels).save(tmp_path / "set" / f"c{k}" / f"0.{form}")
    _, reading = read(tmp_path / "set", tmp_path / "out", Wanted(size=8))
    for notes in (reading.notes, audit.audit(tmp_path / "set")["notes"]):
        said = [note for note in notes if "16 or more bits" in note]
        assert len(said) == bool(times) and all(times in note and "6 images" in note for note in said)


def test_names_that_other_systems_read_otherwise_are_noted(folders: Path) -> None:
    assert not any("Windows" in note or "control" in note for note in audit.audit(folders)["notes"])
    for name in ("C1", "e\u0301", "\u00e9", "con", "a\x1b[31m"):
        (folders / name).mkdir()
        (folders / name / "0.png").write_bytes(coded(photo(len(name))))
    (folders / "c2" / "LPT1.png").write_bytes(coded(photo(77)))
    notes = audit.audit(folders)["notes"]
    for said in (
        "pairs of names that differ in case alone, one file on macOS and Windows: 1, such as 'C1' and 'c1'",
        "pairs of names that differ in the form of their Unicode (NFC, NFD) alone, one file on macOS and Windows: 1",
        "names that are reserved or forbidden on Windows: 2, such as 'con', 'c2/LPT1.png'",
        "names that hold control characters: 1, such as 'a\\x1b[31m'",
    ):
        assert sum(note.startswith(said) for note in notes) == 1, (said, notes)


def test_unreadable_is_what_a_run_cannot_read_in_the_same_words(folders: Path, tmp_path: Path) -> None:
    Image.new("LAB", (9, 9), (120, 128, 128)).save(folders / "c1" / "lab.tif")
    Image.fromarray(np.full((9, 9), 70_000, np.int32)).save(folders / "c1" / "deep.tif")
    Image.fromarray(np.full((9, 9), 9e9, np.float32)).save(folders / "c1" / "float.tif")
    (folders / "c2" / "circle.png").symlink_to("circle.png")
    (folders / "c2" / "empty.png").touch()
    (folders / "c2" / "text.png").write_text("no image")
    with pytest.raises(UnreadableImages) as caught:
        read(folders, tmp_path / "packed", Wanted(size=8, fractions=None))
    assert sorted(audit.audit(folders)["unreadable"]) == sorted(caught.value.bad)
    with pytest.raises(UnreadableImages) as unwritten:
        convert(folders, tmp_path / "out")
    assert unwritten.value.bad == caught.value.bad
    assert {Path(path).stem for path, _ in caught.value.bad} == {"deep", "float", "circle", "empty", "text"}


def test_records_and_their_traps(tmp_path: Path) -> None:
    with (tmp_path / "train.rec").open("wb") as file:
        writer = recordio.Writer(file)
        for i, label in enumerate([0, 0, 5, 5]):
            writer.put(i, float(label), b"" if i == 3 else coded(photo(i)))
    (tmp_path / "train.idx").write_bytes(writer.index())
    found = audit.audit(tmp_path)
    assert found["kind"] == "records"
    assert found["unreadable"] == [(f"{tmp_path / 'train.rec'}, key 3", "an empty image (0 bytes)")]
    assert any("renumbered" in note for note in found["notes"]) and any("lfw.bin" in note for note in found["notes"])


def test_arrays_are_looked_at_as_they_are(tiny_npz: Path) -> None:
    found = audit.audit(tiny_npz)
    assert (found["classes"], found["images"], found["image_shapes"]) == (24, 144, {"8 x 8 pixels grey": 144})
    assert found["problems"] == []


def test_known_sets_are_recognized_by_their_counts(folders: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(audit.KNOWN_SETS, "Five", (5, 17))
    monkeypatch.setitem(audit.KNOWN_SETS, "Other five", (5, 18))
    found = audit.audit(folders)
    assert found["known_set"] == "Five"
    assert any("as many classes as Other five, but 17 images instead of 18" in note for note in found["notes"])


def test_pairs(golden: Callable[[str], Path], tmp_path: Path) -> None:
    found = audit.audit(golden("verification_bin/numpy_np1_p2.bin"))
    assert (found["pairs"], found["same"], found["images"], found["problems"]) == (6, 3, 12, [])
    one, other = coded(photo(1)), coded(photo(2))
    (tmp_path / "lfw.bin").write_bytes(verification.packed([one, one, one, other, b"x", one], [False, True, True]))
    found = audit.audit(tmp_path / "lfw.bin")
    assert len(found["problems"]) == 2 and "one image twice, called different" in found["problems"][1]
    assert any("6,000 pairs as published, this one 3" in note for note in found["notes"])


def test_too_few_classes_for_a_run_are_noted(folders: Path) -> None:
    assert any("5 classes: a run needs 6" in note for note in audit.audit(folders)["notes"])


def test_folders_without_images_and_classes_of_one_name_are_refused(tmp_path: Path) -> None:
    (tmp_path / "set" / "a").mkdir(parents=True)
    with pytest.raises(ValueError, match="has no images in 1 class folder"):
        audit.audit(tmp_path / "set")
    labels, names = np.arange(4) // 2, np.array(["x", "x"])
    np.savez(tmp_path / "set.npz", images=np.zeros((4, 8, 8), np.uint8), labels=labels, class_names=names)
    with pytest.raises(ValueError, match="names 'x' more than once"):
        audit.audit(tmp_path / "set.npz")
