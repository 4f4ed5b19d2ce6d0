"""What the sections of a run's report share: arms with their numbers, differences to the controls, the verdict."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Literal

import numpy as np

from scoremix.config import Experiment
from scoremix.evaluation.estimate import Estimate
from scoremix.evaluation.metric_table import Metric, metric_of
from scoremix.execution.artifacts import Artifact
from scoremix.outputs.comparison import Comparison, Difference, Verdict
from scoremix.outputs.images import ImagesSummary
from scoremix.outputs.networks import RecognizerSummary
from scoremix.report import charts, words
from scoremix.report.charts import Floats, Style
from scoremix.report.numbers import MISSING, column


@dataclass(frozen=True)
class ReportedRun:
    """What a report is about: settings, and the artifacts of the chain, of all recognizers ("arm/seed") and arms."""

    config: Experiment
    chain: Mapping[str, Artifact]
    recognizers: Mapping[str, Artifact]
    added: Mapping[str, Artifact]  # what arms add to the real images
    others: Mapping[str, Artifact] = field(default_factory=dict)  # of candidates that were not chosen

    @property
    def artifacts(self) -> list[Artifact]:
        """All that the run made, whatever it was for; some may stand there twice."""
        named = (self.recognizers, self.chain, self.added, self.others)
        return [artifact for by_name in named for artifact in by_name.values()]

    @cached_property
    def results(self) -> Comparison:
        return Comparison.load(self.chain["results"])


@dataclass(frozen=True)
class Curve:
    """Values against images seen: values (n,) or, one row per seed, (seeds, n)."""

    label: str
    images_seen: Floats
    values: Floats

    @classmethod
    def of(cls, artifacts: Iterable[Artifact]) -> Curve:
        """The loss of networks trained on the same schedule."""
        histories = [np.atleast_1d(np.genfromtxt(a / "history.csv", delimiter=",", names=True)) for a in artifacts]
        return cls("loss", histories[0]["images_seen"], np.stack([history["loss"] for history in histories]))


@dataclass(frozen=True)
class Roc:
    """Verification curve of one arm: far (n,) increasing in (0, 1], tar (seeds, n), both as fractions."""

    far: Floats
    tar: Floats


@dataclass(frozen=True)
class ArmResult:
    """One way of training the recognizer; `control` arms are drawn in grey."""

    name: str
    note: str = ""
    control: bool = False
    classes: int | None = None
    images: int | None = None
    steps: int | None = None
    metrics: Mapping[str, Estimate] = field(default_factory=dict)
    roc: Roc | None = None
    training: tuple[Curve, ...] = ()  # the recognizer's loss


@dataclass(frozen=True)
class EvaluationProtocol:
    """The protocol: what was measured on which pairs, and how often the test classes have been looked at."""

    metrics: tuple[Metric, ...]
    headline: str  # key of the metric that the verdict is about
    genuine_pairs: int
    impostor_pairs: int
    supported_far: float  # smallest FAR that the impostor pairs support
    recognizer_seeds: tuple[int, ...]
    generator_seed: int
    test_looks: int
    confidence: float = 0.95
    classes: int | None = None
    images: int | None = None
    images_of: int | None = None  # where more than `images`, those were drawn evenly from the classes
    interval_note: str = "bootstrap over test classes with all seeds kept"
    started: str | None = None  # SHA-256 of the file that the recognizers started from
    generator: Literal["trained", "adopted", "none"] = "trained"  # adopted: it was trained elsewhere

    def metric(self, key: str) -> Metric:
        """The metric of that key. Raises ValueError where there is none."""
        for metric in self.metrics:
            if metric.key == key:
                return metric
        raise ValueError(f"metric: {key!r} is not one of {', '.join(m.key for m in self.metrics)}")


@dataclass(frozen=True)
class Results:
    """What was measured."""

    title: str
    verdict: Verdict
    evaluation: EvaluationProtocol
    arms: tuple[ArmResult, ...]
    differences: tuple[Difference, ...] = ()
    csv_name: str = "report.csv"
    json_name: str = "report.json"

    def __post_init__(self) -> None:
        names = [arm.name for arm in self.arms]
        if not names or len(set(names)) < len(names):
            raise ValueError(f"arms: needs at least one, with names that differ, got {names}")
        self.evaluation.metric(self.evaluation.headline)
        for name in (self.verdict.arm, *self.verdict.controls):
            if name not in names:
                raise ValueError(f"verdict: arm {name!r} is not one of {', '.join(names)}")

    @classmethod
    def of(cls, run: ReportedRun) -> Results:
        config, comparison = run.config, run.results
        counted = ("genuine_pairs", "impostor_pairs", "supported_far", "images", "images_of")
        roc = run.chain["results"].arrays("roc.npz")

        def arm(name: str) -> ArmResult:
            trained = [run.recognizers[f"{name}/{seed}"] for seed in config.seeds]
            first = RecognizerSummary.load(trained[0])
            return ArmResult(
                name,
                config.arms[name].note,
                name in comparison.verdict.controls,
                classes=first.classes,
                images=first.images,
                steps=first.steps,
                metrics=comparison.arms[name],
                roc=Roc(roc["far"], roc[key] if (key := f"arm/{name}") in roc else roc[name]),  # older runs: the name
                training=(Curve.of(trained),),
            )

        return cls(
            title=f"Does mixing classes help? {config.name}",
            verdict=comparison.verdict,
            evaluation=EvaluationProtocol(
                metrics=tuple(metric_of(key, comparison.unsupported.get(key, "")) for key in comparison.metrics),
                headline=comparison.headline,
                **{key: getattr(comparison, key) for key in counted},
                recognizer_seeds=config.seeds,
                generator_seed=config.generator.seed,
                test_looks=comparison.looks,
                started=RecognizerSummary.load(run.chain["baseline"]).started,
                generator="none"
                if "generator" not in run.chain
                else "trained"
                if config.generator.diffusers is None
                else "adopted",
                classes=ImagesSummary.load(run.chain["real"]).classes.get(comparison.classes),
                confidence=config.evaluation.level,
            ),
            arms=tuple(arm(name) for name, of in config.arms.items() if of.measured),
            differences=tuple(comparison.differences),
        )

    @cached_property
    def styles(self) -> dict[str, Style]:
        """How each arm is drawn in every chart of the page."""
        return charts.styles((arm.name, arm.control) for arm in self.arms)

    @property
    def headline(self) -> Metric:
        return self.evaluation.metric(self.evaluation.headline)

    @property
    def supported(self) -> tuple[Metric, ...]:
        """The metrics that the test set supports."""
        return tuple(m for m in self.evaluation.metrics if not m.reason)

    @property
    def level(self) -> str:
        """What an interval is called: `95 % interval`."""
        return words.level_of(self.evaluation.confidence)

    @property
    def controls(self) -> list[str]:
        """The controls of all differences, the verdict's first."""
        return list(dict.fromkeys([*self.verdict.controls, *(d.control for d in self.differences)]))

    @property
    def control(self) -> ArmResult | None:
        """The first control among the arms."""
        return next((arm for arm in self.arms if arm.control), None)

    @property
    def compared(self) -> list[tuple[str, str]]:
        """Every arm and control between which there are differences."""
        return list(dict.fromkeys((d.arm, d.control) for d in self.differences))

    def difference(self, arm: str, control: str, metric: str) -> Estimate:
        """That difference, or a missing estimate where none was measured."""
        for d in self.differences:
            if (d.arm, d.control, d.metric) == (arm, control, metric):
                return d.estimate
        return MISSING

    def places(self, metric: Metric, signed: bool = False) -> int | None:
        """Digits after the point in the metric's column of the table of arms, or of differences."""
        if signed:
            return column((d.estimate for d in self.differences if d.metric == metric.key), metric)
        return column((arm.metrics[metric.key] for arm in self.arms if metric.key in arm.metrics), metric)

    def differences_of(self, metric: Metric) -> list[tuple[str, list[Estimate]]]:
        """(arm, difference to each of the controls) of the arms for which one was measured."""
        names = [arm.name for arm in self.arms if arm.name in {d.arm for d in self.differences}]
        rows = [(name, [self.difference(name, c, metric.key) for c in self.controls]) for name in names]
        return [(name, estimates) for name, estimates in rows if any(not e.missing for e in estimates)]
