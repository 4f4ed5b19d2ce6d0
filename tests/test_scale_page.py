"""The table of docs/scale.md is what benchmarks/activations.py counted and stored."""

from __future__ import annotations

import json
from pathlib import Path

ROOT = Path(__file__).parents[1]


def test_memory_per_image_is_the_stored_count() -> None:
    page = (ROOT / "docs" / "scale.md").read_text()
    rows = json.loads((ROOT / "docs" / "results" / "activations.json").read_text())["rows"]
    assert len(rows) == 10
    for row in rows:
        line = f"| {row['size']} | {row['side']} px | {row['mib']:,.0f} | {row['mib_checkpointing']:,.0f} |"
        assert line in page


def test_the_price_of_checkpointing_is_the_stored_one() -> None:
    page = (ROOT / "docs" / "scale.md").read_text()
    small, xs = json.loads((ROOT / "docs" / "results" / "activations.json").read_text())["price"]
    assert f"{small['times']:.2f} times\nas long with the demo's network" in page
    assert f"{xs['times']:.2f} times with XS at 64 px" in page
