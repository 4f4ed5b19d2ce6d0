"""Images from outside a run, packed whole: every class, no split (for `scoremix quality`)."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from scoremix.data import images as imagesets
from scoremix.data.reading import read

if TYPE_CHECKING:
    from scoremix.artifacts import Source, Work
    from scoremix.config import Data


def outside(config: Data, source: Source, *, work: Work) -> None:
    """Writes every class of a folder, .npz, fonts or packed set as part 'train'."""
    place = Path(source.place)
    with work.bar(1, "images") as advance:
        if packed(source.place):
            images = imagesets.LabeledImages.load(place)
            if images.size != config.size or config.channels not in ("auto", images.channels):
                raise ValueError(
                    f"{place}: a packed set of {images.size} px and {images.channels} channels, "
                    f"needed are {config.size} px and {config.channels} channels"
                )
            imagesets.write(
                work.folder,
                shape=images.shape,
                blocks=(images.take(rows)[0] for rows in images.blocks(1024)),
                counts=images.counts,
                class_names=images.class_names,
                splits={"train": range(len(images.class_names))},
            )
        else:
            images, _ = read(
                source.place,
                work.folder,
                size=config.size,
                channels=None if config.channels == "auto" else config.channels,
                fractions=None,
                skip_bad=config.skip_bad,
                progress=lambda done, total: advance(done, total),
            )
    work.count("images", len(images))


def packed(place: str) -> bool:
    """Whether a folder is a packed set of images."""
    return (Path(place) / "classes.json").exists()
