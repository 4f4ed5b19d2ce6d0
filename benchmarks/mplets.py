"""Exact m-plet mining: time in units of the distance matrix's product, work against C(N, m), what the baselines lose.

    python benchmarks/mplets.py [--cases iso3 ...] [--centers FILE.npy] [--n 10000] [--k 20000] [--json FILE]

Centers of a trained recognizer, (N, D), are any run's scoremix_runs/store/recognizer/*/centers.npy; a run of many classes:

    scoremix recognizer --data kanji_fonts.npz --set data.size=16 --set recognizer.epochs=4 --set recognizer.embedding=512

An existing --json FILE of the same machine keeps its other cases. Every case runs in its own process, so that its peak memory is its own, beside the product x @ x.T of the same run. On a
busy machine compare the CPU seconds, which do not count the waiting, and those of one thread (`exhaustive-1`), which do not
count threads that wait for each other either.
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
from math import comb
from pathlib import Path
from typing import Any

import numpy as np

sys.path.append(str(Path(__file__).parents[1] / "tests"))  # for `support`

CASES: dict[str, dict[str, Any]] = {
    "iso3": {"data": "isotropic", "m": 3},
    "iso3-close": {"data": "isotropic", "m": 3, "largest": False},
    "clustered3": {"data": "clustered", "m": 3},
    "clustered3-close": {"data": "clustered", "m": 3, "largest": False},
    "tight3": {"data": "tight", "m": 3},
    "few3": {"data": "few", "m": 3},
    "anisotropic3": {"data": "anisotropic", "m": 3},
    "low3": {"data": "low 3", "m": 3},
    "low16": {"data": "low 16", "m": 3},
    "iso4": {"data": "isotropic", "m": 4},
    "clustered4": {"data": "clustered", "m": 4},
    "iso3-min": {"data": "isotropic", "m": 3, "objective": "min"},
    "iso2": {"data": "isotropic", "m": 2},
    "real2": {"data": "real", "m": 2},
    "real3": {"data": "real", "m": 3},
    "real3-close": {"data": "real", "m": 3, "largest": False},
    "real4": {"data": "real", "m": 4},
    "exhaustive": {},
    "exhaustive-100": {},
    "exhaustive-1": {},
    "faiss": {},
    "baselines": {},
    "large2": {"data": "isotropic", "m": 2, "times": 10},
    "large3": {"data": "isotropic", "m": 3, "times": 10},
}
SLOW = {"large2", "large3"}
CLUSTERS = {"clustered": (100, 1.0), "tight": (100, 0.3), "few": (20, 0.3)}  # how many, noise in units of their spread


def centers(kind: str, n: int, d: int, file: str | None) -> np.ndarray:
    """float32 (n, d) class centers of a kind, always the same ones."""
    rng = np.random.default_rng(0)
    if kind == "real":
        x = np.load(str(file), allow_pickle=False)
    elif kind in CLUSTERS:
        count, noise = CLUSTERS[kind]
        x = rng.standard_normal((count, d))[rng.integers(0, count, n)] + noise * rng.standard_normal((n, d))
    elif kind == "anisotropic":
        x = rng.standard_normal((n, d)) * np.arange(1, d + 1) ** -0.5
    elif kind.startswith("low"):
        width = int(kind.split()[1])
        x = rng.standard_normal((n, width)) @ rng.standard_normal((width, d))
    else:
        x = rng.standard_normal((n, d))
    return np.ascontiguousarray(x, np.float32)


def timed(run: Callable[[], Any]) -> tuple[Any, float, float]:
    """(what run returns, wall seconds, CPU seconds)."""
    wall, cpu = time.perf_counter(), time.process_time()
    result = run()
    return result, time.perf_counter() - wall, time.process_time() - cpu


def product(x: np.ndarray, repeats: int = 3) -> tuple[float, float]:
    """(wall, CPU) seconds of x @ x.T, the fastest of a few; by slices of at most 10,000 rows."""
    part = np.ascontiguousarray(x[:10_000])
    out = np.empty((len(part), len(part)), np.float32)
    other = part.T.copy()
    times = [timed(lambda: np.matmul(part, other, out=out))[1:] for _ in range(repeats)]
    scale = (len(x) / len(part)) ** 2
    return min(w for w, _ in times) * scale, min(c for _, c in times) * scale


def mine(case: dict[str, Any], n: int, d: int, k: int, file: str | None) -> dict[str, Any]:
    """Time, work and memory of one exact search beside the product of the same rows."""
    import numba

    from scoremix.selection.mplets import top_mplets

    case = dict(case)
    x = centers(case.pop("data"), n * case.pop("times", 1), d, file)
    m = case.pop("m")
    top_mplets(x[:1500], m, 100, **case)  # compiles
    wall, cpu = product(x)
    found, wall_search, cpu_search = timed(lambda: top_mplets(x, m, k, **case))
    again, cpu_again = product(x)
    wall, cpu = (wall + again) / 2, (cpu + cpu_again) / 2
    sums = found.certificate.pair_sums
    return {
        "n": len(x),
        "d": x.shape[1],
        "threads": numba.get_num_threads(),
        "product_s": wall,
        "product_cpu_s": cpu,
        "search_s": wall_search,
        "search_cpu_s": cpu_search,
        "products": wall_search / wall,
        "products_cpu": cpu_search / cpu,
        "pair_sums": sums,
        "less_work_than_all": comb(len(x), m) / sums,
        "kth_value": found.certificate.kth_value,
        "best": float(found.values[0]),
        "classes_used": found.coverage.used,
        "peak_gb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6,
    }


def exhaustive(d: int, k: int) -> dict[str, Any]:
    """The search against compiled loops over all triples, N = 1,500: one that keeps the best k, one that only counts.

    The counting loop is told the K-th value and returns no list. All are given the same threads.

    What no search of these rows can save bounds how many times faster it can be, `most_times`: reading the rows (with
    their norms in float64), their product, and the float64 values of the k sets. The loop needs only the product. What
    the search adds to that is growing the pairs, the matrix of scores in both triangles, and lists and orders.
    """
    import heapq

    import numba

    from scoremix.selection.criterion import Criterion
    from scoremix.selection.mplets import top_mplets

    @numba.njit(parallel=True)
    def keeping(table: np.ndarray, k: int, parts: int, out: np.ndarray) -> None:
        for part in numba.prange(parts):
            heap = [(np.float32(-1), 0, 0, 0)]
            for i in range(part, len(table), parts):
                for j in range(i + 1, len(table)):
                    base, first, second = table[i, j], table[i], table[j]
                    for c in range(j + 1, len(table)):
                        total = base + first[c] + second[c]
                        if len(heap) < k:
                            heapq.heappush(heap, (total, i, j, c))
                        elif total > heap[0][0]:
                            heapq.heapreplace(heap, (total, i, j, c))
            for a in range(len(heap)):
                out[part, a] = heap[a][0]

    @numba.njit(parallel=True)
    def counting(table: np.ndarray, threshold: float, out: np.ndarray) -> None:
        for i in numba.prange(len(table)):
            count = 0
            for j in range(i + 1, len(table)):
                base, first, second = table[i, j], table[i], table[j]
                for c in range(j + 1, len(table)):
                    count += base + first[c] + second[c] >= threshold
            out[i] = count

    n, threads = 1500, numba.get_num_threads()
    x = centers("isotropic", n, d, None)
    found = top_mplets(x, 3, k)

    def table() -> np.ndarray:
        unit = x / np.linalg.norm(x, axis=1, keepdims=True)
        return (1 - unit @ unit.T).astype(np.float32)

    def keep() -> np.ndarray:
        out = np.full((threads, k), -1, np.float32)
        keeping(table(), k, threads, out)
        return np.sort(out.ravel())[::-1][:k]

    def count() -> int:
        out = np.zeros(n, np.int64)
        counting(table(), np.float32(found.certificate.kth_value), out)
        return int(out.sum())

    criterion = Criterion.of(x, "cosine")
    runs = (
        keep,
        count,
        lambda: top_mplets(x, 3, k),
        lambda: Criterion.of(x, "cosine"),
        lambda: x @ x.T,
        lambda: criterion.values(found.classes),
    )
    rounds = [[timed(run) for run in runs] for _ in range(4)][1:]
    (keep_s, keep_cpu), (count_s, count_cpu), (search_s, search_cpu), *parts = (
        tuple(min(r[side][clock] for r in rounds) for clock in (1, 2)) for side in range(len(runs))
    )
    return {
        "n": n,
        "d": d,
        "k": k,
        "loop_s": keep_s,
        "counting_loop_s": count_s,
        "search_s": search_s,
        "times_faster": keep_s / search_s,
        "times_faster_cpu": keep_cpu / search_cpu,
        "prepare_cpu_s": parts[0][1],
        "product_cpu_s": parts[1][1],
        "values_cpu_s": parts[2][1],
        "loop_cpu_s": keep_cpu,
        "search_cpu_s": search_cpu,
        "most_times_cpu": keep_cpu / sum(cpu for _, cpu in parts),
        "threads": threads,
        "times_faster_than_counting": count_s / search_s,
        "times_faster_than_counting_cpu": count_cpu / search_cpu,
        "largest_difference": float(np.abs(rounds[0][0][0] - found.values).max()),
        "counted": rounds[0][1][0],
    }


def against_faiss(n: int, d: int, k: int) -> dict[str, Any]:
    """Global top pairs of n rows: ours against neighbours per row, enlarged until no row's list is exhausted."""
    try:
        import faiss
    except ImportError:
        return {"skipped": "faiss is not installed (the extra `faiss`)"}
    from scoremix.selection.mplets import top_mplets

    x = centers("isotropic", n, d, None)
    unit = x / np.linalg.norm(x, axis=1, keepdims=True)

    def neighbours() -> np.ndarray:
        index = faiss.IndexFlatIP(d)
        index.add(unit)
        for per_row in (8, 32, 128, 512):
            similarity, other = index.search(-unit, per_row)
            row = np.repeat(np.arange(len(x)), per_row)
            keep = row < other.ravel()
            value = np.sort(similarity.ravel()[keep])[::-1][:k]
            if len(value) == k and similarity[:, -1].max() < value[-1]:
                return 1 + value
        raise RuntimeError("a row has more than 512 of the pairs")

    top_mplets(x[:2000], 2, 100)
    found, wall, cpu = timed(lambda: top_mplets(x, 2, k))
    values, wall_faiss, cpu_faiss = timed(neighbours)
    return {
        "n": n,
        "d": d,
        "search_s": wall,
        "faiss_s": wall_faiss,
        "times_faster": wall_faiss / wall,
        "times_faster_cpu": cpu_faiss / cpu,
        "largest_difference": float(np.abs(found.values - values).max()),
    }


def baselines(n: int, d: int, k: int, file: str | None) -> dict[str, Any]:
    """Share of the exact list that one-best-per-pair triples and greedy quads miss."""
    from scoremix.selection.mplets import top_mplets
    from support.baselines import greedy_quads, lost, one_best_per_pair

    kinds = ["isotropic", "clustered", "tight", "anisotropic", *(["real"] if file else [])]
    report = {}
    for kind in kinds:
        x = centers(kind, n, d, file)
        triples = one_best_per_pair(x, k)
        quads = greedy_quads(x, triples.classes)
        exact = top_mplets(x, 4, k) if kind != "anisotropic" else None
        report[kind] = {
            "triples_lost": lost(triples, top_mplets(x, 3, k)),
            "quads_lost": None if exact is None else lost(quads, exact),
            "distinct_quads": len(quads),
        }
    return report


def machine() -> dict[str, Any]:
    import numba
    import torch

    cpu = [
        line.split(":")[1].strip() for line in Path("/proc/cpuinfo").read_text().splitlines() if "model name" in line
    ]
    return {
        "cpu": cpu[0] if cpu else platform.processor(),
        "cores": os.cpu_count(),
        "threads": numba.get_num_threads(),
        "load": os.getloadavg(),
        "python": platform.python_version(),
        "numpy": np.__version__,
        "numba": numba.__version__,
        "torch": torch.__version__,
    }


def run(name: str, options: argparse.Namespace) -> dict[str, Any]:
    n, d, k, file = options.n, options.d, options.k, options.centers
    match name:
        case "exhaustive":
            return exhaustive(d, k)
        case "exhaustive-100":
            return exhaustive(d, 100)
        case "exhaustive-1":
            return exhaustive(d, k)
        case "faiss":
            return against_faiss(5 * n, d, k)
        case "baselines":
            return baselines(n, d, k, file)
    return mine(CASES[name], n, d, k, file)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--cases", nargs="+", help=f"of {', '.join(CASES)}; by default all but {', '.join(sorted(SLOW))}"
    )
    parser.add_argument("--centers", help="class centers of a trained recognizer, (N, D) .npy, for the real cases")
    parser.add_argument("--n", type=int, default=10_000)
    parser.add_argument("--d", type=int, default=512)
    parser.add_argument("--k", type=int, default=20_000)
    parser.add_argument("--json", type=Path, help="write the results there")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        print(json.dumps(run(options.one, options)))
        return
    described = machine()
    names = options.cases or [name for name in CASES if name not in SLOW]
    results: dict[str, Any] = {}
    if options.json and options.json.exists():
        before = json.loads(options.json.read_text())
        if before["machine"]["cpu"] == described["cpu"]:
            results = before["results"]
    for name in names:
        if name.startswith("real") and not options.centers:
            results[name] = {"skipped": "no --centers"}
            continue
        command = [sys.executable, __file__, "--one", name, "--n", str(options.n), "--d", str(options.d)]
        command += ["--k", str(options.k), *(["--centers", options.centers] if options.centers else [])]
        alone = {"NUMBA_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"} if name.endswith("-1") else {}
        done = subprocess.run(command, capture_output=True, text=True, env=os.environ | alone)
        last = done.stdout.strip().splitlines()[-1:] or ['{"failed": true}']
        results[name] = json.loads(last[0]) if done.returncode == 0 else {"failed": done.stderr.strip()[-400:]}
        print(name, json.dumps(results[name]), flush=True)
        if options.json:
            options.json.write_text(json.dumps({"machine": described, "results": results}, indent=1))


if __name__ == "__main__":
    main()
