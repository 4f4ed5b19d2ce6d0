"""Recognizers that training starts from: what is taken over, what decides keys, what is refused."""

from __future__ import annotations

import hashlib
import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from scoremix.config import Experiment, Recognizer, Runtime, load
from scoremix.data.images import LabeledImages
from scoremix.execution import progress, records, runner
from scoremix.execution.store import Store
from scoremix.recognition import checkpoints
from scoremix.recognition.iresnet import IRNet
from scoremix.recognition.training import class_centers, embed
from scoremix.report.sections import verdict
from scoremix.stages.train import resume, started
from support import fake_report

FILE = "recognizer.safetensors"


def baseline(out: Path, settings: list[str]) -> Path:
    runtime = Runtime(out=out, device="cpu", quiet=True, checkpoint_seconds=0.0, threads=1)
    return progress.execute(load(Experiment(), (), settings), runtime, Store(out / "store"), "baseline")


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory, tiny_settings: list[str]) -> Path:
    """A recognizer of the tiny images, of other widths than their settings say."""
    folder = tmp_path_factory.mktemp("trained")
    return baseline(folder, [*tiny_settings, "recognizer.units=[1, 2]", "recognizer.embedding=24"]) / FILE


def test_training_begins_at_the_file_and_says_so(trained: Path, tmp_path: Path, tiny_settings: list[str]) -> None:
    folder = baseline(tmp_path, [*tiny_settings, f"recognizer.start={trained}", "recognizer.lr=1e-9"])
    before, _ = checkpoints.load(trained)
    after, description = checkpoints.load(folder / FILE)
    for name, tensor in before.state_dict().items():
        if tensor.is_floating_point() and "running" not in name:
            torch.testing.assert_close(after.state_dict()[name], tensor, rtol=0, atol=1e-5)
    train = LabeledImages.load(next((tmp_path / "store" / "ingest").iterdir())).of_classes("train")
    pixels, labels = train.take(np.arange(len(train)))
    unit = embed(before, torch.from_numpy(pixels).permute(0, 3, 1, 2))
    means = class_centers(unit, torch.from_numpy(labels), len(train.class_names))
    np.testing.assert_allclose(np.load(folder / "centers.npy"), means, atol=1e-4)
    digest = hashlib.sha256(trained.read_bytes()).hexdigest()
    assert json.loads((folder / "recognizer.json").read_text())["started"] == digest
    assert digest in description.provenance and (description.units, description.embedding) == ((1, 2), 24)


def test_keys_follow_the_file_s_content_for_every_arm(trained: Path, tmp_path: Path, tiny_settings: list[str]) -> None:
    def keys(file: Path) -> dict[str, str]:
        exp = load(Experiment(), (), [*tiny_settings, f"recognizer.start={file}"])
        plans = runner.plan_all(exp, records.source_of(exp), Store(tmp_path / "store"))
        return {plan.label: plan.key for plan in plans if plan.stage == "recognizer"}

    copied = tmp_path / "elsewhere.safetensors"
    shutil.copy(trained, copied)
    assert keys(copied) == keys(trained) and len(set(keys(copied).values())) > 2
    net, description = checkpoints.load(trained)
    tensors = {f"net.{n}": t + 1 for n, t in net.state_dict().items()}
    copied.write_bytes(checkpoints.to_bytes(_shifted(net, tensors), torch.nn.Identity(), description))
    assert not set(keys(copied).values()) & set(keys(trained).values())


def _shifted(net: torch.nn.Module, tensors: dict[str, torch.Tensor]) -> torch.nn.Module:
    net.load_state_dict({name.removeprefix("net."): tensor for name, tensor in tensors.items()})
    return net


def test_a_training_that_was_killed_ends_in_the_same_bytes(
    trained: Path, tmp_path: Path, tiny_settings: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = [*tiny_settings, f"recognizer.start={trained}", "recognizer.lr=0.01"]
    whole = (baseline(tmp_path / "whole", settings) / FILE).read_bytes()
    save, calls = resume.TrainingCheckpoint.save, [0]

    def dying(checkpoint: resume.TrainingCheckpoint) -> None:
        save(checkpoint)
        calls[0] += 1
        if calls[0] == 3:
            raise KeyboardInterrupt

    monkeypatch.setattr(resume.TrainingCheckpoint, "save", dying)
    with pytest.raises(KeyboardInterrupt):
        baseline(tmp_path / "killed", settings)
    assert (baseline(tmp_path / "killed", settings) / FILE).read_bytes() == whole


def test_networks_for_bgr_take_rgb(tmp_path: Path) -> None:
    torch.manual_seed(0)
    net = IRNet(8, 3, (4, 8), (1, 1), 16).eval()
    description = replace(checkpoints.small(8, 3, (4, 8), (1, 1), 16), colour="bgr")
    (tmp_path / "bgr.safetensors").write_bytes(checkpoints.to_bytes(net, torch.nn.Identity(), description))
    config = Recognizer(start=str(tmp_path / "bgr.safetensors"))
    turned, _ = started.opened(started.file_of(config), config)
    pixels = torch.randint(0, 256, (3, 8, 8, 3), dtype=torch.uint8)
    rgb = checkpoints.small(8, 3, (4, 8), (1, 1), 16)
    with torch.no_grad():
        expected = net(checkpoints.network_input(pixels, description))
        torch.testing.assert_close(turned.eval()(checkpoints.network_input(pixels, rgb)), expected)


def test_what_cannot_be_started_from_is_refused_in_one_line(
    trained: Path, tmp_path: Path, tiny_settings: list[str]
) -> None:
    (tmp_path / "text.pt").write_text("no network")
    cases = {
        "no such file": [f"recognizer.start={tmp_path / 'none.pt'}"],
        "text.pt": [f"recognizer.start={tmp_path / 'text.pt'}"],
        "images of 8 px": [f"recognizer.start={trained}", "data.size=16"],
        "leave the network out": [
            f"recognizer.start={trained}",
            "recognizer.network=iresnet18",
            "data.size=112",
            "data.channels=3",
        ],
        "leave the depth out": [f"recognizer.start={trained}", "recognizer.depth=2"],
        "goes with start": ["recognizer.start_colour=bgr"],
    }
    for number, (words, settings) in enumerate(cases.items()):
        with pytest.raises(ValueError, match=words) as refused:
            baseline(tmp_path / str(number), [*tiny_settings, *settings])
        assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("settings", "these", "read"),
    [
        (["data.size=16"], "these have 16 px", False),
        (["data.size=16", "data.channels=1"], "these have 16 px and 1", False),
        (["data.channels=3"], "these have 8 px and 3", False),
        (["source=glyphs", "data.classes=12", "data.images_per_class=4"], "these have 8 px and 1", True),
    ],
)
@pytest.mark.parametrize("of", ["all", "an arm", "the analysis"])
def test_a_network_of_other_images_is_refused_before_anything_is_made(
    of: str,
    settings: list[str],
    these: str,
    read: bool,
    rgb: Path,
    trained: Path,
    tmp_path: Path,
    tiny_settings: list[str],
) -> None:
    file = rgb if read else trained
    wanted = "data.size=8 and data.channels=" + ("3" if read else "1")
    begun = {
        "all": [f"recognizer.start={file}"],
        "an arm": [f"arms={{mine: {{recognizer: {{start: {file}}}}}, real: {{images: real}}}}", *JUDGED],
        "the analysis": [f"analysis.recognizers={{other: {{start: {file}}}}}"],
    }
    with pytest.raises(ValueError, match=rf"^recognizer.start: takes images of 8 px .*, {these}: set {wanted}$"):
        baseline(tmp_path, [*tiny_settings, *settings, *begun[of]])
    assert not list((tmp_path / "runs").glob("*.json")) and not (tmp_path / "store" / "recognizer").exists()
    assert (tmp_path / "store" / "ingest").exists() == read


JUDGED = ["evaluation.treatment=mine", "evaluation.controls=[real]"]


@pytest.fixture(scope="module")
def rgb(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A recognizer of colour images of 8 px."""
    file = tmp_path_factory.mktemp("rgb") / FILE
    net, description = IRNet(8, 3, (8, 16), (1, 1), 16), checkpoints.small(8, 3, (8, 16), (1, 1), 16)
    file.write_bytes(checkpoints.to_bytes(net, torch.nn.Identity(), description))
    return file


def test_the_report_promises_no_unseen_classes() -> None:
    evaluation = fake_report.build().results.evaluation
    assert not any("unknown" in line for line in verdict.caveats(evaluation))
    assert any("unknown" in line for line in verdict.caveats(replace(evaluation, started="a" * 64)))
