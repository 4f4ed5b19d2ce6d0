"""Every call of the distribution engine (Lightning Fabric): the device, the backward pass, waiting for it."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

THREADS = torch.get_num_threads()  # numba's OpenMP layer changes the count for everyone; results depend on it


@dataclass(frozen=True)
class Engine:
    """Where tensors live and how gradients are made; a stage touches nothing of the engine but this."""

    fabric: Any

    @property
    def device(self) -> torch.device:
        return self.fabric.device  # type: ignore[no-any-return]

    def backward(self, loss: Tensor) -> None:
        self.fabric.backward(loss)

    def synchronize(self) -> None:
        """Waits for the device, so that a clock read next tells the truth."""
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)


def check(device: str) -> None:
    """ValueError for 'cuda' where there is none."""
    if device == "cuda" and not torch.cuda.is_available():
        raise ValueError("--device 'cuda': no CUDA device is visible; use 'auto' or 'cpu'")


def start(device: str = "auto") -> Engine:
    """The engine on one device: 'auto' takes a GPU where there is one; ValueError for 'cuda' where there is none."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from lightning_fabric import Fabric

        check(device)
        use_gpu = device != "cpu" and torch.cuda.is_available()
        fabric = Fabric(accelerator="cuda" if use_gpu else "cpu", devices=1)
    torch.set_num_threads(THREADS)
    return Engine(fabric)
