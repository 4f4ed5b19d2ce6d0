"""A study's tables: per data set what each arm gains over the controls, and at which cost."""

from matplotlib.axes import Axes

from scoremix.evaluation.estimate import Estimate
from scoremix.evaluation.metric_table import Metric
from scoremix.report.charts import figure, light, new_axes, slug
from scoremix.report.page import Section
from scoremix.report.study import Row, Table


class StudyTables(Section):
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


def _seconds(row: Row) -> float:
    """What an arm's images and one recognizer cost."""
    return row.cost["image_seconds"] + row.cost["training_seconds"]


def _name_points(axes: Axes, points: list[tuple[str, float, float]]) -> None:
    """Writes each point's name right of it, left where the axes end; moved up where it would cover one written before."""
    axes.autoscale_view()
    to_pixels, scale = axes.transData.transform, axes.figure.dpi / 72
    wide, high = 4.6 * scale, 9 * scale  # of a letter and of a line, in pixels
    boxes: list[tuple[float, float, float]] = []  # left, right, bottom
    for name, x, y in sorted(points, key=lambda point: point[2]):
        middle, bottom = to_pixels((x, y))
        bottom += 3 * scale
        leftwards = middle + 5 * scale + wide * len(name) > axes.bbox.x1
        left = middle - 5 * scale - wide * len(name) if leftwards else middle + 5 * scale
        right = left + wide * len(name)
        moved = bottom
        while clash := [b for a, c, b in boxes if a < right and left < c and abs(b - moved) < high]:
            moved = max(clash) + high
        boxes.append((left, right, moved))
        offset = -5 if leftwards else 5, 3 + (moved - bottom) / scale
        side = "right" if leftwards else "left"
        axes.annotate(name, (x, y), xytext=offset, textcoords="offset points", fontsize=8, ha=side, color=light("ink"))
