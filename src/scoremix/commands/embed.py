"""`scoremix embed`: embeddings of any images by a trained recognizer, in one file another tool can open."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from scoremix.commands.options import Checkpoint, Layout, Running, app

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import numpy as np
    from numpy.typing import NDArray

    from scoremix.config import Runtime
    from scoremix.data.source import Told
    from scoremix.data.sources import Listing
    from scoremix.execution.trained import Device

FORMATS = (".npz", ".npy")
SHARED = 4096  # images from which on workers share them


@app.command(without=("scheduler", "compile", "max_hours"))
def embed(
    checkpoint: Checkpoint,
    images: Annotated[Path, typer.Argument(help="folder of class folders or of images, one image, .npz, packed set")],
    to: Annotated[
        Path, typer.Argument(metavar="[FILE]", help=".npz with everything, or .npy with a .csv beside it")
    ] = Path("embeddings.npz"),
    *,
    layout: Layout,
    running: Running,
) -> None:
    """Embeddings of images by a trained recognizer."""
    from scoremix.data.files import refuse_existing
    from scoremix.data.lists import noun
    from scoremix.execution.recipe import with_arm
    from scoremix.execution.records import checkpoint_of

    if running.out.suffix in FORMATS:
        named_last = f"the file is named last, `embed CHECKPOINT IMAGES {running.out}`"
        raise ValueError(f"--out {running.out}: is the folder of runs; {named_last}")
    refuse_existing(to)
    file = checkpoint_of(running.out, with_arm(running.out, checkpoint))
    count = embed_images(file, images, to, running.runtime, layout.skip_bad, layout.told)
    print(f"{to}: {noun(count, 'embedding')}")


def embed_images(
    checkpoint: Path, place: Path, out: Path, runtime: Runtime, skip_bad: bool = False, told: Told | None = None
) -> int:
    """Writes the embeddings of the images at `place`; returns how many.

    `out` ending in .npz: `embeddings` float32 (N, D) unit rows, `names` (N,), and where classes are known `labels` int32
    (N,) and `class_names`. Ending in .npy: the embeddings, and name and class of every row in a .csv beside them.
    Written whole or not at all. ValueError for a wrong place or ending; UnreadableImages unless `skip_bad`.
    """
    import numpy as np

    from scoremix.data.reading import UnreadableImages
    from scoremix.data.sources import open_listing
    from scoremix.execution import workers
    from scoremix.execution.trained import ROWS, load_recognizer
    from scoremix.execution.work import Work

    if out.suffix not in FORMATS:
        raise ValueError(f"{out}: must end in {' or '.join(FORMATS)}")
    if not out.parent.is_dir():
        raise ValueError(f"{out}: the folder {out.parent} does not exist")
    recognizer = load_recognizer(checkpoint, out=runtime.out, device=runtime.device)
    size, channels = recognizer.description.size, recognizer.description.channels
    listing = open_listing(place, told)
    embeddings: list[NDArray[np.float32]] = []
    indices: list[NDArray[np.int64]] = []
    bad: list[tuple[str, str]] = []
    crew = workers.crew(runtime, [])
    shared = crew.size > 1 and len(listing) > SHARED
    with Work(out.parent, runtime, "embed").bar(len(listing), "images") as advance:

        def pixels() -> Iterator[NDArray[np.uint8]]:
            for images, rows in listing.blocks(size, channels, ROWS, bad):
                if not bad or skip_bad:  # else only the other unreadable files are still of interest
                    indices.append(rows)
                    yield images
                advance(int(rows[-1]) + 1)

        opened = (checkpoint, runtime.out, runtime.device)
        embeddings += workers.mapped(crew, embedder, opened, pixels()) if shared else map(recognizer.embed, pixels())
    if bad and not skip_bad:
        raise UnreadableImages(bad)
    if not embeddings:
        raise ValueError(f"images {place}: none of {len(bad)} files can be read")
    write(out, np.concatenate(embeddings), listing, np.concatenate(indices))
    return sum(map(len, indices))


def embedder(checkpoint: Path, out: Path, device: Device) -> Callable[[NDArray[np.uint8]], NDArray[np.float32]]:
    """What a worker embeds images with."""
    from scoremix.execution.trained import load_recognizer

    return load_recognizer(checkpoint, out=out, device=device).embed


def write(out: Path, embeddings: NDArray[np.float32], listing: Listing, rows: NDArray[np.int64]) -> None:
    """Writes the embeddings of some rows of a listing as `embed_images` says."""
    import numpy as np

    from scoremix.data.files import whole, write_file

    names = [listing.names[i] for i in rows]
    labels = listing.labels[rows] if listing.labels is not None else None
    with whole(out) as partial, open(partial, "wb") as file:
        if out.suffix == ".npy":
            np.save(file, embeddings, allow_pickle=False)
            write_file(out.with_suffix(".csv"), table(names, labels, listing.class_names))
        elif labels is None:
            np.savez(file, embeddings=embeddings, names=np.array(names))
        else:
            known = {"labels": labels, "class_names": np.array(listing.class_names)}
            np.savez(file, embeddings=embeddings, names=np.array(names), **known)  # type: ignore[arg-type]


def table(names: list[str], labels: NDArray[np.int32] | None, class_names: tuple[str, ...]) -> str:
    """CSV with a row per embedding: name, and label and class where known."""
    from scoremix.data.csv_text import csv_text

    if labels is None:
        return csv_text([["name"], *([name] for name in names)])
    rows = ([name, k, class_names[k]] for name, k in zip(names, labels.tolist(), strict=True))
    return csv_text([["name", "label", "class"], *rows])
