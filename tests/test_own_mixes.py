"""The example that trains a recognizer on mixes of somebody else's generator."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch
from torch import Tensor

from scoremix.config import Experiment, Runtime, load
from scoremix.data.images import LabeledImages
from scoremix.diffusion.adapters import Adapted
from scoremix.execution import progress
from scoremix.execution.store import Store


@pytest.fixture
def example(monkeypatch: pytest.MonkeyPatch, script: Callable[[str], ModuleType]) -> ModuleType:
    module = script("examples/own_mixes.py")
    for name, value in (("PAIRS", 3), ("EACH", 2), ("STEPS", 3)):
        monkeypatch.setattr(module, name, value)
    return module


def ingested(out: Path, settings: list[str], until: str = "ingest") -> Path:
    runtime = Runtime(out=out, device="cpu", quiet=True)
    return progress.execute(load(Experiment(), (), settings), runtime, Store(out / "store"), until)


def test_mixes_become_training_classes_beside_the_real_split(
    example: ModuleType, tmp_path: Path, tiny_settings: list[str]
) -> None:
    """By a model that knows each class as one grey level: a mix of two lies between them."""
    real = LabeledImages.load(ingested(tmp_path / "one", tiny_settings))
    names = real.of_classes("train").class_names
    levels = torch.linspace(-0.9, 0.9, len(names))

    def predicted(x: Tensor, time: Tensor, labels: Tensor) -> Tensor:
        return levels[labels].reshape(-1, 1, 1, 1).expand_as(x)

    steps = torch.cumprod(1 - torch.linspace(1e-4, 0.02, 1000, dtype=torch.float64), 0)
    net = Adapted(predicted, steps, "sample", len(names), real.channels, real.size)
    both = example.main(net, real, tmp_path / "with_mixes")
    assert both.class_names[: len(real.class_names)] == real.class_names and len(both) > len(real)
    for part in ("validation", "test"):
        np.testing.assert_array_equal(both.splits[part], real.splits[part])
    for k in range(len(real.class_names), len(both.class_names)):
        sources = [names.index(name) for name in both.class_names[k].split(" + ")]
        grey = 127.5 * float(levels[sources].mean()) + 127.5
        assert k in both.splits["train"] and abs(both.of_class(k).astype(float) - grey).max() <= 1

    settings = [*tiny_settings, f"source={tmp_path / 'with_mixes'}", "recognizer.epochs=1"]
    baseline = ingested(tmp_path / "two", settings, "baseline")
    read = LabeledImages.load(next((tmp_path / "two" / "store" / "ingest").iterdir()))
    assert read.of_classes("test").class_names == real.of_classes("test").class_names
    assert len(np.load(baseline / "centers.npy")) == len(both.splits["train"])
    with pytest.raises(SystemExit, match=f"knows {len(names)} classes, the set has {len(both.splits['train'])}"):
        example.main(net, both, tmp_path / "other")


def test_with_a_model_of_diffusers(example: ModuleType, tmp_path: Path, tiny_settings: list[str]) -> None:
    diffusers = pytest.importorskip("diffusers", reason="the extra `diffusers` is not installed")
    real = LabeledImages.load(ingested(tmp_path / "one", tiny_settings))
    classes = len(real.of_classes("train").class_names)
    blocks = {"down_block_types": ("DownBlock2D",), "up_block_types": ("UpBlock2D",), "block_out_channels": (8,)}
    shape = {"sample_size": 8, "in_channels": 1, "out_channels": 1, "layers_per_block": 1, "norm_num_groups": 4}
    diffusers.UNet2DModel(**blocks, **shape, num_class_embeds=classes).save_pretrained(tmp_path / "model" / "unet")
    diffusers.DDPMScheduler().save_pretrained(tmp_path / "model" / "scheduler")
    both = example.main(example.model(str(tmp_path / "model")), real, tmp_path / "with_mixes")
    assert len(both.class_names) > len(real.class_names)
