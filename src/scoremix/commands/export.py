"""`scoremix export`: the recognizer as an ONNX file, checked against onnxruntime before it is written."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from scoremix.commands.options import Checkpoint, Colour, RuntimeOptions, app

if TYPE_CHECKING:
    from scoremix.recognition import checkpoints


@app.command(without=("device",))
def export(
    checkpoint: Checkpoint,
    to: Annotated[Path, typer.Argument(metavar="FILE", help="the .onnx file to write")],
    colour: Colour = None,
    *,
    here: RuntimeOptions,
) -> None:
    """A trained recognizer as an ONNX file, checked against onnxruntime."""
    from scoremix.execution.recipe import with_arm
    from scoremix.execution.records import checkpoint_of

    if here.out.suffix == ".onnx":
        named_last = f"the file is named last, `export CHECKPOINT {here.out}`"
        raise ValueError(f"--out {here.out}: is the folder of runs; {named_last}")
    worst = export_onnx(checkpoint_of(here.out, with_arm(here.out, checkpoint)), to, colour)
    print(f"{to}: onnxruntime and torch differ by at most {worst:.1g} in an entry of a unit embedding")


def export_onnx(checkpoint: Path, out: Path, colour: checkpoints.Colour | None = None) -> float:
    """Writes the recognizer as `onnxfile.to_onnx` says; returns the largest difference to torch on images of noise.

    The checkpoint is ours or a published one (`colour` where it does not say); the file's metadata also names its hash.
    ValueError without the extra or for another ending than .onnx, RuntimeError where onnxruntime computes something
    else; then nothing is written.
    """
    from scoremix.data.files import file_hash, refuse_place, write_file
    from scoremix.recognition import onnxfile, published

    refuse_place(out, ".onnx")
    onnxfile.refuse_without_onnx("export")
    net, description = published.load(checkpoint, colour)
    facts = {"checkpoint_sha256": file_hash(checkpoint)}
    content, worst = onnxfile.to_onnx([net], description, facts, str(out))
    write_file(out, content)
    return worst
