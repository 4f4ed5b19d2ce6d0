"""What a training step keeps in memory, counted without computing it, and how much of a batch fits at a time."""

import contextlib
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor, nn

SHARE = 0.8  # of the memory that is free


def kept_bytes(loss: Callable[[], Tensor]) -> int:
    """Bytes that autograd keeps for the backward pass of `loss()`, views of one storage counted once.

    On the device "meta" nothing is computed and the count is the same.
    """
    kept: dict[int, Tensor] = {}

    def pack(tensor: Tensor) -> Tensor:
        kept[tensor.untyped_storage()._cdata] = tensor
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        result = loss()
    total = sum(tensor.untyped_storage().nbytes() for tensor in kept.values())
    del result
    return total


def bytes_per_image(loss: Callable[[int], Tensor]) -> int:
    """Bytes that each further image of a batch keeps; `loss` takes the number of images."""
    return kept_bytes(lambda: loss(3)) - kept_bytes(lambda: loss(2))


def largest_block(net: nn.Module, kind: type[nn.Module], loss: Callable[[int], Tensor]) -> int:
    """Bytes that each further image keeps while the largest module of that kind in `net` is computed again."""
    calls: dict[nn.Module, list[tuple[Tensor, ...]]] = {}
    blocks = [module for module in net.modules() if isinstance(module, kind)]
    hooks = [b.register_forward_pre_hook(lambda b, given: calls.setdefault(b, []).append(given)) for b in blocks]
    for images in (2, 3):
        loss(images)
    for hook in hooks:
        hook.remove()
    kept = [[kept_bytes(lambda b=b, given=given: b(*given)) for given in calls[b]] for b in blocks]  # type: ignore[misc]
    return max((more - fewer for fewer, more in kept), default=0)


def free_bytes(device: torch.device) -> int:
    """Memory that this process may still take on the device."""
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    free = _of_system("MemAvailable:")
    limit, used = _text("/sys/fs/cgroup/memory.max").strip(), _text("/sys/fs/cgroup/memory.current").strip()
    if limit.isdigit() and used.isdigit():
        free.append(int(limit) - int(used))
    return max(0, min(free)) if free else 2**62


def total_bytes(device: torch.device) -> int:
    """Memory of the device, whoever uses it now."""
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[1])
    limit = _text("/sys/fs/cgroup/memory.max").strip()
    return min([*_of_system("MemTotal:"), *([int(limit)] if limit.isdigit() else [])], default=2**62)


def _of_system(name: str) -> list[int]:
    return [int(line.split()[1]) * 1024 for line in _text("/proc/meminfo").splitlines() if line.startswith(name)]


def fitting(batch: int, per_image: int, free: int, trial: Callable[[int], None] = lambda images: None) -> int:
    """The batch, or the largest half, quarter ... of it (rounded up), whose images fit into `free` bytes.

    `trial` makes one step of that many images; where the device runs out of memory, half as many are tried.
    RuntimeError where one image does not fit.
    """
    size = batch
    while True:
        if size * per_image <= SHARE * free:
            with contextlib.suppress(torch.OutOfMemoryError):
                trial(size)
                return size
            torch.cuda.empty_cache()
        if size == 1:
            raise RuntimeError(
                f"one image needs about {per_image / 2**20:,.0f} MiB for its gradients, {free / 2**20:,.0f} MiB are there; "
                "take a smaller network or data.size (the generator has generator.checkpointing=true)"
            )
        size = -(-size // 2)


def _text(path: str) -> str:
    with contextlib.suppress(OSError):
        return Path(path).read_text()
    return ""
