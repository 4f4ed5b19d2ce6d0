"""`scoremix embed`: embeddings of any images by a trained recognizer, in one file another tool can open."""

from pathlib import Path
from typing import Annotated

import typer

from scoremix.commands.options import Checkpoint, LongRunOptions, ReadingOptions, app


@app.command(without=("scheduler", "compile", "max_hours"))
def embed(
    checkpoint: Checkpoint,
    images: Annotated[Path, typer.Argument(help="folder of class folders or of images, one image, .npz, packed set")],
    to: Annotated[
        Path, typer.Argument(metavar="[FILE]", help=".npz with everything, or .npy with a .csv beside it")
    ] = Path("embeddings.npz"),
    *,
    layout: ReadingOptions,
    running: LongRunOptions,
) -> None:
    """Embeddings of images by a trained recognizer."""
    from scoremix.data.files import refuse_existing
    from scoremix.data.lists import noun
    from scoremix.execution.embedding import FORMATS, embed_images
    from scoremix.execution.recipe import with_arm
    from scoremix.execution.records import checkpoint_of

    if running.out.suffix in FORMATS:
        named_last = f"the file is named last, `embed CHECKPOINT IMAGES {running.out}`"
        raise ValueError(f"--out {running.out}: is the folder of runs; {named_last}")
    refuse_existing(to)
    file = checkpoint_of(running.out, with_arm(running.out, checkpoint))
    count = embed_images(file, images, to, running.runtime, layout.skip_bad, layout.hints)
    print(f"{to}: {noun(count, 'embedding')}")
