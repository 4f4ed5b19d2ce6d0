"""The report: opens every artifact of a run and writes its page."""

from collections.abc import Mapping

from scoremix.config import Experiment
from scoremix.execution.artifacts import Artifact
from scoremix.execution.work import Work
from scoremix.report import page
from scoremix.report.pages import report as pages
from scoremix.report.results import ReportedRun, Results
from scoremix.report.sections.closed import ClosedSection


def report(
    config: Experiment,
    chain: Mapping[str, Artifact],
    recognizers: Mapping[str, Artifact],
    added: Mapping[str, Artifact],
    others: Mapping[str, Artifact],
    *,
    work: Work,
) -> None:
    """Of a run's arms, and what `others`, candidates that were not chosen, cost. Writes report.html, the same numbers as report.csv and report.json, and the terminal's summary.txt."""
    run = ReportedRun(config, chain, recognizers, added, others)
    results, parts = Results.of(run), page.load(pages.SECTIONS, run)
    work.write("report.html", pages.render(results, parts))
    work.write("report.csv", pages.to_csv(results, parts))
    work.write("report.json", pages.to_json(results, parts))
    work.write("summary.txt", pages.text_summary(results, parts))
    held_out = page.part(page.loaded(parts), ClosedSection)
    for name in held_out.closed.files if held_out and held_out.closed else ():
        work.write(name, (chain["results"] / name).read_bytes())
