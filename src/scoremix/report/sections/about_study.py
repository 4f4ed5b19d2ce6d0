"""What a study's differences mean, and what was not run."""

from __future__ import annotations

from dataclasses import dataclass

from scoremix.report.page import Section
from scoremix.report.study import Study


@dataclass(frozen=True)
class AboutStudy(Section):
    title = "About the study"
    bare = True

    @classmethod
    def load(cls, source: Study) -> AboutStudy:
        return cls()
