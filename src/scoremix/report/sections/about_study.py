"""What a study's differences mean, and what was not run."""

from __future__ import annotations

from dataclasses import dataclass

from scoremix.report.page import Section


@dataclass(frozen=True)
class AboutStudy(Section):
    title = "About the study"
    bare = True
