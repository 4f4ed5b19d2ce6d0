"""`precision: auto` decided before anything is planned: keys, records and stages know only what was used."""

from __future__ import annotations

import json
from typing import Any, Literal

import torch

from scoremix.config import Experiment
from scoremix.config.base import undecided


def native(device: str) -> Literal["float32", "bfloat16"]:
    """bfloat16 where the device computes in it, else float32.

    `device`: as in Runtime. Natively means CUDA from compute capability 8.0, or a CPU with AMX or AVX512-BF16; other CPUs
    emulate it and are slower than in float32.
    """
    if device != "cpu" and torch.cuda.is_available():
        return "bfloat16" if torch.cuda.is_bf16_supported(including_emulation=False) else "float32"
    asked = (getattr(torch.cpu, name, None) for name in ("_is_amx_tile_supported", "_is_avx512_bf16_supported"))
    return "bfloat16" if any(supported is not None and supported() for supported in asked) else "float32"


def decided(exp: Experiment, device: str) -> Experiment:
    """The experiment with the device's native precision wherever it says "auto", arms and analysis included."""
    tree = exp.model_dump(mode="json")
    if not undecided(tree):
        return exp
    return Experiment.model_validate_json(json.dumps(_replaced(tree, native(device))))


def _replaced(tree: Any, precision: str) -> Any:
    if isinstance(tree, list):
        return [_replaced(value, precision) for value in tree]
    if not isinstance(tree, dict):
        return tree
    return {
        name: precision if (name, value) == ("precision", "auto") else _replaced(value, precision)
        for name, value in tree.items()
    }
