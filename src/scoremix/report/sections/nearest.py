"""The generated images most similar to a training image, each beside it (Appendix D.6)."""

from collections.abc import Mapping, Sequence

from scoremix.report.page import Section
from scoremix.report.quality import Pair


class Nearest(Section):
    title = "Nearest training images"
    bare = True
    pairs: Mapping[str, Sequence[Pair]]
