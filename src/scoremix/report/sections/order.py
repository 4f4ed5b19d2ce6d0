"""Does order carry over from one space to another, and the selection with it (Table 3, Appendices E to G)."""

from collections.abc import Iterator, Sequence
from typing import Self

from scoremix.outputs.geometry import OrderSummary, SimulatedKeeping, SimulatedSharing, TransferSummary
from scoremix.outputs.record import Entry
from scoremix.report.charts import Axes, Style, figure, light, new_axes, styled
from scoremix.report.geometry import AnalyzedRun, Geometry
from scoremix.report.numbers import Row, below_diagonal, count, signed
from scoremix.report.page import Section


class OrderSection(Section):
    title = "Does order carry over"
    order: OrderSummary

    @classmethod
    def load(cls, source: AnalyzedRun) -> Self:
        return cls(OrderSummary.load(source.measured["order"]))

    @property
    def bounds(self) -> list[float]:
        """K·p over K of the simulated spaces."""
        return [row.paper_expected / self.order.simulated_k for row in self.order.simulated]

    def rows(self, shared: Geometry) -> Iterator[Row]:
        for row in self.order.spaces:
            yield from _numbers(row, section="order spaces", x=row.x, y=row.y, note="")
        for kept in self.order.rates:
            yield from _numbers(kept, section="order rates", x=kept.x, y=kept.y, note=kept.mask)
        for sharing in self.order.simulated:
            yield from _numbers(sharing, section="simulated", x=f"rho {sharing.rho:g}", note="")
        for held in self.order.simulated_rates:
            yield from _numbers(held, section="simulated_rates", x=f"rho {held.rho:g}", note=held.mask)

    def findings(self, shared: Geometry) -> Iterator[str]:
        row = self.order.spaces[0]
        yield (
            f"Of the {count(self.order.k)} farthest pairs of {row.x}, {count(row.shared)} are among those of "
            f"{row.y}; unrelated spaces would share {row.chance:.3g}."
        )
        yield (
            f"The paper's K·p says {row.paper_expected:.3g} there, and never less than half of K whatever the spaces: it "
            f"predicts nothing. Expected by the correlation of the pairs (r = {signed(row.correlation)}): "
            f"{row.expected_by_pairs:.3g}."
        )


def _numbers(row: Entry, **keys: str) -> Iterator[Row]:
    numbers = {key: value for key, value in vars(row).items() if isinstance(value, (int, float)) and key != "rho"}
    return ({**keys, "name": key, "value": value} for key, value in numbers.items())


@figure
def simulated_overlap(rows: Sequence[SimulatedSharing], k: int, bounds: Sequence[float]) -> tuple[Axes, str, str]:
    """Shared pairs on draws of the theorem's model, what is expected of them, and K·p."""
    rho = [row.rho for row in rows]
    axes = new_axes(220, left=46, x="CKA of the two spaces, ρ", y="shared among the K farthest (%)")
    axes.plot(rho, [100 * b for b in bounds], color=light("arm-2"), linestyle=(0, (5, 2)), linewidth=1.5)
    axes.plot(rho, [100 * row.expected / k for row in rows], color=light("arm-1"), linewidth=1.6)
    axes.errorbar(
        rho, [100 * row.shared / k for row in rows], [200 * row.error / k for row in rows],
        fmt="o", color=light("ink"), markersize=4.5, linewidth=1.2,
    )  # fmt: skip
    axes.axhline(100 * rows[0].chance / k, color=light("control-2"), linewidth=1.2)
    axes.set_ylim(0, 102)
    return axes, "simulated-overlap", "Shared pairs against CKA: simulated, expected, and K times p."


@figure
def simulated_rates(rows: Sequence[SimulatedKeeping]) -> tuple[Axes, str, str]:
    """Share of comparisons that hold on draws of the model, the identity, the bound."""
    axes = new_axes(220, left=46, x="CKA of the two spaces, ρ", y="comparisons that hold (%)")
    for mask, style in mask_styles(rows).items():
        of_mask = [row for row in rows if row.mask == mask]
        rho, colour = [row.rho for row in of_mask], light(style.colour)
        axes.plot(rho, [100 * row.predicted for row in of_mask], color=colour, linewidth=1.6)
        axes.plot(rho, [100 * row.bound for row in of_mask], color=colour, linewidth=1.0, linestyle=(0, (3, 2)))
        errors = [200 * row.error for row in of_mask]
        axes.errorbar(rho, [100 * row.rate for row in of_mask], errors, fmt="o", color=colour, markersize=4)
    axes.set_ylim(48, 101)
    return axes, "simulated-rates", "Comparisons preserved against CKA: simulated, identity, bound."


def mask_styles(rows: Sequence[SimulatedKeeping]) -> dict[str, Style]:
    """How each mask is drawn."""
    return styled(dict.fromkeys(row.mask for row in rows))


class TransferSection(Section):
    title = "Does the selection carry over"
    name = "transfer"
    transfer: TransferSummary

    @classmethod
    def load(cls, source: AnalyzedRun) -> Self:
        return cls(TransferSummary.load(source.measured["transfer"]))

    def rows(self, shared: Geometry) -> Iterator[Row]:
        for strategy, of in self.transfer.strategies.items():
            for key in ("shared", "jaccard", "classes"):
                yield from below_diagonal(of.names, getattr(of, key), section=f"transfer {strategy}", name=key)
