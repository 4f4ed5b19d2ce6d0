"""Galleries from strangers: what they may cost, show and say."""

from __future__ import annotations

import io
import os
import resource
import struct
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from scoremix.commands.identify import line, table
from scoremix.use import pictures
from scoremix.use.gallery import Gallery, Identified, Match

PINK = (255, 0, 255)


@pytest.fixture
def gallery(tmp_path: Path) -> Gallery:
    """Two enrolled images of two classes, and beside their folder one that was not."""
    (tmp_path / "known").mkdir()
    for name, colour in (("known/a.png", (10, 20, 30)), ("known/b.png", (40, 50, 60)), ("secret.png", PINK)):
        Image.new("RGB", (9, 9), colour).save(tmp_path / name)
    return Gallery(
        np.eye(2, dtype=np.float32), ("a.png", "b.png"), np.arange(2), ("a", "b"), "f" * 64, str(tmp_path / "known")
    )


def npy(value: object) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, np.asarray(value), allow_pickle=False)
    return buffer.getvalue()


def announced(dtype: str, shape: tuple[int, ...]) -> bytes:
    """The header of an array, and nothing after it."""
    buffer = io.BytesIO()
    np.lib.format.write_array_header_1_0(buffer, {"descr": dtype, "fortran_order": False, "shape": shape})
    return buffer.getvalue()


def long_header(_: Gallery) -> bytes:
    return np.lib.format.magic(2, 0) + struct.pack("<I", 1 << 30) + bytes(1 << 30)


STORED, DEFLATED = zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED
BOMBS: dict[str, tuple[str, Callable[[Gallery], bytes], int, str]] = {
    "promises": ("embeddings", lambda _: announced("<f4", (1 << 20, 25600)), STORED, "107,374,182,400 bytes, the file has"),
    "wide names": ("names", lambda _: announced("<U268435455", (100,)), STORED, "bytes, the file has"),
    "inflates": ("embeddings", lambda _: npy(np.zeros((1 << 28,), np.float32)), DEFLATED, "'embeddings' is compressed"),
    "goes on": ("labels", lambda of: npy(of.labels) + bytes(1 << 30), DEFLATED, "'labels' is compressed"),
    "header": ("labels", long_header, DEFLATED, "'labels' is compressed"),
    "lying header": ("labels", lambda _: np.lib.format.magic(2, 0) + b"\xff" * 4, STORED, "a header of 4,294,967,295 bytes"),
    "not text": ("names", lambda _: npy([1.5, 2]), STORED, "names must be text"),
    "no place": ("place", lambda _: npy("a\0b"), STORED, "'a.x00b': .*null"),
    "long name": ("class_names", lambda _: npy(["a", "b" * 5000]), STORED, "a name of 5,000 characters, the limit is 4,096"),
    "cut": ("labels", lambda of: npy(of.labels)[:-8], STORED, "bytes, the file has"),
}  # fmt: skip


@pytest.mark.parametrize("bomb", BOMBS)
def test_a_gallery_costs_no_more_than_its_file(bomb: str, gallery: Gallery, tmp_path: Path) -> None:
    name, content, method, said = BOMBS[bomb]
    gallery.save(tmp_path / "plain.npz")
    with zipfile.ZipFile(tmp_path / "plain.npz") as plain, zipfile.ZipFile(tmp_path / "g.npz", "w") as archive:
        for part in plain.namelist():
            if part == f"{name}.npy":
                archive.writestr(part, content(gallery), method)
            else:
                archive.writestr(part, plain.read(part))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(ValueError, match=said) as error:
        Gallery.load(tmp_path / "g.npz")
    assert str(error.value).startswith(f"gallery {tmp_path / 'g.npz'}: ") and "\n" not in str(error.value)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 200 * 1024


def identified(gallery: Gallery) -> list[Identified]:
    """A probe that is the first enrolled image."""
    matches = (
        Match(gallery.class_names[0], 1.0, gallery.names[0]),
        Match(gallery.class_names[1], 0.0, gallery.names[1]),
    )
    return [Identified("a.png", gallery.class_names[0], matches)]


def shown(gallery: Gallery) -> list[bool]:
    """Whether the probe and its matches have a picture."""
    (row,) = pictures.rows_of(identified(gallery), Path(gallery.place), gallery)
    return [tile.image is not None for tile in row]


def test_no_image_beside_the_enrolled_ones_is_shown(gallery: Gallery, tmp_path: Path) -> None:
    assert shown(gallery) == [True, True, True]
    os.mkfifo(tmp_path / "known" / "pipe.png")
    outside = (str(tmp_path / "secret.png"), "../secret.png", "x/../../secret.png", "pipe.png", "n" * 4000, ".", "")
    for name in outside:
        there = replace(gallery, names=(name, "b.png"))
        assert shown(there) == [True, False, True], name
    for place in ("/dev/zero", str(tmp_path / "known" / "pipe.png"), "/" + "p" * 4000, ""):
        (row,) = pictures.rows_of(identified(gallery), tmp_path / "known", replace(gallery, place=place))
        assert [tile.image is not None for tile in row] == [True, False, False], place


def test_names_steer_no_terminal_and_no_page(gallery: Gallery) -> None:
    names = ("\x1b]0;owned\x07\x1b[2J\nroot: admin (x 1.000)\r", "<script>alert(1)</script>" + "W" * 4000)
    odd = replace(gallery, names=tuple(f"{name}.png" for name in names), class_names=names)
    (one,) = identified(odd)
    said = line(one)
    assert said.isprintable() and len(said) < 1000 and r"\x1b]0;owned\x07\x1b[2J\nroot: admin" in said
    rows = pictures.rows_of([one], None, odd)
    page = pictures.page(rows, "note")
    assert "<script" not in page and "&lt;script&gt;" in page and "\x1b" not in page + table([one])
    assert pictures.picture(rows)[1:4] == b"PNG"
