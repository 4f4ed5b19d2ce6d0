"""Recognizers as one ONNX file: several give the mean of their unit embeddings, normalised; checked against onnxruntime."""

import importlib.util
import json
import logging
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from importlib.metadata import version
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from scoremix.data.finite import finite_rows
from scoremix.recognition.checkpoints import Description

OPSET = 18
TOLERANCE = 1e-4  # of the entries of a unit embedding, between torch and onnxruntime


def refuse_without_onnx(what: str) -> None:
    """ValueError of one line where the libraries of the extra `onnx` are not installed; `what` needs them."""
    for name in ("onnx", "onnxruntime", "onnxscript"):
        if importlib.util.find_spec(name) is None:
            raise ValueError(f"{what} needs {name}: pip install 'scoremix[onnx]'")


def to_onnx(
    nets: Sequence[nn.Module], description: Description, facts: Mapping[str, str], called: str
) -> tuple[bytes, float]:
    """The content of the file, and the largest difference between onnxruntime and torch on images of noise.

    Input `images` float32 (batch, C, H, W), colours and scaling as the description of all nets has them; output
    `embeddings` (batch, D), unit rows; any batch. The metadata says so, and holds `facts`. RuntimeError where onnxruntime
    computes something else, ValueError for embeddings that are not finite; `called` names the file in them.
    """
    import onnxruntime

    model = UnitEmbedding(nets).eval()
    shape = (description.channels, description.size, description.size)
    content = _traced(model, shape, {**_metadata(description), **facts})
    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    worst = 0.0
    for batch in (1, 5):
        x = torch.rand(batch, *shape, generator=torch.Generator().manual_seed(batch)) * 2 - 1
        with torch.no_grad():
            ours = finite_rows(model(x).numpy())
        theirs = finite_rows(session.run(["embeddings"], {"images": x.numpy()})[0], "onnxruntime's embeddings")
        worst = max(worst, float(np.abs(ours - theirs).max()))
    if not worst <= TOLERANCE:
        raise RuntimeError(
            f"{called}: onnxruntime's embeddings differ from torch's by {worst:.2g}; nothing was written"
        )
    return content, worst


class UnitEmbedding(nn.Module):
    """Recognizers with normalised output: of several the mean of their unit embeddings."""

    def __init__(self, nets: Sequence[nn.Module]) -> None:
        super().__init__()
        self.nets = nn.ModuleList(nets)

    def forward(self, images: Tensor) -> Tensor:
        units = [nn.functional.normalize(net(images)) for net in self.nets]
        return units[0] if len(units) == 1 else nn.functional.normalize(torch.stack(units).mean(0))


def _metadata(description: Description) -> dict[str, str]:
    """What a user of the file has to know."""
    d = description
    scaling = {"-1..1": "x / 127.5 - 1", "0..1": "x / 255"}[d.scaling]
    return {
        "input": f"images: float32 (batch, {d.channels}, {d.size}, {d.size}), {d.colour}, 8-bit values x as {scaling}",
        "output": f"embeddings: float32 (batch, {d.embedding}), unit rows; similarity is their dot product",
        "description": json.dumps(asdict(d)),
        "made_by": f"scoremix {version('scoremix')}, torch {torch.__version__}",
    }


def _traced(model: nn.Module, shape: tuple[int, int, int], facts: Mapping[str, str]) -> bytes:
    """The content of an ONNX file with a free batch size."""
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
