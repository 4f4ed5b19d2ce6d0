"""Published pickles: one of their structure, made here, and ones that mean harm."""

from __future__ import annotations

import io
import os
import pickle
import sys
import types
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from scoremix import commands as cli
from scoremix.diffusion import checkpoints, published
from scoremix.diffusion.unet import EDM2

CONFIG: dict[str, Any] = {"img_resolution": 16, "img_channels": 3, "label_dim": 5, "model_channels": 16}
CONFIG |= {"channel_mult": [1, 2], "num_blocks": 1, "attn_resolutions": [8], "channels_per_head": 16, "dropout": 0.1}


def rebuild(meta: dict[str, Any]) -> Any:
    raise AssertionError("the published loader, which executes meta['module_src']")


class Persistent(nn.Module):
    """Pickles as a module of the published code does: attributes, and source that a loader would execute."""

    def __init__(self, name: str, module: nn.Module) -> None:
        super().__init__()
        self.class_name = name
        self._parameters.update(module._parameters)
        self._buffers.update({n: b for n, b in module._buffers.items() if b is not None})
        for child, content in module.named_children():
            self.add_module(child, copied(child, content))

    def __reduce__(self) -> Any:
        harm = f"open({str(HARM)!r}, 'w').write('executed')"
        meta = {"type": "class", "version": 6, "module_src": harm, "class_name": self.class_name, "state": vars(self)}
        return rebuild, (meta,)


def copied(name: str, module: nn.Module) -> nn.Module:
    if isinstance(module, nn.ModuleDict):
        return nn.ModuleDict({n: copied(n, m) for n, m in module.items()})
    return Persistent(name, module)


class EasyDict(dict):  # type: ignore[type-arg]
    pass


for _path, _name, _content in (
    ("torch_utils.persistence", "_reconstruct_persistent_obj", rebuild),
    ("dnnlib.util", "EasyDict", EasyDict),
):
    _content.__module__, _content.__qualname__, _content.__name__ = _path, _name, _name

HARM = Path("/nonexistent")


@pytest.fixture(autouse=True)
def published_modules(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Names under which the published code pickles."""
    for path, name, content in (
        ("torch_utils.persistence", "_reconstruct_persistent_obj", rebuild),
        ("dnnlib.util", "EasyDict", EasyDict),
    ):
        module = types.ModuleType(path)
        setattr(module, name, content)
        monkeypatch.setitem(sys.modules, path, module)
        monkeypatch.setitem(sys.modules, path.split(".")[0], types.ModuleType(path.split(".")[0]))
    monkeypatch.setattr(sys.modules[__name__], "HARM", tmp_path / "harm")


def snapshot(encoder: str = "StandardRGBEncoder") -> tuple[dict[str, Any], EDM2]:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        net = EDM2(**CONFIG)
    half = Persistent("Precond", net.half())
    half._init_args, half._init_kwargs = (
        (),
        EasyDict(CONFIG, use_fp16=True, class_name="training.networks_edm2.Precond"),
    )  # type: ignore[assignment]
    coder = Persistent(encoder, nn.Module())
    return EasyDict(ema=half, encoder=coder, dataset_kwargs=EasyDict(path="x.zip"), loss_fn=None), net.float()


def write(tmp_path: Path, content: Any, protocol: int | None = None) -> Path:
    path = tmp_path / "network-snapshot-0000001-0.050.pkl"
    path.write_bytes(content if isinstance(content, bytes) else pickle.dumps(content, protocol))
    return path


@pytest.mark.parametrize("protocol", [3, 4, 5])
def test_a_snapshot_is_read_and_nothing_in_it_executed(tmp_path: Path, protocol: int):
    content, net = snapshot()
    config, tensors = published.read(write(tmp_path, content, protocol))
    assert config == {**CONFIG, "use_fp16": True}
    loaded = EDM2(**{**config, "use_fp16": False})
    loaded.load_state_dict(tensors)
    state = net.state_dict()
    assert tensors.keys() == state.keys() and all(torch.equal(tensors[n], state[n]) for n in state)
    x, sigma, labels = torch.randn(2, 3, 16, 16), torch.tensor([0.5, 2.0]), torch.tensor([1, 4])
    assert torch.equal(loaded.eval()(x, sigma, labels), net.eval()(x, sigma, labels))
    assert not HARM.exists()


def test_the_published_layout_is_the_default(tmp_path: Path):
    content, _ = snapshot()
    del content["ema"]._init_kwargs["attn_resolutions"]
    assert published.read(write(tmp_path, content))[0]["attn_resolutions"] == [16, 8]


class Call:
    def __init__(self, function: Any, *arguments: Any) -> None:
        self.call = function, arguments

    def __reduce__(self) -> Any:
        return self.call


def harmful() -> dict[str, Any]:
    shell = Call(os.system, f"touch {HARM}")
    stored = io.BytesIO()
    torch.save({"x": shell}, stored)
    storage = torch.UntypedStorage(16)
    small = io.BytesIO()
    torch.save(
        torch.TypedStorage(wrap_storage=storage, dtype=torch.float32, _internal=True),
        small,
        _use_new_zipfile_serialization=False,
    )
    announced = small.getvalue().replace(b"K\x04Nt", b"\x8a\x05" + (1 << 33).to_bytes(5, "little") + b"Nt")
    assert announced != small.getvalue()
    numbers = Call(torch.storage._load_from_bytes, small.getvalue())
    view = torch._utils._rebuild_tensor_v2
    return {
        "a shell command": shell,
        "eval": Call(eval, f"open({str(HARM)!r}, 'w')"),
        "inside the network": {"ema": {"x": shell}},
        "inside a storage": Call(torch.storage._load_from_bytes, stored.getvalue()),
        "a storage of more than it holds": Call(torch.storage._load_from_bytes, announced),
        "attribute of a known name": b"\x80\x04\x8c\x0bcollections\x8c\x1eOrderedDict.__init__.__class__\x93.",
        "torch.load": Call(torch.load, str(HARM)),
        "a method of torch": b"\x80\x04\x8c\x05torch\x8c\x04load\x93.",
        "getattr": Call(getattr, [], "append"),
        "an outside reference": b"\x80\x04\x8c\x03abcQ.",
        "beyond the storage": Call(view, numbers, 3, (2,), (1,), False, None),
        "a negative offset": Call(view, numbers, -1, (2,), (1,), False, None),
        "more numbers than stored": Call(view, numbers, 0, (10**12,), (0,), False, None),
        "a truncated file": pickle.dumps(snapshot()[0])[:-500],
        "no pickle": b"GIF89a",
        "an empty file": b"",
        "a list": [1, 2],
        "a network that is none": {"ema": 3},
        "a module of itself": {"ema": nn.Linear(1, 1)},
        "latents": snapshot("StabilityVAEEncoder")[0],
    }


KINDS = [
    "a shell command", "eval", "inside the network", "inside a storage", "a storage of more than it holds",
    "attribute of a known name", "torch.load", "a method of torch", "getattr", "an outside reference", "beyond the storage", "a negative offset",
    "more numbers than stored", "a truncated file", "no pickle", "an empty file", "a list", "a network that is none",
    "a module of itself", "latents",
]  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
def test_harm_is_refused_in_one_line(kind: str, tmp_path: Path):
    cases = harmful()
    assert list(cases) == KINDS
    content = cases[kind]
    if kind in ("beyond the storage", "a negative offset", "more numbers than stored"):
        content = {"ema": content}
    path = write(tmp_path, content)
    with pytest.raises(ValueError, match=path.name) as error:
        published.read(path)
    assert "\n" not in str(error.value).strip()
    assert kind != "a storage of more than it holds" or "8,589,934,592 numbers is announced" in str(error.value)
    assert not HARM.exists()


def test_the_command_writes_a_snapshot_of_ours(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    content, net = snapshot()
    path, target = write(tmp_path, content), tmp_path / "ours.safetensors"
    monkeypatch.setattr(sys, "argv", ["scoremix", "import-edm2", str(path), str(target)])
    with pytest.raises(SystemExit) as caught:
        cli.main()
    assert caught.value.code == 0
    loaded, pixels = checkpoints.load(target, "float32")
    assert pixels == checkpoints.Pixels() and loaded.label_dim == 5
    x = torch.randn(1, 3, 16, 16)
    assert torch.equal(loaded(x, 1.0, torch.tensor([2])), net.eval()(x, 1.0, torch.tensor([2])))
