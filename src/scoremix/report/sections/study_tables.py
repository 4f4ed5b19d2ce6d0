"""A study's tables: what each arm gains over the controls and at which cost, and the same beside the paper's rows."""

from statistics import fmean
from typing import NamedTuple

from scoremix.evaluation.estimate import Estimate
from scoremix.evaluation.metric_table import Metric
from scoremix.report.charts import Axes, figure, light, new_axes, slug
from scoremix.report.numbers import difference
from scoremix.report.page import Section
from scoremix.report.study import StudyRow, Table


class StudyTablesSection(Section):
    title = "Tables"
    bare = True
    tables: tuple[Table, ...]


def metrics(table: Table) -> dict[str, Metric]:
    """The metrics of a table by key."""
    return {key: table.metric(key) for key in table.metrics}


def own_generators(table: Table) -> bool:
    """Whether arms have generators of their own, with gates of their own."""
    return any("gate" in row.mix for row in table.rows)


def judged(table: Table) -> list[tuple[str, list[Estimate]]]:
    """(arm, headline difference to each control) of all arms that have them."""
    rows = [row for row in table.rows if row.arm not in table.controls]
    keys = [(control, table.headline) for control in table.controls]
    return [
        (row.arm, [row.differences[k].estimate for k in keys]) for row in rows if set(keys) <= row.differences.keys()
    ]


@figure
def gain_against_cost(table: Table) -> tuple[Axes, str, str]:
    """Headline difference to the last control against the seconds an arm's images and one recognizer took."""
    control = table.controls[-1]
    metric = table.metric(table.headline)
    axes = new_axes(300, left=52, x="seconds for the arm's images and one recognizer")
    shown = [row for row in table.rows if (control, table.headline) in row.differences]
    for row in shown:
        cell = row.differences[control, table.headline]
        seconds = _seconds(row)
        colour, marker = light(table.styles[row.arm].colour), table.styles[row.arm].marker
        axes.plot([seconds] * 2, [100 * cell.low, 100 * cell.high], color=colour, linewidth=1.2)
        axes.plot(seconds, 100 * cell.value, marker=marker, markersize=5, color=colour)
    axes.axhline(0, color=light("ink"), linewidth=0.8)
    axes.margins(x=0.18)
    names = [(row.arm, row.differences[control, table.headline].value, _seconds(row)) for row in shown]
    _name_points(axes, [(name, seconds, 100 * value) for name, value, seconds in names])
    axes.set_ylabel(f"{metric.label} minus {control}, points")
    return axes, f"cost-{slug(table.data)}", f"Gain over {control} against cost on {table.data}."


def _seconds(row: StudyRow) -> float:
    """What an arm's images and one recognizer cost."""
    return row.cost["image_seconds"] + row.cost["training_seconds"]


def _name_points(axes: Axes, points: list[tuple[str, float, float]]) -> None:
    """Writes each point's name right of it, left where the axes end; moved up where it would cover one written before."""
    axes.autoscale_view()
    to_pixels, scale = axes.transData.transform, axes.figure.dpi / 72
    wide, high = 5.4 * scale, 9 * scale  # of a letter and of a line, in pixels
    boxes: list[tuple[float, float, float]] = []  # left, right, bottom
    for name, x, y in sorted(points, key=lambda point: point[2]):
        middle, bottom = to_pixels((x, y))
        bottom += 3 * scale
        leftwards = middle + 5 * scale + wide * len(name) > axes.bbox.x1
        left = middle - 5 * scale - wide * len(name) if leftwards else middle + 5 * scale
        right = left + wide * len(name)
        moved = bottom
        while clash := [b for a, c, b in boxes if a < right and left < c and b < moved + high and moved < b + high]:
            moved = max(clash) + high
        boxes.append((left, right, moved))
        offset = -5 if leftwards else 5, 3 + (moved - bottom) / scale
        side = "right" if leftwards else "left"
        axes.annotate(name, (x, y), xytext=offset, textcoords="offset points", fontsize=8, ha=side, color=light("ink"))


class PaperRow(NamedTuple):
    """A row of the paper: its average over benchmarks, that of its baseline, and our arm."""

    table: str
    row: str
    average: float
    baseline: float
    arm: str


# scoremix_v2, Table 1: B-1e-6, B-1e-5, C-1e-6, C-1e-5, TR1; the first row is what the gains are over
_TABLE_1 = (
    ("WebFace160K", (32.13, 72.18, 70.37, 78.81, 61.51), "real"),
    ("WebFace160K, IR101", (34.84, 74.10, 72.56, 81.26, 62.59), "deeper"),
    ("AugGen, 0.6M synthetic alone", (29.40, 54.54, 45.15, 61.52, 52.33), "auggen_alone"),
    ("AugGen Repro, 0.6M synthetic alone", (15.71, 45.97, 31.54, 58.61, 53.61), "reproduction_alone"),
    ("ScoreMix Repro, 0.2M synthetic alone", (28.15, 57.71, 54.66, 67.06, 56.38), "reproduction_alone"),
    ("AugGen", (34.83, 76.21, 75.02, 82.91, 61.41), "auggen"),
    ("ScoreMix (Ours)", (35.95, 76.41, 76.45, 83.58, 63.09), "scoremix"),
)
# Table 2, column Avg; WebFace160K alone stands at 63.82
_BASELINE = 63.82
PAPER = tuple(
    PaperRow("Table 1", row, fmean(columns), fmean(_TABLE_1[0][1]), arm) for row, columns, arm in _TABLE_1[1:]
) + tuple(
    PaperRow("Table 2", row, average, _BASELINE, arm)
    for row, average, arm in (
        ("Random (condition mixing: AugGen's row)", 66.17, "auggen"),
        ("Close Embedding Cosine", 64.92, "scoremix_close"),
        ("Dist Embedding Cosine", 67.44, "scoremix"),
        ("Close Condition Cosine", 66.84, "scoremix_condition_close"),
        ("Dist Condition Cosine", 66.95, "scoremix_condition_far"),
        ("Close Condition L2", 65.23, "scoremix_condition_close_l2"),
        ("Dist Condition L2", 65.79, "scoremix_condition_far_l2"),
        ("Top Close Cond, Dist Embed", 66.98, "scoremix_joint_top"),
        ("Worst Close Cond, Dist Embed", 65.22, "scoremix_joint_worst"),
        ("3-Plet Sum Max", 65.69, "scoremix_3"),
        ("3-Plet Sum Min", 64.62, "scoremix_3_close"),
    )
)


class BesidePaperSection(Section):
    title = "Beside the paper"
    name = "beside_paper"
    tables: tuple[Table, ...]


def ours(table: Table, arm: str) -> str:
    """Our difference to real images alone in the headline metric, or an empty text."""
    control = table.controls[0] if table.controls else ""
    for row in table.rows:
        if row.arm == arm and (control, table.headline) in row.differences:
            return difference(row.differences[control, table.headline].estimate, table.metric(table.headline))
    return ""
