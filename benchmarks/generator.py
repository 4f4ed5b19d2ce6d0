"""Speed of the generator: precisions, memory formats, torch.compile, loop overhead, price of a mix; ratios in one run.

    python benchmarks/generator.py [--device cpu] [--threads 2] [--seconds 5] [--json FILE]
    python benchmarks/generator.py --device cuda --size s --batch 256 [--compile]

The default network is the one of the demo: 16 px, one channel, 32 and 64 channels, 0.67M parameters. `--size` takes
EDM2's at 64 px, 1000 classes.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from scoremix.config.presets import EDM2_SIZES, edm2_generator
from scoremix.diffusion import training
from scoremix.diffusion.denoisers import autoguide, condition, mix
from scoremix.diffusion.solvers import heun, karras_sigmas
from scoremix.diffusion.unet import EDM2, frozen

SMALL: dict[str, Any] = {
    "img_resolution": 16,
    "img_channels": 1,
    "label_dim": 150,
    "model_channels": 32,
    "channel_mult": [1, 2],
    "num_blocks": 1,
    "attention": False,
}
BATCH = 128
PRECISIONS = ("float32", "bfloat16")
NETWORK = dict(SMALL)
FORMATS = {"channels last": torch.channels_last, "contiguous": torch.contiguous_format}


class Stopwatch:
    """Seconds per call of functions called in turns, so that a disturbed machine disturbs all alike."""

    def __init__(
        self,
        device: torch.device,
        seconds: float,
        rounds: int = 5,
        clock: Callable[[], float] = time.perf_counter,  # of one call; process_time on one thread of a busy machine
    ) -> None:
        self.device, self.seconds, self.rounds, self.clock = device, seconds, rounds, clock

    def __call__(self, functions: dict[str, Callable[[], object]]) -> dict[str, float]:
        times: dict[str, list[float]] = {name: [] for name in functions}
        for function in functions.values():
            function()
        end, rounds = time.perf_counter() + self.seconds * len(functions), 0
        while time.perf_counter() < end or rounds < self.rounds:
            for name, function in functions.items():
                times[name].append(self.once(function))
            rounds += 1
        return {name: statistics.median(values) for name, values in times.items()}

    def once(self, function: Callable[[], object]) -> float:
        self.wait()
        start = self.clock()
        function()
        self.wait()
        return self.clock() - start

    def wait(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)


def make(device: torch.device, dtype: str = "float32", seed: int = 0) -> EDM2:
    torch.manual_seed(seed)
    net = EDM2(**NETWORK, dtype=dtype).to(device)  # type: ignore[arg-type]
    for name, parameter in net.named_parameters():
        if name.endswith("gain"):
            torch.nn.init.constant_(parameter, 0.5)  # as in training: every path works
    return net


def batch(device: torch.device) -> tuple[Tensor, Tensor, Tensor]:
    """Noisy images, levels, classes."""
    shape = (BATCH, NETWORK["img_channels"], NETWORK["img_resolution"], NETWORK["img_resolution"])
    x = torch.randn(shape, device=device)
    return x, torch.rand(BATCH, device=device) + 0.1, torch.randint(NETWORK["label_dim"], (BATCH,), device=device)


def matrix_rates(watch: Stopwatch, size: int) -> dict[str, float]:
    """Multiply-adds of square matrix products, in floating-point operations per second."""
    functions: dict[str, Callable[[], object]] = {}
    for name, dtype in (("float32", torch.float32), ("bfloat16", torch.bfloat16)):
        a, b = (torch.randn(size, size, device=watch.device).to(dtype) for _ in range(2))
        functions[name] = partial(torch.mm, a, b)
    return {name: 2 * size**3 / seconds for name, seconds in watch(functions).items()}


def precisions(watch: Stopwatch, rates: dict[str, float], compiled: bool) -> list[dict[str, Any]]:
    """Images per second through training steps and evaluations, and their share of the matrix-product rate."""
    x, sigma, labels = batch(watch.device)
    level = torch.tensor(1.0, device=watch.device)
    functions: dict[str, Callable[[], object]] = {}
    for dtype in PRECISIONS:
        for name, memory_format in FORMATS.items():
            net, plain = make(watch.device, dtype).train(), make(watch.device, dtype).eval()
            for each in (net, plain):
                each.unet.memory_format = memory_format
            functions[f"{dtype}, {name}, train"] = partial(step, net, x, sigma, labels)
            if compiled and memory_format is torch.channels_last:
                quick, fast = make(watch.device, dtype).train(), frozen(plain)
                quick.unet, fast.unet = torch.compile(quick.unet), torch.compile(fast.unet)  # type: ignore[assignment]
                functions[f"{dtype}, {name}, train, compiled"] = partial(step, quick, x, sigma, labels)
                functions[f"{dtype}, {name}, sample, compiled"] = partial(evaluate, fast, x, level, labels)
            functions[f"{dtype}, {name}, sample"] = partial(evaluate, frozen(plain), x, level, labels)
            functions[f"{dtype}, {name}, sample, not frozen"] = partial(evaluate, plain, x, level, labels)
    flops = {
        "train": count(partial(step, make(watch.device).train(), x, sigma, labels)),
        "sample": count(partial(evaluate, make(watch.device).eval(), x, level, labels)),
    }
    rows = []
    for key, seconds in watch(functions).items():
        dtype, memory, *kind = key.split(", ")
        rows.append(
            {
                "precision": dtype,
                "memory": memory,
                "what": ", ".join(kind),
                "images_per_second": BATCH / seconds,
                "share_of_matrix_rate": flops[kind[0]] / seconds / rates[dtype],
            }
        )
    return rows


def step(net: EDM2, x: Tensor, sigma: Tensor, labels: Tensor) -> None:
    """Forward and backward, no optimizer."""
    denoised, u = net(x * 0.5 + x * sigma[:, None, None, None], sigma, labels, return_logvar=True)
    loss = training.weighted_error(denoised, u, x * 0.5, sigma, net.sigma_data)
    torch.autograd.backward(loss.sum() / BATCH)
    net.zero_grad(set_to_none=True)


@torch.no_grad()
def evaluate(net: EDM2, x: Tensor, sigma: Tensor, labels: Tensor) -> None:
    net(x, sigma, labels)


def count(function: Callable[[], object]) -> int:
    """Floating-point operations of convolutions and matrix products (a multiply-add is two)."""
    with FlopCounterMode(display=False) as counter:
        function()
    return int(counter.get_total_flops())


def loop_overhead(watch: Stopwatch, dtype: str) -> dict[str, float]:
    """Share of the training loop outside the network's forward and backward: data, noise, loss, Adam, averages."""
    net = make(watch.device, dtype)
    shape = (NETWORK["img_channels"], NETWORK["img_resolution"], NETWORK["img_resolution"])
    images = torch.randint(256, (20_000 if NETWORK["img_resolution"] < 32 else 2000, *shape), dtype=torch.uint8)
    classes = torch.arange(len(images)) % NETWORK["label_dim"]
    inside = waiting = 0.0

    def next_batch(nimg: int) -> tuple[Tensor, Tensor]:
        nonlocal waiting
        start = time.perf_counter()
        found = read(nimg)
        watch.wait()
        waiting += time.perf_counter() - start
        return found

    def read(nimg: int) -> tuple[Tensor, Tensor]:
        rows = (torch.arange(nimg, nimg + BATCH) * 7919) % len(images)
        x = images[rows].to(watch.device).float().div(255).sub(0.5)
        return x, classes[rows].to(watch.device)

    class Forward(torch.nn.Module):
        def forward(self, *args: Any, **kwargs: Any) -> Any:
            return timed(lambda: net(*args, **kwargs))

    def timed(function: Callable[[], Any]) -> Any:
        nonlocal inside
        watch.wait()
        start = time.perf_counter()
        result = function()
        watch.wait()
        inside += time.perf_counter() - start
        return result

    loop = training.train(
        training.start(net, [0.05, 0.10]),
        next_batch,
        batch=BATCH,
        total=10**12,
        seed=0,
        rate=lambda nimg: 1e-3,
        forward=Forward(),
        backward=lambda loss: timed(loss.backward),
    )
    for _ in range(3):
        next(loop)
    shares, speeds, waits = [], [], []
    end = time.perf_counter() + 2 * watch.seconds
    while time.perf_counter() < end:
        inside = waiting = 0.0
        seconds = watch.once(lambda: next(loop))
        waits.append(waiting / seconds)
        shares.append(1 - inside / seconds)
        speeds.append(BATCH / seconds)
    return {
        "share_outside_network": statistics.median(shares),
        "share_waiting_for_data": statistics.median(waits),
        "images_per_second": statistics.median(speeds),
    }


def mix_price(watch: Stopwatch, dtype: str) -> dict[str, float]:
    """Seconds per image of a two-class mix against one class, both guided, 8 Heun steps."""
    main, guide = (frozen(make(watch.device, dtype, seed)) for seed in (0, 1))
    rows = max(BATCH // 2, 1)
    side = NETWORK["img_resolution"]
    x = torch.randn(rows, NETWORK["img_channels"], side, side, device=watch.device) * 80
    labels = torch.arange(2 * rows, device=watch.device).remainder(NETWORK["label_dim"]).reshape(rows, 2)
    sigmas = karras_sigmas(8)

    def run(m: int) -> Callable[[], object]:
        weights = [1 / m] * m
        denoiser = autoguide(mix(main, labels[:, :m], weights), mix(guide, labels[:, :m], weights), 1.3)
        return lambda: heun(denoiser, x, sigmas)

    level = torch.tensor(1.0, device=watch.device)
    together = mix(main, labels, [0.5, 0.5])
    apart = [condition(main, labels[:, k]) for k in range(2)]
    functions: dict[str, Callable[[], object]] = {"one": run(1), "two": run(2)}
    functions["together"] = torch.no_grad()(lambda: together(x, level))
    functions["apart"] = torch.no_grad()(lambda: sum(each(x, level) for each in apart))
    seconds = watch(functions)
    evaluations = 15 * 4 * rows
    return {
        "one_class_seconds_per_image": seconds["one"] / rows,
        "two_class_seconds_per_image": seconds["two"] / rows,
        "ratio": seconds["two"] / seconds["one"],
        "one_batch_over_separate_forwards": seconds["together"] / seconds["apart"],
        "evaluations_per_second": evaluations / seconds["two"],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--seconds", type=float, default=5.0, help="of each measurement")
    parser.add_argument("--rounds", type=int, default=5, help="of each measurement, at least")
    parser.add_argument("--json", type=Path, help="also write the numbers here")
    parser.add_argument("--size", choices=list(EDM2_SIZES), help="an EDM2 size at 64 px instead of the demo's network")
    parser.add_argument("--batch", type=int, default=BATCH)
    parser.add_argument("--precision", choices=PRECISIONS, help="one alone: half the memory; S needs some 9 GB then")
    parser.add_argument("--compile", action="store_true", help="also with torch.compile (minutes of compilation)")
    options = parser.parse_args()
    globals()["BATCH"] = options.batch
    if options.precision:
        globals()["PRECISIONS"] = (options.precision,)
    if options.size:
        config = edm2_generator(options.size)
        names = ("model_channels", "channel_mult", "num_blocks", "attention", "dropout")
        NETWORK.update({"img_resolution": 64, "img_channels": 3, "label_dim": 1000})
        NETWORK.update({name: getattr(config, name) for name in names})
    torch.set_num_threads(options.threads)
    watch = Stopwatch(torch.device(options.device), options.seconds, options.rounds)

    rates = matrix_rates(watch, 1024 if options.device == "cpu" else 8192)
    for name, rate in rates.items():
        print(f"matrix products, {name}: {rate / 1e9:.0f} GFLOP/s")
    table = precisions(watch, rates, options.compile)
    for row in table:
        print(
            f"{row['precision']:9} {row['memory']:13} {row['what']:19} {row['images_per_second']:8.3g} images/s"
            f"  {row['share_of_matrix_rate']:6.1%} of the matrix rate"
        )
    result: dict[str, Any] = {
        "size": options.size or "small",
        "batch": options.batch,
        "threads": options.threads,
        "device": options.device,
        "torch": torch.__version__,
    }
    result |= {"matrix_flops_per_second": rates, "precisions": table}
    for dtype in PRECISIONS:
        overhead, price = loop_overhead(watch, dtype), mix_price(watch, dtype)
        result[dtype] = {"training": overhead, "mix": price}
        print(
            f"{dtype}: training loop {overhead['images_per_second']:.3g} images/s, "
            f"{overhead['share_outside_network']:.1%} outside the network (aim < 5%), "
            f"{overhead['share_waiting_for_data']:.1%} waiting for data (aim < 3%); "
            f"two-class mix / one class {price['ratio']:.2f} (aim <= 2.1), "
            f"two conditions as one batch / two forwards {price['one_batch_over_separate_forwards']:.2f}; "
            f"{price['evaluations_per_second']:.3g} evaluations/s"
        )
    if options.json:
        options.json.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
