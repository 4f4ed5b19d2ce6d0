"""What may be decoded: small files that stand for gigabytes, and files that would start something, are refused."""

from __future__ import annotations

import io
import json
import pickle
import resource
import struct
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import torch
from PIL import Image

from scoremix.config import read_settings
from scoremix.data import limits, pickles, verification
from scoremix.data.decode import decode, opened, upright_rgb
from scoremix.data.formats.archives import Archive
from scoremix.data.formats.arrow import Parquet
from scoremix.data.formats.listed import Listed
from scoremix.data.formats.npz import Npz
from scoremix.diffusion import checkpoints as generators
from scoremix.diffusion.checkpoints import Pixels
from scoremix.recognition import checkpoints, published
from scoremix.recognition.iresnet import IRNet


def peak_mib() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def aliases(_: Path) -> bytes:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]" for i in range(1, 10)]
    return "\n".join(lines).encode()


def zeros(**arrays: tuple[tuple[int, ...], str]) -> bytes:
    """An .npz of arrays of zeros, made without holding them."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        for name, (shape, dtype) in arrays.items():
            with archive.open(f"{name}.npy", "w", force_zip64=True) as file:
                np.lib.format.write_array_header_1_0(file, {"descr": dtype, "fortran_order": False, "shape": shape})
                for _ in range(0, int(np.prod(shape)) * np.dtype(dtype).itemsize, 1 << 24):
                    file.write(bytes(1 << 24))
    return buffer.getvalue()


def long_header(_: Path) -> bytes:
    """An .npz of one array, whose header alone is a gigabyte once it is unfolded."""
    buffer = io.BytesIO()
    with (
        zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive,
        archive.open("labels.npy", "w", force_zip64=True) as file,
    ):
        file.write(np.lib.format.magic(2, 0) + struct.pack("<I", 1 << 30))
        for _ in range(64):
            file.write(bytes(1 << 24))
    return buffer.getvalue()


def wide(widths: list[int], units: list[int]) -> bytes:
    described = {"size": 32, "channels": 3, "widths": widths, "units": units, "embedding": 64, "network": "small"}
    net = IRNet(32, 3, (4, 4), (1, 1), 8)
    tensors = {f"net.{name}": tensor for name, tensor in net.state_dict().items()}
    return safetensors.torch.save(tensors, {checkpoints.KIND: json.dumps(described)})


def generator(_: Path) -> bytes:
    network = {"img_resolution": 32, "img_channels": 3, "label_dim": 10, "model_channels": 100_000}
    return generators.to_bytes({"unet.out_gain": torch.zeros([])}, network, Pixels())


def nested(shared: tuple[Any, ...]) -> bytes:
    for _ in range(40):
        shared = (shared, shared)
    return pickle.dumps(([b"x", b"x"], [shared]))


def deflated_pth(_: Path) -> bytes:
    buffer, packed = io.BytesIO(), io.BytesIO()
    torch.save({"x": torch.zeros(10)}, buffer)
    with zipfile.ZipFile(buffer) as plain, zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in plain.namelist():
            archive.writestr(name, plain.read(name))
    return packed.getvalue()


def old_pth(_: Path) -> bytes:
    """torch's form before 1.6, in which a storage of ten numbers is announced as one of 2^33."""
    buffer = io.BytesIO()
    torch.save({"x": torch.zeros(10)}, buffer, _use_new_zipfile_serialization=False)
    return buffer.getvalue().replace(b"K\nNt", b"\x8a\x05" + (1 << 33).to_bytes(5, "little") + b"Nt")


def again(name: bytes, argument: bytes, call: bytes, times: int) -> bytes:
    """A pickle that calls a name with what it holds once, so many times."""
    return b"\x80\x02c" + name + b"q\0" + argument + b"q\1X\6\0\0\0latin1q\2](" + call * times + b"e]\x86."


def encoded_again(times: int = 1500) -> bytes:
    return again(b"_codecs\nencode\n", b"X\0\0\x08\0" + b"a" * (1 << 19), b"h\0h\1h\2\x86R", times)


def pth_encoded_again(_: Path) -> bytes:
    buffer, changed = io.BytesIO(), io.BytesIO()
    torch.save({"x": torch.zeros(10)}, buffer)
    with zipfile.ZipFile(buffer) as plain, zipfile.ZipFile(changed, "w") as archive:
        for name in plain.namelist():
            archive.writestr(name, encoded_again() if name.endswith("data.pkl") else plain.read(name))
    return changed.getvalue()


def sets_again(_: Path) -> bytes:
    numbers = b"".join(b"M" + struct.pack("<H", i) for i in range(20_000))
    return again(b"builtins\nset\n", b"](" + numbers + b"e", b"h\0h\1\x85R", 800)


LONG_BINPUT = b"\x80\x02Nr" + struct.pack("<I", 1 << 27) + b"."
FROMBUFFER = (
    pickle.PROTO + b"\x02cnumpy._core.numeric\n_frombuffer\n(J\xff\xff\xff\x07cnumpy\ndtype\n(X\x02\0\0\0u1tRtR."
)
BOMBS: dict[str, tuple[str, bytes | Callable[[Path], bytes], Callable[[Path], Any], str]] = {
    "yaml": ("a.yaml", aliases, read_settings, "aliases are unfolded"),
    "deep yaml": ("a.yaml", b"a: " + b"[" * 5000, read_settings, "nested"),
    "deep json": ("a.json", b'{"a": ' + b"[" * 50000, read_settings, "nested"),
    "long yaml": ("a.yaml", b"a: 1\n" * 500_000, read_settings, "the limit is 1,048,576"),
    "memo of a pickle": ("a.bin", LONG_BINPUT, verification.read, "asks for 134,217,728 places"),
    "memo of a snapshot": ("a.pkl", LONG_BINPUT, pickles.read_plain, "asks for 134,217,728 places"),
    "array of a number": ("a.bin", FROMBUFFER, verification.read, "content is of type int"),
    "nested tuples": ("a.bin", nested(()), verification.read, "booleans holds a tuple"),
    "text encoded over and over": ("a.bin", encoded_again(), verification.read, "calls are given more than"),
    "sets of one list": ("a.pkl", sets_again, pickles.read_plain, "calls are given more than"),
    "packed pth": ("a.pth", deflated_pth, published.load, "is compressed"),
    "old pth before an archive": ("a.pth", lambda _: old_pth(_) + zeros(x=((1,), "|u1")), published.load, "8,589,934,592 numbers is announced"),
    "pth of one text": ("a.pth", pth_encoded_again, published.load, "characters again, the file has"),
    "old pth of one text": ("a.pth", encoded_again(), published.load, "characters again"),
    "old pth": ("a.pth", old_pth, published.load, "8,589,934,592 numbers is announced"),
    "large image": ("a.npz", lambda _: zeros(images=((1, 32768, 32768), "|u1"), labels=((1,), "<i8")), Npz, "32768 x 32768 pixels"),
    "large labels": ("a.npz", lambda _: zeros(images=((1, 8, 8), "|u1"), labels=(((1 << 27) + 1,), "<i8")), Npz, "the limit is 1,073,741,824"),
    "long header": ("a.npz", long_header, Npz, "a header of 1,073,741,824 bytes"),
    "wide": ("a.safetensors", lambda _: wide([12000, 12000], [1, 1]), checkpoints.load, "must be"),
    "deep": ("a.safetensors", lambda _: wide([4, 4], [10**9, 10**9]), published.load, "blocks are described"),
    "wide generator": ("a.safetensors", generator, generators.load, "lacks '"),
}  # fmt: skip


@pytest.mark.parametrize("bomb", BOMBS)
def test_small_files_cost_no_gigabytes(bomb: str, tmp_path: Path) -> None:
    name, content, reader, said = BOMBS[bomb]
    path, before = tmp_path / name, peak_mib()
    path.write_bytes(content if isinstance(content, bytes) else content(path))
    with pytest.raises(ValueError, match=said) as caught:
        reader(path)
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 500
    assert peak_mib() - before < 600


class Shares:
    """Is pickled as an array that shares its state with others."""

    def __init__(self, reduced: Any) -> None:
        self.reduced = reduced

    def __reduce__(self) -> Any:
        return self.reduced


def test_arrays_that_share_their_bytes_are_read_once(tmp_path: Path) -> None:
    array, before = np.zeros(1 << 19, np.uint8), peak_mib()
    reduced = array.__reduce__()
    sharing = [Shares(reduced) for _ in range(1000)]
    for images in ([array] * 1000, sharing, [bytearray(b"x") * (1 << 19)] * 1000):
        (tmp_path / "a.bin").write_bytes(pickle.dumps((images, [True] * 500), protocol=5))
        assert (tmp_path / "a.bin").stat().st_size < 1 << 20
        assert len({id(image) for image in verification.read(tmp_path / "a.bin").images}) == 1
    assert peak_mib() - before < 200


def test_arrays_that_nobody_asked_for_are_not_read(tmp_path: Path) -> None:
    path, before = tmp_path / "a.npz", peak_mib()
    path.write_bytes(zeros(images=((2, 8, 8), "|u1"), labels=((2,), "<i4"), unused=((1 << 30,), "|u1")))
    assert Npz(path).counts.tolist() == [2]
    assert peak_mib() - before < 400


def inflating(path: Path) -> None:
    """A .zip of three images, of which the middle one announces 1,000 bytes and is 400 MiB once it is inflated."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        archive.writestr("a/0.png", b"first" * 1000)
        with archive.open("a/1.png", "w") as file:
            for _ in range(25):
                file.write(bytes(1 << 24))
        archive.writestr("b/2.png", b"last")
        archive.getinfo("a/1.png").file_size = 1000


def test_a_zip_entry_costs_no_more_than_it_announces(tmp_path: Path) -> None:
    inflating(tmp_path / "a.zip")
    source, before = Archive(tmp_path / "a.zip"), peak_mib()
    first, large = source.items(0)
    with pytest.raises(zipfile.BadZipFile, match="Bad CRC-32"):
        source.content(large)
    assert peak_mib() - before < 100
    assert source.content(first) == b"first" * 1000 and source.content(source.items(1)[0]) == b"last"


@pytest.mark.parametrize("crc", [zlib.crc32(b"content"), 0])
def test_a_zip_entry_that_is_shorter_than_announced_is_refused(crc: int, tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("a/0.png", b"content")
        archive.getinfo("a/0.png").file_size, archive.getinfo("a/0.png").CRC = 1000, crc
    source = Archive(tmp_path / "a.zip")
    with pytest.raises((ValueError, zipfile.BadZipFile), match="unfolds into 7 of 1000 bytes" if crc else "Bad CRC-32"):
        source.content(source.items(0)[0])


def test_a_long_label_that_all_rows_share_is_held_once(tmp_path: Path) -> None:
    pa, pq = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    rows, before = 5000, peak_mib()
    label = pa.DictionaryArray.from_arrays(pa.array(np.zeros(rows, np.int32)), pa.array(["x" * (1 << 20)]))
    pq.write_table(pa.table({"image": [{"bytes": b"x"}] * rows, "label": label}), tmp_path / "a.parquet")
    assert Parquet(tmp_path / "a.parquet").counts.tolist() == [rows]
    assert peak_mib() - before < 400


def test_one_long_label_makes_no_other_longer(tmp_path: Path) -> None:
    rows, before = 5000, peak_mib()
    lines = (f"{i}.png,{'x' * 20_000 if i == 7 else 'ba'[i % 2]}\n" for i in range(rows))
    (tmp_path / "a.csv").write_text("".join(lines))
    source = Listed(tmp_path / "a.csv")
    assert source.class_names == ("a", "b", "x" * 20_000) and source.counts.tolist() == [2499, 2500, 1]
    assert source.items(1)[1] == tmp_path / "2.png"
    assert peak_mib() - before < 200


@pytest.mark.parametrize("of_bytes", [True, False])
def test_names_of_an_npz_are_text(of_bytes: bool, tmp_path: Path) -> None:
    names = np.array(["ä".encode(), b"n1"]) if of_bytes else np.array(["ä", "n1"])
    np.savez(tmp_path / "a.npz", images=np.zeros((2, 8, 8), np.uint8), labels=[0, 1], class_names=names)
    assert Npz(tmp_path / "a.npz").class_names == ("ä", "n1")


@pytest.mark.parametrize("read", [lambda file: decode(file, 8), upright_rgb])
def test_large_images_are_refused_by_every_path(
    read: Callable[[io.BytesIO], Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    buffer = io.BytesIO()
    Image.new("1", (2000, 1000)).save(buffer, "PNG")
    monkeypatch.setattr(limits, "PIXELS", 1_999_999)
    with pytest.raises(ValueError, match="2000 x 1000 pixels, the limit is 1999999"):
        read(buffer)


@pytest.mark.parametrize("form", ["EPS", "PDF", "PCX", "ICO"])
def test_formats_are_told_by_content_and_few_are_allowed(form: str, tmp_path: Path) -> None:
    path = tmp_path / "x.jpg"
    Image.new("RGB", (32, 32)).save(path, form)
    with pytest.raises(ValueError, match="not an image format that is read"), opened(path):
        pass


def test_what_is_put_around_a_network_is_taken_off() -> None:
    names = ["conv1.weight", "layer1.0.bn1.bias"]
    for around in ("", "module.", "backbone.", "_orig_mod.", "module._orig_mod.backbone.", "_orig_mod.module."):
        state = {around + name: torch.zeros(1) for name in names} | {"head.weight": torch.zeros(1)}
        assert list(published.bare(state)) == [*names, "head.weight"]
    mixed = {"module.a": torch.zeros(1), "b": torch.zeros(1)}
    assert published.bare(mixed) == mixed


def test_files_of_torch_without_check_sums_and_with_texts_named_again_are_read(tmp_path: Path) -> None:
    torch.serialization.set_crc32_options(False)
    try:
        torch.save({"x": torch.zeros(3), "notes": ["é" * 3000] * 5}, tmp_path / "a.pth")
    finally:
        torch.serialization.set_crc32_options(True)
    assert pickles.read_torch(tmp_path / "a.pth")["notes"][4] == "é" * 3000
