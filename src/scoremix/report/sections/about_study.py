"""What a study's differences mean, and what was not run."""

from scoremix.report.page import Section


class AboutStudy(Section):
    title = "About the study"
    bare = True
