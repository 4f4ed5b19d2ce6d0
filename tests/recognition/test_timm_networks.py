"""Networks of timm as recognizers: built by name without a download, trained, kept, and filled from a file."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import safetensors.torch
import torch
from torch import nn

from scoremix.config import ConfigError, Experiment, Recognizer, Runtime, load
from scoremix.execution import progress, refusals
from scoremix.execution.store import Store
from scoremix.recognition import checkpoints
from scoremix.recognition.timm_networks import TimmNetwork


@pytest.fixture
def timm() -> object:
    return pytest.importorskip("timm", exc_type=ImportError)


@pytest.mark.parametrize("name, size, channels", [("timm/resnet18", 16, 1), ("timm/vit_tiny_patch16_224", 32, 3)])
def test_any_side_and_colour_comes_back_from_its_checkpoint(
    name: str, size: int, channels: int, timm: object, tmp_path: Path
) -> None:
    torch.manual_seed(0)
    net = TimmNetwork(name, size, channels, 24).eval()
    description = checkpoints.of_timm(name, size, channels, 24)
    (tmp_path / "net.safetensors").write_bytes(checkpoints.to_bytes(net, nn.Identity(), description))
    x = torch.rand(2, channels, size, size) * 2 - 1
    again, found = checkpoints.load(tmp_path / "net.safetensors")
    assert found == description
    with torch.no_grad():
        y = net(x)
        assert y.shape == (2, 24)
        torch.testing.assert_close(again(x), y)


def test_a_file_of_weights_fills_all_but_the_last_layer(timm: object) -> None:
    torch.manual_seed(0)
    tensors = TimmNetwork("timm/resnet18", 32, 3, 1000).net.state_dict()
    grey = TimmNetwork("timm/resnet18", 32, 1, 24)
    grey.take_over(tensors)
    own = grey.net.state_dict()
    torch.testing.assert_close(own["conv1.weight"], tensors["conv1.weight"].sum(1, keepdim=True))
    assert all(torch.equal(own[name], t) for name, t in tensors.items() if name.split(".")[0] not in ("conv1", "fc"))
    assert own["fc.weight"].shape == (24, 512)
    for wrong, words in (
        ({"layer9.weight": torch.zeros(1)}, "also holds"),
        ({"bn1.weight": torch.zeros(2)}, "must be"),
    ):
        with pytest.raises(ValueError, match=words):
            grey.take_over({**tensors, **wrong})
    with pytest.raises(ValueError, match="lacks"):
        grey.take_over({name: t for name, t in tensors.items() if name != "bn1.weight"})


def test_a_run_trains_one_by_name_from_a_file(timm: object, tmp_path: Path, tiny_settings: list[str]) -> None:
    torch.manual_seed(0)
    file = tmp_path / "weights.safetensors"
    safetensors.torch.save_file(TimmNetwork("timm/resnet10t", 32, 3, 10).net.state_dict(), file)
    settings = [
        *tiny_settings,
        "recognizer.network=timm/resnet10t",
        f"recognizer.start={file}",
        "recognizer.lr=1e-9",
        "recognizer.epochs=1",
    ]
    runtime = Runtime(out=tmp_path, device="cpu", quiet=True, threads=1)
    folder = progress.execute(load(Experiment(), (), settings), runtime, Store(tmp_path / "store"), "baseline")
    net, description = checkpoints.load(folder / "recognizer.safetensors")
    assert (description.network, description.size, description.channels) == ("timm/resnet10t", 8, 1)
    given = safetensors.torch.load_file(file)["layer4.0.conv1.weight"]
    torch.testing.assert_close(net.net.state_dict()["layer4.0.conv1.weight"], given, rtol=0, atol=1e-5)


def test_unknown_names_are_refused_in_one_line(timm: object) -> None:
    with pytest.raises(ValueError, match="timm has none"):
        TimmNetwork("timm/resnet_eighteen", 32, 3, 24)
    with pytest.raises(ValueError, match="timm has none"):
        TimmNetwork("timm/hf_hub:somebody/net", 32, 3, 24)


def test_without_timm_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(ValueError, match=r"pip install 'scoremix\[timm\]'"):
        TimmNetwork("timm/resnet18", 32, 3, 24)


def test_a_network_is_a_known_name() -> None:
    assert Recognizer(network="timm/resnet18").network == "timm/resnet18"
    with pytest.raises(ValueError, match="or timm/NAME"):
        Recognizer(network="resnet18")


def test_a_run_without_timm_is_refused_before_images_are_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(refusals, "find_spec", lambda name: None)
    refusals.refuse_missing_library(Experiment())
    with pytest.raises(
        ConfigError, match=r"recognizer.network 'timm/resnet18': needs timm, pip install 'scoremix\[timm\]'"
    ):
        refusals.refuse_missing_library(load(Experiment(), (), ["recognizer.network=timm/resnet18"]))


def test_weights_of_another_network_are_refused_before_anything_is_made(
    timm: object, tmp_path: Path, tiny_settings: list[str]
) -> None:
    file = tmp_path / "weights.safetensors"
    safetensors.torch.save_file(TimmNetwork("timm/resnet18", 32, 3, 10).net.state_dict(), file)
    exp = load(Experiment(), (), [*tiny_settings, "recognizer.network=timm/resnet10t", f"recognizer.start={file}"])
    with pytest.raises(ValueError, match="not the weights of timm/resnet10t") as refused:
        progress.execute(
            exp, Runtime(out=tmp_path, device="cpu", quiet=True, threads=1), Store(tmp_path / "store"), "baseline"
        )
    assert "\n" not in str(refused.value) and not (tmp_path / "store" / "recognizer").exists()
    assert not list((tmp_path / "runs").glob("*.json"))
