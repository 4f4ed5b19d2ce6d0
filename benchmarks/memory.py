"""Memory of both trainings against the number of classes and of images, each size in a process of its own.

Anonymous memory is what a process owns; pages of the memory-mapped images are not counted, since the system drops
them when it needs the room. Expected: no growth with images; with classes, the condition matrix with gradient, two
moments and two averages (6 copies) and the head with gradient and momentum (3 copies), float32.

    python benchmarks/memory.py
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

STEPS, SIZE = 4, 16


def measure(classes: int, each: int) -> dict[str, float]:
    """MiB of anonymous memory after some steps of the recognizer's and of the generator's training."""
    import numpy as np

    from scoremix.config import Generator, Recognizer
    from scoremix.data.images import write
    from scoremix.execution import processes as engine
    from scoremix.stages.train import generator, recognizer

    def blocks():  # type: ignore[no-untyped-def]
        rng = np.random.default_rng(0)
        for start in range(0, classes * each, 4096):
            yield rng.integers(0, 256, (min(4096, classes * each - start), SIZE, SIZE, 1), dtype=np.uint8)

    with tempfile.TemporaryDirectory() as folder:
        images = write(
            Path(folder),
            shape=(classes * each, SIZE, SIZE, 1),
            blocks=blocks(),
            counts=np.full(classes, each),
            class_names=[str(k) for k in range(classes)],
        )
        device = engine.start("cpu")
        found = {"start": anonymous()}
        for name, steps in (
            ("recognizer", recognizer.steps(Recognizer(), images, device, STEPS * 128)),
            ("generator", generator.steps(Generator(precision="float32"), images, device, STEPS * 128)),
        ):
            for _state in steps:
                found[name] = anonymous()
            del _state, steps
    return found


def anonymous() -> float:
    text = Path("/proc/self/smaps_rollup").read_text()
    return int(text.split("Anonymous:")[1].split()[0]) / 1024


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--one", nargs=2, type=int, metavar=("CLASSES", "EACH"))
    arguments = parser.parse_args()
    if arguments.one:
        print(json.dumps(measure(*arguments.one)))
        return
    print(f"{'classes':>8} {'images':>8} {'recognizer MiB':>15} {'generator MiB':>14} {'matrices MiB':>13}")
    for classes, each in ((100, 20), (100, 2000), (10_000, 20)):
        command = [sys.executable, __file__, "--one", str(classes), str(each)]
        found = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
        matrices = classes * 4 * (256 * 3 + 64 * 6) / 2**20  # embedding 256, condition 64
        print(
            f"{classes:>8} {classes * each:>8} {found['recognizer'] - found['start']:>15.0f} "
            f"{found['generator'] - found['recognizer']:>14.0f} {matrices:>13.1f}"
        )


if __name__ == "__main__":
    main()
