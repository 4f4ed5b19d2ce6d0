"""What the analysis found: every section's findings, chance level beside every number."""

from __future__ import annotations

from dataclasses import dataclass

from scoremix.report.page import Section


@dataclass(frozen=True)
class Found(Section):
    title = "What was found"
    bare = True
