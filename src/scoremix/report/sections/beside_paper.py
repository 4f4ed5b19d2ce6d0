"""A study beside the paper's rows: gains over real images alone."""

from statistics import fmean
from typing import NamedTuple

from scoremix.report.numbers import difference
from scoremix.report.page import Section
from scoremix.report.study import Table


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


class BesidePaper(Section):
    title = "Beside the paper"
    tables: tuple[Table, ...]


def ours(table: Table, arm: str) -> str:
    """Our difference to real images alone in the headline metric, or an empty text."""
    control = table.controls[0] if table.controls else ""
    for row in table.rows:
        if row.arm == arm and (control, table.headline) in row.differences:
            return difference(row.differences[control, table.headline].estimate, table.metric(table.headline))
    return ""
