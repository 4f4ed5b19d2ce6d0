"""Steps against quality: how far each solver ends from the exact mix, per network evaluation.

    python benchmarks/solvers.py [--dimensions 64] [--json FILE]

Two Gaussian classes with known flows (`tests/support/toy.py`), mixed half and half from sigma 80 to 0: root mean square
distance of the ends to the exact ones. Runs in seconds; nothing is timed. For trained networks `scoremix plan
--measure --set sampling.steps=N` compares images.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

import torch

from scoremix.diffusion.denoisers import Counted, mix
from scoremix.diffusion.solvers import dpm2m, euler, heun, karras_sigmas

sys.path.append(str(Path(__file__).parents[1] / "tests"))  # for `support`

from support.toy import gaussians, mixed_flow

STEPS = (4, 6, 8, 12, 16, 24, 32, 48, 64)
SOLVERS = {"euler": euler, "heun": heun, "dpm2m": dpm2m}
ROWS = 64


def curves(dimensions: int) -> dict[str, list[dict[str, float]]]:
    """Per solver: steps, evaluations per image, distance to the exact mix."""
    g = torch.Generator().manual_seed(0)
    means = torch.randn(2, dimensions, generator=g, dtype=torch.float64) / 2
    stds = torch.rand(2, dimensions, generator=g, dtype=torch.float64) / 4 + 0.05
    x = torch.randn(ROWS, dimensions, generator=g, dtype=torch.float64) * 80
    weights = torch.tensor([0.5, 0.5], dtype=torch.float64)
    exact = mixed_flow(x, means, stds, weights, 80, 0)
    labels = torch.tensor([[0, 1]]).expand(ROWS, 2)
    found: dict[str, list[dict[str, float]]] = {}
    for name, solver in SOLVERS.items():
        for steps in STEPS:
            counted = Counted(gaussians(means, stds))
            ends = solver(mix(counted, labels, weights), x, karras_sigmas(steps))
            error = float((ends - exact).square().mean().sqrt())
            found.setdefault(name, []).append({"steps": steps, "evaluations": counted.images / ROWS, "distance": error})
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dimensions", type=int, default=64)
    parser.add_argument("--json", type=Path, help="also write the numbers here")
    options = parser.parse_args()
    found = curves(options.dimensions)
    for name, rows in found.items():
        for row in rows:
            print(
                f"{name:6} {row['steps']:3} steps {row['evaluations']:4.0f} evaluations  distance {row['distance']:.5f}"
            )
    if options.json:
        options.json.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
