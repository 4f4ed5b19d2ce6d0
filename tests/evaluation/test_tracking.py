"""Which measure tracks quality (D.6): the benchmark's statements on a small set."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

BENCHMARK = Path(__file__).resolve().parents[2] / "benchmarks" / "distances.py"


@pytest.mark.slow
def test_distances_do_not_see_classes_and_class_measures_do(tmp_path: Path) -> None:
    command = [sys.executable, BENCHMARK, "--classes", "40", "--out", tmp_path / "found.json"]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    found = json.loads((tmp_path / "found.json").read_text())
    recognizer, pixels = found["recognizer"], found["pixels"]
    for key in ("frechet", "kernel", "precision", "recall", "density", "coverage"):
        for space in (recognizer, pixels):  # the same images under other labels are the same distribution
            assert space[f"wrong class: {key}"] == {"correlation": 0.0, "seen_from": None}
    for kind in ("noise", "blur", "blend", "wrong class", "lost classes"):
        assert recognizer[f"{kind}: align"]["correlation"] > 0.9
        assert recognizer[f"{kind}: align"]["seen_from"] is not None
    assert recognizer["copies: ics"]["correlation"] > 0.9 and recognizer["copies: ics"]["seen_from"] is not None
    for kind in ("noise", "blend"):  # similarity within classes falls where images get worse: low is not good
        assert recognizer[f"{kind}: ics"]["correlation"] < 0
    for kind in ("noise", "copies", "lost classes"):
        assert recognizer[f"{kind}: frechet"]["correlation"] > 0.9
