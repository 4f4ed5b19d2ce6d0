"""Images from outside a run, packed whole: every class, no split (for `scoremix quality`)."""

from scoremix.config import Data
from scoremix.data.reading import read
from scoremix.execution.artifacts import External
from scoremix.execution.work import Work


def pack_external(config: Data, source: External, *, work: Work) -> None:
    """Writes every class of whatever can be read as data, as part 'train'."""
    with work.bar(1, "images") as advance:
        images, _ = read(
            source.place,
            work.folder,
            size=config.size,
            channels=None if config.channels == "auto" else config.channels,
            fractions=None,
            skip_bad=config.skip_bad,
            hints=config.hints,
            progress=advance,
        )
    work.count("images", len(images))
