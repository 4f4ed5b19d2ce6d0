"""Writes docs/architecture.svg: the rooms in the order of import-linter's layers, and how many modules of one import another.

python scripts/architecture.py
"""

from __future__ import annotations

import tomllib
from collections import Counter
from pathlib import Path

import grimp

ROOT = Path(__file__).parents[1]
PICTURE = ROOT / "docs" / "architecture.svg"
CELL, LEFT, TOP = 40, 330, 130
UPPER, LOWER = "execution (above)", "execution (below)"
PURPOSE = {
    "commands": "options and actions",
    "explore": "a run as a page",
    "study": "arms × data sets × seeds",
    UPPER: "runner, records, progress",
    "delivery": "a run's recipe on all classes",
    "pipeline": "the method in calls",
    "making": "a thing in calls of stages",
    "stages": "each fills one folder",
    "report": "sections and pages",
    "outputs": "what stages hand over",
    LOWER: "artifacts, keys, processes",
    "config": "settings, arms, presets",
    "evaluation": "metrics, intervals",
    "analysis": "alignment, order",
    "diffusion": "denoisers, solvers",
    "recognition": "networks, heads",
    "selection": "exact m-plets",
    "use": "a delivered model, no torch",
    "data": "sources of images",
}


def rooms() -> dict[str, list[str]]:
    """Rooms from the highest layer to the lowest, each with the modules it is made of."""
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]
    layers = next(contract["layers"] for contract in settings["contracts"] if contract["type"] == "layers")
    found: dict[str, list[str]] = {}
    for module in (name.strip() for layer in layers for name in layer.split(":")):
        name = module.removeprefix("scoremix.")
        if name.startswith("execution."):
            name = LOWER if "stages" in found else UPPER
        found.setdefault(name, []).append(module)
    return found


def imports(of: dict[str, list[str]]) -> Counter[tuple[str, str]]:
    """How many modules of one room import some of another."""
    graph = grimp.build_graph("scoremix")
    homes = {module: room for room, modules in of.items() for module in modules}

    def home(module: str) -> str:
        parts = module.split(".")
        return next((homes[p] for n in range(len(parts), 1, -1) if (p := ".".join(parts[:n])) in homes), "")

    pairs = {
        (module, home(module), home(other))
        for module in graph.modules
        for other in graph.find_modules_directly_imported_by(module)
    }
    return Counter((a, b) for _, a, b in pairs if a and b and a != b)


def text(x: float, y: float, said: object, more: str = "") -> str:
    return f'<text x="{x:g}" y="{y:g}"{more}>{said}</text>'


def drawn() -> str:
    """The picture as SVG: a row for each room, a column for each that it may import."""
    of = rooms()
    counts, names = imports(of), list(of)
    end = ' text-anchor="end"'
    parts = []
    for i, name in enumerate(names):
        x, y = LEFT + i * CELL, TOP + i * CELL
        parts.append(text(LEFT - 180, y + 25, name, f' font-weight="bold"{end}'))
        parts.append(text(LEFT - 10, y + 25, PURPOSE.get(name, ""), f' fill="#4a5563" font-size="12"{end}'))
        parts.append(text(0, 0, name, f' transform="translate({x + 24} {TOP - 8}) rotate(-50)"'))
        parts.append(f'<rect x="{x}" y="{y}" width="{CELL}" height="{CELL}" fill="#c9d1d9"/>')
        for j, other in enumerate(names):
            if i == j or not (count := counts[name, other]):
                continue
            shade = min(0.15 + count / 30, 0.75)
            place = f'x="{LEFT + j * CELL}" y="{y}" width="{CELL}" height="{CELL}"'
            parts.append(f'<rect {place} fill="#2f6fab" fill-opacity="{shade:.2f}"/>')
            parts.append(text(LEFT + (j + 0.5) * CELL, y + 25, count, ' text-anchor="middle" font-size="13"'))
    side = len(names) * CELL
    parts += [
        f'<path d="M{LEFT} {TOP + k * CELL}h{side}M{LEFT + k * CELL} {TOP}v{side}"/>' for k in range(len(names) + 1)
    ]
    width, height = LEFT + side + 90, TOP + side + 15
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" role="img" font-family="sans-serif" font-size="14" stroke-width="1">'
    title = "<title>How many modules of each room (row) import some of another (column)</title>"
    ground = f'<rect width="{width}" height="{height}" fill="#fff"/><g fill="#1d2b3a">'
    return "\n".join([head, title, ground, *parts, "</g></svg>\n"]).replace("<path ", '<path stroke="#aab4be" ')


if __name__ == "__main__":
    PICTURE.write_text(drawn())
