"""Images from outside a run, packed whole: every class, no split (for `scoremix quality`)."""

from scoremix.config import Data
from scoremix.data.reading import Wanted, read
from scoremix.execution.artifacts import External
from scoremix.execution.work import Work


def pack_external(config: Data, source: External, *, work: Work) -> None:
    """Writes every class of whatever can be read as data, as part 'train'."""
    given = config.wanted()
    wanted = Wanted(given.size, given.channels, fractions=None, skip_bad=given.skip_bad, hints=given.hints)
    with work.bar(1, "images") as advance:
        images, _ = read(source.place, work.folder, wanted, progress=advance)
    work.count("images", len(images))
