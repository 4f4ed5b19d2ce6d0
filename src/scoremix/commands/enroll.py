"""`scoremix enroll`: the embeddings of known images, to be found among."""

from pathlib import Path
from typing import Annotated

import typer

from scoremix.commands.convert import bar
from scoremix.commands.options import ClassLevel, Debug, Delivered, Quiet, app


@app.command()
def enroll(
    model: Delivered,
    images: Annotated[Path, typer.Argument(help="folder of class folders, or of images that are a class each")],
    out: Annotated[Path, typer.Option("--out", help="the .npz file to write")] = Path("gallery.npz"),
    class_level: ClassLevel = None,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """A gallery of known images, for `identify`; it holds embeddings and names, no images."""
    from scoremix.data.files import refuse_existing, refuse_place
    from scoremix.data.lists import noun
    from scoremix.use.model import load_model

    refuse_place(out, ".npz", option="--out")
    refuse_existing(out)
    opened = load_model(model)
    with bar("enroll", quiet) as advance:
        gallery = opened.enroll(images, advance, class_level)
    gallery.save(out)
    print(f"{out}: {noun(len(gallery), 'image')} of {noun(len(gallery.class_names), 'class', 'classes')}")
