"""Settings and origin of an analysis: versions, artifacts, settings."""

from collections.abc import Mapping
from typing import Any, Self

from scoremix.report.geometry import Measured
from scoremix.report.page import Manifest, Section


class Origin(Section):
    title = "Settings and origin"
    settings: Mapping[str, Any]
    versions: Mapping[str, str]
    manifests: tuple[Manifest, ...] = ()

    @classmethod
    def load(cls, source: Measured) -> Self:
        versions = source.measured["alignment"].manifest["versions"]
        manifests = tuple(map(Manifest.of, source.artifacts))
        return cls(source.config.analysis.model_dump(mode="json"), versions, manifests)

    def json(self) -> dict[str, Any]:
        return {"settings": self.settings, "versions": self.versions}
