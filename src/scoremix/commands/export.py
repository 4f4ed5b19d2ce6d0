"""`scoremix export`: the recognizer as an ONNX file, checked against onnxruntime before it is written."""

from __future__ import annotations

import json
import logging
import warnings
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from scoremix.commands.options import Checkpoint, Colour, Debug, Out, Quiet, app

if TYPE_CHECKING:
    from torch import nn

    from scoremix.recognition import checkpoints

OPSET = 18
TOLERANCE = 1e-4  # of the entries of a unit embedding, between torch and onnxruntime


@app.command()
def export(
    checkpoint: Checkpoint,
    to: Annotated[Path, typer.Argument(metavar="FILE", help="the .onnx file to write")],
    colour: Colour = None,
    out: Out = Path("scoremix_runs"),
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """A trained recognizer as an ONNX file, checked against onnxruntime."""
    from scoremix.execution.records import checkpoint_of

    if out.suffix == ".onnx":
        raise ValueError(f"--out {out}: is the folder of runs; the file is named last, `export CHECKPOINT {out}`")
    worst = export_onnx(checkpoint_of(out, checkpoint), to, colour)
    print(f"{to}: onnxruntime and torch differ by at most {worst:.1g} in an entry of a unit embedding")


def export_onnx(checkpoint: Path, out: Path, colour: checkpoints.Colour | None = None) -> float:
    """Writes the recognizer as ONNX; returns the largest difference to torch on images of noise.

    Input `images` float32 (batch, C, H, W), colours and scaling as the checkpoint (ours or a published
    one; `colour` where it does not say) has them; output `embeddings` (batch, D), unit rows; any
    batch. The metadata says so, and where the parameters come from. ValueError without the extra or for another ending than
    .onnx, RuntimeError where onnxruntime computes something else; then nothing is written.
    """
    import numpy as np
    import torch

    from scoremix.data.files import write_file
    from scoremix.data.finite import finite_rows
    from scoremix.recognition import published

    if out.suffix != ".onnx":
        raise ValueError(f"{out}: must end in .onnx")
    if not out.parent.is_dir():
        raise ValueError(f"{out}: the folder {out.parent} does not exist")
    try:
        import onnx  # noqa: F401
        import onnxruntime
        import onnxscript  # noqa: F401
    except ImportError as error:
        raise ValueError(f"export needs {error.name}: pip install 'scoremix[onnx]'") from None

    class UnitEmbedding(torch.nn.Module):
        """The recognizer with normalised output."""

        def __init__(self, net: torch.nn.Module) -> None:
            super().__init__()
            self.net = net

        def forward(self, images: torch.Tensor) -> torch.Tensor:
            return torch.nn.functional.normalize(self.net(images))

    net, description = published.load(checkpoint, colour)
    model = UnitEmbedding(net).eval()
    shape = (description.channels, description.size, description.size)
    content = traced(model, shape, metadata(checkpoint, description))
    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    worst = 0.0
    for batch in (1, 5):
        x = torch.rand(batch, *shape, generator=torch.Generator().manual_seed(batch)) * 2 - 1
        with torch.no_grad():
            ours = finite_rows(model(x).numpy())
        theirs = finite_rows(session.run(["embeddings"], {"images": x.numpy()})[0], "onnxruntime's embeddings")
        worst = max(worst, float(np.abs(ours - theirs).max()))
    if not worst <= TOLERANCE:
        raise RuntimeError(f"{out}: onnxruntime's embeddings differ from torch's by {worst:.2g}; nothing was written")
    write_file(out, content)
    return worst


def metadata(checkpoint: Path, description: checkpoints.Description) -> dict[str, str]:
    """What a user of the file has to know."""
    import torch

    from scoremix import __version__
    from scoremix.data.files import file_hash

    d = description
    scaling = {"-1..1": "x / 127.5 - 1", "0..1": "x / 255"}[d.scaling]
    return {
        "input": f"images: float32 (batch, {d.channels}, {d.size}, {d.size}), {d.colour}, 8-bit values x as {scaling}",
        "output": f"embeddings: float32 (batch, {d.embedding}), unit rows; similarity is their dot product",
        "description": json.dumps(asdict(description)),
        "checkpoint_sha256": file_hash(checkpoint),
        "made_by": f"scoremix {__version__}, torch {torch.__version__}",
    }


def traced(model: nn.Module, shape: tuple[int, int, int], facts: dict[str, str]) -> bytes:
    """The content of an ONNX file with a free batch size."""
    import torch

    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)  # else it speaks of libraries that are not needed
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            program: Any = torch.onnx.export(
                model,
                (torch.zeros(2, *shape),),
                input_names=["images"],
                output_names=["embeddings"],
                dynamic_shapes=({0: torch.export.Dim("batch")},),
                opset_version=OPSET,
                dynamo=True,
                verbose=False,
            )
    finally:
        logger.setLevel(level)
    proto = program.model_proto
    for part in (proto.graph, *proto.graph.node, *proto.graph.value_info, *proto.graph.input, *proto.graph.output):
        del part.metadata_props[:]  # source lines and paths of the machine it was made on
    for name, value in facts.items():
        entry = proto.metadata_props.add()
        entry.key, entry.value = name, value
    content: bytes = proto.SerializeToString()
    return content
