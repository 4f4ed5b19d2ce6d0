"""The page of the geometry: opens what was measured and writes its page (paper 4.3, Appendices D to G)."""

from collections.abc import Mapping

from scoremix.config import Experiment
from scoremix.execution.artifacts import Artifact
from scoremix.execution.work import Work
from scoremix.report import page
from scoremix.report.geometry import AnalyzedRun, Geometry
from scoremix.report.pages import geometry as pages


def analyze(
    config: Experiment, measured: Mapping[str, Artifact], followed: Mapping[str, Artifact], *, work: Work
) -> None:
    """Writes analysis.html, the same numbers as analysis.csv and analysis.json, and the terminal's summary.txt."""
    source = AnalyzedRun(config, measured, followed)
    geometry, parts = Geometry.of(source), page.load(pages.SECTIONS, source)
    work.write("analysis.html", pages.render(geometry, parts))
    work.write("analysis.csv", pages.to_csv(geometry, parts))
    work.write("analysis.json", pages.to_json(geometry, parts))
    work.write("summary.txt", pages.text_summary(geometry, parts))
