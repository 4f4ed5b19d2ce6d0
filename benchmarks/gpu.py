"""What one GPU tells in a quarter of an hour: parts with time limits of their own, every number in a file once it is known.

    python benchmarks/gpu.py [--minutes 12] [--to docs/results/gpu] [--parts ceiling,s_112]
    python benchmarks/gpu.py --tiny --minutes 4 --to /tmp/gpu     # the same on a CPU, shapes shrunk: does all of it work?

A part is a process; one that runs past its limit is ended, and what it had measured stays. `study` has the rest of the time
and continues where it was when it is started again. `make gpu` sets up and runs all parts.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from scoremix.data.files import write_file

ROOT = Path(__file__).resolve().parents[1]
GRACE = 20.0  # seconds from the word to stop until a part is killed: a study writes its checkpoints
SPARE = 15.0  # seconds kept for the tables of the study


@dataclass(frozen=True)
class Part:
    """A process of its own; `measure` names what `benchmarks/gpu_parts.py` measures, else it is a command."""

    name: str
    limit: float  # seconds


PARTS = (
    Part("ceiling", 30),
    Part("s_112", 120),
    Part("recognizer_112", 90),
    Part("s_64", 110),
    Part("small_32", 70),
    Part("tests", 90),
    Part("mining_10000", 40),
    Part("mining_100000", 60),
    Part("study", float("inf")),
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=12.0, help="for all parts together")
    parser.add_argument(
        "--to", type=Path, default=ROOT / "docs/results/gpu", help="folder of the results, a file a part"
    )
    parser.add_argument("--out", type=Path, default=ROOT / "scoremix_runs", help="folder of the study's runs")
    parser.add_argument("--study", type=Path, default=ROOT / "studies/faces_gpu.yaml")
    parser.add_argument("--parts", help=f"some of {','.join(part.name for part in PARTS)}")
    parser.add_argument("--tiny", action="store_true", help="small shapes on a CPU, to see that everything works")
    options = parser.parse_args()
    names = options.parts.split(",") if options.parts else [part.name for part in PARTS]
    if unknown := set(names) - {part.name for part in PARTS}:
        parser.error(f"--parts {','.join(sorted(unknown))}: allowed are {', '.join(part.name for part in PARTS)}")
    end = time.monotonic() + 60 * options.minutes
    options.to.mkdir(parents=True, exist_ok=True)
    for part in (part for part in PARTS if part.name in names):
        left = end - time.monotonic()
        if left < 5:
            print(f"{part.name}: no time left")
            continue
        run(part, min(part.limit * (10 if options.tiny else 1), left), options)  # a CPU compiles and starts slowly


def run(part: Part, limit: float, options: argparse.Namespace) -> None:
    """Runs a part for at most `limit` seconds; its file says how it ended."""
    file = options.to / f"{part.name}.json"
    file.unlink(missing_ok=True)
    start = time.monotonic()
    with tempfile.TemporaryDirectory() as scratch:
        if part.name == "tests":
            status, said = tests(Path(scratch) / "junit.xml", file, limit, options.tiny)
        elif part.name == "study":
            status, said = study(file, limit, options)
        else:
            command = [sys.executable, str(ROOT / "benchmarks/gpu_parts.py"), part.name, str(file)]
            status, said = ended(command + ["--tiny"] * options.tiny, limit)
    found: dict[str, Any] = json.loads(file.read_text()) if file.exists() else {"part": part.name}
    found |= {"status": status, "seconds": round(time.monotonic() - start, 1), "tiny": options.tiny}
    if status not in ("done", "cut off"):
        found["said"] = said[-2000:]
    write_file(file, json.dumps(found, indent=1) + "\n")
    print(f"{part.name}: {status} after {found['seconds']:.0f} s", flush=True)


def ended(command: list[str], limit: float, **more: Any) -> tuple[str, str]:
    """How a command ended that may take `limit` seconds ("done", "cut off", "failed"), and what it said; it prints meanwhile."""
    with tempfile.TemporaryFile("w+") as said:
        process = subprocess.Popen(command, cwd=ROOT, stderr=said, start_new_session=True, **more)
        try:
            status = "done" if process.wait(limit) == 0 else "failed"
        except subprocess.TimeoutExpired:
            status = "cut off"
            for number, patience in ((signal.SIGTERM, GRACE), (signal.SIGKILL, GRACE)):
                with contextlib.suppress(ProcessLookupError, subprocess.TimeoutExpired):
                    os.killpg(process.pid, number)
                    process.wait(patience)
        said.seek(0)
        return status, said.read()


def tests(report: Path, file: Path, limit: float, tiny: bool) -> tuple[str, str]:
    """The tests that need a GPU; on a CPU those of them that run on both."""
    from xml.etree import ElementTree

    chosen = ["tests/test_devices.py"] if tiny else ["tests", "-m", "gpu"]
    command = [sys.executable, "-m", "pytest", *chosen, f"--junitxml={report}"]
    status, said = ended(command, limit, stdout=subprocess.DEVNULL)
    if report.exists():
        cases = [*ElementTree.parse(report).iter("testcase")]
        failed = [
            case.get("name") for case in cases if case.find("failure") is not None or case.find("error") is not None
        ]
        skipped = sum(case.find("skipped") is not None for case in cases)
        write_file(file, json.dumps({"part": "tests", "tests": len(cases), "failed": failed, "skipped": skipped}))
        print(f"  {len(cases)} tests, {len(failed)} failed, {skipped} skipped")
    return status, said


def study(file: Path, limit: float, options: argparse.Namespace) -> tuple[str, str]:
    """A study in the time that is left, and its tables so far."""
    command = [sys.executable, "-m", "scoremix", "study", str(options.study), "--out", str(options.out), "--quiet"]
    hours = max(limit - SPARE - GRACE, 1.0) / 3600
    status, said = ended([*command, "--max-hours", f"{hours:.5f}"], limit)
    tables, more = ended([*command, "--tables"], 2 * SPARE)
    made = options.out / options.study.stem / "study.json"
    if tables == "done" and made.exists():
        write_file(file, json.dumps({"part": "study", "study": json.loads(made.read_text())}))
    return status, said + more


if __name__ == "__main__":
    main()
