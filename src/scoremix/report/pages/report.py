"""The report of a run: its sections, and the same numbers as CSV, JSON and terminal text."""

from collections.abc import Sequence

from scoremix.evaluation.metric_table import Metric
from scoremix.report import numbers, page, words
from scoremix.report.numbers import MISSING
from scoremix.report.page import Part, Section
from scoremix.report.results import Results
from scoremix.report.sections.about import GlossarySection, SettingsSection
from scoremix.report.sections.arms import ArmsSection
from scoremix.report.sections.candidates import CandidatesSection
from scoremix.report.sections.closed import ClosedSection
from scoremix.report.sections.convexity import ConvexitySection, SearchSection
from scoremix.report.sections.cost import CostSection
from scoremix.report.sections.data import DataSection
from scoremix.report.sections.errors import ErrorsSection
from scoremix.report.sections.generator import GeneratorSection
from scoremix.report.sections.groups import GroupsSection
from scoremix.report.sections.images import ImagesSection
from scoremix.report.sections.mixes import AgreementSection, MixesSection
from scoremix.report.sections.pairs import PairsSection
from scoremix.report.sections.screening import LeaksSection, ScreeningSection
from scoremix.report.sections.training import TrainingSection
from scoremix.report.sections.verdict import VerdictSection, caveats, judged, sentence
from scoremix.report.sections.verdict import told as plainly

SECTIONS: tuple[type[Section], ...] = (
    VerdictSection,
    CandidatesSection,
    ArmsSection,
    GroupsSection,
    ClosedSection,
    ErrorsSection,
    ImagesSection,
    GeneratorSection,
    MixesSection,
    ScreeningSection,
    LeaksSection,
    AgreementSection,
    ConvexitySection,
    SearchSection,
    PairsSection,
    TrainingSection,
    CostSection,
    DataSection,
    SettingsSection,
    GlossarySection,
)
COLUMNS = ("table", "arm", "control", "metric", "seed", "value", "low", "high", "reason")


def render(results: Results, parts: Sequence[Part]) -> str:
    """The page, as HTML; its title says the verdict."""
    return page.render(f"{results.title}: {results.verdict.kind}", parts, results)


def to_csv(results: Results, parts: Sequence[Part]) -> str:
    """Every table of the report, one number a row; fractions, not percentages; empty where missing."""
    return numbers.table_csv(COLUMNS, (row for part in page.loaded(parts) for row in part.rows(results)))


def to_json(results: Results, parts: Sequence[Part]) -> str:
    """The whole report but its images, as strict JSON; fractions, not percentages; null where missing."""
    head, tree = _head(parts), {**numbers.plain(results), **page.json_of(parts)}
    entries = {"sentence": sentence(results, head.gate), "told": plainly(results, head), "change": head.change}
    return numbers.json_text({**tree, "verdict": {**tree["verdict"], **entries}})


def text_summary(results: Results, parts: Sequence[Part], where: str = "") -> str:
    """What the terminal prints at the end: verdict, differences, arms in columns, and where the page lies."""
    verdict, metric, head = results.verdict, results.headline, _head(parts)
    lines = [f"Verdict: {verdict.kind}", *(f"  {line}" for line in plainly(results, head))]
    lines += [f"  {words.explained(metric)}", ""]
    for control, e in zip(verdict.controls, judged(results), strict=True):
        interval, seeds = numbers.interval(e, metric, True), " ".join(numbers.seeds(e, metric, True))
        spread = f"{results.level} {interval}" if interval else f"no {results.level}"
        gain = f"{numbers.mean(e, metric, True)} {numbers.unit(metric)} ({spread}{'; seeds ' * bool(seeds)}{seeds})"
        if not numbers.direction(e, metric) and interval:
            gain = f"not told from zero ({spread} {numbers.unit(metric)}{'; seeds ' * bool(seeds)}{seeds})"
        lines.append(f"  {metric.label} against {control}: {e.reason or 'not measured' if e.missing else gain}")
    lines += [f"  To try: {change}" for change in head.change]
    lines += ["", _columns(results, metric), "", *(f"  {caveat}" for caveat in caveats(results.evaluation))]
    lines += [f"  {m.label}: not reported, {m.reason}" for m in results.evaluation.metrics if m.reason]
    return "\n".join(lines + ([f"Report: {where}"] if where else [])) + "\n"


def _head(parts: Sequence[Part]) -> VerdictSection:
    return page.part(page.loaded(parts), VerdictSection) or VerdictSection()


def _columns(results: Results, headline: Metric) -> str:
    """Arms in rows, metrics in columns, the headline first and with its interval."""
    metrics = sorted(results.supported, key=lambda m: m.key != headline.key)
    rows = [["arm", *(m.label + (" %" if m.percent else "") for m in metrics)]]
    for arm in results.arms:
        cells = [numbers.mean(arm.metrics.get(m.key, MISSING), m) for m in metrics]
        spread = numbers.interval(arm.metrics.get(headline.key, MISSING), headline).replace(" to ", "–")
        if spread and metrics:
            cells[0] += f" ({spread})"
        rows.append([arm.name, *cells])
    return numbers.terminal(rows, indent=2)
