"""Every call of the distribution engine (Lightning Fabric): devices and their precision, processes, backward passes, waiting.

Several processes are those that `torchrun` starts. They work together where a stage asks for it (`start(...,
together=True)`), and the first one alone does everything else.
"""

import atexit
import functools
import logging
import os
import warnings
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Literal, cast

import torch
from torch import Tensor, nn

from scoremix.execution.torchrun import processes

_threads = torch.get_num_threads()  # numba's OpenMP layer changes the count for everyone; results depend on it
VISIBLE = "CUDA_VISIBLE_DEVICES"
PATIENCE = timedelta(days=30)  # that the others wait while the first process works alone


@dataclass(frozen=True)
class Engine:
    """Where tensors live and how gradients are made; a stage touches nothing of the engine but this."""

    fabric: Any

    @property
    def device(self) -> torch.device:
        return self.fabric.device  # type: ignore[no-any-return]

    @property
    def rank(self) -> int:
        """This process among those that work together, the first being 0."""
        return int(self.fabric.global_rank)

    @property
    def ranks(self) -> int:
        return int(self.fabric.world_size)

    def part(self, batch: int, name: str) -> slice:
        """This process's rows of every batch; ValueError, naming the setting, where the processes cannot share it."""
        if batch % self.ranks:
            raise ValueError(f"{name} {batch}: {self.ranks} processes need a multiple of {self.ranks}")
        each = batch // self.ranks
        return slice(self.rank * each, (self.rank + 1) * each)

    def wrapped(self, module: nn.Module) -> nn.Module:
        """The module, its gradients averaged over the processes by `backward`; buffers are the first process's."""
        if self.ranks == 1:
            return module
        return cast("nn.Module", self.fabric.setup_module(module, move_to_device=False))

    def alone(self, module: nn.Module) -> AbstractContextManager[Any]:
        """Inside, backward passes of a wrapped module leave gradients to this process, to be averaged by the next one."""
        return nullcontext() if self.ranks == 1 else self.fabric.no_backward_sync(module)

    def gathered(self, values: Tensor) -> Tensor:
        """The rows of all processes, the first one's first; each brings as many."""
        if self.ranks == 1:
            return values
        rows = [torch.empty_like(values) for _ in range(self.ranks)]
        torch.distributed.all_gather(rows, values.contiguous())
        return torch.cat(rows)

    def backward(self, loss: Tensor) -> None:
        self.fabric.backward(loss)

    def synchronize(self) -> None:
        """Waits for the device, so that a clock read next tells the truth."""
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)

    def total(self, *numbers: float) -> list[float]:
        """Each number summed over the processes, which wait for one another here."""
        if self.ranks == 1:
            return list(numbers)
        values = torch.tensor(numbers, dtype=torch.float64)  # on the CPU: who waits does not spin
        torch.distributed.all_reduce(values)
        return cast("list[float]", values.tolist())

    def mean(self, value: Tensor) -> Tensor:
        """The mean over the processes of a value on the device; nobody waits here."""
        if self.ranks > 1:
            value = value.clone()
            torch.distributed.all_reduce(value)
            value /= self.ranks
        return value

    def wait(self) -> None:
        """Until every process is here."""
        self.total(0)

    def require_same_progress(self, images_seen: int) -> None:
        """RuntimeError where the processes would continue from different checkpoints."""
        if self.total(images_seen)[0] != self.ranks * images_seen:
            raise RuntimeError(
                f"process {self.rank} has seen {images_seen:,} images, others not: is the folder shared?"
            )


def use_threads(count: int) -> None:
    """From now on this process computes on that many threads; bytes depend on it."""
    global _threads
    _threads = count
    torch.set_num_threads(count)


def only(device: str) -> str:
    """'cuda' for 'cuda:N', after every GPU but the N-th has been hidden from this process and its workers.

    ValueError for a GPU that is not there. To be called before anything computes on a GPU.
    """
    if not device.startswith("cuda:"):
        return device
    number, count = device.removeprefix("cuda:"), torch.cuda.device_count()
    if processes() > 1:
        raise ValueError(
            f"device {device!r}: torchrun gives each process its own GPU; CUDA_VISIBLE_DEVICES chooses them"
        )
    if not number.isdecimal() or int(number) >= count:
        there = f"cuda:0 to cuda:{count - 1}" if count else "none"
        raise ValueError(f"device {device!r}: no such GPU is visible ({there} is)")
    os.environ[VISIBLE] = visible(int(number))
    return "cuda"


def visible(gpu: int) -> str:
    """What CUDA calls the GPU of that number among those that this process sees."""
    named = [name.strip() for name in os.environ.get(VISIBLE, "").split(",") if name.strip()]
    return named[gpu] if gpu < len(named) else str(gpu)


def check(device: str) -> None:
    """ValueError for 'cuda' where there is none."""
    if device == "cuda" and not torch.cuda.is_available():
        raise ValueError("device 'cuda': no CUDA device is visible; use 'auto' or 'cpu'")


def native(device: str) -> Literal["float32", "bfloat16"]:
    """bfloat16 where the device computes in it, else float32.

    `device`: as in Runtime. Natively means CUDA from compute capability 8.0, or a CPU with AMX or AVX512-BF16; other CPUs
    emulate it and are slower than in float32.
    """
    if device != "cpu" and torch.cuda.is_available():
        return "bfloat16" if torch.cuda.is_bf16_supported(including_emulation=False) else "float32"
    asked = (getattr(torch.cpu, name, None) for name in ("_is_amx_tile_supported", "_is_avx512_bf16_supported"))
    return "bfloat16" if any(supported is not None and supported() for supported in asked) else "float32"


def start(device: str = "auto", together: bool = False) -> Engine:
    """The engine on one device, or `together` with the other processes, each on its own device.

    'auto' takes a GPU where there is one; ValueError for 'cuda' where there is none.
    """
    check(device)
    use_gpu = device != "cpu" and torch.cuda.is_available()
    fabric = _joined(use_gpu) if together and processes() > 1 else _alone(use_gpu)
    torch.set_num_threads(_threads)
    return Engine(fabric)


def _alone(use_gpu: bool) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from lightning_fabric import Fabric

        return Fabric(accelerator="cuda" if use_gpu else "cpu", devices=1)


@functools.cache
def _joined(use_gpu: bool) -> Any:
    """One process group for as long as this process lives."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from lightning_fabric import Fabric
        from lightning_fabric.plugins.environments.torchelastic import TorchElasticEnvironment
        from lightning_fabric.strategies.ddp import DDPStrategy

        here = int(os.environ["LOCAL_WORLD_SIZE"])
        if use_gpu and torch.cuda.device_count() < here:
            raise ValueError(f"{here} processes for {torch.cuda.device_count()} GPUs here: one each is needed")
        strategy = DDPStrategy(process_group_backend="cpu:gloo,cuda:nccl" if use_gpu else "gloo", timeout=PATIENCE)
        fabric = Fabric(
            accelerator="cuda" if use_gpu else "cpu",
            devices=here,
            num_nodes=processes() // here,
            strategy=strategy,
            plugins=[TorchElasticEnvironment()],
        )
        log = logging.getLogger("lightning_fabric")
        level = log.level
        log.setLevel(logging.WARNING)
        fabric.launch()
        log.setLevel(level)
        atexit.register(torch.distributed.destroy_process_group)  # after a good end: it waits for the others
    # channels-last kernels of one pixel have gradients of another layout: harmless, a copy
    warnings.filterwarnings("ignore", "Grad strides do not match")
    return fabric
