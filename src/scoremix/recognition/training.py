"""Training loop of the recognizer and the embeddings read off it (paper 4.1; recipe of arcface_torch).

`train` is a generator that yields its state after every optimizer step: the caller owns logging,
checkpoints and the end. Progress is counted in images seen. Nothing random is drawn from global
generators: `next_batch` is a pure function of the images seen, and what the network itself draws
(dropout) comes from a generator seeded by (seed, images seen).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from typing import Any, Literal, TypeVar

import numpy as np
import torch
from jaxtyping import Float, Int, UInt8
from torch import Tensor, nn
from torch.nn import functional as F

from scoremix.data.finite import finite_rows
from scoremix.data.image_order import microbatches

Labels = Tensor | tuple[Tensor, Tensor]  # (B,) or float (B, C), or (labels (B, m), weights (B, m))
NextBatch = Callable[[int], tuple[Tensor, Labels]]
Objective = Callable[[Tensor, Tensor, Tensor | None], Tensor]
Precision = Literal["float32", "bfloat16"]
M = TypeVar("M", bound=nn.Module)

UNREAD = 100  # reports kept for a caller who does not take them


@contextmanager
def seeded(seed: int, nimg: int = 0, device: torch.device | None = None, rank: int = 0) -> Iterator[None]:
    """Inside, the global generators of the CPU and of `device` are seeded by (seed, nimg, rank); then as before."""
    parts = (seed, nimg, rank) if rank else (seed, nimg)
    number = int(np.random.SeedSequence(parts).generate_state(1, np.uint64)[0] >> np.uint64(1))
    cuda = device if device is not None and device.type == "cuda" else None
    before = torch.get_rng_state()
    before_cuda = torch.cuda.get_rng_state(cuda) if cuda else None
    torch.default_generator.manual_seed(number)
    if cuda:
        with torch.cuda.device(cuda):
            torch.cuda.manual_seed(number)
    try:
        yield
    finally:
        torch.set_rng_state(before)
        if cuda and before_cuda is not None:
            torch.cuda.set_rng_state(before_cuda, cuda)


def initialised(make: Callable[[], M], seed: int) -> M:
    """`make()` with initial parameters drawn from `seed`; the caller's random state is untouched."""
    with seeded(seed):
        return make()


def learning_rate(
    step: int,
    total: int,
    base: float,
    warmup: int = 0,
    power: float = 1.0,
    variant: Literal["smooth", "arcface_torch"] = "smooth",
    milestones: Sequence[int] = (),
) -> float:
    """Rate of the 0-based optimizer step: linear warm-up, then base * (share of steps left)^power.

    0 from `total` on. With `milestones` (steps) the rate is base / 10^(milestones reached) after the warm-up instead. `smooth` ramps over steps 0 .. warmup-1 as base * (step + 1) / (warmup + 1).
    `arcface_torch` is PolynomialLRWarmup as its training script drives it: step 0 runs at the full base
    rate, then the ramp is base * step / warmup.
    """
    if variant == "arcface_torch" and step == 0:
        return base
    if step < warmup:
        return base * (step / warmup if variant == "arcface_torch" else (step + 1) / (warmup + 1))
    if milestones:
        return base * 0.1 ** sum(step >= milestone for milestone in milestones)
    return base * math.pow(max(total - step, 0) / max(total - warmup, 1), power)


def sgd(net: nn.Module, head: nn.Module, momentum: float = 0.9, weight_decay: float = 5e-4) -> torch.optim.SGD:
    """SGD over both modules; weight decay on matrices and kernels, not on BN, biases and PReLU slopes."""
    parameters = [p for module in (net, head) for p in module.parameters() if p.requires_grad]
    groups: list[dict[str, Any]] = [
        {"params": [p for p in parameters if p.ndim > 1], "weight_decay": weight_decay},
        {"params": [p for p in parameters if p.ndim <= 1], "weight_decay": 0.0},
    ]
    return torch.optim.SGD(groups, lr=0.0, momentum=momentum)


@dataclass
class RecognizerTraining:
    """State of a training: what `train` moves on, and everything a restart needs."""

    net: nn.Module
    head: nn.Module
    optimizer: torch.optim.Optimizer
    nimg: int = 0  # images seen
    step: int = 0  # optimizer steps taken
    reports: list[Tensor] = field(default_factory=list)  # (loss, gradient norm) of the last steps, not yet read
    batch: int = 0  # of the last step

    def take_reports(self) -> list[tuple[float, float]]:
        """Mean loss and gradient norm before clipping of the steps since the last call; waits for the device.

        FloatingPointError naming the images seen if one is not finite: go back to the last checkpoint.
        """
        values = torch.stack(self.reports).tolist() if self.reports else []
        for ago, pair in zip(reversed(range(len(values))), values, strict=True):
            for name, value in zip(("loss", "gradient norm"), pair, strict=True):
                if not math.isfinite(value):
                    seen = self.nimg - (ago + 1) * self.batch
                    raise FloatingPointError(
                        f"recognizer: {name} is {value} after {seen:,} images seen; lower the learning rate (recognizer.lr)"
                    )
        self.reports.clear()
        return [(loss, norm) for loss, norm in values]

    def tensors(self) -> dict[str, Tensor]:
        """Parameters, buffers and momentum under `net.`, `head.` and `momentum.`: contiguous, not copied.

        FloatingPointError while an unread loss or norm is not finite, so that no broken state is ever kept.
        """
        if self.reports and not torch.stack(self.reports).isfinite().all():
            self.take_reports()
        state = {f"net.{k}": v for k, v in self.net.state_dict().items()}
        state |= {f"head.{k}": v for k, v in self.head.state_dict().items()}
        for name, parameter in self._parameters():
            buffer = self.optimizer.state.get(parameter, {}).get("momentum_buffer")
            if buffer is not None:
                state[f"momentum.{name}"] = buffer
        return {k: v.detach().contiguous() for k, v in state.items()}

    def info(self) -> dict[str, Any]:
        """The rest of the state, JSON-able."""
        return {"nimg": self.nimg, "step": self.step}

    def restore(self, tensors: dict[str, Tensor], info: dict[str, Any]) -> None:
        """Takes over what `tensors` and `info` returned; torch's RuntimeError if names or shapes differ."""
        for prefix, module in (("net.", self.net), ("head.", self.head)):
            part = {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}
            module.load_state_dict(part, strict=True)
        for name, parameter in self._parameters():
            buffer = tensors.get(f"momentum.{name}")
            if buffer is not None:
                restored = torch.empty_like(parameter, requires_grad=False).copy_(buffer)
                self.optimizer.state[parameter]["momentum_buffer"] = restored
        self.nimg, self.step = int(info["nimg"]), int(info["step"])

    def _parameters(self) -> Iterator[tuple[str, nn.Parameter]]:
        for prefix, module in (("net", self.net), ("head", self.head)):
            yield from module.named_parameters(prefix)


def train(
    state: RecognizerTraining,
    next_batch: NextBatch,
    *,
    batch: int,
    total: int,
    seed: int,
    base_rate: float = 0.1,
    warmup: int = 0,
    power: float = 1.0,
    milestones: Sequence[int] = (),
    clip: float | None = 5.0,
    precision: Precision = "float32",
    objective: Objective | None = None,
    backward: Callable[[Tensor], None] = Tensor.backward,
    mean: Callable[[Tensor], Tensor] = lambda loss: loss,
    rank: int = 0,
    microbatch: int | None = None,
    alone: Callable[[], AbstractContextManager[Any]] = nullcontext,
) -> Iterator[RecognizerTraining]:
    """Yields `state` after every optimizer step until `total` images were seen.

    `batch` images (over all ranks) per step, `total`, `warmup` and `milestones` in images. `next_batch(nimg)` returns
    images in [-1, 1] and labels, or (labels, weights) for samples of several classes. `clip` bounds the
    gradient norm of the network, as in arcface_torch, not of the head; None leaves it. `objective(images, labels,
    weights)` replaces the mean loss of head(net(images)) where the modules are wrapped, `mean` averages a value over the
    ranks that share a batch, this one being `rank`; under "bfloat16" it
    runs in autocast (heads stay in float32). Gradients of at most `microbatch` images at a time add up to a step's, with
    batch statistics of each microbatch; `alone` is the context of all but its last backward pass, in which ranks need not
    wait for each other. No step waits for the device. FloatingPointError for a loss or gradient that is not finite, raised
    when reports are read: by the caller (`take_reports`), here after 100 unread ones, and at the end.
    """
    device = next(state.net.parameters()).device
    loss_of = objective or (lambda images, labels, weights: state.head(state.net(images), labels, weights).mean())
    steps, warmup_steps = -(-total // batch), warmup // batch
    falls = [milestone // batch for milestone in milestones]
    state.net.train()
    state.head.train()
    while state.nimg < total:
        images, target = next_batch(state.nimg)
        labels, weights = target if isinstance(target, tuple) else (target, None)
        state.optimizer.zero_grad(set_to_none=True)
        losses = []
        with seeded(seed, state.nimg, device, rank):
            for part in microbatches(len(images), microbatch):
                share = (part.stop - part.start) / len(images)
                here = weights if weights is None else weights[part]
                with nullcontext() if part.stop == len(images) else alone():
                    with _autocast(device, precision):
                        loss = loss_of(images[part], labels[part], here)
                    backward(loss if share == 1 else share * loss)
                losses.append(share * loss.detach().float())
        loss, norm = mean(torch.stack(losses).sum()), nn.utils.clip_grad_norm_(state.net.parameters(), clip or math.inf)
        state.reports.append(torch.stack([loss, norm.float()]))
        rate = learning_rate(state.step, steps, base_rate, warmup_steps, power, milestones=falls)
        for group in state.optimizer.param_groups:
            group["lr"] = rate
        state.optimizer.step()
        state.step += 1
        state.nimg += batch
        state.batch = batch
        if len(state.reports) > UNREAD:
            state.take_reports()
        yield state
    state.take_reports()


def _autocast(device: torch.device, precision: Precision) -> torch.autocast:
    if precision not in ("float32", "bfloat16"):
        raise ValueError(f"precision: {precision!r} is not one of 'float32', 'bfloat16'")
    return torch.autocast(device.type, torch.bfloat16, enabled=precision == "bfloat16")


@torch.no_grad()
def embed(
    net: nn.Module,
    images: Float[Tensor, "n c h w"] | UInt8[Tensor, "n c h w"],
    *,
    flip: bool = False,
    batch: int = 256,
    precision: Precision = "float32",
) -> Float[Tensor, "n d"]:
    """Raw embeddings in float32 on the device of `images`; `flip` adds the mirrored image's embedding.

    Float images are in [-1, 1]; uint8 images become x / 127.5 - 1. The network runs in evaluation mode on
    chunks of `batch` rows, the last one padded, so an image's embedding depends on `batch` and its index
    but not on how many images follow. The mode of the network is restored. ValueError where embeddings are not finite.
    """
    parameter = next(net.parameters())
    modes = [(module, module.training) for module in net.modules()]
    net.eval()
    out = []
    try:
        for chunk in torch.split(images, batch):
            x = chunk.to(parameter.device)
            x = x.to(parameter.dtype) / 127.5 - 1 if chunk.dtype == torch.uint8 else x.to(parameter.dtype)
            x = F.pad(x, (0, 0, 0, 0, 0, 0, 0, batch - len(chunk)))
            with _autocast(parameter.device, precision):
                y = net(x).float() + net(x.flip(3)).float() if flip else net(x).float()
            out.append(y[: len(chunk)].to(images.device))
    finally:
        for module, mode in modes:
            module.training = mode
    return finite_rows(torch.cat(out))


def class_centers(embeddings: Float[Tensor, "n d"], labels: Int[Tensor, " n"], classes: int) -> Float[Tensor, "c d"]:
    """Unit vectors of the mean of each class's unit embeddings. ValueError for a class without images."""
    counts = torch.bincount(labels, minlength=classes)
    if len(counts) > classes or bool((counts == 0).any()):
        missing = torch.nonzero(counts[:classes] == 0).flatten().tolist()
        raise ValueError(f"labels: need all of 0..{classes - 1} and no others; missing {missing[:10]}")
    unit = F.normalize(embeddings)
    return F.normalize(torch.zeros(classes, unit.shape[1]).to(unit).index_add_(0, labels, unit))
