"""The pieces of the page as HTML: `parts.html` filled in, names escaped, pictures inside."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from scoremix.data.decode import png_address
from scoremix.report import page
from scoremix.report.charts import PALETTE

if TYPE_CHECKING:
    from scoremix.explore.people import Kind

HERE = Path(__file__).parent
WIDE, HIGH, EDGE = 100.0, 70.0, 3.0  # of the map, in its own units


@cache
def _parts() -> Any:
    template = page.environment().from_string((HERE / "parts.html").read_text(), globals={"source": png_address})
    return template.module


def piece(name: str, /, **values: Any) -> str:
    """The macro of that name in parts.html, filled in."""
    return str(getattr(_parts(), name)(**values)).strip()


def error(problem: Exception | str) -> str:
    """What stands where something asked for cannot be."""
    return piece("error", text=str(problem))


def map_points(kinds: Sequence[Kind]) -> list[dict[str, Any]]:
    """Every class of a map with its place on a sheet of WIDE x HIGH, real classes first."""
    every = np.concatenate([kind.places for kind in kinds])
    low, high = every.min(0), every.max(0)
    scale = (np.array([WIDE, HIGH]) - 2 * EDGE) / np.maximum(high - low, 1e-9)
    points = []
    for number, kind in enumerate(kinds):
        for k, at in zip(kind.classes, EDGE + (kind.places - low) * scale, strict=True):
            name = kind.images.class_names[k]
            points.append(
                {"kind": number, "k": int(k), "name": name, "x": round(at[0], 2), "y": round(HIGH - at[1], 2)}
            )
    return points


def css() -> str:
    """The page's style, with the report's colours."""
    sets = (".sm", 0), (".dark .sm", 1)
    colours = (f"{at} {{ {' '.join(f'--{name}: {c[i]};' for name, c in PALETTE.items())} }}" for at, i in sets)
    return "\n".join([*colours, (HERE / "explore.css").read_text()])
