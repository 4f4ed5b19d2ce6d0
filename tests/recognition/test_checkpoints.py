"""Checkpoints say what they need, and are used as they say."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from scoremix.config import ConfigError, Experiment, Recognizer, load
from scoremix.recognition import checkpoints, published
from scoremix.recognition.heads import ArcFace
from scoremix.recognition.training import embed, learning_rate
from scoremix.stages.train.recognizer import describe


def test_a_checkpoint_gives_back_network_and_description(tmp_path: Path) -> None:
    grey = checkpoints.small(16, 1, (8, 16), (1, 1), 12)
    net = checkpoints.make(grey).eval()
    (tmp_path / "c.safetensors").write_bytes(checkpoints.to_bytes(net, ArcFace(12, 5), grey))
    again, description = checkpoints.load(tmp_path / "c.safetensors")
    x = torch.randn(3, 1, 16, 16)
    assert description == grey and description.colour == "grey"
    assert torch.equal(again(x), net(x))


def test_input_follows_colour_and_scaling() -> None:
    pixels = torch.randint(0, 256, (2, 112, 112, 3), dtype=torch.uint8)
    rgb = checkpoints.network_input(pixels, checkpoints.published("iresnet18"))
    bgr = checkpoints.network_input(pixels, checkpoints.published("adaface_ir18", "bgr"))
    assert torch.equal(rgb[:, 0], pixels[..., 0] / 127.5 - 1)
    assert torch.equal(bgr, rgb.flip(1))
    with pytest.raises(ValueError, match=r"images are \(32, 32, 3\), the recognizer takes \(112, 112, 3\)"):
        checkpoints.network_input(pixels[:, :32, :32], checkpoints.published("iresnet18"))


def test_wrong_descriptions_are_refused() -> None:
    with pytest.raises(ValueError, match=r"colour 'yuv': allowed are rgb, bgr, grey"):
        checkpoints.published("iresnet18", "yuv")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="does not fit 3 channels"):
        checkpoints.published("iresnet18", "grey")


def test_published_networks_need_face_sized_images() -> None:
    with pytest.raises(ConfigError, match=r"recognizer.network 'iresnet50' takes 112 px RGB .* data.size to 112"):
        load(Experiment(), (), ["recognizer.network=iresnet50"])
    load(Experiment(), (), ["recognizer.network=iresnet50", "data.size=112", "data.channels=3"])
    with pytest.raises(ConfigError, match="steps needs milestones"):
        load(Experiment(), (), ["recognizer.schedule=steps"])


def test_step_schedule_is_adafaces() -> None:
    rates = [learning_rate(step, 26, 0.1, milestones=(12, 20, 24)) for step in range(26)]
    expected = [0.1] * 12 + [0.01] * 8 + [0.001] * 4 + [0.0001] * 2
    assert rates == pytest.approx(expected)


def test_depth_two_of_a_published_network_is_the_next_one() -> None:
    for name, deeper in (("iresnet50", "iresnet100"), ("adaface_ir50", "adaface_ir101")):
        assert describe(Recognizer(network=name, depth=2), 112, 3).network == deeper
    with pytest.raises(ValueError, match="no published network is that much deeper than iresnet18"):
        describe(Recognizer(network="iresnet18", depth=2), 112, 3)
    with pytest.raises(ValueError, match="takes 112 px RGB images, these are 32 px with 1 channels"):
        describe(Recognizer(network="iresnet18"), 32, 1)


def test_weights_that_are_not_finite_are_refused_with_their_count(tmp_path: Path) -> None:
    grey = checkpoints.small(16, 1, (8, 16), (1, 1), 12)
    net = checkpoints.make(grey)
    name, tensor = next((n, t) for n, t in net.state_dict().items() if t.numel() > 3)
    tensor.view(-1)[:3] = torch.tensor([torch.nan, torch.inf, -torch.inf])
    path = tmp_path / "c.safetensors"
    path.write_bytes(checkpoints.to_bytes(net, ArcFace(12, 5), grey))
    for read in (checkpoints.load, checkpoints.head_centers, checkpoints.head_tensors, published.load):
        with pytest.raises(ValueError, match=rf"^{path}: 3 weights are not finite, the first in net.{name}$"):
            read(path)


def test_embeddings_that_are_not_finite_are_refused_with_their_count() -> None:
    net = checkpoints.make(checkpoints.small(16, 1, (8, 16), (1, 1), 12))
    images = torch.zeros(5, 1, 16, 16)
    images[3] = torch.nan
    with pytest.raises(ValueError, match="embeddings: 1 of 5 are not finite"):
        embed(net, images, batch=2)
