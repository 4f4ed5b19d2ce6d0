"""Which pairs are judged wrongly: histograms of similarities, each arm's worst errors, what the judged arm mended."""

from collections.abc import Iterator, Mapping
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from scoremix.evaluation.errors import EDGES
from scoremix.outputs.errors import ArmErrors, ErrorsSummary, MendedErrors
from scoremix.report.charts import Axes, Style, figure, light, new_axes, slug
from scoremix.report.numbers import Row
from scoremix.report.page import Section
from scoremix.report.results import ReportedRun

COUNTS = ("rejects_mended", "rejects_broken", "accepts_mended", "accepts_broken")


class ErrorsSection(Section):
    title = "Pairs that are judged wrongly"
    errors: ErrorsSummary | None = None
    images: NDArray[np.uint8] | tuple[()] = ()  # what pairs name by row

    @classmethod
    def load(cls, run: ReportedRun) -> Self:
        if (artifact := run.chain.get("errors")) is None:
            return cls()  # of an older scoremix
        return cls(ErrorsSummary.load(artifact), np.load(artifact / "images.npy"))

    def shown(self, shared: Any) -> bool:
        return self.errors is not None

    def json(self) -> dict[str, Any]:
        if (of := self.errors) is None:
            return {"far": 0.0, "error_arms": {}, "mended": {}}
        arms = {name: {"threshold": of.threshold(name), **_entries(arm)} for name, arm in of.arms.items()}
        return {
            "far": of.far,
            "error_arms": arms,
            "mended": {name: _entries(mended) for name, mended in of.mended.items()},
        }

    def rows(self, shared: Any) -> Iterator[Row]:
        entries = self.json()
        for name, arm in entries["error_arms"].items():
            for key in ("threshold", "accepted", "refused"):
                yield {"table": "errors", "arm": name, "metric": key, "value": arm[key]}
        for control, mended in entries["mended"].items():
            for key in COUNTS:
                yield {"table": "mended", "control": control, "metric": key, "value": mended[key]}


def _entries(errors: ArmErrors | MendedErrors) -> dict[str, Any]:
    """What was found as the page's JSON file has it: of a pair no images."""
    entries = {key: value for key, value in vars(errors).items() if key != "thresholds"}
    for key in ("genuine", "impostor") if isinstance(errors, MendedErrors) else ("false_accepts", "false_rejects"):
        entries[key] = [{"classes": pair.classes, "similarity": pair.similarity} for pair in entries[key]]
    return entries


@figure
def similarities(
    name: str, arm: ArmErrors, threshold: float, style: Style, span: tuple[float, float]
) -> tuple[Axes, str, str]:
    """Shares of genuine and impostor pairs over similarity, and the threshold."""
    axes = new_axes(170, left=48, x=f"cosine similarity, {name}", y="share of pairs (%)")
    for counts, colour, label in ((arm.impostor, "control-2", "impostor"), (arm.genuine, style.colour, "genuine")):
        shares = 100 * np.array(counts) / max(1, sum(counts))
        axes.stairs(shares, EDGES, fill=True, color=light(colour), alpha=0.25)
        axes.stairs(shares, EDGES, color=light(colour), linewidth=1.6, label=label)
    axes.axvline(threshold, color=light("ink"), linewidth=1.0, linestyle=(0, (3, 2)))
    axes.set_xlim(*span)
    return axes, f"pairs-{slug(name)}", f"Similarities of genuine and impostor pairs to {name}, and its threshold."


def span_of(arms: Mapping[str, ArmErrors]) -> tuple[float, float]:
    """The similarities that any arm gives, the same axis for all."""
    counts = np.sum([np.add(arm.genuine, arm.impostor) for arm in arms.values()], axis=0)
    filled = np.flatnonzero(counts)
    return float(EDGES[filled[0]]), float(EDGES[filled[-1] + 1])
