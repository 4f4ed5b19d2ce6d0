"""Checkpoints of the published families: strict, inert, and one line for anything else."""

from __future__ import annotations

import argparse
import json
import os
import sys
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import torch
from torch import Tensor

from scoremix.recognition import checkpoints, published
from scoremix.recognition.heads import ArcFace
from scoremix.recognition.iresnet import build

State = dict[str, Tensor]


@pytest.fixture(scope="module")
def ir18() -> State:
    torch.manual_seed(0)
    return build("adaface_ir18").state_dict()


@pytest.fixture(scope="module")
def arc18() -> State:
    return build("iresnet18").state_dict()


def under(prefix: str, state: State) -> State:
    return {prefix + name: tensor for name, tensor in state.items()}


def saved(value: Any, path: Path) -> Path:
    torch.save(value, path)
    return path


def test_arcface_torch_gives_the_golden_embedding(
    golden: Callable[[str], Path], golden_state: Callable[[str], tuple[Any, State]], tmp_path: Path
) -> None:
    _, state = golden_state("iresnet18_state.json")
    net, description = published.load(saved(state, tmp_path / "backbone.pth"))
    with np.load(golden("iresnet18_embed.npz")) as expected, torch.no_grad():
        pixels = torch.from_numpy(expected["images_u8"]).permute(0, 2, 3, 1)
        found = net(checkpoints.network_input(pixels, description)).numpy()
        np.testing.assert_allclose(found, expected["embedding"], atol=1e-4 * max(1, expected["embedding"].std()))
    assert (description.network, description.colour) == ("iresnet18", "rgb")
    assert "arcface_torch" in description.provenance


def test_arcface_training_state_is_read(arc18: State, tmp_path: Path) -> None:
    training = {"epoch": 3, "state_dict_backbone": under("module.", arc18), "state_optimizer": {"lr": 0.1}}
    assert published.load(saved(training, tmp_path / "checkpoint_gpu_0.pt"))[1].network == "iresnet18"


def test_lightning_leftovers_are_inert(ir18: State, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An AdaFace .ckpt holds Lightning's classes; they are neither imported nor run."""
    module = types.ModuleType("pytorch_lightning")

    class AttributeDict(dict):  # type: ignore[type-arg]
        pass

    class ModelCheckpoint:
        def __setstate__(self, state: Any) -> None:
            raise AssertionError("executed")

    for kind in (AttributeDict, ModelCheckpoint):
        kind.__module__, kind.__qualname__ = "pytorch_lightning", kind.__name__
        setattr(module, kind.__name__, kind)
    monkeypatch.setitem(sys.modules, "pytorch_lightning", module)
    callback = ModelCheckpoint()
    callback.best = 1
    content = {
        "state_dict": under("model.", ir18) | {"head.kernel": torch.ones(512, 3), "head.t": torch.zeros(1)},
        "hyper_parameters": AttributeDict(lr=0.1),
        "callbacks": {ModelCheckpoint: callback},
        "args": argparse.Namespace(batch=512),
    }
    path = saved(content, tmp_path / "adaface_ir18.ckpt")
    monkeypatch.delitem(sys.modules, "pytorch_lightning")
    net, description = published.load(path)
    assert (description.network, description.colour) == ("adaface_ir18", "bgr")
    for name, tensor in net.state_dict().items():
        assert torch.equal(tensor, ir18[name])


def test_cvlface_asks_its_settings_for_the_colours(ir18: State, tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    safetensors.torch.save_file(under("model.net.", ir18), path)
    with pytest.raises(ValueError, match="does not say its colours"):
        published.load(path)
    assert published.load(path, "rgb")[1].colour == "rgb"
    (tmp_path / "config.json").write_text(json.dumps({"conf": {"color_space": "BGR"}}))
    assert published.load(path)[1].colour == "bgr"
    with pytest.raises(ValueError, match="expects bgr images, rgb was asked for"):
        published.load(path, "rgb")
    assert published.load(saved(under("net.", ir18), tmp_path / "model.pt"))[1].network == "adaface_ir18"


def test_ours_are_read_too(tmp_path: Path) -> None:
    description = checkpoints.small(16, 3, (8,), (1,), 4)
    net = checkpoints.make(description)
    (tmp_path / "r.safetensors").write_bytes(checkpoints.to_bytes(net, ArcFace(4, 3), description))
    assert published.load(tmp_path / "r.safetensors")[1] == description


class Runs:
    def __reduce__(self) -> Any:
        return os.system, ("touch executed",)


def test_foreign_names_in_pickles_are_refused_by_name(
    ir18: State, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for old in (True, False):
        torch.save({"a": Runs()}, "evil.pt", _use_new_zipfile_serialization=not old)
        with pytest.raises(ValueError, match=r"evil.pt: .*(posix|system)") as caught:
            published.load(Path("evil.pt"))
        assert "\n" not in str(caught.value)
    assert not Path("executed").exists()


def test_strict_about_every_tensor(ir18: State, tmp_path: Path) -> None:
    path = tmp_path / "x.pt"
    lacking = {n: t for n, t in ir18.items() if n != "output_layer.3.bias"}
    for state, said in (
        (lacking, "lacks 'output_layer.3.bias'"),
        (ir18 | {"input_layer.3.weight": torch.ones(1)}, "also holds 'input_layer.3.weight'"),
        (ir18 | {"output_layer.3.bias": torch.ones(7)}, r"output_layer.3.bias is \(7,\), must be \(512,\)"),
        (under("model.", ir18) | {"teacher.weight": torch.ones(1)}, "also holds 'teacher.weight'"),
    ):
        with pytest.raises(ValueError, match=said):
            published.load(saved(state, path))


@pytest.mark.parametrize(
    ("names", "looks"),
    [
        (["features.module.conv1.weight"], "MagFace"),
        (["input_layer.0.weight", "body.0.res_layer.4.weight"], "face.evoLVe"),
        (["patch_embed.proj.weight", "blocks.0.attn.qkv.weight"], "vision transformer"),
        (["conv1.weight", "layer1.0.conv1.weight", "fc.weight"], "torchvision"),
        (["weight"], "classification head"),
        (["conv1.weight", "prelu.weight", "layer1.0.conv1.weight"], "1"),
        (["nobody.knows"], "none of the families .*nobody.knows"),
    ],
)
def test_other_families_are_named(names: list[str], looks: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=looks) as caught:
        published.load(saved({name: torch.ones(1) for name in names}, tmp_path / "x.pt"))
    assert "\n" not in str(caught.value)


def test_damaged_and_absent_files(tmp_path: Path) -> None:
    for name, content in (("a.pt", b""), ("b.pt", b"not a checkpoint"), ("c.safetensors", b"\0" * 20), ("d.onnx", b"")):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(ValueError, match=name) as caught:
            published.load(tmp_path / name)
        assert "\n" not in str(caught.value)
    with pytest.raises(ValueError, match="no such checkpoint"):
        published.load(tmp_path / "none.pt")
    with pytest.raises(ValueError, match="holds no network"):
        published.load(saved([1, 2], tmp_path / "list.pt"))


def test_weights_that_are_not_finite_are_refused(arc18: State, tmp_path: Path) -> None:
    damaged = {name: tensor.clone() for name, tensor in arc18.items()}
    damaged["prelu.weight"][:2] = torch.nan
    with pytest.raises(ValueError, match=r"backbone.pth: 2 weights are not finite, the first in prelu.weight"):
        published.load(saved(damaged, tmp_path / "backbone.pth"))
