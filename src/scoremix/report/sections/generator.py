"""Is the generator good enough: shares of reproductions that the baseline recognizer puts in their own class."""

from collections.abc import Iterator
from dataclasses import asdict
from typing import Any, Self

from scoremix.outputs.networks import GateCurve, GateResult, GeneratorSummary
from scoremix.report.charts import Axes, figure, light, new_axes, row_axes, rows_on
from scoremix.report.numbers import Row, count
from scoremix.report.page import Section
from scoremix.report.results import ReportedRun


def gate_of(run: ReportedRun) -> GateResult | None:
    """None of a run without a generator."""
    return GateResult.load(run.chain["gate"]) if "gate" in run.chain else None


def ending(curve: GateCurve) -> str:
    """Why training ended where it did."""
    last = f"{count(curve.images_seen[-1])} of at most {count(curve.longest)} images"
    match curve.reason:
        case "at chance":
            return (
                f"Training ended after {last}: the generator's images were recognized no better than by guessing, so "
                "the share that is needed was out of reach."
            )
        case "levelled":
            return f"Training ended after {last}: their share rose no more."
    return f"Training went on to its end, {count(curve.longest)} images."


class GeneratorSection(Section):
    title = "Is the generator good enough"
    gate: GateResult | None = None
    curve: GateCurve | None = None
    aligned: bool = False  # trained to please the recognizer that judges it

    @classmethod
    def load(cls, run: ReportedRun) -> Self:
        if "generator" not in run.chain:
            return cls()
        aligned = run.config.generator.align is not None
        return cls(gate_of(run), GeneratorSummary.load(run.chain["generator"]).gate, aligned)

    def rows(self, shared: Any) -> Iterator[Row]:
        for key, value in asdict(self.gate).items() if self.gate else ():
            yield {"table": "gate", "metric": key, "value": value}
        for seen, gate in zip(self.curve.images_seen, self.curve.gate, strict=True) if self.curve else ():
            yield {"table": "gate in training", "metric": f"after {seen} images", "value": gate}


@figure
def gate_bars(gate: GateResult) -> tuple[Axes, str, str]:
    """Shares recognised as their class, reproductions beside real images, with the floor."""
    bars = [
        ("reproductions, top-1", gate.top1, "arm-1"),
        ("real images, top-1", gate.real_top1, "control-1"),
        ("reproductions, top-5", gate.top5, "arm-1"),
        ("real images, top-5", gate.real_top5, "control-1"),
    ]
    labels = [label for label, _, _ in bars]
    axes = row_axes(labels, 22)
    rows_on(axes, labels)
    axes.set_yticks(range(len(bars)), labels)
    for y, (label, share, colour) in enumerate(bars):
        faint = 1.0 if label.endswith("top-1") else 0.45
        axes.barh(y, 100 * share, height=0.55, color=light(colour), alpha=faint)
    line: dict[str, Any] = {"color": light("arm-2"), "linewidth": 1.6, "linestyle": (0, (3, 1.5))}
    axes.plot([100 * gate.floor] * 2, [-0.55, 1.55], **line)
    axes.set_xlim(0, 100)
    axes.set_xlabel("share put in their own class (%)")
    alt = f"{100 * gate.top1:.1f} % of reproductions put in their class; floor {100 * gate.floor:.1f} %."
    return axes, "gate", alt


@figure
def gate_curve(curve: GateCurve, floor: float) -> tuple[Axes, str, str]:
    """The gate against images seen, with the floor and chance."""
    axes = new_axes(190, x="images seen (thousands)", y="recognized as their class (%)")
    seen = [images / 1000 for images in curve.images_seen]
    axes.plot(seen, [100 * gate for gate in curve.gate], color=light("arm-1"), marker="o", markersize=4, linewidth=1.6)
    axes.axhline(100 * floor, color=light("arm-2"), linewidth=1.6, linestyle=(0, (3, 1.5)))
    axes.axhline(100 * curve.chance, color=light("muted"), linewidth=0.9, linestyle=(0, (1, 2)))
    axes.set_xlim(0, curve.longest / 1000)
    axes.set_ylim(0, 100)
    last = f"{100 * curve.gate[-1]:.1f} % after {curve.images_seen[-1]:,} images"
    return (
        axes,
        "gate-curve",
        f"Share of cheap reproductions recognized as their class while the generator was trained: {last}.",
    )
