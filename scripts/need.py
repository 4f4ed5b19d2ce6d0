"""Writes docs/need.md, how many images and classes one needs, from the stored studies: `python scripts/need.py`."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

DOCS = Path(__file__).parents[1] / "docs"
STORED = DOCS / "results"
STUDIES = (
    "scarcity",
    "scarcity_test",
    "scarcity_10",
    "tier_a",
    "first_test",
    "tier_a_120",
    "more_classes",
    "faces_38",
    "faces_people",
    "faces_330",
    "faces_longer",
    "faces_confirm_3",
    "faces_scarcity",
    "objects_recipe",
)
FIRST = {"coherent_first", "averages_first", "coherent_75", "averages_75"}
THROUGHOUT = {"coherent", "scoremix"}  # arms whose lead is shown
CALLED = {"plain": "coherent_first", "three_quarters": "coherent_75", "averages_three_quarters": "averages_75"}
ALL = {  # images of each class where the data give all of them
    "lfw_38": "20 or more",
    "lfw_170": "8 or more",
    "lfw_330": "4 or more",
    "quarter": "3 or more",
    "half": "6 or more",
    "all": "12 or more",
    "coil": "12",
}
KINDS = {
    "omniglot": "Omniglot",
    "kanji_fonts": "kanji",
    "lpc_heads": "heads",
    "lfw_32": "people",
    "coil100_32": "things",
}
HEADS = (
    "images",
    "training classes",
    "images of each",
    "generator saw, per class",
    "named right",
    "gain over longer training on real images",
)


def rows() -> Iterator[list[str]]:
    for name in STUDIES:
        stored = json.loads((STORED / f"{name}.json").read_text())
        for table in stored["tables"]:
            study = stored["study"]
            data = {**study["settings"].get("data", {}), **study["data"][table["data"]]["settings"].get("data", {})}
            gates = list(table["gates"].values())
            split = study["data"][table["data"]]["settings"].get("split_list")
            classes = int(re.findall(r"_(\d+)", split or table["data"])[-1])  # the list's name or the data's says it
            given = data.get("images_per_class")
            each = str(round(given * (1 - data.get("held_out", 0)))) if given else ALL[table["data"]]
            own = study["data"][table["data"]]["settings"].get("generator", {})
            seen = {**study["settings"]["generator"], **own}["images_seen"] / classes
            named = " and ".join(f"{100 * gate['top1']:.0f} %" for gate in gates)
            kind = KINDS[Path(study["data"][table["data"]]["source"]).stem]
            yield [f"{kind}, {table['classes']}", str(classes), each, f"{seen:,.0f}", named, gains(table)]


def gains(table: dict[str, Any]) -> str:
    """The leads of mixes first over real images with equal steps, in points with intervals; where not run, of others."""
    found = {
        arm: f"{arm} {points(d)}"
        for row in table["rows"]
        for arm in [CALLED.get(row["arm"], row["arm"])]
        for d in row["differences"]
        if (d["control"], d["metric"]) == ("equal_steps", table["headline"])
    }
    wanted = FIRST if FIRST & found.keys() else THROUGHOUT
    return "; ".join(text for arm, text in found.items() if arm in wanted)


def points(d: dict[str, float]) -> str:
    value, low, high = (f"{100 * d[key]:+.1f}".replace("-", "−") for key in ("value", "low", "high"))
    return f"{value} ({low} to {high})"


def people() -> Iterator[list[str]]:
    for gate in json.loads((STORED / "people" / "gate_c.json").read_text()):
        yield [
            f"{gate['people']}",
            f"{gate['images_seen']:,}",
            f"{gate['per_person']:.0f}",
            f"{gate['guidance']:g}",
            f"{100 * gate['top1']:.0f} %",
        ]


def table(heads: tuple[str, ...], lines: Iterator[list[str]]) -> str:
    return "\n".join(["| " + " | ".join(cells) + " |" for cells in (heads, ["---"] * len(heads), *lines)])


def page() -> str:
    text = (STORED / "need.md.in").read_text()
    of_people = ("people", "generator saw", "per person", "guidance", "named right")
    return text.replace("@STUDIES@", table(HEADS, rows())).replace("@PEOPLE@", table(of_people, people()))


if __name__ == "__main__":
    (DOCS / "need.md").write_text(page())
