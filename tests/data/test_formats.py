"""A new format is a reader and one word in a table: then everything reads it, and its errors are one line."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from scoremix.data import audit, export, sources
from scoremix.data.reading import Wanted, read
from scoremix.data.source import DEFAULTS, Encoded, Opening
from scoremix.data.sources import open_listing


class Lines(Encoded[int]):
    """Lines of a class and the hexadecimal digits of an image."""

    kind = "lines"

    def __init__(self, place: Path, opening: Opening = DEFAULTS) -> None:
        self.place, self.workers = place, opening.workers
        self.lines = [line.split() for line in place.read_text().splitlines()]
        self.class_names = tuple(sorted({line[0] for line in self.lines}))
        self.counts = np.array([len(self.items(k)) for k in range(len(self.class_names))])

    @classmethod
    def lies_at(cls, place: Path, every: bool) -> bool:
        return place.suffix == ".lines"

    def files(self) -> Iterator[tuple[str, Path]]:
        yield "", self.place

    def items(self, k: int) -> list[int]:
        return [i for i, line in enumerate(self.lines) if line[0] == self.class_names[k]]

    def content(self, item: int) -> bytes:
        return bytes.fromhex(self.lines[item][1])

    def where(self, item: int) -> str:
        return f"{self.place}, line {item + 1}"

    def name(self, item: int) -> str:
        return str(item)


@pytest.fixture
def lines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(sources, "FORMATS", (Lines, *sources.FORMATS))
    rng = np.random.default_rng(0)
    text = ""
    for i in range(16):
        buffer = io.BytesIO()
        Image.fromarray(rng.integers(0, 256, (9, 9, 3), np.uint8)).save(buffer, "PNG")
        text += f"c{i % 8} {buffer.getvalue().hex()}\n"
    (tmp_path / "set.lines").write_text(text)
    return tmp_path / "set.lines"


def test_everything_reads_a_format_of_the_table(lines: Path, tmp_path: Path) -> None:
    images, _ = read(lines, tmp_path / "packed", Wanted(size=9))
    assert images.class_names == tuple(f"c{k}" for k in range(8)) and images.counts.tolist() == [2] * 8
    listing = open_listing(lines)
    pixels = np.concatenate([block for block, _ in listing.blocks(9, 3, 4, [])])
    np.testing.assert_array_equal(pixels, images.images)
    assert listing.names[:3] == ("0", "8", "1") and len(sources.fingerprint(lines)) == 64
    assert audit.audit(lines)["kind"] == "lines" and audit.audit(lines)["problems"] == []
    export.convert(lines, tmp_path / "folders")
    again, _ = read(tmp_path / "folders", tmp_path / "again", Wanted(size=9))
    np.testing.assert_array_equal(again.images, images.images)


@pytest.mark.parametrize("text", ["c0\n" * 8, "c0 xyz\n" * 8])
def test_whatever_a_reader_raises_is_one_line(text: str, lines: Path, tmp_path: Path) -> None:
    lines.write_text("".join(f"c{i} 00\n" for i in range(8)) + text)
    with pytest.raises(ValueError, match=r"set\.lines") as caught:
        read(lines, tmp_path / "packed", Wanted(size=9))
    assert all("set.lines" in line for line in str(caught.value).splitlines()[1:])
    lines.write_bytes(b"\xff")
    with pytest.raises(ValueError, match=r"set\.lines") as caught:
        read(lines, tmp_path / "packed", Wanted(size=9))
    assert "\n" not in str(caught.value)


def test_drawn_characters_have_embeddings_too() -> None:
    listing = open_listing(Path("glyphs"))
    assert not [*listing.sides()]  # they are drawn at any size
    assert listing.labels is not None and len(listing) == 24 * len(listing.class_names)
