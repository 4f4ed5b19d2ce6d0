"""EDM2's published snapshots as configuration and tensors (Karras et al. 2024); nothing in a file is executed."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from scoremix.data.finite import finite_tensors
from scoremix.data.pickles import KeptObject, read_plain, readable

SETTINGS = {  # arguments of the published network that `EDM2` takes; the rest of a description is not about the network
    *("img_resolution", "img_channels", "label_dim", "use_fp16", "sigma_data", "logvar_channels", "model_channels"),
    *("channel_mult", "channel_mult_noise", "channel_mult_emb", "num_blocks", "attn_resolutions", "label_balance"),
    *("concat_balance", "resample_filter", "channels_per_head", "dropout", "res_balance", "attn_balance", "clip_act"),
}
ATTN_RESOLUTIONS = [16, 8]  # of published networks that name none


def read(path: Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Configuration for `EDM2` and float32 tensors of a published snapshot's averaged network.

    Nothing in the file is executed. ValueError naming what the file contains that such a snapshot does not.
    """
    with readable(path, "snapshot"):
        network, tensors = _content(read_plain(path))
        finite_tensors(tensors, path)
        return network, tensors


def _content(snapshot: Any) -> tuple[dict[str, Any], dict[str, Tensor]]:
    net = snapshot.get("ema") if isinstance(snapshot, dict) else None
    if not isinstance(net, KeptObject):
        raise ValueError("expected a snapshot with an averaged network under 'ema'")
    encoder = snapshot.get("encoder")
    if isinstance(encoder, KeptObject) and "RGB" not in encoder.class_name:
        raise ValueError(f"its images are encoded by {encoder.class_name}; only pixel-space networks are read")
    given = net.content.get("_init_kwargs")
    if not isinstance(given, Mapping):
        raise ValueError("the network does not say how it was built")
    network = {name: value for name, value in given.items() if name in SETTINGS}
    network.setdefault("attn_resolutions", ATTN_RESOLUTIONS)
    return network, {name: tensor.float() for name, tensor in _tensors(net)}


def _tensors(module: KeptObject, prefix: str = "") -> Iterator[tuple[str, Tensor]]:
    """Names and tensors as `state_dict` gives them."""
    for kind in ("_parameters", "_buffers"):
        for name, tensor in module.content.get(kind, {}).items():
            if isinstance(tensor, Tensor):
                yield f"{prefix}{name}", tensor
    for name, child in module.content.get("_modules", {}).items():
        if isinstance(child, KeptObject):
            yield from _tensors(child, f"{prefix}{name}.")
