"""Time and memory of every alignment measure and of Algorithm 2 at N = 10,000, against two Gram products.

    python benchmarks/alignment.py [--n 10000] [--dims 512 768] [--only NAME ...] [--json FILE]

Each measure runs in a process of its own, which reports its peak resident memory; every time is divided by
that of the two products XXᵀ and YYᵀ (float32, written into one reused n x n matrix) taken just before in
the same process. Aims: each within 20 products, each under 2 GB.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from scoremix.analysis import alignment, chance, geometry, overlap, preservation
from scoremix.analysis.spaces import distance_correlation

AIM_RATIO, AIM_BYTES = 20.0, 2 * 10**9


def spaces(n: int, dims: list[int]) -> tuple[Tensor, Tensor]:
    """Class centers of two recognizers, as random spaces that share a part."""
    generator = torch.Generator().manual_seed(0)
    x, y = (torch.randn(n, d, generator=generator) for d in dims)
    shared = min(dims) // 2
    y[:, :shared] = x[:, :shared] + 0.3 * y[:, :shared]
    return x, y


def order_preservation(x: Tensor, y: Tensor) -> Any:
    """100,000 random comparisons of disjoint pairs against identity and bound."""
    quads = preservation.random_classes(len(x), 4, 100_000, torch.Generator().manual_seed(1))
    return preservation.order_preservation(x, y, preservation.pair_mask(quads))


def permutations(x: Tensor, y: Tensor) -> Any:
    return chance.permutation_null(alignment.cka, x, y, torch.Generator().manual_seed(1), draws=10).p_value


MEASURES: dict[str, Callable[[Tensor, Tensor], Any]] = {
    "cka": alignment.cka,
    "cka debiased": partial(alignment.cka, debiased=True),
    "cka minibatch": alignment.minibatch_cka,
    "cka rbf": alignment.rbf_cka,
    "cknna k=10": partial(alignment.cknna, k=10),
    "cknna paper k=10": partial(alignment.cknna, k=10, variant="paper"),
    "soft_cknna": alignment.soft_cknna,
    "mutual_knn k=10": partial(alignment.mutual_knn, k=10),
    "procrustes": alignment.procrustes,
    "rsa": alignment.rsa,
    "distance_correlation": distance_correlation,
    "distance_correlation cosine/l2": partial(distance_correlation, y_metric="l2"),
    "joint_histogram": geometry.joint_histogram,
    "top_overlap k=20000": partial(overlap.top_overlap, k=20_000),
    "order_preservation 100k": order_preservation,
    "permutation null of cka, 10 draws": permutations,
}


def products(x: Tensor, y: Tensor) -> float:
    """Seconds of XXᵀ and YYᵀ."""
    out = torch.empty(len(x), len(x))
    start = time.perf_counter()
    for rows in (x, y):
        torch.mm(rows, rows.T, out=out)
    return time.perf_counter() - start


def measure(name: str, n: int, dims: list[int]) -> dict[str, Any]:
    """One measure in this process; its peak memory is read before the products allocate theirs."""
    x, y = spaces(n, dims)
    cpu, start = time.process_time(), time.perf_counter()
    value = MEASURES[name](x, y)
    seconds, cpu = time.perf_counter() - start, time.process_time() - cpu
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    cpu_unit, start = time.process_time(), time.perf_counter()
    unit = min(products(x, y) for _ in range(2))
    cpu_unit = (time.process_time() - cpu_unit) / 2
    return {
        "name": name,
        "seconds": seconds,
        "products": unit,
        "ratio": seconds / unit,
        "cpu_ratio": cpu / cpu_unit,
        "peak_bytes": peak,
        "value": value if isinstance(value, float) else str(value)[:200],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--n", type=int, default=10_000)
    parser.add_argument("--dims", type=int, nargs=2, default=[512, 768])
    parser.add_argument("--only", nargs="*", choices=list(MEASURES), default=list(MEASURES))
    parser.add_argument("--json", type=Path)
    parser.add_argument("--one", choices=list(MEASURES), help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.one:
        print(json.dumps(measure(args.one, args.n, args.dims)))
        return
    rows = []
    print(f"n = {args.n}, d = {args.dims[0]} and {args.dims[1]}, {os.cpu_count()} cores, torch {torch.__version__}")
    print(f"{'measure':36s}{'s':>8s}{'ratio':>8s}{'CPU':>8s}{'MB':>8s}")
    for name in args.only:
        command = [sys.executable, __file__, "--one", name, "--n", str(args.n), "--dims", *map(str, args.dims)]
        done = subprocess.run(command, check=True, capture_output=True, text=True)
        row = json.loads(done.stdout)
        rows.append(row)
        within = row["ratio"] <= AIM_RATIO and row["peak_bytes"] <= AIM_BYTES
        print(
            f"{name:36s}{row['seconds']:8.2f}{row['ratio']:8.2f}{row['cpu_ratio']:8.2f}"
            f"{row['peak_bytes'] / 1e6:8.0f}{'' if within else '  over its aim'}",
            flush=True,
        )
    if args.json:
        machine = {"platform": platform.platform(), "cores": os.cpu_count(), "torch": torch.__version__}
        args.json.write_text(json.dumps({"machine": machine, "n": args.n, "dims": args.dims, "rows": rows}, indent=1))


if __name__ == "__main__":
    main()
