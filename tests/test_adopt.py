"""A model of diffusers in the place of a generator: found by names, mixed as ours, refused in one line where it does not fit."""

from __future__ import annotations

import importlib.util
import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from scoremix.config import ConfigError, Experiment, Runtime, load
from scoremix.data.images import LabeledImages
from scoremix.diffusion import foreign
from scoremix.diffusion.adapters import Adapted
from scoremix.execution import progress, records, runner
from scoremix.execution.store import Store
from scoremix.report.sections import verdict
from scoremix.stages.train import adopt
from support import fake_report
from support.diffusers_models import autoencoder, diffusers, dit, unet

NAMES = ["something else", *(f"blob {k:02d}" for k in reversed(range(24)))]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Settings and empty weights of a model, without diffusers."""
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: SimpleNamespace())
    config = {"num_class_embeds": 25, "sample_size": 8, "in_channels": 1}
    write(tmp_path / "m", unet=config, scheduler={"beta_start": 1e-4, "prediction_type": "epsilon"})
    (tmp_path / "m" / "unet" / "model.safetensors").write_bytes(b"")
    (tmp_path / "m" / foreign.NAMES).write_text("\n".join(NAMES) + "\n")
    return tmp_path / "m"


def write(folder: Path, **parts: dict[str, Any]) -> None:
    for part, config in parts.items():
        (folder / part).mkdir(parents=True, exist_ok=True)
        name = "scheduler_config.json" if part == "scheduler" else "config.json"
        (folder / part / name).write_text(json.dumps(config))


def images(names: list[str], side: int = 8) -> LabeledImages:
    return LabeledImages.of(np.zeros((len(names), side, side, 1), np.uint8), np.arange(len(names)), names)


def test_settings_say_what_a_model_makes(folder: Path) -> None:
    found = foreign.described(folder)
    assert (found.kind, found.size, found.channels, found.classes) == ("unet", 8, 1, tuple(NAMES))
    assert adopt.labels_of(found, folder, images(["blob 03", "blob 20"])) == [21, 4]
    key = adopt.folder_of(SimpleNamespace(diffusers=folder)).key  # type: ignore[arg-type]
    write(folder, vae={"block_out_channels": [4, 8, 8], "out_channels": 3})
    (folder / "vae" / "model.safetensors").write_bytes(b"")
    found = foreign.described(folder)
    assert (found.size, found.channels) == (32, 3) and "vae/model.safetensors" in found.files
    assert adopt.folder_of(SimpleNamespace(diffusers=folder)).key != key  # type: ignore[arg-type]


def test_what_does_not_fit_is_refused_in_one_line(folder: Path) -> None:
    found = foreign.described(folder)
    with pytest.raises(ValueError, match=r"does not know 1 of the 2 training classes \('x'\)"):
        adopt.labels_of(found, folder, images(["x", "blob 01"]))
    with pytest.raises(ValueError, match=r"these have 16 px and 1: set data.size=8 and data.channels=1"):
        adopt.labels_of(found, folder, images(["blob 01"], 16))
    (folder / foreign.NAMES).write_text("one\ntwo\n")
    with pytest.raises(ValueError, match=r"2 class names for 25 labels; write classes.txt"):
        foreign.described(folder)
    write(folder, scheduler={"_class_name": "FlowMatchEulerDiscreteScheduler"})
    with pytest.raises(ValueError, match="FlowMatchEulerDiscreteScheduler has no betas"):
        foreign.described(folder)
    (folder / "unet" / "model.safetensors").unlink()
    write(folder, scheduler={"beta_start": 1e-4})
    with pytest.raises(ValueError, match=r"no unet/.*safetensors; other weights are not read"):
        foreign.described(folder)
    with pytest.raises(ValueError, match=r"no unet/config.json or transformer/config.json"):
        foreign.described(folder.parent)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ([], "there is no weaker network to guide it; set sampling.guidance=1"),
        (["sampling.guidance=1", "sampling.mixture=conditions"], "its conditions are inside it and cannot be mixed"),
        (["sampling.guidance=1", "selection.space=condition"], "selection.space must be 'embedding'"),
    ],
)
def test_what_such_a_model_cannot_do_is_said_at_once(settings: list[str], words: str) -> None:
    with pytest.raises(ConfigError, match=words) as refused:
        load(Experiment(), (), ["source=glyphs", "generator.diffusers=/m", *settings])
    assert "\n" not in str(refused.value)


def test_classes_are_the_model_s_own_labels() -> None:
    seen: list[list[int]] = []

    def model(x: torch.Tensor, t: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        seen.append(labels.tolist())
        return torch.zeros_like(x)

    alphas = torch.linspace(0.99, 0.01, 10, dtype=torch.float64)
    net = foreign.relabelled(Adapted(model, alphas, "epsilon", 5, 1, 2, null_label=5), [4, 1])
    x = torch.zeros(2, 1, 2, 2)
    net(x, 1.0, torch.tensor([0, 1]))
    net.without_classes()(x, 1.0)
    assert seen == [[4, 1], [5, 5]] and net.label_dim == 2
    with pytest.raises(ValueError, match="label 7: the model has the labels 0 to 4"):
        foreign.relabelled(Adapted(model, alphas, "epsilon", 5, 1, 2), [7])


def test_the_report_says_what_it_knows_of_the_generator() -> None:
    evaluation = fake_report.build().results.evaluation
    lines = [" ".join(verdict.caveats(replace(evaluation, generator=kind))) for kind in ("trained", "adopted", "none")]
    assert "trained once" in lines[0] and "trained elsewhere" in lines[1] and "generator" not in lines[2].lower()


# ---- diffusers itself ----


def models(folder: Path, kind: str, prediction: str) -> Path:
    """A tiny random model that knows the tiny images' classes."""
    if kind == "unet":
        unet(num_class_embeds=25).save_pretrained(folder / "unet")
    else:
        dit(channels=4, sample_size=4, num_embeds_ada_norm=25).save_pretrained(folder / "transformer")
        autoencoder().save_pretrained(folder / "vae")
    diffusers().DDPMScheduler(prediction_type=prediction).save_pretrained(folder / "scheduler")
    (folder / foreign.NAMES).write_text("\n".join(NAMES))
    return folder


@pytest.mark.parametrize(("kind", "prediction"), [("unet", "epsilon"), ("unet", "sample"), ("dit", "v_prediction")])
def test_a_run_mixes_with_a_model_of_diffusers(
    tmp_path: Path, tiny_settings: list[str], kind: str, prediction: str
) -> None:
    folder = models(tmp_path / "m", kind, prediction)
    guide = ["sampling.guidance=1"] if kind == "unet" else ["sampling.guidance=1.5", "sampling.guide=unconditional"]
    exp = load(Experiment(), (), [*tiny_settings, f"generator.diffusers={folder}", *guide])
    out = tmp_path / "runs"
    runtime = Runtime(out=out, device="cpu", quiet=True)
    made = progress.execute(exp, runtime, Store(out / "store"), "sample")
    generator = records.step_folder(out, "tiny", "generator")
    told = json.loads((generator / "generator.json").read_text())
    assert [NAMES[label] for label in told["labels"]] == told["classes"] and len(told["classes"]) == 14
    pixels = np.load(made / "images.npy")
    assert pixels.shape == (15, 8, 8, 1) and pixels.std() > 0
    from scoremix.execution.trained import load_generator

    loaded = load_generator("tiny", out=out, device="cpu")
    mplets, seeds = np.load(made / "mplets.npy"), np.load(made / "seeds.npy")
    again = loaded.networks.weighed(np.repeat(mplets, 3, 0)[:8], (0.5, 0.5), seeds[:8].tolist())[0]
    np.testing.assert_array_equal(again, pixels[:8])
    with pytest.raises(ValueError, match="save_pretrained: this generator is a model of diffusers"):
        loaded.save_pretrained(tmp_path / "hub")
    moved = folder.rename(tmp_path / "moved")  # a key is of content, not of places
    there = load(Experiment(), (), [*tiny_settings, f"generator.diffusers={moved}", *guide])
    plans = {s.label: s for s in runner.plan_all(there, records.source_of(there), Store(out / "store"))}
    assert Store(out / "store").artifact(plans["sample"]).done


@pytest.mark.parametrize(
    ("schedule", "settings", "words"),
    [
        (
            {"beta_end": 0.002},
            ["sampling.guidance=1"],
            r"sampling.sigma_max 80: the model of .* was trained up to 1\.\d+",
        ),
        ({}, ["sampling.guidance=2", "sampling.guide=unconditional"], "sampling.guidance 2: .* only 1 is allowed"),
    ],
)
def test_what_the_model_does_not_know_is_refused_before_training(
    tmp_path: Path, tiny_settings: list[str], schedule: dict[str, float], settings: list[str], words: str
) -> None:
    folder = models(tmp_path / "m", "unet", "epsilon")
    diffusers().DDPMScheduler(**schedule).save_pretrained(folder / "scheduler")
    exp = load(Experiment(), (), [*tiny_settings, f"generator.diffusers={folder}", *settings])
    with pytest.raises(ConfigError, match=words):
        progress.execute(exp, Runtime(out=tmp_path, device="cpu", quiet=True), Store(tmp_path / "store"))
    assert not (tmp_path / "store" / "recognizer").exists()


@pytest.mark.slow
def test_a_whole_run_with_a_model_of_diffusers_says_that_it_was_trained_elsewhere(
    tmp_path: Path, tiny_settings: list[str]
) -> None:
    folder = models(tmp_path / "m", "unet", "epsilon")
    exp = load(Experiment(), (), [*tiny_settings, f"generator.diffusers={folder}", "sampling.guidance=1"])
    shown = progress.execute(exp, Runtime(out=tmp_path, device="cpu", quiet=True), Store(tmp_path / "store"))
    page = (shown / "report.html").read_text()
    assert "trained elsewhere" in page and ">left out: " not in page
