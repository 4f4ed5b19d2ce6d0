"""ONNX export: onnxruntime computes what torch computes, at any batch size, and the file says what goes in."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from scoremix.commands.export import export_onnx
from scoremix.recognition import checkpoints, onnxfile
from scoremix.recognition.heads import ArcFace
from scoremix.recognition.training import initialised

onnx = pytest.importorskip("onnx", reason="the extra 'onnx' is not installed")
onnxruntime = pytest.importorskip("onnxruntime", reason="the extra 'onnx' is not installed")
pytest.importorskip("onnxscript", reason="the extra 'onnx' is not installed")


def saved(path: Path, description: checkpoints.Description) -> torch.nn.Module:
    """A recognizer of random parameters and running statistics, also written to `path`."""
    net = initialised(lambda: checkpoints.make(description), 0)
    generator = torch.Generator().manual_seed(1)
    for name, tensor in net.state_dict().items():
        if "running_mean" in name:
            tensor.copy_(0.1 * torch.randn(tensor.shape, generator=generator))
        elif "running_var" in name:
            tensor.copy_(0.5 + torch.rand(tensor.shape, generator=generator))
    path.write_bytes(checkpoints.to_bytes(net, ArcFace(description.embedding, 3), description))
    return net.eval()


@pytest.mark.parametrize("channels", [1, 3])
def test_onnxruntime_agrees_at_every_batch_size_and_the_file_says_what_goes_in_and_nothing_of_the_machine(
    channels: int, tmp_path: Path
) -> None:
    description = checkpoints.small(15, channels, (4, 8), (1, 2), 16)
    net = saved(tmp_path / "r.safetensors", description)
    export_onnx(tmp_path / "r.safetensors", tmp_path / "r.onnx")
    onnx.checker.check_model(str(tmp_path / "r.onnx"), full_check=True)
    session = onnxruntime.InferenceSession(tmp_path / "r.onnx", providers=["CPUExecutionProvider"])
    for batch in (1, 2, 7, 64):
        x = np.random.default_rng(batch).uniform(-1, 1, (batch, channels, 15, 15)).astype(np.float32)
        (found,) = session.run(None, {"images": x})
        with torch.no_grad():
            expected = torch.nn.functional.normalize(net(torch.from_numpy(x)))
        assert found.shape == (batch, 16)
        np.testing.assert_allclose(found, expected, atol=1e-5)
    facts = {entry.key: entry.value for entry in onnx.load(tmp_path / "r.onnx").metadata_props}
    assert f"(batch, {channels}, 15, 15), {'grey' if channels == 1 else 'rgb'}" in facts["input"]
    assert "x / 127.5 - 1" in facts["input"]
    assert json.loads(facts["description"])["size"] == 15 and len(facts["checkpoint_sha256"]) == 64
    assert b".py" not in (tmp_path / "r.onnx").read_bytes()


@pytest.mark.slow
def test_a_published_checkpoint_is_exported_with_its_own_colours(tmp_path: Path) -> None:
    net = initialised(lambda: checkpoints.make(checkpoints.published("adaface_ir18")), 0).eval()
    torch.save({f"model.{name}": tensor for name, tensor in net.state_dict().items()}, tmp_path / "a.ckpt")
    export_onnx(tmp_path / "a.ckpt", tmp_path / "a.onnx")
    facts = {entry.key: entry.value for entry in onnx.load(tmp_path / "a.onnx").metadata_props}
    assert "(batch, 3, 112, 112), bgr" in facts["input"] and "x / 127.5 - 1" in facts["input"]
    assert "AdaFace" in json.loads(facts["description"])["provenance"]


def test_wrong_calls_write_nothing(tmp_path: Path) -> None:
    (tmp_path / "bad").write_bytes(b"no checkpoint")
    for place, out, said in (
        ("bad", "x.onnx", "not a readable"),
        ("bad", "x.txt", ".onnx"),
        ("bad", "a/x.onnx", "exist"),
    ):
        with pytest.raises(ValueError, match=said):
            export_onnx(tmp_path / place, tmp_path / out)
    assert [f.name for f in tmp_path.iterdir()] == ["bad"]


def test_embeddings_that_are_not_finite_are_no_agreement(tmp_path: Path) -> None:
    description = checkpoints.small(15, 1, (4, 8), (1, 2), 16)
    net = saved(tmp_path / "r.safetensors", description)
    next(t for n, t in net.state_dict().items() if "running_var" in n).fill_(-1)  # a finite weight, NaN when used
    (tmp_path / "r.safetensors").write_bytes(checkpoints.to_bytes(net, ArcFace(16, 3), description))
    with pytest.raises(ValueError, match="embeddings: 1 of 1 are not finite"):
        export_onnx(tmp_path / "r.safetensors", tmp_path / "r.onnx")
    assert not (tmp_path / "r.onnx").exists()


def test_a_missing_library_is_named_with_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None if name == "onnxscript" else object())
    with pytest.raises(ValueError, match=r"^fit needs onnxscript: pip install 'scoremix\[onnx\]'$"):
        onnxfile.refuse_without_onnx("fit")
