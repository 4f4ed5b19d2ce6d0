"""`scoremix import-edm2`: a published EDM2 snapshot as one of ours."""

from pathlib import Path
from typing import Annotated

import typer

from scoremix.commands.options import Debug, Quiet, app


@app.command()
def import_edm2(
    pickle: Annotated[Path, typer.Argument(help="a published pixel-space snapshot, such as edm2-img64-s-*.pkl")],
    out: Annotated[Path, typer.Argument(help="the .safetensors file to write")],
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """A published EDM2 snapshot as one of ours; nothing in the pickle is executed."""
    from scoremix.data.files import write_file
    from scoremix.diffusion import checkpoints, published
    from scoremix.diffusion.unet import EDM2

    network, tensors = published.read(pickle)
    try:
        EDM2(**{**network, "use_fp16": False}).load_state_dict(tensors)
    except (RuntimeError, TypeError) as error:
        raise ValueError(
            f"{pickle}: tensors and configuration do not fit ({' '.join(str(error).split())[:300]})"
        ) from None
    if network.pop("use_fp16", False):
        network["dtype"] = "float16"
    write_file(out, checkpoints.to_bytes(tensors, network, checkpoints.Pixels()))
    print(f"{out}: {network['img_resolution']} px, {network['label_dim']} classes; the weights keep their own licence")
