"""Is the generator good enough: shares of reproductions that the baseline recognizer puts in their own class."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

from matplotlib.axes import Axes

from scoremix.report.charts import figure, light, row_axes, rows_on
from scoremix.report.numbers import Row
from scoremix.report.page import Section
from scoremix.report.results import Run


@dataclass(frozen=True)
class Gate:
    """Shares of images that the baseline recognizer puts in their own class; the floor applies to `top1`."""

    top1: float
    floor: float
    classes: int
    images: int
    top5: float | None = None
    real_top1: float | None = None
    real_top5: float | None = None

    @classmethod
    def of(cls, run: Run) -> Gate:
        return cls(**run.chain["gate"].json("gate.json"))

    @property
    def passed(self) -> bool:
        return self.top1 >= self.floor


@dataclass(frozen=True)
class Generator(Section):
    title = "Is the generator good enough"
    gate: Gate | None = None

    @classmethod
    def load(cls, run: Run) -> Generator:
        return cls(Gate.of(run))

    def rows(self, shared: Any) -> Iterator[Row]:
        for key, value in asdict(self.gate).items() if self.gate else ():
            yield {"table": "gate", "metric": key, "value": value}


@figure
def gate_bars(gate: Gate) -> tuple[Axes, str, str]:
    """Shares recognised as their class, reproductions beside real images, with the floor."""
    bars = [
        ("reproductions, top-1", gate.top1, "arm-1"),
        ("real images, top-1", gate.real_top1, "control-1"),
        ("reproductions, top-5", gate.top5, "arm-1"),
        ("real images, top-5", gate.real_top5, "control-1"),
    ]
    shown = [(label, share, colour) for label, share, colour in bars if share is not None]
    axes = row_axes([label for label, _, _ in shown], 22)
    rows_on(axes, [label for label, _, _ in shown])
    axes.set_yticks(range(len(shown)), [label for label, _, _ in shown])
    for y, (label, share, colour) in enumerate(shown):
        faint = 1.0 if label.endswith("top-1") else 0.45
        axes.barh(y, 100 * share, height=0.55, color=light(colour), alpha=faint)
    judged = sum(label.endswith("top-1") for label, _, _ in shown)
    line: dict[str, Any] = {"color": light("arm-2"), "linewidth": 1.6, "linestyle": (0, (3, 1.5))}
    axes.plot([100 * gate.floor] * 2, [-0.55, judged - 0.45], **line)
    axes.set_xlim(0, 100)
    axes.set_xlabel("share put in their own class (%)")
    alt = f"{100 * gate.top1:.1f} % of reproductions put in their class; floor {100 * gate.floor:.1f} %."
    return axes, "gate", alt
