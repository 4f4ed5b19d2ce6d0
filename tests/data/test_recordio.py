"""RecordIO and InsightFace's layouts: golden files byte for byte, a reader of its own, every variant, every damage."""

from __future__ import annotations

import io
import struct
import tempfile
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from scoremix.data import recordio
from scoremix.data.formats.records import Records
from scoremix.data.reading import Wanted, read
from scoremix.data.sources import fingerprint, format_of, open_listing

WORD = struct.pack("<I", recordio.MAGIC)


def jpeg(k: int, i: int = 0) -> bytes:
    pixels = np.random.default_rng((k, i)).integers(0, 256, (12, 12, 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG", quality=95)
    return buffer.getvalue()


def write(folder: Path, records: Sequence[tuple[int, float | list[float], bytes]], name: str = "train") -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / f"{name}.rec").open("wb") as file:
        writer = recordio.Writer(file)
        for key, label, image in records:
            writer.put(key, label, image)
    (folder / f"{name}.idx").write_bytes(writer.index())
    return folder


def plain(folder: Path, labels: Sequence[int], name: str = "train") -> Path:
    return write(folder, [(i, label, jpeg(label, i)) for i, label in enumerate(labels)], name)


def walked(path: Path) -> list[bytes]:
    """Payloads by a plain walk over the file, as dmlc-core's reader does it."""
    raw, at, payloads, open_parts = path.read_bytes(), 0, [], []
    while at < len(raw):
        magic, length = struct.unpack_from("<II", raw, at)
        kind, length = length >> 29, length & ((1 << 29) - 1)
        assert magic == recordio.MAGIC
        part = raw[at + 8 : at + 8 + length]
        at += 8 + length + -length % 4
        match kind:
            case 0:
                payloads.append(part)
            case 1:
                open_parts = [part]
            case _:
                open_parts.append(part)
        if kind == 3:
            payloads.append(WORD.join(open_parts))
    return payloads


@pytest.mark.parametrize("name", ["faces", "plain"])
def test_golden_records(name: str, golden: Callable[[str], Path]) -> None:
    expected = np.load(golden(f"recordio_{name}_expected.npz"))
    folder = golden(f"recordio_{name}")
    records = recordio.RecordFile(folder / "train.rec", folder / "train.idx")
    order = np.argsort(expected["keys"])
    np.testing.assert_array_equal(records.keys, expected["keys"][order])
    np.testing.assert_array_equal(records.flags, expected["flag"][order])
    np.testing.assert_array_equal(records.labels, np.stack([expected["label0"], expected["label1"]], 1)[order])
    np.testing.assert_array_equal(records.ids, np.stack([expected["id"], expected["id2"]], 1)[order])
    np.testing.assert_array_equal(records.image_bytes, expected["image_len"][order])
    crcs = [(zlib.crc32(records.payload(i)), zlib.crc32(records.image(i))) for i in range(len(records))]
    assert crcs == list(zip(expected["payload_crc32"][order], expected["image_crc32"][order], strict=True))
    for key, pixels in zip(expected["decoded_keys"], expected["decoded_rgb"], strict=False):
        image = records.image(int(np.flatnonzero(records.keys == key)[0]))
        np.testing.assert_array_equal(np.asarray(Image.open(io.BytesIO(image)).convert("RGB")), pixels)


@pytest.mark.parametrize("name", ["faces", "plain"])
def test_golden_files_are_written_byte_for_byte(name: str, golden: Callable[[str], Path]) -> None:
    folder = golden(f"recordio_{name}")
    records = recordio.RecordFile(folder / "train.rec", folder / "train.idx")
    file = io.BytesIO()
    writer = recordio.Writer(file)
    keys, _ = recordio.read_index(folder / "train.idx")  # in the order of the file
    for row in np.searchsorted(records.keys, keys):
        flag = int(records.flags[row])
        label = records.labels[row, :flag].tolist() if flag else float(records.labels[row, 0])
        writer.put(int(records.keys[row]), label, records.image(row), int(records.ids[row, 1]))
    assert file.getvalue() == (folder / "train.rec").read_bytes()
    assert writer.index() == (folder / "train.idx").read_bytes()


def test_golden_sets_as_sources(golden: Callable[[str], Path]) -> None:
    for name, classes in (("faces", 4), ("plain", 1)):
        source = Records(golden(f"recordio_{name}"))
        expected = np.load(golden(f"recordio_{name}_expected.npz"))
        image = expected["image_len"] > 0
        np.testing.assert_array_equal(source.counts, np.unique(expected["label0"][image], return_counts=True)[1])
        assert len(source.class_names) == len(source.counts) >= classes and source.notes == []


@given(st.lists(st.sampled_from([WORD, b"\0", b"\xff\xd8", b"abc", WORD[1:]]), max_size=12))
def test_payloads_that_hold_the_magic_come_back(pieces: list[bytes]) -> None:
    payload = b"".join(pieces)
    framed = recordio.frame(payload)
    assert len(framed) % 4 == 0 and framed.startswith(WORD)
    starts = [at for at in range(0, len(framed), 4) if framed[at : at + 4] == WORD]
    kinds = [struct.unpack_from("<I", framed, at + 4)[0] >> 29 for at in starts]
    assert kinds == [0] or kinds == [1, *[2] * (len(kinds) - 2), 3]


def test_split_records_and_magic_in_the_header(tmp_path: Path) -> None:
    images = [b"\xff\xd8" + b"x" * i + WORD * j + b"y" * k for i in range(4) for j in range(3) for k in range(3)]
    keys = [recordio.MAGIC, *range(1, len(images))]  # the id of the first is the magic
    folder = write(
        tmp_path, [(key, float(i % 3), image) for i, (key, image) in enumerate(zip(keys, images, strict=True))]
    )
    records = recordio.RecordFile(folder / "train.rec", folder / "train.idx")
    assert [records.image(i) for i in np.argsort(records.keys)[[-1, *range(len(images) - 1)]]] == images
    assert records.ids[-1, 0] == recordio.MAGIC and (records.keys[-1] == recordio.MAGIC)
    by_walk = {payload[24:] for payload in walked(folder / "train.rec")}
    assert by_walk == set(images)


def test_every_header_variant_reads_the_same(tmp_path: Path) -> None:
    labels = [0, 0, 1, 1, 2]
    images = [jpeg(k, i) for i, k in enumerate(labels)]
    with_header = [
        *[(i + 1, float(k), image) for i, (k, image) in enumerate(zip(labels, images, strict=True))],
        *[(6, [1.0, 3.0], b""), (7, [3.0, 5.0], b""), (8, [5.0, 6.0], b""), (0, [6.0, 9.0], b"")],  # key 0 last
    ]
    vector = [(i, [float(k), 1.0], image) for i, (k, image) in enumerate(zip(labels, images, strict=True), 1)]
    sources = [
        Records(write(tmp_path / "header", with_header)),
        Records(write(tmp_path / "vector", [*vector, *with_header[5:]])),
        Records(plain(tmp_path / "plain", labels)),
        Records(write(tmp_path / "vectors only", vector)),
    ]
    for source in sources:
        assert source.counts.tolist() == [2, 2, 1] and source.class_names == ("0000000", "0000001", "0000002")
        found = [content for k in range(3) for _, content in source.encoded(k, np.arange(source.counts[k]))]
        assert found == images
    assert [len(source.notes) for source in sources] == [0, 1, 0, 1]


def test_labels_only_in_the_list(tmp_path: Path) -> None:
    folder = tmp_path / "dcface"
    write(folder / "record", [(i, 0.0, jpeg(k, i)) for i, k in enumerate([10, 10, 9, 9])], "file")
    (folder / "record" / "list.txt").write_text("0\t10/a.jpg\n1\t10/b.jpg\n2\t9/a.jpg\n3\t9/b.jpg\n")
    (folder / "record" / "done_list.txt").write_text("x\ty\n")
    source = Records(folder)
    assert source.class_names == ("9", "10") and source.counts.tolist() == [2, 2]
    assert list(source.encoded(1, np.array([1]))) == [("b.jpg", jpeg(10, 1))]
    assert "every record has label 0" in source.notes[0]


LISTS = {
    "train.tsv": "0\ta/x.jpg\t0\n1\tb/y.jpg\t1\n2\tb/z.jpg\t1\n",
    "train.lst": "0\t0.000000\ta/x.jpg\n2\t1.000000\tb/z.jpg\n1\t1.000000\tb/y.jpg\n",
    "list.txt": "0\ta/x.jpg\n1\tb/y.jpg\n2\tb/z.jpg\n",
}


@pytest.mark.parametrize("name", LISTS)
def test_lists_name_classes_and_files(name: str, tmp_path: Path) -> None:
    folder = plain(tmp_path / "set", [0, 1, 1])
    (folder / name).write_text(LISTS[name])
    source = Records(folder)
    assert source.class_names == ("a", "b")
    assert [n for n, _ in source.encoded(1, np.arange(2))] == ["y.jpg", "z.jpg"]


def test_older_lists_count_lines(tmp_path: Path) -> None:
    box = "\t1\t2\t3\t4"
    lines = [f"1\ta/x.jpg\t0{box}", f"0\tno landmarks.jpg\t0{box}", "1\tb/y.jpg\t1", "1\tb/z.jpg\t1"]
    folder = write(tmp_path / "set", [(i + 1, [k, 1.0], jpeg(k, i)) for i, k in enumerate([0, 1, 1])])
    (folder / "train.lst").write_text("\n".join(lines) + "\n")
    assert Records(folder).class_names == ("a", "b")
    (folder / "train.lst").write_text("\n".join(lines[:-1]) + "\n")
    source = Records(folder)
    assert source.class_names == ("0000000", "0000001") and "passed over" in source.notes[-1]


@pytest.mark.parametrize(
    ("name", "text", "wrong"),
    [
        ("list.txt", LISTS["list.txt"] + "9\tb/q.jpg\n", r"names key 9 \(b/q.jpg\), an image that train.rec does not"),
        ("list.txt", LISTS["list.txt"][:20], "does not name key 2"),
        (
            "train.tsv",
            LISTS["train.tsv"].replace("z.jpg\t1", "z.jpg\t4"),
            "key 2 label 4, its record in train.rec has 1",
        ),
        ("train.lst", LISTS["train.lst"] + "1\t1.0\tb/y.jpg\n", "names key 1 twice"),
        ("train.lst", "1\t2\t3\n", "of no known list"),
        ("train.lst", LISTS["train.lst"] + "x\t1.0\tb/y.jpg\n", "line 4 is"),
        ("train.tsv", "", "is empty"),
    ],
)
def test_lists_out_of_step_are_named(name: str, text: str, wrong: str, tmp_path: Path) -> None:
    folder = plain(tmp_path / "set", [0, 0, 0] if name == "list.txt" else [0, 1, 1])
    (folder / name).write_text(text)
    with pytest.raises(ValueError, match=wrong) as caught:
        Records(folder)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("text", ["hello\n", LISTS["list.txt"] + "9\tb/q.jpg\n"])
def test_any_list_txt_does_not_stop_labelled_records(text: str, tmp_path: Path) -> None:
    folder = plain(tmp_path / "set", [0, 1, 1])
    (folder / "list.txt").write_text(text)
    source = Records(folder)
    assert source.class_names == ("0000000", "0000001") and "list.txt is passed over" in source.notes[0]


def damaged(folder: Path, how: str) -> None:
    rec, idx = folder / "train.rec", folder / "train.idx"
    raw, lines = rec.read_bytes(), idx.read_text().splitlines()
    match how:
        case "truncated":
            rec.write_bytes(raw[:-10])
        case "much truncated":
            rec.write_bytes(raw[:600])
        case "magic":
            at = int(lines[1].split("\t")[1])
            rec.write_bytes(raw[:at] + b"abcd" + raw[at + 4 :])
        case "index shifted":
            idx.write_text(
                "\n".join(f"{line.split()[0]}\t{int(line.split()[1]) + 4 * (i > 0)}" for i, line in enumerate(lines))
            )
        case "index odd":
            idx.write_text(
                "\n".join(f"{line.split()[0]}\t{int(line.split()[1]) + (i > 0)}" for i, line in enumerate(lines))
            )
        case "index short":
            idx.write_text("\n".join(lines[:-1]) + "\n")
        case "index with a hole":
            idx.write_text("\n".join([lines[0], *lines[2:]]) + "\n")
        case "key twice":
            idx.write_text("\n".join([*lines[:-1], "0\t" + lines[-1].split()[1]]))
        case "not an index":
            idx.write_text("key offset\n")
        case "empty index":
            idx.write_text("")
        case "half a line":
            idx.write_text(idx.read_text() + "77\n")
        case "empty":
            rec.write_bytes(b"")


@pytest.mark.parametrize(
    ("how", "wrong"),
    [
        ("truncated", r"key 3 goes to byte \d+, the file ends at \d+ \(truncated\)"),
        ("much truncated", "truncated"),
        ("magic", r"where train.idx has key 1, the magic is 0x64636261"),
        ("index shifted", "index out of step with the file"),
        ("index odd", "no place for a record"),
        ("index short", "out of step"),
        ("index with a hole", "out of step"),
        ("key twice", "key 0 twice"),
        ("not an index", "is not an index"),
        ("empty index", "is not an index"),
        ("half a line", "is not an index"),
        ("empty", "cannot be read"),
    ],
)
def test_damage_is_one_clear_line(how: str, wrong: str, tmp_path: Path) -> None:
    folder = plain(tmp_path / "set", [0, 0, 1, 1])
    damaged(folder, how)
    with pytest.raises(ValueError, match=wrong) as caught:
        Records(folder)
    assert "\n" not in str(caught.value) and "train." in str(caught.value)


@given(st.data())
def test_any_damage_is_refused_or_harmless(data: st.DataObject) -> None:
    with tempfile.TemporaryDirectory() as place:
        folder = write(
            Path(place),
            [(0, [3.0, 4.0], b""), *[(i, 0.0, b"\xff\xd8" + WORD * i) for i in (1, 2)], (3, [1.0, 3.0], b"")],
        )
        for name in ("train.rec", "train.idx"):
            raw = bytearray((folder / name).read_bytes())
            for _ in range(data.draw(st.integers(0, 3))):
                raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
            (folder / name).write_bytes(raw[: data.draw(st.integers(len(raw) - 4, len(raw)))])
        try:
            source = Records(folder)
            for k, count in enumerate(source.counts):
                list(source.encoded(k, np.arange(count)))
        except ValueError as error:
            assert "\n" not in str(error)


def test_cut_split_records_are_named(tmp_path: Path) -> None:
    folder = write(tmp_path / "set", [(0, 0.0, b"abcd" + WORD + b"efgh" + WORD + b"ijkl")])
    whole = (folder / "train.rec").read_bytes()
    for end in range(4, len(whole), 4):
        (folder / "train.rec").write_bytes(whole[:end])
        with pytest.raises(ValueError, match=r"truncated|no place for a record"):
            Records(folder)
    (folder / "train.rec").write_bytes(whole[:-12] + whole[:8] + whole[-4:])
    with pytest.raises(ValueError, match="breaks off"):
        Records(folder)


@pytest.mark.parametrize("label", [2.0**24, 2.0**24 + 2, -1.0, 0.5, float("nan"), float("inf")])
def test_labels_that_float32_cannot_hold_are_refused(label: float, tmp_path: Path) -> None:
    head = recordio.HEADER.pack(0, label, 0, 0)
    (tmp_path / "train.rec").write_bytes(recordio.frame(head + jpeg(0)))
    (tmp_path / "train.idx").write_text("0\t0\n")
    with pytest.raises(ValueError, match=r"key 0 has label .*2\^24"):
        Records(tmp_path)
    with pytest.raises(ValueError, match="16777217 is not exact"):
        recordio.Writer(io.BytesIO()).put(0, 2**24 + 1)


def test_announced_images_must_be_there(tmp_path: Path) -> None:
    records = [(1, 0.0, jpeg(0)), (2, 0.0, jpeg(1)), (0, [4.0, 5.0], b""), (4, [1.0, 4.0], b"")]
    with pytest.raises(ValueError, match="announces images 1 to 3, but key 3 has none"):
        Records(write(tmp_path / "few", records))
    with pytest.raises(ValueError, match="announces images 1 to 1, but key 2 has one too"):
        Records(write(tmp_path / "many", [*records[:2], (0, [2.0, 3.0], b"")]))


def test_rounded_announcements_are_passed_over_and_said(tmp_path: Path) -> None:
    far = 2**24 + 1  # its announcement of 2^24 + 2 images is exact, that of the last key would not be
    records = [(far - 1, 0.0, jpeg(0)), (far, 1.0, jpeg(1)), (0, [2.0**24 + 2, 2.0**24 + 4], b"")]
    source = Records(write(tmp_path, records))
    assert source.counts.tolist() == [1, 1] and "rounded" in source.notes[0]


def test_traps_are_noted(tmp_path: Path) -> None:
    images = [(i + 1, float(k), jpeg(k, i)) for i, k in enumerate([0, 0, 2, 2])]
    folder = write(tmp_path, [*images, (5, [1.0, 4.0], b""), (6, [4.0, 5.0], b""), (0, [5.0, 7.0], b"")])
    (folder / "property").write_text("3,112,112")
    notes = Records(folder).notes
    assert [any(word in note for note in notes) for word in ("renumbered", "do not agree", "property says 3")] == [
        True
    ] * 3
    for name in ("a.rec", "b.rec"):
        (tmp_path / "two" / name).parent.mkdir(exist_ok=True)
        (tmp_path / "two" / name).touch()
    with pytest.raises(ValueError, match=r"a.rec, b.rec: name the one"):
        Records(tmp_path / "two")


def test_records_train_like_the_folders_they_came_from(tmp_path: Path) -> None:
    labels = [k for k in range(8) for _ in range(3)]
    records = plain(tmp_path / "rec", labels)
    for i, k in enumerate(labels):
        path = tmp_path / "folders" / f"{k:07d}" / f"{i:03d}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(jpeg(k, i))
    kinds = {place: format_of(tmp_path / place).kind for place in ("rec", "folders")}
    assert kinds == {"rec": "records", "folders": "folders"}
    sets = [read(tmp_path / place, tmp_path / f"{place} out", Wanted(size=8, images_per_class=2))[0] for place in kinds]
    np.testing.assert_array_equal(sets[0].images, sets[1].images)
    assert sets[0].class_names == sets[1].class_names and str(sets[0].splits) == str(sets[1].splits)
    before = fingerprint(records)
    assert before == fingerprint(records / "train.rec")
    (records / "train.tsv").write_text("".join(f"{i}\t{k}/{i}.jpg\t{k}\n" for i, k in enumerate(labels)))
    assert fingerprint(records) != before


def test_undecodable_records_are_listed_by_key(tmp_path: Path) -> None:
    labels = [k for k in range(8) for _ in range(2)]
    records = [(i, float(k), jpeg(k, i) if i != 5 else b"junk") for i, k in enumerate(labels)]
    with pytest.raises(ValueError, match=r"train.rec, key 5: not an image"):
        read(write(tmp_path / "rec", records), tmp_path / "out", Wanted(size=8))
    images, reading = read(tmp_path / "rec", tmp_path / "out", Wanted(size=8, skip_bad=True))
    assert len(images) == 15 and len(reading.unreadable) == 1


def test_a_listing_names_images_by_key_and_skips_bad_ones(tmp_path: Path) -> None:
    records = [(i, float(k), jpeg(k, i) if i != 1 else b"junk") for i, k in enumerate([1, 0, 0, 1, 0])]
    listing = open_listing(write(tmp_path, records))
    bad: list[tuple[str, str]] = []
    rows = [(indices, pixels) for pixels, indices in listing.blocks(12, 3, 2, bad)]
    assert listing.names == ("1", "2", "4", "0", "3") and listing.class_names == ("0000000", "0000001")
    assert listing.labels is not None and listing.labels.tolist() == [0, 0, 0, 1, 1]
    found = dict(zip(np.concatenate([i for i, _ in rows]).tolist(), np.concatenate([p for _, p in rows]), strict=True))
    assert sorted(found) == [1, 2, 3, 4] and len(bad) == 1 and "key 1" in bad[0][0]
    for place, pixels in found.items():
        key = int(listing.names[place])
        np.testing.assert_array_equal(pixels, np.asarray(Image.open(io.BytesIO(jpeg([1, 0, 0, 1, 0][key], key)))))


def test_packed_sets_are_sources(tmp_path: Path, tiny_npz: Path) -> None:
    first, _ = read(tiny_npz, tmp_path / "packed")
    assert format_of(tmp_path / "packed").kind == "packed"
    again, _ = read(tmp_path / "packed", tmp_path / "again")
    np.testing.assert_array_equal(first.images, again.images)
    assert first.class_names == again.class_names and str(first.splits) == str(again.splits)
