"""What several processes gain: images per second of the real training loops alone and together, as ratios within one run.

    torchrun --nproc-per-node 2 benchmarks/processes.py [--device cpu] [--rounds 5]
    torchrun --nproc-per-node 8 benchmarks/processes.py --device cuda --size s --generator-batch 512

First the processes train together on a batch; then the first one alone, the others idle, on its part of it. `efficiency` is the
speed together over the speed alone and the number of processes. Rounds of both take turns.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from scoremix.config import Generator, Recognizer
from scoremix.config.presets import EDM2_SIZES, edm2_generator
from scoremix.data.images import LabeledImages
from scoremix.execution import processes as engine
from scoremix.stages.train import generator, recognizer

STEPS = 8  # of a round
ENDLESS = 10**12  # images


def images(size: int, channels: int) -> LabeledImages:
    """Noise of 100 classes."""
    pixels = np.random.default_rng(0).integers(0, 256, (2000, size, size, channels), dtype=np.uint8)
    return LabeledImages.of(pixels, np.arange(2000) // 20, [str(k) for k in range(100)])


def seconds(team: engine.Engine, loop: Iterator[object]) -> float:
    """Of `STEPS` steps."""
    team.synchronize()
    start = time.perf_counter()
    for _ in range(STEPS):
        next(loop)
    team.synchronize()
    return time.perf_counter() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cpu", choices=["cpu", "cuda"])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--size", choices=list(EDM2_SIZES), help="an EDM2 size at 64 px instead of the demo's network")
    parser.add_argument("--generator-batch", type=int, default=128)
    parser.add_argument("--recognizer-batch", type=int, default=128)
    parser.add_argument("--json", type=Path, help="also write the numbers here")
    options = parser.parse_args()
    team, alone = engine.start(options.device, together=True), engine.start(options.device)
    precision = "bfloat16" if options.device == "cuda" else "float32"
    made = edm2_generator(options.size) if options.size else Generator()
    made = made.model_copy(update={"batch": options.generator_batch, "precision": precision})
    judge = Recognizer(batch=options.recognizer_batch, precision=precision)
    train = images(64 if options.size else 16, 3 if options.size else 1)
    rows = {}
    for name, module, config in (("generator", generator, made), ("recognizer", recognizer, judge)):
        part = config.model_copy(update={"batch": config.batch // team.ranks})
        shared = module.steps(config, train, team, ENDLESS)
        own = module.steps(part, train, alone, ENDLESS) if team.rank == 0 else iter(())
        rates: dict[str, list[float]] = {"together": [], "alone": []}
        for round_ in range(options.rounds + 1):
            taken = {"together": seconds(team, shared)}
            if team.rank == 0:
                taken["alone"] = seconds(alone, own)
            team.wait()
            for how, spent in taken.items() if round_ else ():
                rates[how].append(STEPS * (config if how == "together" else part).batch / spent)
        if team.rank == 0:
            both = {how: statistics.median(values) for how, values in rates.items()}
            rows[name] = {**both, "efficiency": both["together"] / both["alone"] / team.ranks}
            print(
                f"{name}: {both['together']:.4g} images/s in {team.ranks} processes, {both['alone']:.4g} in one, "
                f"efficiency {rows[name]['efficiency']:.0%}"
            )
    if team.rank == 0 and options.json:
        about = {"processes": team.ranks, "device": options.device, "size": options.size or "small"}
        options.json.write_text(json.dumps({**about, **rows}, indent=1) + "\n")


if __name__ == "__main__":
    main()
