"""Damaged files of every kind that is read: each is read, or refused in one line that names a file, and nothing else."""

from __future__ import annotations

import json
import pickle
import sys
import types
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from scoremix.config import presets, read_settings
from scoremix.data import faces, lists, splits, verification
from scoremix.data.export import convert
from scoremix.data.source import Opening, SourceHints
from scoremix.data.sources import fingerprint, open_source
from scoremix.diffusion import checkpoints as generators
from scoremix.diffusion import published as edm2
from scoremix.diffusion.checkpoints import Pixels
from scoremix.diffusion.unet import EDM2
from scoremix.execution import records
from scoremix.recognition import checkpoints, published
from scoremix.recognition.heads import ArcFace
from scoremix.recognition.iresnet import build
from scoremix.use.gallery import Gallery
from support.layouts import MAKE, png, put, put_classes

PEOPLE = ["a", "b", "c", "d", "e", "f", "g", "h"]
Read = Callable[[Path], Any]
Change = tuple[str, float, int]  # kind, where as a share of the file, value


def read_set(hints: SourceHints) -> Read:
    """Everything that a source of images does, an image that is none being said and no more."""

    def read(place: Path) -> None:
        source = open_source(place, Opening(workers=1, hints=hints))
        for block in source.every_block(8):
            assert len(block.images) == len(block.classes) and all(
                "\n" not in line for bad in block.bad for line in bad
            )
        source.listed()
        fingerprint(place, hints)

    return read


def puts(name: str, content: bytes | str) -> Callable[[Path], Path]:
    def make(root: Path) -> Path:
        put(root / name, content)
        return root / name

    return make


def recordio(root: Path) -> Path:
    put_classes(root.parent / "folders")
    convert(root.parent / "folders", root / "rec", "recordio")
    return root / "rec"


def packed(root: Path) -> Path:
    np.save(root / "images.npy", np.zeros((16, 8, 8, 3), np.uint8))
    np.save(root / "labels.npy", np.repeat(np.arange(8, dtype=np.int32), 2))
    put(root / "classes.json", json.dumps({"names": PEOPLE, "splits": {"train": [0, 1]}, "groups": None}))
    return root


def ijb(root: Path) -> Path:
    points = " ".join(["1.5"] * 10)
    put(root / "meta" / "ijbc_name_5pts_score.txt", "".join(f"{i}.jpg {points} 0.9\n" for i in range(4)))
    put(root / "meta" / "ijbc_face_tid_mid.txt", "".join(f"{i}.jpg {i // 2} {i}\n" for i in range(4)))
    put(root / "meta" / "ijbc_template_pair_label.txt", "0 1 0\n0 0 1\n")
    put(root / "meta" / "ijbc_1N_gallery_G1.csv", "TEMPLATE_ID,SUBJECT_ID\n0,7\n")
    put(root / "meta" / "ijbc_1N_probe_mixed.csv", "TEMPLATE_ID,SUBJECT_ID\n1,7\n")
    return root


def gallery(root: Path) -> Path:
    put(root / "gallery.csv", "image,subject,template\na.png,A,1\nb.png,B,2\n")
    put(root / "probes.csv", "image,subject\nc.png,A\n")
    return root


def enrolled(root: Path) -> Path:
    Gallery(np.eye(3, dtype=np.float32), ("a", "b", "c"), np.array([0, 0, 1]), ("A", "B"), "f" * 64, "x").save(
        root / "g.npz"
    )
    return root / "g.npz"


def recognizer(root: Path) -> Path:
    described = checkpoints.small(8, 3, (4, 4), (1, 1), 8)
    put(root / "r.safetensors", checkpoints.to_bytes(checkpoints.make(described), ArcFace(8, 2), described))
    return root / "r.safetensors"


def generator(root: Path) -> Path:
    network = {"img_resolution": 8, "img_channels": 3, "label_dim": 2, "model_channels": 8, "channel_mult": [1]}
    network |= {"num_blocks": 1, "attn_resolutions": [], "channels_per_head": 8}
    tensors = EDM2(**network).state_dict()
    put(root / "g.safetensors", generators.to_bytes(tensors, network, Pixels()))
    return root / "g.safetensors"


def torch_file(zipped: bool) -> Callable[[Path], Path]:
    def make(root: Path) -> Path:
        state = {
            name: torch.zeros(1).expand(t.shape or 1).reshape(t.shape)
            for name, t in build("iresnet18").state_dict().items()
        }
        torch.save({"state_dict": state, "epoch": 3}, root / "a.pth", _use_new_zipfile_serialization=zipped)
        return root / "a.pth"

    return make


class Module:
    """Pickles as a module of EDM2's code does."""

    def __init__(self, state: dict[str, Any]) -> None:
        self.state = state

    def __reduce__(self) -> Any:
        return sys.modules["torch_utils.persistence"]._reconstruct_persistent_obj, ({"state": self.state},)


def rebuilt(meta: Any) -> Any:
    raise AssertionError("nothing in a file is executed")


def snapshot(root: Path) -> Path:
    with pytest.MonkeyPatch.context() as patch:
        for name in ("torch_utils", "torch_utils.persistence"):
            patch.setitem(sys.modules, name, types.ModuleType(name))
        rebuilt.__module__, rebuilt.__qualname__ = "torch_utils.persistence", "_reconstruct_persistent_obj"
        sys.modules["torch_utils.persistence"]._reconstruct_persistent_obj = rebuilt  # type: ignore[attr-defined]
        state = {"_parameters": {"w": torch.zeros(3)}, "_buffers": {}, "_modules": {}, "_init_kwargs": {"label_dim": 3}}
        put(root / "s.pkl", pickle.dumps({"ema": Module(state), "encoder": None}))
    return root / "s.pkl"


def settings_in(path: Path) -> None:
    presets.experiment("demo", [read_settings(path)])


def record(root: Path) -> Path:
    put(root / "runs" / "r.json", json.dumps({"experiment": presets.experiment("demo").model_dump(), "steps": {}}))
    return root


def bin_file(root: Path) -> Path:
    put(root / "a.bin", verification.packed([png(0, i) for i in range(4)], [True, False]))
    return root / "a.bin"


def named(text: str) -> bytes:
    return text.encode()


SPLIT = {"train": PEOPLE[:4], "validation": PEOPLE[4:6], "test": PEOPLE[6:]}
PAIRS = "".join(f"{name}/0.png {name}/1.png 1\n" for name in PEOPLE)
YAML = "recognizer:\n  lr: 0.1\n  widths: [8, 16]\n  units: [1, 1]\ngenerator: {batch: 8, ema: [0.05, 0.1]}\nname: x\narms: [real, scoremix]\n"
READERS: dict[str, tuple[Callable[[Path], Path | None], Read]] = {
    **{f"layout: {name}": (make, read_set(hints)) for name, (make, hints) in MAKE.items()},
    "recordio": (recordio, read_set(SourceHints())),
    "packed": (packed, read_set(SourceHints())),
    "bin": (bin_file, verification.read),
    "pairs": (puts("pairs.txt", PAIRS), faces.pair_list),
    "ijb": (ijb, lambda root: faces.open_set(str(root), root)),
    "enrolled": (enrolled, Gallery.load),
    "gallery": (gallery, lambda root: faces.open_set(str(root), root)),
    "split.json": (puts("s.json", json.dumps(SPLIT)), lambda path: splits.from_list(path, PEOPLE)),
    "split.csv": (
        puts("s.csv", "".join(f"{n},{p}\n" for p, of in SPLIT.items() for n in of)),
        lambda path: splits.from_list(path, PEOPLE),
    ),
    "groups.json": (
        puts("g.json", json.dumps({n: n.upper() for n in PEOPLE})),
        lambda path: lists.read_groups(path, PEOPLE),
    ),
    "mplets.json": (
        puts("m.json", json.dumps([["a", "b"], ["c", "d"]])),
        lambda path: lists.read_mplets(path, PEOPLE, 2),
    ),
    "mplets.csv": (
        puts("m.csv", "class_0,name_0,name_1,value\n0,a,b,0.5\n1,c,d,0.25\n"),
        lambda path: lists.read_mplets(path, PEOPLE, 2),
    ),
    "settings.yaml": (puts("s.yaml", YAML), settings_in),
    "settings.toml": (
        puts("s.toml", "name = 'x'\n[recognizer]\nlr = 0.1\nwidths = [8, 16]\nunits = [1, 1]\n"),
        settings_in,
    ),
    "settings.json": (puts("s.json", json.dumps({"recognizer": {"lr": 0.1}, "seeds": [0, 1]})), settings_in),
    "record": (record, lambda root: records.recorded(root, "r")),
    "recognizer": (recognizer, published.load),
    "generator": (generator, generators.load),
    "published.pth": (torch_file(True), published.load),
    "published.pth, old form": (torch_file(False), published.load),
    "EDM2's snapshot": (snapshot, edm2.read),
}
TOKENS = [
    b"",
    b"\0",
    b"\xff" * 8,
    b"-1",
    b"0",
    b"nan",
    b"1e999",
    b"99999999999999999999",
    b'"',
    b"\n",
    b",",
    b"\t",
    b"{",
    b"[" * 90,
]
TOKENS += [
    b"}",
    b"\x80",
    b"../",
    b"true",
    b"null",
    b"=",
    b"'",
    b"\xed\xa0\x80",
    b"\x1b[31m",
    (1 << 31).to_bytes(8, "little"),
]
CHANGE = st.tuples(
    st.sampled_from(["flip", "cut", "drop", "token", "swap", "repeat"]), st.floats(0, 1), st.integers(0, 255)
)


def mutated(content: bytes, changes: Sequence[Change]) -> bytes:
    for kind, share, value in changes:
        at = min(int(share * len(content)), max(0, len(content) - 1))
        match kind:
            case "flip" if content:
                content = content[:at] + bytes([content[at] ^ (value or 1)]) + content[at + 1 :]
            case "cut":
                content = content[:at]
            case "drop":
                content = content[:at] + content[at + 1 + value :]
            case "token":
                content = content[:at] + TOKENS[value % len(TOKENS)] + content[at + value % 3 :]
            case "swap":
                content = content[at:] + content[:at]
            case "repeat":
                content = content[:at] + content[at : at + 1 + value] * 2 + content[at + 1 + value :]
    return content


NAMELESS = {"settings.yaml", "settings.toml", "settings.json", "record"}  # what is wrong has a name of its own
MADE: dict[str, tuple[Path, Path, list[Path]]] = {}  # root, place, its files


def made(name: str, root: Path) -> tuple[Path, Path, list[Path]]:
    if name not in MADE:
        folder = root / str(sorted(READERS).index(name)) / "set"
        folder.mkdir(parents=True)
        with torch.random.fork_rng():
            place = READERS[name][0](folder) or folder
        MADE[name] = folder, place, sorted(path for path in folder.rglob("*") if path.is_file())
    return MADE[name]


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("valid")


def refused(
    name: str, root: Path, which: int = 0, changes: Sequence[Change] = ()
) -> tuple[Exception | None, tuple[Path, ...]]:
    """The error that a set with one damaged file is refused with, None where it is read; and the paths it may name."""
    _, place, files = made(name, root)
    path = files[which % len(files)]
    before = path.read_bytes()
    path.write_bytes(mutated(before, changes))
    try:
        READERS[name][1](place)
    except (ValueError, records.StoreError) as error:
        return error, (path, place, path.parent)
    finally:
        path.write_bytes(before)
    return None, ()


def faults(error: Exception | None, paths: tuple[Path, ...], name: str) -> list[str]:
    """What is wrong with the words of a refusal."""
    if error is None:
        return []
    said = str(error)
    if isinstance(error, records.StoreError):
        return [] if str(paths[0]) in said else ["names no file"]
    ours = type(error).__module__.startswith(("builtins", "scoremix")) and not isinstance(error, UnicodeError)
    found = {
        "is another library's error": not ours,
        "has lines that say nothing": "\n" in said and not all(": " in line for line in said.splitlines()),
        "is too long": len(said) >= 3000,
        "names no file": name not in NAMELESS and not any(str(path) in said for path in paths),
    }
    return [fault for fault, is_so in found.items() if is_so]


WHICH = st.integers(0, 40)
CHANGES = st.lists(CHANGE, min_size=1, max_size=3)
QUIETLY = {"deadline": None, "suppress_health_check": list(HealthCheck)}


@pytest.mark.parametrize("name", sorted(READERS))
def test_valid_files_are_read(name: str, root: Path) -> None:
    assert refused(name, root)[0] is None


@settings(max_examples=100, **QUIETLY)
@given(name=st.sampled_from(sorted(READERS)), which=WHICH, changes=CHANGES)
def test_damage_is_told_in_one_line(name: str, which: int, changes: Sequence[Change], root: Path) -> None:
    error, paths = refused(name, root, which, changes)
    assert faults(error, paths, name) == [], error


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(READERS))
@settings(max_examples=-(-10_000 // len(READERS)), **QUIETLY)
@given(which=WHICH, changes=CHANGES)
def test_damage_of_ten_thousand_files(name: str, which: int, changes: Sequence[Change], root: Path) -> None:
    error, paths = refused(name, root, which, changes)
    assert faults(error, paths, name) == [], error
