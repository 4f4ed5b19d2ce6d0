"""Speed of the recognizer: training and embedding by precision and memory format, as ratios within one run.

    python benchmarks/recognizer.py [--size 16] [--batch 128] [--threads 1] [--device cpu|cuda] [--network iresnet50]

Variants and a plain matrix product take turns and each keeps its best round, so that other load hits all
alike. `share` is that of the matrix product's rate; it counts convolutions and fully connected layers, three
forwards for a training step.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from scoremix.recognition.heads import ArcFace
from scoremix.recognition.iresnet import IRNet, build
from scoremix.recognition.training import RecognizerTraining, embed, sgd, train

PRECISIONS = ("float32", "bfloat16")
VARIANTS = [(p, memory) for p in PRECISIONS for memory in (torch.contiguous_format, torch.channels_last)]


def best(runs: list[Callable[[], Any]], rounds: int, wait: Callable[[], None]) -> list[float]:
    """Seconds of each run's fastest round, the runs taking turns."""
    for run in runs:
        run()
    seconds = [float("inf")] * len(runs)
    for _ in range(rounds):
        for k, run in enumerate(runs):
            wait()
            start = time.perf_counter()
            run()
            wait()
            seconds[k] = min(seconds[k], time.perf_counter() - start)
    return seconds


def matrix_product(device: torch.device, precision: str) -> tuple[Callable[[], Any], int]:
    """A large matrix product and its floating-point operations."""
    n = 1024 if device.type == "cpu" else 8192
    a = torch.randn(n, n, device=device, dtype=getattr(torch, precision))
    return lambda: a @ a, 2 * n**3


def steps_of(net: nn.Module, images: Tensor, labels: Tensor, dim: int, precision: str) -> Iterator[RecognizerTraining]:
    """An endless training on one batch of 1,000 classes."""
    head = ArcFace(dim, 1000).to(images.device)
    state = RecognizerTraining(net, head, sgd(net, head))
    settings: dict[str, Any] = {"batch": len(images), "total": 10**12, "seed": 0, "base_rate": 1e-3}
    return train(state, lambda nimg: (images, labels), precision=precision, **settings)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--size", type=int, default=16)
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--network", help="a published one at 112 px (iresnet50, adaface_ir50 ...), not the small one")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    device = torch.device(args.device)
    wait = torch.cuda.synchronize if device.type == "cuda" else lambda: None

    shape, dim = ((3, 112, 112), 512) if args.network else ((1, args.size, args.size), 128)
    x = torch.randn(args.batch, *shape, device=device)
    labels = torch.randint(0, 1000, (args.batch,), device=device)

    def make() -> nn.Module:
        return (build(args.network) if args.network else IRNet(args.size)).to(device)

    def run_of(kind: str, precision: str, memory: torch.memory_format) -> Callable[[], Any]:
        net, images = make().to(memory_format=memory), x.contiguous(memory_format=memory)
        if kind == "embedding":
            return lambda: embed(net, images, batch=args.batch, precision=precision)
        steps = steps_of(net, images, labels, dim, precision)
        return lambda: next(steps)

    with FlopCounterMode(display=False) as counter, torch.no_grad():
        make().eval()(x)
    work = counter.get_total_flops()
    products = [matrix_product(device, p) for p in PRECISIONS]
    name = f"{args.network or 'the small network'} at {shape[1]} px"
    print(f"{name}: {work / args.batch / 1e6:.1f} Mflop per forward and image, batch {args.batch}, {device}")
    for kind, passes in (("training", 3), ("embedding", 1)):
        runs = [run_of(kind, *variant) for variant in VARIANTS]
        seconds = best([*runs, *(run for run, _ in products)], args.rounds, wait)
        alone = zip(PRECISIONS, products, seconds[len(runs) :], strict=True)
        rate = {precision: operations / spent for precision, (_, operations), spent in alone}
        product = ", ".join(f"{precision} {r / 1e9:,.0f}" for precision, r in rate.items())
        print(f"\n{kind}, {args.threads} threads; matrix product {product} Gflop/s")
        print(f"{'precision':10}{'memory':15}{'images/s':>10}{'ratio':>7}{'share':>7}")
        for (precision, memory), spent in zip(VARIANTS, seconds, strict=False):
            share = passes * work / spent / rate[precision]
            name = "channels last" if memory == torch.channels_last else "contiguous"
            row = f"{precision:10}{name:15}{args.batch / spent:10,.1f}{seconds[0] / spent:7.2f}"
            print(f"{row}{share:7.1%}")


if __name__ == "__main__":
    main()
