"""IJB-C-sized scoring on synthetic embeddings: from 469,375 embeddings to all TAR values of three protocols.

    python benchmarks/ijb.py [--scale 1.0] [--draws 0] [--threads 2]

The measure is the bare inner products of the 15,658,489 pairs of one protocol, in the best blocks of numpy (gathered
rows, einsum), in the same run; the aim is at most five times that for everything and under 4 GB. `--draws 1000` adds
the bootstrap intervals.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import time
from collections.abc import Iterator
from pathlib import Path

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("--scale", type=float, default=1.0)
parser.add_argument("--draws", type=int, default=0)
parser.add_argument("--threads", type=int, default=os.cpu_count())
arguments = parser.parse_args()
os.environ["NUMBA_NUM_THREADS"] = os.environ["OMP_NUM_THREADS"] = str(arguments.threads)

import numpy as np  # noqa: E402

from scoremix.evaluation.benchmarks import template_draws, template_pair_measures  # noqa: E402
from scoremix.evaluation.templates import PROTOCOLS, pair_similarities, template_features  # noqa: E402

IMAGES, DIM, TEMPLATES, PEOPLE, PAIRS, GENUINE = 469_375, 512, 23_124, 3_531, 15_658_489, 19_557


def synthetic(scale: float) -> dict[str, np.ndarray]:
    """Embeddings around a center per person, templates of a few media, and a random list of pairs."""
    rng = np.random.default_rng(0)
    images, templates, people = int(IMAGES * scale), int(TEMPLATES * scale), max(2, int(PEOPLE * scale))
    pairs, genuine = int(PAIRS * scale), int(GENUINE * scale)
    owner = rng.integers(0, people, templates)
    template = np.concatenate([np.arange(templates), rng.integers(0, templates, images - templates)])
    centers = rng.standard_normal((people, DIM), dtype=np.float32)
    embeddings = np.empty((images, DIM), np.float32)
    for i in range(0, images, 8192):
        rows = template[i : i + 8192]
        embeddings[i : i + 8192] = centers[owner[rows]] + 6 * rng.standard_normal((len(rows), DIM), dtype=np.float32)
    by_person = np.argsort(owner, kind="stable")
    neighbours = np.flatnonzero(owner[by_person][1:] == owner[by_person][:-1])
    at = rng.choice(neighbours, genuine)
    first, second = rng.integers(0, templates, (2, pairs), dtype=np.int32)
    first[:genuine], second[:genuine] = by_person[at], by_person[at + 1]
    same = owner[first] == owner[second]
    return {
        "embeddings": embeddings,
        "template": template,
        "media": rng.integers(0, 5, images),
        "detector": rng.uniform(0.5, 1, images),
        "rows": np.stack([first, second], 1),
        "same": same,
    }


def clock() -> np.ndarray:
    """Wall and processor seconds; the second is what a busy machine leaves comparable."""
    return np.array([time.perf_counter(), time.process_time()])


def bare(features: np.ndarray, rows: np.ndarray, block: int) -> np.ndarray:
    """Seconds for the inner products of all pairs in blocks."""
    start = clock()
    out = np.empty(len(rows), np.float32)
    for i in range(0, len(rows), block):
        a, b = rows[i : i + block].T
        np.einsum("nd,nd->n", features[a], features[b], out=out[i : i + block])
    return clock() - start


@contextlib.contextmanager
def timed(spent: dict[str, np.ndarray], name: str) -> Iterator[None]:
    start = clock()
    yield
    spent[name] = spent.get(name, 0) + clock() - start


def peak() -> float:
    """Peak resident memory in GB since `reset`."""
    return int(Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0]) / 1e6


def main() -> None:
    x = synthetic(arguments.scale)
    protocols = list(PROTOCOLS.values())
    warm = {name: value[:100] for name, value in x.items()}
    template_features(warm["embeddings"], warm["template"], warm["media"], warm["detector"], protocols)  # compiles
    pair_similarities([x["embeddings"][:2]], *x["rows"][:0].T)
    held = int(Path("/proc/self/status").read_text().split("VmRSS:")[1].split()[0]) / 1e6
    Path("/proc/self/clear_refs").write_text("5")

    spent: dict[str, np.ndarray] = {}
    with timed(spent, "templates"):
        ids, features = template_features(x["embeddings"], x["template"], x["media"], x["detector"], protocols)
    with timed(spent, "draws of people"):
        draws = template_draws(x["rows"], x["same"], len(ids), arguments.draws) if arguments.draws else None
    a, b = x["rows"].T
    blocks = {block: bare(features[0], x["rows"], block) for block in (256, 512, 1024, 4096)}
    with timed(spent, "inner products"):
        similarities = pair_similarities(features, a, b)
    block, seconds = min(blocks.items(), key=lambda item: item[1][1])
    seconds = (seconds + bare(features[1], x["rows"], block)) / 2  # before and after, for what else the machine does
    for protocol, similarity in zip(protocols, similarities, strict=True):
        with timed(spent, "TAR"):
            measures = template_pair_measures(similarity, x["same"], draws)
        values = [f"{100 * m.value:.2f}@{m.level:g}" for m in measures if m.rule == "nearest"]
        print(f"{protocol.name:14} TAR {', '.join(values)}")
    most = peak()

    print(f"\n{len(x['embeddings']):,} embeddings, {len(ids):,} templates, {len(x['same']):,} pairs, ", end="")
    print(f"{arguments.threads} threads, {arguments.draws} draws")
    print(f"  {'':18}{'wall s':>10}{'processor s':>14}")
    for name, value in spent.items():
        print(f"  {name:18}{value[0]:10.1f}{value[1]:14.1f}")
    total = sum(spent.values())
    print(f"  {'all':18}{total[0]:10.1f}{total[1]:14.1f}")
    print(f"  {'bare, 1 protocol':18}{seconds[0]:10.1f}{seconds[1]:14.1f}   (one thread, blocks of {block})")
    ratio = total / seconds
    print(f"  ratio {ratio[0]:.2f} of wall, {ratio[1]:.2f} of processor time (aim: at most 5)")
    print(f"  peak memory {most:.2f} GB, of which inputs {held:.2f} GB (aim: under 4)")


if __name__ == "__main__":
    main()
