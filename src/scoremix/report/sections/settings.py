"""Settings and origin: seeds, versions, the artifacts behind the page, the whole configuration."""

from collections.abc import Mapping
from dataclasses import field
from typing import Any, Self

from scoremix.report.page import Manifest, Section
from scoremix.report.results import Run


class Settings(Section):
    title = "Settings and origin"
    config: Mapping[str, Any] = field(default_factory=dict)
    versions: Mapping[str, str] = field(default_factory=dict)
    seeds: Mapping[str, Any] = field(default_factory=dict)
    manifests: tuple[Manifest, ...] = ()
    command: str = ""

    @classmethod
    def load(cls, run: Run) -> Self:
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
