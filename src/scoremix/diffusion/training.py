"""Training of the generator: loss weighted by uncertainty, learning rate, loop (EDM2 sections 2, 3)."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from scoremix.data.image_order import microbatches
from scoremix.diffusion.ema import PowerEMA
from scoremix.diffusion.unet import EDM2

# images seen -> (images (b, c, h, w), mean 0 and about sigma_data large; labels as for the network; how they were moved, if so)
NextBatch = Callable[[int], tuple[Tensor, Tensor | None] | tuple[Tensor, ...]]

# (clean images as estimated, labels, sigma, images seen) -> a term per image to add to its loss, or None
ExtraLoss = Callable[[Tensor, Tensor, Tensor, int], Tensor | None]

_UNREAD = 100  # losses kept for a caller who does not take them
NOISE_ROWS = 32  # rows of a batch whose noise one generator draws


def weighted_error(
    denoised: Float[Tensor, "b c h w"],
    u: Float[Tensor, "b 1 1 1"],
    images: Float[Tensor, "b c h w"],
    sigma: Float[Tensor, " b"],
    sigma_data: float,
) -> Float[Tensor, "b c h w"]:
    """Loss of each element: weight(sigma) / e^u (denoised - images)^2 + u, weight = (sigma^2 + sigma_data^2) / (sigma sigma_data)^2."""
    weight = ((sigma**2 + sigma_data**2) / (sigma * sigma_data) ** 2)[:, None, None, None]
    loss: Tensor = weight / u.exp() * (denoised - images).square() + u
    return loss


def learning_rate(nimg: float, reference: float, decay_images: float, rampup_images: float) -> float:
    """Rate of the step that starts after `nimg` images: linear rise, then inverse square root.

    reference / sqrt(max(nimg / decay_images, 1)) * min(nimg / rampup_images, 1); 0 images switch
    decay or rise off. With a rise the very first step has rate 0.
    """
    rate = reference
    if decay_images > 0:
        rate /= math.sqrt(max(nimg / decay_images, 1))
    if rampup_images > 0:
        rate *= min(nimg / rampup_images, 1)
    return rate


@dataclass
class GeneratorTraining:
    """State of a training: what `train` moves on, and everything a restart needs."""

    net: EDM2
    optimizer: torch.optim.Adam
    ema: PowerEMA
    nimg: int = 0  # images seen
    bad_steps: Tensor = field(default_factory=lambda: torch.zeros((), dtype=torch.int64))  # with a NaN or Inf gradient
    losses: list[Tensor] = field(default_factory=list)  # of the last steps, not yet read from the device
    batch: int = 0  # of the last step

    def take_losses(self) -> list[float]:
        """Mean losses of the steps since the last call, oldest first; waits for the device.

        FloatingPointError naming the images seen if one is not finite: go back to the last checkpoint.
        """
        values: list[float] = torch.stack(self.losses).tolist() if self.losses else []
        for ago, value in zip(reversed(range(len(values))), values, strict=True):
            if not math.isfinite(value):
                seen = self.nimg - ago * self.batch
                raise FloatingPointError(
                    f"generator: loss is {value} after {seen:,} images seen; lower the learning rate (generator.lr)"
                )
        self.losses.clear()
        return values

    def tensors(self) -> dict[str, Tensor]:
        """Parameters, buffers, Adam's moments and averages: names net.*, adam.*, ema.<i>.*; live, not copies.

        FloatingPointError while an unread loss is not finite, so that no broken state is ever kept.
        """
        if self.losses and not torch.stack(self.losses).isfinite().all():
            self.take_losses()
        state = {f"net.{n}": t for n, t in self.net.state_dict().items()}
        for name, parameter in self.net.named_parameters():
            for key, value in self.optimizer.state.get(parameter, {}).items():
                state[f"adam.{key}.{name}"] = value
        for i, average in enumerate(self.ema.parameters):
            state |= {f"ema.{i}.{n}": t for n, t in average.items()}
        return {n: t.detach().contiguous() for n, t in state.items()}

    def info(self) -> dict[str, Any]:
        """The rest of the state, JSON-able."""
        return {"nimg": self.nimg, "bad_steps": int(self.bad_steps), "ema": list(self.ema.stds)}

    def restore(self, tensors: Mapping[str, Tensor], info: Mapping[str, Any]) -> None:
        """Continues from what `tensors` and `info` returned; ValueError for other EMA lengths, torch's
        RuntimeError for other names or shapes.
        """
        if tuple(info["ema"]) != self.ema.stds:
            raise ValueError(f"ema={list(self.ema.stds)}: the saved training has {list(info['ema'])}")
        self.net.load_state_dict(_part(tensors, "net."))
        for i in range(len(self.ema.stds)):
            self.ema.restore(i, _part(tensors, f"ema.{i}."))
        moments = {key: _part(tensors, f"adam.{key}.") for key in ("step", "exp_avg", "exp_avg_sq")}
        for name, parameter in self.net.named_parameters():
            if name in moments["step"]:
                self.optimizer.state[parameter] = {
                    # a fused optimizer keeps its step count beside the parameter
                    key: values[name].to(parameter.device, copy=True)
                    for key, values in moments.items()
                }
        self.nimg = int(info["nimg"])
        self.bad_steps.fill_(int(info["bad_steps"]))
        self.losses.clear()


def start(net: EDM2, stds: Sequence[float]) -> GeneratorTraining:
    """A training before its first step: Adam (0.9, 0.99), no weight decay, one average per EMA length."""
    parameters = [p for p in net.parameters() if p.requires_grad]
    optimizer = torch.optim.Adam(parameters, lr=0.0, betas=(0.9, 0.99), fused=True)
    state = GeneratorTraining(net.train(), optimizer, PowerEMA(net, stds))
    state.bad_steps = state.bad_steps.to(parameters[0].device)
    return state


def step(
    state: GeneratorTraining,
    images: Float[Tensor, "b c h w"],
    labels: Tensor | None,
    sigma: Float[Tensor, " b"],
    noise: Float[Tensor, "b c h w"],
    *,
    batch: int,
    rate: float,
    forward: Callable[..., Any] | None = None,
    backward: Callable[[Tensor], object] = Tensor.backward,
    mean: Callable[[Tensor], Tensor] = lambda loss: loss,
    extra: ExtraLoss | None = None,
    microbatch: int | None = None,
    alone: Callable[[], AbstractContextManager[Any]] = nullcontext,
    moves: Tensor | None = None,
) -> None:
    """One optimizer step on images + noise; `batch` counts the images of all ranks, `images` are this rank's.

    The loss is summed over elements and divided by this rank's images; a wrapped module averages over
    ranks. `extra` is added to the loss of every element of its image; the losses kept are those without it.
    NaN and Inf entries of gradients become 0, and such steps are counted. Gradients of at most `microbatch`
    images at a time add up to those of the whole batch; `alone` is the context of all but the last of these
    backward passes, in which ranks need not wait for each other.
    """
    losses = []
    for part in microbatches(len(images), microbatch):
        share = (part.stop - part.start) / len(images)
        here = None if labels is None else labels[part]
        with nullcontext() if part.stop == len(images) else alone():
            net = state.net if forward is None else forward
            options = {} if moves is None else {"moves": moves[part]}
            denoised, u = net(images[part] + noise[part], sigma[part], here, return_logvar=True, **options)
            loss = weighted_error(denoised, u, images[part], sigma[part], state.net.sigma_data)
            total = loss.sum() / len(images)
            if extra is not None and here is not None:
                term = extra(denoised, here, sigma[part], state.nimg)
                total = total if term is None else total + share * term.mean() * images[0].numel()
            backward(total)
        losses.append(share * loss.detach().mean())
    gradients = [p.grad for p in state.net.parameters() if p.grad is not None]
    largest = torch.stack(torch._foreach_norm(gradients, math.inf))
    state.bad_steps += ~largest.isfinite().all()
    for gradient in gradients:
        torch.nan_to_num(gradient, nan=0.0, posinf=0.0, neginf=0.0, out=gradient)
    for group in state.optimizer.param_groups:
        group["lr"] = rate
    state.optimizer.step()
    state.optimizer.zero_grad(set_to_none=True)
    state.nimg += batch
    state.batch = batch
    state.ema.update(state.nimg, batch)
    state.losses.append(mean(torch.stack(losses).sum()))


def train(
    state: GeneratorTraining,
    next_batch: NextBatch,
    *,
    batch: int,
    total: int,
    seed: int,
    rate: Callable[[int], float],
    noise_mean: float = -0.4,
    noise_std: float = 1.0,
    forward: Callable[..., Any] | None = None,
    backward: Callable[[Tensor], object] = Tensor.backward,
    mean: Callable[[Tensor], Tensor] = lambda loss: loss,
    rank: int = 0,
    ranks: int = 1,
    extra: ExtraLoss | None = None,
    microbatch: int | None = None,
    alone: Callable[[], AbstractContextManager[Any]] = nullcontext,
) -> Iterator[GeneratorTraining]:
    """Steps until `total` images have been seen, yielding `state` after each.

    ln sigma ~ N(noise_mean, noise_std^2). Noise and its levels depend on (seed, images seen, row of the batch) only,
    and a rank draws those of its own rows: stopping, resuming, microbatches or the number of ranks change none of them.
    `forward` is the module as an engine wrapped it, `backward` the engine's, `mean` its mean of a value over the
    ranks; `microbatch` and `alone` as for `step`; next_batch gives this rank's images. FloatingPointError for a loss that is not finite, raised when losses
    are read: by the caller (`take_losses`), here after 100 unread ones, and at the end.
    """
    if batch < 1 or batch % ranks:
        raise ValueError(f"batch={batch}: must be a positive multiple of the number of ranks, {ranks}")
    state.net.train()
    mine = slice(rank * batch // ranks, (rank + 1) * batch // ranks)
    while state.nimg < total:
        images, labels, *moves = next_batch(state.nimg)
        level, noise = drawn(images, mine, batch, seed, state.nimg)
        sigma = (level * noise_std + noise_mean).exp()
        noise = noise * sigma[:, None, None, None]
        with _dropout_seed(state.net, _seed(seed, state.nimg, 1 + rank)):
            step(
                state,
                images,
                labels,
                sigma,
                noise,
                batch=batch,
                rate=rate(state.nimg),
                forward=forward,
                backward=backward,
                mean=mean,
                extra=extra,
                microbatch=microbatch,
                alone=alone,
                moves=moves[0] if moves else None,
            )
        if len(state.losses) > _UNREAD:
            state.take_losses()
        yield state
    state.take_losses()


def drawn(
    like: Float[Tensor, "b c h w"], rows: slice, batch: int, seed: int, nimg: int
) -> tuple[Float[Tensor, " b"], Float[Tensor, "b c h w"]]:
    """Standard normal levels and noise of those rows of a batch, on the device and in the type of `like`.

    Every NOISE_ROWS rows have a generator of their own, so a rank draws its rows (and at most two blocks) alone.
    """
    levels, noises = [], []
    for block in range(rows.start // NOISE_ROWS, -(-rows.stop // NOISE_ROWS)):
        first = block * NOISE_ROWS
        count = min(NOISE_ROWS, batch - first)
        generator = torch.Generator(like.device).manual_seed(_seed(seed, nimg, 0, block))
        options: dict[str, Any] = {"generator": generator, "device": like.device, "dtype": like.dtype}
        mine = slice(max(rows.start - first, 0), rows.stop - first)
        levels.append(torch.randn(count, **options)[mine])
        noises.append(torch.randn((count, *like.shape[1:]), **options)[mine])
    return torch.cat(levels), torch.cat(noises)


def _seed(*parts: int) -> int:
    """One seed of 64 bits for each tuple of non-negative integers."""
    return int(np.random.SeedSequence(parts).generate_state(1, np.uint64)[0] >> np.uint64(1))


@contextmanager
def _dropout_seed(net: EDM2, seed: int) -> Iterator[None]:
    """Global generators, which dropout draws from, seeded inside and as before outside."""
    devices = sorted({p.device for p in net.parameters() if p.device.type == "cuda"}, key=str)
    with torch.random.fork_rng(devices=devices, enabled=net.dropout > 0):
        if net.dropout > 0:
            torch.manual_seed(seed)
        yield


def _part(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {n.removeprefix(prefix): t for n, t in tensors.items() if n.startswith(prefix)}
