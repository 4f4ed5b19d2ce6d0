"""How a page begins and ends: what it is about or found, its words, its settings and what it was made of."""

from collections.abc import Mapping
from dataclasses import field
from typing import Any, Self

from scoremix.report.geometry import AnalyzedRun
from scoremix.report.page import Manifest, Section
from scoremix.report.results import ReportedRun


class AboutStudySection(Section):
    title = "About the study"
    name = "about_study"
    bare = True


class FoundSection(Section):
    title = "What was found"
    name = "found"
    bare = True


class GlossarySection(Section):
    title = "Glossary"
    name = "glossary"


class SettingsSection(Section):
    title = "Settings and origin"
    name = "settings"
    config: Mapping[str, Any] = field(default_factory=dict)
    versions: Mapping[str, str] = field(default_factory=dict)
    seeds: Mapping[str, Any] = field(default_factory=dict)
    manifests: tuple[Manifest, ...] = ()
    command: str = ""

    @classmethod
    def load(cls, run: ReportedRun) -> Self:
        config = run.config
        seeds = {
            "recognizers": list(config.seeds),
            "generator": config.generator.seed,
            "data": config.data.seed,
            "sampling": config.sampling.seed,
            "selection": config.selection.seed,
            "bootstrap": config.evaluation.seed,
        }
        versions = run.chain["results"].manifest["versions"]
        artifacts = [*run.chain.values(), *run.added.values(), *run.recognizers.values()]
        return cls(config.model_dump(mode="json"), versions, seeds, tuple(map(Manifest.of, artifacts)))


class OriginSection(Section):
    title = "Settings and origin"
    name = "origin"
    settings: Mapping[str, Any]
    versions: Mapping[str, str]
    manifests: tuple[Manifest, ...] = ()

    @classmethod
    def load(cls, source: AnalyzedRun) -> Self:
        versions = source.measured["alignment"].manifest["versions"]
        manifests = tuple(map(Manifest.of, source.artifacts))
        return cls(source.config.analysis.model_dump(mode="json"), versions, manifests)

    def json(self) -> dict[str, Any]:
        return {"settings": self.settings, "versions": self.versions}
