"""What the analysis found: every section's findings, chance level beside every number."""

from scoremix.report.page import Section


class Found(Section):
    title = "What was found"
    bare = True
