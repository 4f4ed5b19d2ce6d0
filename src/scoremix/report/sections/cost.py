"""Cost: time, network evaluations and memory of every stage."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Self

from scoremix.execution.artifacts import Artifact
from scoremix.report.numbers import Row
from scoremix.report.page import Section
from scoremix.report.results import ReportedRun

COLOURS = ("arm-1", "arm-2", "arm-3", "arm-4", "arm-5", "arm-6", "control-1", "control-2")  # of stages, in turn


@dataclass(frozen=True)
class StageCost:
    """What a stage took; None: does not apply or was not measured."""

    stage: str
    seconds: float
    evaluations: int | None = None  # of the generator's network, per image
    peak_bytes: int | None = None
    images: int | None = None
    reused: bool = False  # found finished in the store: the cost is the one of the run that made it


class CostSection(Section):
    title = "Cost"
    costs: tuple[StageCost, ...] = ()

    @classmethod
    def load(cls, run: ReportedRun) -> Self:
        """One row per stage, of all that the run is made of; the recognizers of all arms and seeds are summed."""
        rows: dict[str, list[dict[str, float]]] = {}
        for artifact in with_inputs(run.artifacts):
            label = "recognizers, all arms and seeds" if artifact.stage == "recognizer" else artifact.stage
            rows.setdefault(label, []).append(artifact.manifest["cost"])
        return cls(
            tuple(
                StageCost(
                    label,
                    sum(c["seconds"] for c in costs),
                    int(sum(c.get("evaluations", 0) for c in costs)) or None,
                    int(max(c["peak_mib"] for c in costs) * 2**20),
                    int(sum(c.get("images", 0) for c in costs)) or None,
                )
                for label, costs in rows.items()
            )
        )

    def rows(self, shared: Any) -> Iterator[Row]:
        for cost in self.costs:
            for key in ("seconds", "evaluations", "peak_bytes", "images"):
                yield {"table": "cost", "arm": cost.stage, "metric": key, "value": getattr(cost, key)}


def with_inputs(artifacts: Sequence[Artifact]) -> list[Artifact]:
    """The artifacts and, as their manifests name them, all they were made of that is still in their store."""
    by_key = {artifact.key: artifact for artifact in artifacts}
    waiting = list(by_key.values())
    while waiting:
        artifact = waiting.pop()
        store = artifact.folder.parents[1]
        for key in artifact.manifest["inputs"].values():
            file = next(store.glob(f"*/{key[:12]}/manifest.json"), None) if key not in by_key else None
            if file is not None:
                by_key[key] = Artifact(file.parts[-3], key, file.parent)
                waiting.append(by_key[key])
    return list(by_key.values())
