"""What holds on a GPU as on a CPU, at tiny shapes: `pytest -m gpu tests` runs the GPU's half, which `make gpu` does too."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from scoremix.config import Generator, Recognizer, Sampling
from scoremix.data.images import LabeledImages
from scoremix.diffusion.unet import frozen
from scoremix.execution import processes as engine
from scoremix.stages.mix.plan import sample
from scoremix.stages.train import generator, recognizer

DEVICES = [pytest.param("cuda", marks=pytest.mark.gpu), "cpu"]
SMALL = Generator(model_channels=16, batch=8, images_seen=64, attention=True, precision="float32")


@pytest.fixture(params=DEVICES)
def device(request: pytest.FixtureRequest) -> engine.Engine:
    if request.param == "cuda" and not torch.cuda.is_available():
        pytest.skip("no GPU here")
    return engine.start(request.param)


def images(classes: int = 4, side: int = 8) -> LabeledImages:
    stored = np.random.default_rng(0).integers(0, 256, (4 * classes, side, side, 3), dtype=np.uint8)
    return LabeledImages.of(stored, np.repeat(np.arange(classes), 4), [str(k) for k in range(classes)])


def trained(config: Generator, device: engine.Engine, total: int = 24, **options: Any) -> dict[str, torch.Tensor]:
    states = list(generator.steps(config, images(), device, total, **options))
    return {name: value.cpu() for name, value in states[-1].net.state_dict().items()}


def apart(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> float:
    """The difference of two states over what the first one is long; Adam turns rounding of small gradients into steps."""
    difference = sum(float((a[name].double() - b[name].double()).square().sum()) for name in a)
    return float((difference / sum(float(value.double().square().sum()) for value in a.values())) ** 0.5)


def test_the_generator_trains_to_the_same_bytes_again(device: engine.Engine):
    assert apart(trained(SMALL, device), trained(SMALL, device)) == 0


@pytest.mark.parametrize("change", [{"microbatch": 3}, {"checkpointing": True}])
def test_less_memory_changes_rounding_alone(device: engine.Engine, change: dict[str, Any]):
    config = SMALL.model_copy(update={k: v for k, v in change.items() if k == "checkpointing"})
    given = {k: v for k, v in change.items() if k == "microbatch"}
    assert apart(trained(SMALL, device, 8), trained(config, device, 8, **given)) < 1e-3


@pytest.mark.slow  # compiles for a minute
def test_training_through_torch_compile_changes_rounding_alone(device: engine.Engine):
    assert apart(trained(SMALL, device, 8), trained(SMALL, device, 8, compiled=True)) < 1e-3


def test_images_of_a_device_are_those_of_the_cpu_but_for_rounding(device: engine.Engine):
    net = frozen(generator.make(SMALL, images()))
    plan = Sampling(steps=4, precision="float32")
    labels = torch.tensor([[0, 1], [2, 3]])
    here = sample(net, net, labels, (0.5, 0.5), [1, 2], plan).images
    there = frozen(generator.make(SMALL, images()).to(device.device))
    made = sample(there, there, labels.to(device.device), (0.5, 0.5), [1, 2], plan).images
    torch.testing.assert_close(made.cpu(), here, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_the_recognizer_learns_on_the_device(device: engine.Engine, precision: Any):
    config = Recognizer(widths=(8, 16), units=(1, 1), embedding=16, batch=16, epochs=15, augment="none", lr=0.05)
    config = config.model_copy(update={"precision": precision})
    losses: list[float] = []
    for state in recognizer.steps(config, images(), device, 16 * 30):
        losses += [loss for loss, _ in state.take_reports()]
    assert np.mean(losses[-5:]) < 0.7 * np.mean(losses[:5])
