"""Verification sets: the golden flavours, numpy's own pickles, and pickles that name what they must not."""

from __future__ import annotations

import collections
import datetime
import io
import os
import pickle
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from scoremix.data import verification

IMAGES = [bytes([i, 255, 216, i]) * (i + 2) for i in range(6)]
SAME = [True, False, True]


def written(path: Path, value: Any, protocol: int = 4) -> Path:
    path.write_bytes(pickle.dumps(value, protocol=protocol))
    return path


@pytest.mark.parametrize("flavour", ["bytes_p4", "numpy_np1_p2", "py2str_p2"])
def test_golden_flavours(flavour: str, golden: Callable[[str], Path]) -> None:
    expected = np.load(golden("verification_bin_expected.npz"))
    pairs = verification.read(golden(f"verification_bin/{flavour}.bin"))
    np.testing.assert_array_equal(pairs.same, expected["issame"])
    assert [zlib.crc32(image) for image in pairs.images] == expected["image_crc32"].tolist()
    for image, pixels in zip(pairs.images, expected["decoded_first4_rgb"], strict=False):
        np.testing.assert_array_equal(np.asarray(Image.open(io.BytesIO(image)).convert("RGB")), pixels)


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
@pytest.mark.parametrize("shape", [(-1,), (-1, 1)])
def test_whatever_this_numpy_pickles(protocol: int, shape: tuple[int, ...], tmp_path: Path) -> None:
    arrays = [np.frombuffer(image, np.uint8).reshape(shape) for image in IMAGES]
    for same in (SAME, np.array(SAME), np.array(SAME, np.int64), np.array(SAME, ">i4"), list(np.array(SAME))):
        pairs = verification.read(written(tmp_path / "a.bin", (arrays, same), protocol))
        assert pairs.images == IMAGES and pairs.same.tolist() == SAME


def test_written_files_name_nothing_and_come_back(tmp_path: Path) -> None:
    class Nothing(pickle.Unpickler):
        def find_class(self, module: str, name: str) -> Any:
            raise AssertionError(f"{module}.{name}")

    content = verification.packed(IMAGES, np.array(SAME))
    assert Nothing(io.BytesIO(content), encoding="bytes").load() == (IMAGES, SAME)
    (tmp_path / "a.bin").write_bytes(content)
    assert verification.read(tmp_path / "a.bin").images == IMAGES


class Calls:
    def __init__(self, function: Callable[..., Any], *arguments: Any) -> None:
        self.call = function, arguments

    def __reduce__(self) -> Any:
        return self.call


@pytest.mark.parametrize("protocol", [0, 2, 4])
def test_foreign_names_are_refused_by_name_and_not_run(protocol: int, tmp_path: Path) -> None:
    mark = tmp_path / "ran"
    for value, name in (
        (Calls(os.mkdir, str(mark)), "posix.mkdir"),
        (Calls(eval, "1"), ".eval"),
        (collections.OrderedDict(), "collections.OrderedDict"),
        (datetime.date(2026, 1, 1), "datetime.date"),
        (Calls(np.load, "x"), "numpy.load"),
    ):
        with pytest.raises(ValueError, match=rf"its pickle asks for .*{name}, which is refused"):
            verification.read(written(tmp_path / "a.bin", ([value, b"x"], [True]), protocol))
    assert not mark.exists()


def test_names_of_any_characters_are_one_line(tmp_path: Path) -> None:
    (tmp_path / "a.bin").write_bytes(b"\x80\x04\x8c\x06num\npy\x8c\x04\x1b[2J\x93.")
    with pytest.raises(ValueError, match=r"asks for num\\npy\.\\x1b\[2J") as caught:
        verification.read(tmp_path / "a.bin")
    assert "\n" not in str(caught.value)
    (tmp_path / "a.bin").write_bytes(b"cnumpy\n" + b"x" * 5000 + b"\n.")
    with pytest.raises(ValueError, match=r"asks for numpy\.x{194} \.\.\., which is refused"):
        verification.read(tmp_path / "a.bin")


def test_only_latin1_is_encoded(tmp_path: Path) -> None:
    import codecs

    with pytest.raises(ValueError, match=r"_codecs\.encode to 'rot13'"):
        verification.read(written(tmp_path / "a.bin", ([Calls(codecs.encode, "x", "rot13"), b"x"], [True])))


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ((IMAGES, SAME[:2]), "6 images for 2 pairs"),
        ((IMAGES[:5], SAME), "5 images for 3 pairs"),
        (([], []), "0 images for 0 pairs"),
        ((IMAGES, [1, 2, 0]), "holds 2"),
        (([*IMAGES[:5], b""], SAME), "image 5 is empty"),
        (([*IMAGES[:5], 7], SAME), "image 5 is of type int"),
        (([*IMAGES[:5], np.zeros(3, np.float32)], SAME), "image 5 is of type list"),
        ({"images": 1}, "holds a dict"),
        (7, "holds a int"),
        ((IMAGES, 7), "the booleans are of type int"),
        ((7, SAME), "the images are of type int"),
    ],
)
def test_other_contents_are_named(value: Any, text: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=text) as caught:
        verification.read(written(tmp_path / "a.bin", value))
    assert "\n" not in str(caught.value) and "a.bin" in str(caught.value)


def test_damage_is_named(tmp_path: Path) -> None:
    content = verification.packed(IMAGES, SAME)
    for cut in (0, 1, 20, len(content) - 1):
        (tmp_path / "cut.bin").write_bytes(content[:cut])
        with pytest.raises(ValueError, match=r"cut.bin is not a pickle of a verification set"):
            verification.read(tmp_path / "cut.bin")
    with pytest.raises(ValueError, match="cannot be read"):
        verification.read(tmp_path / "absent.bin")
    with pytest.raises(ValueError, match="3 images for 2 pairs"):
        verification.packed(IMAGES[:3], SAME[:2])


def test_bytes_longer_than_any_memory_are_damage(tmp_path: Path) -> None:
    (tmp_path / "x.bin").write_bytes(b"\x80\x04\x8e" + (2**60).to_bytes(8, "little") + b"data.")
    with pytest.raises(ValueError, match=r"^[^\n]*x\.bin is not a pickle of a verification set[^\n]*$"):
        verification.read(tmp_path / "x.bin")


def test_a_damaged_pickle_is_not_repeated_whole(tmp_path: Path) -> None:
    (tmp_path / "x.bin").write_bytes(b"S" + b"x" * 5000 + b"\n.")
    with pytest.raises(ValueError, match="is not a pickle of a verification set") as caught:
        verification.read(tmp_path / "x.bin")
    assert len(str(caught.value)) < 1500
