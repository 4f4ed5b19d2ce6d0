"""`make gpu`, shrunk to a CPU: parts write what they measured as they go, and a limit ends one without losing it."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
import time
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parents[1]


def script(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, ROOT / "benchmarks" / f"{name}.py")
    assert spec and spec.loader
    module = sys.modules[name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def run(folder: Path, parts: str, *more: str) -> dict[str, dict]:
    command = [sys.executable, "benchmarks/gpu.py", "--tiny", "--parts", parts, "--to", str(folder), *more]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True)
    return {file.stem: json.loads(file.read_text()) for file in folder.glob("*.json")}


@pytest.mark.slow
def test_parts_write_their_numbers(tmp_path: Path):
    found = run(tmp_path, "ceiling,mining_10000", "--minutes", "5")
    assert {name: one["status"] for name, one in found.items()} == {"ceiling": "done", "mining_10000": "done"}
    assert [row["what"] for row in found["ceiling"]["rows"]] == ["bfloat16", "float32"]
    assert all(row["tflops"] > 0 for row in found["ceiling"]["rows"])
    assert [row["n"] for row in found["mining_10000"]["rows"]] == [500, 500]


@pytest.mark.slow
def test_every_part_of_networks_runs_on_a_cpu(tmp_path: Path):
    found = run(tmp_path, "small_32,recognizer_112", "--minutes", "30")
    assert all(one["status"] in ("done", "cut off") for one in found.values())
    rows = {row["what"]: row for one in found.values() for row in one["rows"]}
    assert {"training", "sampling", "training with checkpointing", "embedding"} <= set(rows)
    assert all(row["images_per_second"] > 0 and 0 < row["share"] < 2 for row in rows.values())


def test_what_runs_past_its_limit_is_ended_with_all_it_started():
    gpu = script("gpu")
    nested = "import subprocess, sys; subprocess.run([sys.executable, '-c', 'import time; time.sleep(60)'])"
    start = time.monotonic()
    assert gpu.ended([sys.executable, "-c", nested], 1.0)[0] == "cut off"
    assert time.monotonic() - start < 30
    assert gpu.ended([sys.executable, "-c", "raise SystemExit('no')"], 60.0) == ("failed", "no\n")


@pytest.mark.slow
def test_a_part_that_fails_says_why_and_is_no_result(tmp_path: Path):
    found = run(tmp_path, "study", "--study", "no_such_file.yaml", "--minutes", "1")
    assert found["study"]["status"] == "failed" and "no_such_file.yaml" in found["study"]["said"]
