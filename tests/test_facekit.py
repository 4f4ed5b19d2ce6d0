"""CVLface's evaluation kit: the same numbers as the same faces in the other layouts; nothing in its pickles runs."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from scoremix.config import Runtime
from scoremix.data import verification
from scoremix.data.faces import open_set
from scoremix.data.facesets import FaceSet
from scoremix.evaluation.templates import PROTOCOLS
from scoremix.execution.benchmarks import BenchmarkSetup
from scoremix.execution.store import Store
from scoremix.recognition import checkpoints
from scoremix.stages.judge.benchmark import OpenedRecognizer, evaluated
from support.faces import PEOPLE, face, make_ijb, save_to_disk

pytest.importorskip("pyarrow")
PARTS = ("Probe", "Gallery_Match", "Gallery_Distractor")
Wrong = Callable[[dict[str, Any]], object]


def pixels(faces: FaceSet) -> list[np.ndarray]:
    return [image for block in faces.images.blocks(0, 16, 112, 1) for image in block]


def table(folder: Path, name: str) -> np.ndarray:
    return np.loadtxt(
        folder / "meta" / f"ijbc_{name}.txt", converters={0: lambda text: 0.0} if name[0] != "t" else None
    )


@pytest.fixture(scope="module")
def roots(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The same faces as others pass them on, and as the kit has them, made from the former's text files."""
    plain, kit = tmp_path_factory.mktemp("plain"), tmp_path_factory.mktemp("facerec_val")
    ijb = make_ijb(plain)
    for file in ijb.glob("meta/*_1N_*"):
        file.unlink()  # the kit has no galleries
    ids, pairs = table(ijb, "face_tid_mid"), table(ijb, "template_pair_label")
    told = {
        "faceness_scores": table(ijb, "name_5pts_score")[:, -1],
        "templates": ids[:, 1].astype(int),
        "medias": torch.from_numpy(ids[:, 2].astype(int)),
        **dict(zip(("p1", "p2", "label"), pairs.astype(np.int32).T.copy(), strict=True)),
    }
    torch.save(told, save_to_disk(kit / "IJBC_gt_aligned", pixels(open_set("ijbc", plain)), {}) / "metadata.pt")

    files = [f"{part}/{p + 50 * k}_{k}.png" for k, part in enumerate(PARTS) for p in range(PEOPLE)]
    files[PEOPLE : 2 * PEOPLE] = [f"Gallery_Match/{p}_9.png" for p in range(PEOPLE)]
    images = [np.asarray(face(i % PEOPLE, i)) for i in range(len(files))]
    for file, image in zip(files, images, strict=True):
        (plain / "tinyface" / file).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(plain / "tinyface" / file)
    paths = {"path": [f"/somewhere/aligned/{file}".replace(".png", ".jpg") for file in files]}
    keys = ("probe_paths", "gallery_paths", "distractor_paths")
    lists = {key: files[k * PEOPLE : (k + 1) * PEOPLE] for k, key in enumerate(keys)}
    lists["gallery_paths"] = np.array(lists["gallery_paths"])
    told = {"image_paths": files, **lists}
    torch.save(told, save_to_disk(kit / "tinyface_aligned_pad_0.1", images, paths) / "metadata.pt")

    encoded = [(plain / "tinyface" / file).read_bytes() for file in files[:12]]
    same = np.arange(6) % 2 == 0
    (plain / "lfw.bin").write_bytes(verification.packed(encoded, same))
    save_to_disk(kit / "lfw", images[:12], {"is_same": same.repeat(2).tolist()})
    return plain, kit


def test_the_kit_gives_the_numbers_of_the_other_layouts(roots: tuple[Path, Path], tmp_path: Path) -> None:
    torch.manual_seed(0)
    description = checkpoints.small(16, 3, (8,), (1,), 12)
    recognizer = OpenedRecognizer(checkpoints.make(description).eval(), description, "0")
    runtime, store = Runtime(out=tmp_path, device="cpu", quiet=True), Store(tmp_path / "store")
    for name in ("lfw", "ijbc", "tinyface"):
        sets = (open_set(name, root) for root in roots)
        setup = BenchmarkSetup([], [*PROTOCOLS.values()], 64, store, runtime)
        plain, kit = (evaluated(one, setup.protocols, partial(setup.embedded, recognizer, one), 20) for one in sets)
        np.testing.assert_equal([asdict(one) for one in kit], [asdict(one) for one in plain])
        assert plain[0].measures
    assert (
        len(list((tmp_path / "store" / "embed").iterdir())) == 4
    )  # IJB's pixels are aligned already, the file's differ


class Harmful:
    def __init__(self, *call: Any) -> None:
        self.call = call

    def __reduce__(self) -> Any:
        return self.call[0], self.call[1:]


def test_a_pickle_that_asks_for_more_is_refused_and_not_run(roots: tuple[Path, Path], tmp_path: Path) -> None:
    folder = save_to_disk(tmp_path / "set", [np.zeros((8, 8, 3), np.uint8)] * 2, {})
    for value, name in (
        (Harmful(os.mkdir, str(tmp_path / "ran")), "posix.mkdir"),
        (Harmful(np.load, "x"), "numpy.load"),
    ):
        torch.save({"templates": value}, folder / "metadata.pt")
        with pytest.raises(ValueError, match=rf"metadata.pt: its pickle asks for {name}, which is refused"):
            open_set(str(folder), tmp_path)
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda told: told.pop("p1"), "must hold faceness_scores, templates, medias, label, p1, p2"),
        (lambda told: told.update(p2=np.array([5, 4, 8])), "pairs name template 8, which no image belongs to"),
        (lambda told: told.update(label=np.array([0, 1])), "label has 2 values, must be 3|p1 has 3 values, must be 2"),
        (lambda told: told.update(label=np.array([0, 1, 2])), "a label 0 or 1"),
        (lambda told: told.update(medias=np.array([0.5, 1, 2, 3])), "medias holds something that is no whole number"),
        (lambda told: told.update(templates=["a"] * 4), "templates is no list of numbers"),
        (lambda told: told.update(faceness_scores=np.array([1, 1, 1, np.nan])), "a faceness score must be finite"),
    ],
)
def test_numbers_that_do_not_fit_are_named(change: Wrong, message: str, tmp_path: Path) -> None:
    folder = save_to_disk(tmp_path / "set", [np.zeros((8, 8, 3), np.uint8)] * 4, {})
    told: dict[str, Any] = {
        "faceness_scores": np.ones(4, np.float32),
        "templates": np.array([3, 3, 4, 5]),
        "medias": np.arange(4),
        "label": np.array([0, 1, 1]),
        "p1": np.array([3, 3, 4]),
        "p2": np.array([4, 5, 5]),
    }
    torch.save(told, folder / "metadata.pt")
    assert len(open_set(str(folder), tmp_path).images) == 4
    change(told)
    torch.save(told, folder / "metadata.pt")
    with pytest.raises(ValueError, match=message) as caught:
        open_set(str(folder), tmp_path)
    assert "\n" not in str(caught.value) and str(folder) in str(caught.value)


def test_rows_that_do_not_fit_are_named(tmp_path: Path) -> None:
    grey = [np.zeros((8, 8, 3), np.uint8)] * 4
    for k, (columns, message) in enumerate(
        (
            ({"is_same": [True, True, False, True]}, "has pair 1 both the same person and not"),
            ({}, "has 0 of 'is_same' for 4 images"),
            ({"index": [0, 1, 1, 2], "is_same": [True] * 4}, "is not each number from 0 once"),
        )
    ):
        with pytest.raises(ValueError, match=message):
            open_set(str(save_to_disk(tmp_path / str(k), grey, columns)), tmp_path)
    with pytest.raises(ValueError, match=r"neither ijbb nor ijbb_gt_aligned/ of save_to_disk in"):
        open_set("ijbb", tmp_path)
