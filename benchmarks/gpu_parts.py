"""The measurements of `benchmarks/gpu.py`, a part a process: each row is written as soon as it is known.

    python benchmarks/gpu_parts.py PART FILE [--tiny]

Trainings are the true loops, with reading, augmentation, optimizer and averages. `share` is the work of convolutions and
matrix products over the rate of a plain matrix product in the same precision. `host` is the time that the host needs to issue
a step, over the time of the step: near 1, the device waits for the host. `waits` are the times a step waits for the device.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch.utils.flop_counter import FlopCounterMode

from scoremix.config import Generator, Recognizer, Sampling
from scoremix.config.presets import adaface, edm2_generator
from scoremix.data.files import write_file
from scoremix.data.images import LabeledImages
from scoremix.diffusion.unet import frozen
from scoremix.execution import processes as engine
from scoremix.recognition.training import embed
from scoremix.stages.mix.plan import evaluations, sample
from scoremix.stages.train import generator, recognizer

SECONDS = 4.0  # of a measurement
STORED = 512  # images that are there: classes share them
MINED = 20_000  # m-plets kept of a search


class Rows:
    """The results of a part, written anew with every row."""

    def __init__(self, part: str, file: Path, tiny: bool, device: torch.device) -> None:
        self.file, self.tiny, self.device = file, tiny, device
        name = (
            torch.cuda.get_device_name(device) if device.type == "cuda" else f"CPU, {torch.get_num_threads()} threads"
        )
        self.content: dict[str, Any] = {"part": part, "device": name, "torch": torch.__version__, "rows": []}

    def add(self, what: str, **numbers: Any) -> None:
        rounded = {k: float(f"{v:.4g}") if isinstance(v, float) else v for k, v in numbers.items()}
        self.content["rows"].append({"what": what, **rounded})
        write_file(self.file, json.dumps(self.content, indent=1) + "\n")
        print(f"  {self.content['part']}, {what}: {', '.join(f'{k} {v}' for k, v in rounded.items())}", flush=True)

    def wait(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)

    def peak_mib(self) -> float | None:
        """Most memory of the device that was taken since the last call."""
        if self.device.type != "cuda":
            return None
        peak = torch.cuda.max_memory_allocated(self.device) / 2**20
        torch.cuda.reset_peak_memory_stats(self.device)
        return float(peak)


def matrix_rate(rows: Rows, precision: str) -> float:
    """Floating-point operations per second of a large matrix product."""
    n = 128 if rows.tiny else 8192
    a = torch.randn(n, n, device=rows.device, dtype=getattr(torch, precision))
    seconds = per_call(rows, lambda: a @ a, 0.3 if rows.tiny else 1.0)
    return 2 * n**3 / seconds


def per_call(rows: Rows, call: Callable[[], object], seconds: float = SECONDS) -> float:
    """Seconds of a call after some for warming up: median over groups, between which the device is waited for."""
    seconds = min(seconds, 0.5) if rows.tiny else seconds
    for _ in range(1 if rows.tiny else 3):
        call()
    rows.wait()
    times: list[float] = []
    end = time.perf_counter() + seconds
    while time.perf_counter() < end or len(times) < 3:
        start = time.perf_counter()
        for _ in range(4):
            call()
        rows.wait()
        times.append((time.perf_counter() - start) / 4)
    return statistics.median(times)


def issued(rows: Rows, call: Callable[[], object]) -> tuple[float, int | None]:
    """Seconds that the host needs for a call whose device is idle, and how often it waits for the device."""
    times = []
    for _ in range(3):
        rows.wait()
        start = time.perf_counter()
        call()
        times.append(time.perf_counter() - start)
    if rows.device.type != "cuda":
        return statistics.median(times), None
    rows.wait()
    torch.cuda.set_sync_debug_mode("warn")
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        call()
    torch.cuda.set_sync_debug_mode("default")
    return statistics.median(times), sum("synchroniz" in str(one.message) for one in said)


def precision(rows: Rows) -> Literal["float32", "bfloat16"]:
    """A CPU emulates bfloat16."""
    return "float32" if rows.tiny else "bfloat16"


def operations(call: Callable[[], object]) -> int:
    with FlopCounterMode(display=False) as counter:
        call()
    return int(counter.get_total_flops())


def faces(side: int, classes: int) -> LabeledImages:
    """Random images of that many classes, which share what is stored."""
    stored = np.random.default_rng(0).integers(0, 256, (STORED, side, side, 3), dtype=np.uint8)
    return LabeledImages(
        stored, tuple(map(str, range(classes))), np.arange(classes) % STORED, np.ones(classes, np.int64)
    )


def fitting(batch: int, rows: Rows, attempt: Callable[[int], None]) -> int:
    """Calls `attempt` with the batch, or with half of it, and so on, until the device's memory holds it."""
    while True:
        try:
            attempt(batch)
            return batch
        except torch.OutOfMemoryError:
            if batch == 1:
                raise
        torch.cuda.empty_cache()
        rows.peak_mib()
        batch //= 2


def trained(
    rows: Rows, what: str, loop: Callable[[int], Iterator[object]], batch: int, work: int | None, rate: float
) -> int:
    """Adds the speed of a training; `loop(batch)` is endless. Returns its work per image, which `work` says if it is known."""
    made: list[Iterator[object]] = []

    def attempt(size: int) -> None:
        made.clear()  # what did not fit is let go first
        made.append(loop(size))
        for _ in range(2):
            next(made[0])

    began = time.perf_counter()
    batch = fitting(batch, rows, attempt)
    started = time.perf_counter() - began
    step = lambda: next(made[0])
    each = work or operations(step) // batch
    seconds = per_call(rows, step)
    host, waits = issued(rows, step)
    share = each * batch / seconds / rate
    numbers = {"images_per_second": batch / seconds, "share": share, "batch": batch, "peak_mib": rows.peak_mib()}
    rows.add(what, **numbers, host=min(host / seconds, 1.0), waits=waits, start_s=started)
    made.clear()
    return each


def of_generator(rows: Rows, config: Generator, side: int, batch: int) -> None:
    """Training and sampling, eager and compiled, and the price of checkpointing."""
    device, rate = engine.start("cpu" if rows.tiny else "cuda"), matrix_rate(rows, precision(rows))
    images = faces(side, 50 if rows.tiny else 10_000)
    config = config.model_copy(update={"precision": precision(rows)})

    def loop(of: Generator, compiled: bool) -> Callable[[int], Iterator[object]]:
        def started(size: int) -> Iterator[object]:
            sized = of.model_copy(update={"batch": size})
            return generator.steps(sized, images, device, 10**12, compiled=compiled)

        return started

    work = trained(rows, "training", loop(config, False), batch, None, rate)
    sampling(rows, config, images, rate, device, False)
    saving = config.model_copy(update={"checkpointing": True})
    trained(rows, "training with checkpointing", loop(saving, False), batch, work, rate)
    sampling(rows, config, images, rate, device, True)
    trained(rows, "training, compiled", loop(config, True), batch, work, rate)


def sampling(
    rows: Rows, config: Generator, images: LabeledImages, rate: float, device: engine.Engine, compiled: bool
) -> None:
    """Adds the speed of sampling guided mixes of two classes with 32 Heun steps, from a few of them."""
    main, guide = (frozen(generator.make(config, images).to(device.device)) for _ in range(2))
    if compiled:
        main.unet.compile()
        guide.unet.compile()
    plan, few = (Sampling(steps=n, precision=config.precision) for n in (32, 2))
    chunk = 4 if rows.tiny else 64
    labels = torch.arange(2, device=device.device).expand(chunk, 2)

    def call() -> None:
        sample(main, guide, labels, (0.5, 0.5), range(chunk), few)

    began = time.perf_counter()
    call()
    rows.wait()
    started = time.perf_counter() - began
    x = torch.zeros(2 * chunk, images.channels, images.size, images.size, device=device.device)
    one = generator.make(config, images).to(device.device).eval()
    with torch.no_grad():
        work = operations(lambda: one(x, torch.ones(len(x), device=x.device), labels.flatten())) / len(x)
    seconds = per_call(rows, call) / (chunk * evaluations(few, 2))
    host, waits = issued(rows, call)
    numbers = {"images_per_second": 1 / (seconds * evaluations(plan, 2)), "evaluations_per_second": 1 / seconds}
    host /= seconds * chunk * evaluations(few, 2)
    named = "sampling, compiled" if compiled else "sampling"
    rows.add(
        named, **numbers, share=work / seconds / rate, chunk=chunk, peak_mib=rows.peak_mib(), host=min(host, 1.0),
        waits=waits, start_s=started,
    )  # fmt: skip


def of_recognizer(rows: Rows, config: Recognizer, side: int, batch: int) -> None:
    """Training and embedding, eager and compiled."""
    device, rate = engine.start("cpu" if rows.tiny else "cuda"), matrix_rate(rows, precision(rows))
    images = faces(side, 50 if rows.tiny else 10_000)
    config = config.model_copy(update={"precision": precision(rows)})

    def loop(compiled: bool) -> Callable[[int], Iterator[object]]:
        def started(size: int) -> Iterator[object]:
            sized = config.model_copy(update={"batch": size})
            state = recognizer.start(
                sized, recognizer.describe(sized, images.size, 3), len(images.class_names), device.device
            )
            if compiled:
                state.net.compile()
            return recognizer.steps(sized, images, device, 10**9, state)

        return started

    work: int | None = None
    for compiled in (False, True):
        said = ", compiled" if compiled else ""
        work = trained(rows, f"training{said}", loop(compiled), batch, work, rate)
        net = recognizer.start(config, recognizer.describe(config, images.size, 3), 2, device.device).net
        if compiled:
            net.compile()
        x = torch.from_numpy(images.stored[:64].transpose(0, 3, 1, 2).copy()).repeat(batch // 64 + 1, 1, 1, 1)[:batch]
        x = x.to(device.device)
        seconds = per_call(rows, lambda net=net, x=x: embed(net, x, batch=batch, precision=config.precision))  # type: ignore[misc]
        rows.add(f"embedding{said}", images_per_second=batch / seconds, share=work / 3 * batch / seconds / rate)


def mined(rows: Rows, n: int) -> None:
    """Exact pairs and triples of random centers, on the host's processors."""
    import numba

    from scoremix.selection.mplets import top_mplets

    x = np.random.default_rng(0).standard_normal((n // 20 if rows.tiny else n, 512)).astype(np.float32)
    top_mplets(x[:300], 2, 100)
    for m in (2, 3):
        start = time.perf_counter()
        found = top_mplets(x, m, 500 if rows.tiny else MINED)
        seconds = time.perf_counter() - start
        rows.add(f"m = {m}", n=len(x), seconds=seconds, threads=numba.get_num_threads(), best=float(found.values[0]))


def ceiling(rows: Rows) -> None:
    for precision in ("bfloat16", "float32"):
        rows.add(precision, tflops=matrix_rate(rows, precision) / 1e12)


TINY = Generator(model_channels=16, channel_mult=(1, 2), attention=True)
TINY_RECOGNIZER = Recognizer(widths=(8, 16), units=(1, 1), embedding=32)


def main() -> None:
    parts: dict[str, Callable[[Rows, bool], None]] = {
        "ceiling": lambda rows, tiny: ceiling(rows),
        "small_32": lambda rows, tiny: of_generator(
            rows, *((TINY, 8, 8) if tiny else (Generator(channel_mult=(1, 2, 2)), 32, 1024))
        ),
        "s_64": lambda rows, tiny: of_generator(rows, *((TINY, 8, 8) if tiny else (edm2_generator("s"), 64, 256))),
        "s_112": lambda rows, tiny: of_generator(rows, *((TINY, 16, 8) if tiny else (edm2_generator("s"), 112, 128))),
        "recognizer_112": lambda rows, tiny: of_recognizer(
            rows, *((TINY_RECOGNIZER, 16, 16) if tiny else (adaface("iresnet50"), 112, 512))
        ),
        "mining_10000": lambda rows, tiny: mined(rows, 10_000),
        "mining_100000": lambda rows, tiny: mined(rows, 100_000),
    }
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("part", choices=list(parts))
    parser.add_argument("file", type=Path)
    parser.add_argument("--tiny", action="store_true")
    options = parser.parse_args()
    if options.tiny:  # machine code for a CPU takes minutes to make and says nothing of a GPU's: the graphs alone
        torch.compile = partial(torch.compile, backend="aot_eager")
    mining = options.part.startswith("mining")
    device = engine.start("cpu" if options.tiny or mining else "cuda").device
    parts[options.part](Rows(options.part, options.file, options.tiny, device), options.tiny)


if __name__ == "__main__":
    sys.exit(main())
