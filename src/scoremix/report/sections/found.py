"""What the analysis found: every section's findings, chance level beside every number."""

from __future__ import annotations

from scoremix.report.page import Section


class Found(Section):
    title = "What was found"
    bare = True
