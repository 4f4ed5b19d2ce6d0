"""The figures of docs/results.md and of the studies' pages, from the stored JSON."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

TAR, RANK1 = "tar@0.01", "rank1"
CONTROL = "equal_steps"
BLUE, ORANGE, GREY, GREEN = "#2563a8", "#c8641e", "#8a8a8a", "#2e8b57"


class Place(NamedTuple):
    """One data set of one study, as a row of a figure."""

    label: str
    study: str
    data: str


PLACES = (  # what mixes first were measured on: on test classes, then on validation classes
    Place("people, 21 photographs", "people", "test"),
    Place("170 people, 14 photographs", "faces_confirm", "lfw_170"),
    Place("kanji, 20 images", "first_test", "kanji"),
    Place("Omniglot, 5 images", "scarcity_test", "omniglot_5"),
    Place("pixel-art heads, 5 images", "scarcity_test", "heads_5"),
    Place("people, 21 photographs", "people", "validation"),
    Place("170 people, 14 photographs", "faces_people", "lfw_170"),
    Place("Omniglot, 20 images", "quality", "omniglot"),
    Place("Omniglot, 20, short generator", "small_batches", "omniglot"),
    Place("drawn characters, 20 images", "small_batches", "demo"),
    Place("Omniglot, 10 images", "scarcity_10", "omniglot_10"),
    Place("kanji, 10 images", "scarcity_10", "kanji_10"),
    Place("50 objects, 12 views", "objects_recipe", "coil"),
    Place("Omniglot, 5 images", "scarcity", "omniglot_5"),
    Place("kanji, 5 images", "scarcity", "kanji_5"),
)
LONGER = (  # the same in the first three quarters of the training
    Place("330 people, long generator", "faces_confirm_3", "lfw_330"),
    Place("170 people, three quarters", "faces_confirm_2", "lfw_170"),
    Place("kanji, three quarters", "kanji_confirm", "kanji"),
    Place("kanji, three quarters", "kanji_recipe", "kanji"),
    Place("Omniglot, three quarters", "omniglot_recipe", "omniglot"),
    Place("50 objects, three quarters", "objects_recipe", "coil"),
    Place("330 people, three quarters", "faces_330", "lfw_330"),
    Place("38 people, three quarters", "faces_ways", "lfw_38"),
    Place("38 people, 32 px, three quarters", "faces_32px", "lfw_38"),
)
Cell = dict[str, Any]
Stored = dict[str, Any]


def people(folder: Path) -> Stored:
    """The studies of photographs, which were not written by `scoremix study`, in the form of one that was."""
    tables = []
    for file in sorted(folder.glob("study_*.json")):
        stored = json.loads(file.read_text())
        rows = []
        for arm, metrics in stored["arms"].items():
            differences = [
                {"control": key.partition(" - ")[2], "metric": m, **shares(cell)}
                for key, cells in stored["differences"].items()
                if key.partition(" - ")[0] == arm
                for m, cell in cells.items()
            ]
            rows.append({"arm": arm, "metrics": {m: shares(c) for m, c in metrics.items()}, "differences": differences})
        tables.append({"data": stored["classes"], "classes": stored["classes"], "rows": rows})
    gates = [
        {"arm": file.stem, "rows": [{**row, "per_class": row["per_person"]} for row in json.loads(file.read_text())]}
        for file in sorted(folder.glob("gate_?.json"))
    ]
    return {"people": {"tables": tables}, "people_gates": gates}


def shares(cell: Cell) -> Cell:
    """A cell in per cent as one in shares."""
    return {
        "value": cell["mean"] / 100,
        **{end: cell[end] / 100 for end in ("low", "high")},
        "runs": [v / 100 for v in cell["by_seed"]],
    }


def table_of(stored: Stored, study: str, data: str) -> Any:
    """A study's table of a data set; None where it is not stored."""
    return next((t for t in stored.get(study, {}).get("tables", ()) if t["data"] == data), None)


def cell(stored: Stored, study: str, data: str, arm: str, metric: str, other: str = "") -> Cell | None:
    """An arm's mean, or its difference to another, with its interval; its cost, its generator's gate. None where not stored."""
    table = table_of(stored, study, data)
    row = next((row for row in table["rows"] if row["arm"] == arm), None) if table else None
    if table is None or row is None:
        return None
    if metric == "gate":  # of the arm's own generator, or of the one that all have
        own = row["mix"].get("gate")
        return {"value": table["gates"]["0"]["top1"] if own is None else own}
    if metric in row.get("cost", ()):  # which pictures of people lack
        return {"value": row["cost"][metric]}
    if not other:
        return row["metrics"].get(metric)  # type: ignore[no-any-return]
    found = [d for d in row["differences"] if (d["control"], d["metric"]) == (other, metric)]
    found += [cells[metric] for *pair, cells in table.get("pairs", ()) if pair == [arm, other]]
    return found[0] if found else None


def draw(stored: Stored, folder: Path) -> None:
    """Writes all of them."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    for name, figure in FIGURES.items():
        drawing = figure(stored, pyplot)
        drawing.savefig(folder / f"{name}.png", dpi=110, metadata={"Software": None})
        pyplot.close(drawing)


Figure = Callable[[Stored, Any], Any]


def forest(
    pyplot: Any, rows: Sequence[tuple[str, bool, Sequence[Cell | None]]], names: Sequence[str], **axis: Any
) -> Any:
    """Rows of intervals, a colour per series; filled where they are on test classes."""
    drawing, axes = pyplot.subplots(figsize=(6.8, 1.1 + 0.32 * len(rows)), layout="constrained")
    step = 0.24 if len(names) > 1 else 0
    for at, (_, test, cells) in enumerate(rows):
        for k, found in enumerate(cells):
            if found:
                interval(axes, found, at + step * (k - (len(names) - 1) / 2), (BLUE, ORANGE)[k], test)
    axes.axvline(0, color="#444", lw=0.8)
    axes.set_yticks(range(len(rows)), [label for label, *_ in rows])
    axes.invert_yaxis()
    axes.set(**axis)
    handles = [axes.plot([], [], "o", color=(BLUE, ORANGE)[k], label=name)[0] for k, name in enumerate(names)]
    handles += [axes.plot([], [], "o", color=GREY, mfc="white", label="on validation classes")[0]]
    axes.legend(handles=handles, fontsize=8, frameon=False, loc="lower center", bbox_to_anchor=(0.4, 1), ncols=3)
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.tick_params(axis="y", length=0)
    return drawing


def interval(axes: Any, found: Cell, at: float, colour: str, test: bool) -> None:
    axes.plot([100 * found["low"], 100 * found["high"]], [at, at], color=colour, lw=1.6, solid_capstyle="butt")
    axes.plot(100 * found["value"], at, "o", color=colour, mfc=colour if test else "white", ms=5.5)


Line = tuple[str, bool, list[Cell | None]]


def places(stored: Stored, pairs: Sequence[tuple[str, str, str]], where: Sequence[Place] = PLACES) -> list[Line]:
    """Rows of a forest plot where the first of (arm, metric, other) is stored."""
    rows: list[Line] = []
    for place in where:
        cells = [cell(stored, place.study, place.data, *pair) for pair in pairs]
        if cells[0]:
            test = table_of(stored, place.study, place.data)["classes"] == "test"
            rows.append((place.label, test, cells))
    return rows


def gain(stored: Stored, pyplot: Any) -> Any:
    first, longer = "coherent_first", "three_quarters"
    rows = places(stored, [(longer, TAR, CONTROL), (longer, RANK1, CONTROL)], LONGER)
    rows += places(stored, [(first, TAR, CONTROL), (first, RANK1, CONTROL)])
    rows.sort(key=lambda row: not row[1])  # test classes first
    label = "mixes first minus real images for as many steps, points (95 %)"
    return forest(pyplot, rows, ["TAR at FAR 0.01", "rank-1"], xlabel=label)


def throughout(stored: Stored, pyplot: Any) -> Any:
    rows = places(stored, [("coherent_first", TAR, CONTROL), ("coherent", TAR, CONTROL)])
    rows = [row for row in rows if row[2][1]]
    label = "minus real images for as many steps, points of TAR at FAR 0.01 (95 %)"
    return forest(pyplot, rows, ["mixes in the first half", "mixes throughout"], xlabel=label)


def averages(stored: Stored, pyplot: Any) -> Any:
    rows = []
    for mixes, of_pixels, where in (
        ("three_quarters", "averages_three_quarters", LONGER),
        ("coherent_first", "averages_first", PLACES),
    ):
        rows += places(stored, [(mixes, TAR, of_pixels), (mixes, RANK1, of_pixels)], where)
    rows.sort(key=lambda row: not row[1])
    label = "mixes first minus pixel averages first, points (95 %)"
    return forest(pyplot, rows, ["TAR at FAR 0.01", "rank-1"], xlabel=label)


FIRST_AND_THROUGHOUT = (("coherent_first", "mixes first", BLUE), ("coherent", "mixes throughout", ORANGE))
FIRST_AND_AVERAGES = (
    ("three_quarters", "mixes first", BLUE),
    ("averages_three_quarters", "pixel averages first", GREEN),
)
SCARCITY = {  # a panel: images per class -> (study, data), against the better control of these data
    "Omniglot, minus equal steps": (
        {5: ("scarcity", "omniglot_5"), 10: ("scarcity_10", "omniglot_10"), 20: ("quality", "omniglot")},
        FIRST_AND_THROUGHOUT,
        CONTROL,
    ),
    "kanji, minus equal steps": (
        {5: ("scarcity", "kanji_5"), 10: ("scarcity_10", "kanji_10"), 20: ("first_test", "kanji")},
        FIRST_AND_THROUGHOUT,
        CONTROL,
    ),
    "people, minus real images": (
        {5: ("faces_scarcity", "quarter"), 10: ("faces_scarcity", "half"), 20: ("faces_scarcity", "all")},
        FIRST_AND_AVERAGES,
        "real",
    ),
}


def scarcity(stored: Stored, pyplot: Any) -> Any:
    drawing, axes = pyplot.subplots(1, 3, figsize=(9, 3.3), sharey=True, layout="constrained")
    for ax, (title, (counts, shown, control)) in zip(axes, SCARCITY.items(), strict=True):
        for k, (arm, label, colour) in enumerate(shown):
            cells = {n: cell(stored, *where, arm, TAR, control) for n, where in counts.items()}
            line = [(n, 100 * c["value"], 100 * c["low"], 100 * c["high"]) for n, c in cells.items() if c]
            at = [n * (0.97, 1.03)[k] for n, *_ in line]
            ax.vlines(at, [low for *_, low, _ in line], [high for *_, high in line], color=colour, lw=1.6)
            ax.plot(at, [value for _, value, *_ in line], "o-", color=colour, ms=5, lw=0.8, label=label)
        ax.axhline(0, color="#444", lw=0.8)
        ax.set_title(title, fontsize=10)
        ax.set(xlabel="real images per class", xscale="log")
        ax.set_xticks([5, 10, 20], ["5", "10", "20"])
        ax.minorticks_off()
        ax.spines[["top", "right"]].set_visible(False)
        ax.legend(fontsize=8, frameon=False, loc="lower center")
    axes[0].set_ylabel("points of TAR at FAR 0.01 (95 %)")
    return drawing


def cost(stored: Stored, pyplot: Any) -> Any:
    """Seconds of what an arm needs (tier A's Omniglot arms, two cores) beside the generator's training of the demo."""
    row = {row["arm"]: row["cost"] for row in table_of(stored, "tier_a", "omniglot")["rows"]}
    generator = next(c["seconds"] for c in stored["demo_three"]["costs"] if c["stage"] == "generator")
    bars = {
        "a recognizer, real images": row["real"]["training_seconds"],
        "a recognizer, as many steps as with mixes": row["equal_steps"]["training_seconds"],
        "1,080 pixel averages, coherent": row["coherent_averages"]["image_seconds"],
        "1,080 mixes": row["scoremix"]["image_seconds"],
        "1,080 coherent mixes (of 2,700)": row["coherent"]["image_seconds"],
        "the generator (demo, 100,000 images seen)": generator,
    }
    drawing, axes = pyplot.subplots(figsize=(6.8, 2.5), layout="constrained")
    axes.barh(list(bars), list(bars.values()), color=[GREY, GREY, GREEN, BLUE, BLUE, ORANGE], height=0.62)
    for at, seconds in enumerate(bars.values()):
        axes.text(seconds + 4, at, f"{seconds:.0f} s", va="center", fontsize=9)
    axes.invert_yaxis()
    axes.set(xlabel="seconds on two CPU cores, 60 classes, 16 px", xlim=(0, 1.15 * max(bars.values())))
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.tick_params(axis="y", length=0)
    return drawing


class Curve(NamedTuple):
    """The gates of one generator along its training, at one guidance."""

    label: str
    stored: str  # a file of benchmarks/gates.py
    arm: str
    guidance: float
    colour: str
    style: str


GATES = {
    "people, centers as conditions, batches of 32, guidance 2": (
        Curve("38 people", "gates_faces_guidance", "three_quarters", 2.0, BLUE, "o-"),
        Curve("38, larger network", "gates_faces_larger", "larger", 2.0, GREEN, "o-"),
        Curve("38, 32 px", "gates_lfw_38_32px", "three_quarters", 2.0, BLUE, "o--"),
        Curve("38, 32 px, larger network", "gates_faces_larger_32px", "larger", 2.0, GREEN, "o--"),
        Curve("77 people", "people_gates", "gate_c", 2.0, ORANGE, "o-"),
        Curve("330 people", "gates_faces_longer", "three_quarters", 2.0, GREY, "o-"),
    ),
    "60 characters, guidance 1.3": (
        Curve("centers, batches of 32", "gates_omniglot", "small_first", 1.3, BLUE, "s-"),
        Curve("centers, batches of 128", "gates_omniglot", "centers_first", 1.3, BLUE, "s--"),
        Curve("learned, batches of 32", "gates_omniglot", "learned_first", 1.3, GREY, "s-"),
        Curve("learned, batches of 128", "gates_omniglot", "coherent_first", 1.3, GREY, "s--"),
    ),
}


def curve(stored: Stored, of: Curve) -> list[tuple[float, float]]:
    """(images seen per class, gate) of every snapshot; empty where it is not stored."""
    rows = (row for made in stored.get(of.stored, ()) if made["arm"] == of.arm for row in made["rows"])
    return sorted((row["per_class"], row["top1"]) for row in rows if row["guidance"] == of.guidance)


def gate(stored: Stored, pyplot: Any) -> Any:
    """Gate against images seen per class, a line per generator."""
    drawing, both = pyplot.subplots(1, 2, figsize=(8.2, 3.4), sharey=True, layout="constrained")
    for axes, (title, curves) in zip(both, GATES.items(), strict=True):
        for of in curves:
            if line := curve(stored, of):
                axes.plot(*zip(*line, strict=True), of.style, color=of.colour, ms=4, label=of.label)
        axes.axhline(0.5, color="#444", lw=0.8, ls=":")
        axes.text(0.01, 0.505, "floor", fontsize=8, transform=axes.get_yaxis_transform())
        axes.set_title(title, fontsize=9)
        axes.set(xlabel="images seen in training per class", ylim=(0, 1), xlim=(0, None))
        axes.legend(fontsize=7, frameon=False, loc="best", handlelength=3.5)
        axes.spines[["top", "right"]].set_visible(False)
    both[0].set_ylabel("gate: share named as their own")
    return drawing


FIGURES: dict[str, Figure] = {
    "gain": gain,
    "throughout": throughout,
    "scarcity": scarcity,
    "averages": averages,
    "cost": cost,
    "gate": gate,
}
