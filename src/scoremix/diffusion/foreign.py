"""A class-conditional model of diffusers in a folder of its `save_pretrained`: what it makes, and its network."""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor

from scoremix.data.limits import parsed_json, text
from scoremix.diffusion.adapters import Adapted, from_diffusers, sigmas_of

NAMES = "classes.txt"


@dataclass(frozen=True)
class Described:
    """What a folder's settings say, without its weights being read."""

    kind: Literal["unet", "transformer"]
    classes: tuple[str, ...]  # the name of every label
    size: int  # of its images, px
    channels: int
    files: tuple[str, ...]  # all that is read, below the folder


def described(folder: Path) -> Described:
    """What the model of a folder makes; ValueError, one line, for anything that is no such model, or without diffusers."""
    if importlib.util.find_spec("diffusers") is None:
        raise ValueError(f"{folder}: a model of diffusers needs that library: pip install 'scoremix[diffusers]'")
    kinds: list[Literal["unet", "transformer"]] = ["unet", "transformer"]
    kind = next((name for name in kinds if (folder / name / "config.json").is_file()), None)
    if kind is None:
        raise ValueError(
            f"{folder}: no unet/config.json or transformer/config.json, as save_pretrained of diffusers writes"
        )
    config, schedule = _settings(folder / kind / "config.json"), _settings(folder / "scheduler/scheduler_config.json")
    if "beta_start" not in schedule and not schedule.get("trained_betas"):
        raise ValueError(
            f"{folder}: {schedule.get('_class_name', 'its scheduler')} has no betas; a variance-preserving one is needed"
        )
    count = config.get("num_class_embeds" if kind == "unet" else "num_embeds_ada_norm")
    if not count:
        raise ValueError(f"{folder}: the model knows no classes ({kind}/config.json)")
    size, channels, parts = config["sample_size"], config["in_channels"], [str(kind)]
    if (folder / "vae/config.json").is_file():
        vae = _settings(folder / "vae/config.json")
        size, channels = size * _factor(vae), vae["out_channels"]
        parts.append("vae")
    if isinstance(size, list):
        raise ValueError(f"{folder}: sample_size {size} in {kind}/config.json, must be one number: images are square")
    weights = [f for part in parts for f in sorted((folder / part).glob("*.safetensors*"))]
    if lacking := [part for part in parts if not list((folder / part).glob("*.safetensors"))]:
        raise ValueError(f"{folder}: no {lacking[0]}/*.safetensors; other weights are not read, they could run code")
    named = [folder / name for name in (NAMES, "model_index.json") if (folder / name).is_file()]
    settings = [folder / part / "config.json" for part in parts] + [folder / "scheduler/scheduler_config.json"]
    files = tuple(str(file.relative_to(folder)) for file in (*named, *settings, *weights))
    return Described(kind, _names(folder, int(count)), int(size), int(channels), files)


def highest_sigma(folder: Path) -> float:
    """The largest noise level that the model of a folder was trained on."""
    return float(sigmas_of(_scheduler(folder).alphas_cumprod)[-1])


def _scheduler(folder: Path) -> Any:
    import diffusers

    return diffusers.DDPMScheduler.from_pretrained(folder, subfolder="scheduler", local_files_only=True)


class Loaded(NamedTuple):
    """The network, what makes pixels of its images, and how many parameters it has."""

    net: Adapted
    latents: Latents
    parameters: int


def load(folder: Path, labels: Sequence[int], precision: str, device: torch.device) -> Loaded:
    """The network, which knows labels[k] of its own as class k, and what makes pixels of its images; nothing is
    downloaded, no code of the folder is run.
    """
    import diffusers

    diffusers.utils.logging.set_verbosity_error()  # else every load advises another package
    description = described(folder)
    local = {"local_files_only": True, "use_safetensors": True, "low_cpu_mem_usage": False}
    kind = diffusers.UNet2DModel if description.kind == "unet" else diffusers.DiTTransformer2DModel
    dtype = getattr(torch, precision)
    model = kind.from_pretrained(folder, subfolder=description.kind, **local).to(device, dtype).requires_grad_(False)
    vae = None
    if "vae/config.json" in description.files:
        vae = diffusers.AutoencoderKL.from_pretrained(folder, subfolder="vae", **local).to(device).requires_grad_(False)
        vae.eval()
    net = from_diffusers(model, _scheduler(folder))
    net = replace(net, alphas_cumprod=net.alphas_cumprod.to(device))
    return Loaded(relabelled(net, labels), Latents(vae), sum(p.numel() for p in model.parameters()))


def relabelled(net: Adapted, labels: Sequence[int]) -> Adapted:
    """The network that knows the class of `labels[k]` as class k, and no others; "no class" comes after the last one."""
    wrong = [label for label in labels if not 0 <= label < net.label_dim]
    if wrong:
        raise ValueError(f"label {wrong[0]}: the model has the labels 0 to {net.label_dim - 1}")
    none = [] if net.null_label is None else [net.null_label]
    rows = torch.tensor([*labels, *none])

    def model(x: Tensor, time: Tensor, of: Tensor) -> Tensor:
        return net.model(x, time, rows.to(of.device)[of])

    return replace(net, model=model, label_dim=len(labels), null_label=len(labels) if none else None)


@dataclass(frozen=True)
class Latents:
    """E_pre and D_pre of a model (paper, eq. 2): those of its autoencoder, or none, for a model of pixels in [-1, 1]."""

    vae: Any = None

    def encode(self, unit: Tensor) -> Tensor:
        """What the network sees of pixels in [-1, 1]: the mean of their latents, scaled."""
        if self.vae is None:
            return unit
        latents: Tensor = self.vae.encode(unit).latent_dist.mode()
        return (latents - self._shift) * float(self.vae.config["scaling_factor"])

    def decode(self, encoded: Tensor) -> Tensor:
        """Pixels of what the network makes."""
        if self.vae is None:
            return encoded
        unit: Tensor = self.vae.decode(encoded / self.vae.config["scaling_factor"] + self._shift).sample
        return unit

    @property
    def factor(self) -> int:
        """How many times as many pixels as numbers a side has."""
        return 1 if self.vae is None else _factor(self.vae.config)

    def channels(self, of_network: int) -> int:
        """Channels of the pixels."""
        return of_network if self.vae is None else int(self.vae.config["out_channels"])

    @property
    def _shift(self) -> float:
        return float(self.vae.config.get("shift_factor") or 0.0)


def _factor(vae: Mapping[str, Any]) -> int:
    return int(2 ** (len(vae["block_out_channels"]) - 1))


def _settings(file: Path) -> dict[str, Any]:
    try:
        settings = parsed_json(text(file))
    except (OSError, ValueError):
        raise ValueError(f"{file}: not there, or not readable settings of diffusers") from None
    if not isinstance(settings, dict):
        raise ValueError(f"{file}: must be a table of settings")
    return settings


def _names(folder: Path, count: int) -> tuple[str, ...]:
    """The name of every label: lines of classes.txt, or `id2label` of model_index.json."""
    if (folder / NAMES).is_file():
        names = text(folder / NAMES).splitlines()
    elif (index := folder / "model_index.json").is_file():
        names_by_label = _settings(index).get("id2label") or {}
        names = [str(names_by_label.get(str(k), "")) for k in range(count)] if names_by_label else []
    else:
        names = []
    if len(names) != count:
        raise ValueError(
            f"{folder}: {len(names)} class names for {count} labels; write {NAMES}, a name on each line in the order of labels"
        )
    return tuple(names)
