"""The page of the geometry: opens what was measured and hands plain content to it (paper 4.3, Appendices D to G)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from scoremix.report import content, geometry_page
from scoremix.report.geometry import Geometry, Snapshots, Strip
from scoremix.stages.outputs import SpacesSummary

if TYPE_CHECKING:
    from scoremix.config import Experiment
    from scoremix.execution.artifacts import Artifact, Work


def analyze(
    config: Experiment, measured: Mapping[str, Artifact], followed: Mapping[str, Artifact], *, work: Work
) -> None:
    """Writes analysis.html, the same numbers as analysis.csv and analysis.json, and the terminal's summary.txt."""
    spaces = SpacesSummary.load(measured["spaces"])
    names = tuple(spaces.classes)
    artifacts = [*measured.values(), *followed.values()]
    made = Geometry(
        title="Conditions against embeddings",
        run=config.name,
        classes=len(names),
        spaces=tuple(spaces.spaces),
        left_out=tuple(spaces.left_out),
        alignment=measured["alignment"].json("alignment.json"),
        order=measured["order"].json("order.json"),
        transfer=measured["transfer"].json("transfer.json"),
        distances={**measured["distances"].json("distances.json"), **measured["distances"].arrays("distances.npz")},
        snapshots=tuple(_snapshots(run, artifact) for run, artifact in followed.items()),
        paths=_paths(measured["paths"]),
        strips=_strips(measured["paths"], names),
        manifests=tuple(content.Manifest(a.stage, a.key, f"store/{a.stage}/{a.key[:12]}") for a in artifacts),
        settings=config.analysis.model_dump(mode="json"),
        versions=measured["alignment"].manifest["versions"],
        evaluations=int(sum(a.manifest["cost"].get("evaluations", 0) for a in artifacts)),
    )
    work.write("analysis.html", geometry_page.render(made))
    work.write("analysis.csv", geometry_page.to_csv(made))
    work.write("analysis.json", geometry_page.to_json(made))
    work.write("summary.txt", geometry_page.text_summary(made))


def _snapshots(run: str, artifact: Artifact) -> Snapshots:
    found = artifact.json("snapshots.json")
    return Snapshots(run, tuple(found["snapshots"]), found["correlation"], found["fewest"])


def _paths(artifact: Artifact) -> dict[str, Any]:
    drawn = artifact.arrays("map.npz")
    weights = artifact.arrays("paths.npz")["weights"].tolist()
    return {**artifact.json("paths.json"), "map": drawn, "weights": weights}


def _strips(artifact: Artifact, names: tuple[str, ...]) -> tuple[Strip, ...]:
    found = artifact.arrays("paths.npz")
    each = len(found["to_a"]) // len(found["pairs"])
    strips = []
    for i, pictures in enumerate(found["pictures"]):
        a, b = found["pairs"][i]
        first = i * each  # the pictures are of a pair's first noise
        strips.append(Strip((names[a], names[b]), tuple(pictures), found["to_a"][first], found["to_b"][first]))
    return tuple(strips)
