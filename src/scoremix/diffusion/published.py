"""EDM2's published snapshots (pickles) without running what they contain (Karras et al. 2024).

Such a pickle carries source code that its own loader executes. Here an unpickler knows a dozen names, each of them a
stand-in that only keeps data; any other name ends the reading. Tensors' bytes go through torch's weights-only reader.
"""

from __future__ import annotations

import io
import math
import pickle
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

SETTINGS = {  # arguments of the published network that `EDM2` takes; the rest of a description is not about the network
    *("img_resolution", "img_channels", "label_dim", "use_fp16", "sigma_data", "logvar_channels", "model_channels"),
    *("channel_mult", "channel_mult_noise", "channel_mult_emb", "num_blocks", "attn_resolutions", "label_balance"),
    *("concat_balance", "resample_filter", "channels_per_head", "dropout", "res_balance", "attn_balance", "clip_act"),
}
ATTN_RESOLUTIONS = [16, 8]  # of published networks that name none


@dataclass
class Kept:
    """What is left of any object: its attributes."""

    content: dict[str, Any] = field(default_factory=dict)
    class_name: str = ""

    def __setstate__(self, state: Any) -> None:
        self.content = dict(state) if isinstance(state, dict) else {}


class KeptDict(dict[str, Any]):
    """A dictionary with attributes, as data."""

    def __setstate__(self, state: Any) -> None:
        pass


def read(path: Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Configuration for `EDM2` and float32 tensors of a published snapshot's averaged network.

    Nothing in the file is executed. ValueError naming what the file contains that such a snapshot does not.
    """
    try:
        with open(path, "rb") as file:
            return _content(_Reader(file).load())
    except (OSError, ValueError) as error:
        raise ValueError(f"{path}: {error}") from None
    except Exception as error:  # a damaged pickle may fail in any way
        said = " ".join(str(error).split())[:200]
        raise ValueError(f"{path}: not a readable snapshot ({type(error).__name__}: {said})") from None


def _content(found: Any) -> tuple[dict[str, Any], dict[str, Tensor]]:
    net = found.get("ema") if isinstance(found, dict) else None
    if not isinstance(net, Kept):
        raise ValueError("expected a snapshot with an averaged network under 'ema'")
    encoder = found.get("encoder")
    if isinstance(encoder, Kept) and "RGB" not in encoder.class_name:
        raise ValueError(f"its images are encoded by {encoder.class_name}; only pixel-space networks are read")
    given = net.content.get("_init_kwargs")
    if not isinstance(given, Mapping):
        raise ValueError("the network does not say how it was built")
    network = {name: value for name, value in given.items() if name in SETTINGS}
    network.setdefault("attn_resolutions", ATTN_RESOLUTIONS)
    return network, {name: tensor.float() for name, tensor in _tensors(net)}


def _tensors(module: Kept, prefix: str = "") -> Iterator[tuple[str, Tensor]]:
    """Names and tensors as `state_dict` gives them."""
    for kind in ("_parameters", "_buffers"):
        for name, tensor in module.content.get(kind, {}).items():
            if isinstance(tensor, Tensor):
                yield f"{prefix}{name}", tensor
    for name, child in module.content.get("_modules", {}).items():
        if isinstance(child, Kept):
            yield from _tensors(child, f"{prefix}{name}.")


class _Reader(pickle.Unpickler):
    """Knows the names of a snapshot's parts, and no other."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) in _NAMES:
            return _NAMES[module, name]
        if module.startswith("torch.nn.modules.") and name.isidentifier():
            return Kept
        if module == "torch" and isinstance(dtype := getattr(torch, name, None), torch.dtype):
            return dtype
        raise ValueError(f"it asks for {module}.{name}, which no published snapshot needs; not read further")

    def persistent_load(self, pid: Any) -> Any:
        raise ValueError("it refers to data outside itself; not read further")


def _rebuilt(meta: Any) -> Kept:
    """An object whose source code the file contains: its attributes, never the code."""
    if not isinstance(meta, dict) or not isinstance(meta.get("state"), dict):
        raise ValueError("an object of the snapshot has no attributes")
    return Kept(dict(meta["state"]), str(meta.get("class_name", "")))


def _storage(content: Any) -> Tensor:
    """Numbers of a storage, one dimension."""
    if not isinstance(content, bytes):
        raise ValueError("a storage is not bytes")
    storage = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    if not isinstance(storage, torch.storage.TypedStorage):
        raise ValueError(f"a storage holds {type(storage).__name__}")
    return torch.empty(0, dtype=storage.dtype).set_(storage._untyped_storage)


def _tensor(storage: Any, offset: Any, size: Any, stride: Any, *_: Any) -> Tensor:
    """A view of a storage; ValueError where it would reach beyond."""
    if (
        not isinstance(storage, Tensor)
        or len(size) != len(stride)
        or not all(isinstance(n, int) and n >= 0 for n in (offset, *size, *stride))
    ):
        raise ValueError("a tensor is not described by a storage, an offset, sizes and strides")
    last = offset + sum((n - 1) * s for n, s in zip(size, stride, strict=True)) if all(size) else -1
    if last >= storage.numel() or math.prod(size) > storage.numel():
        raise ValueError(f"a tensor of size {tuple(size)} reaches beyond its storage of {storage.numel()}")
    return storage.as_strided(tuple(size), tuple(stride), offset)


def _parameter(data: Any, *_: Any) -> Tensor:
    if not isinstance(data, Tensor):
        raise ValueError("a parameter is not a tensor")
    return data


_NAMES: dict[tuple[str, str], Any] = {
    ("collections", "OrderedDict"): OrderedDict,
    ("builtins", "set"): set,
    ("dnnlib.util", "EasyDict"): KeptDict,
    ("torch_utils.persistence", "_reconstruct_persistent_obj"): _rebuilt,
    ("torch.storage", "_load_from_bytes"): _storage,
    ("torch._utils", "_rebuild_tensor_v2"): _tensor,
    ("torch._utils", "_rebuild_parameter"): _parameter,
}
