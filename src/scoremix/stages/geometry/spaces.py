"""The spaces of one run: conditions and class centers, one row per real training class (paper 4.3)."""

from collections.abc import Mapping
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from scoremix.analysis.spaces import as_space, in_order
from scoremix.config import Spaces
from scoremix.data.images import LabeledImages
from scoremix.diffusion import checkpoints as generators
from scoremix.diffusion.unet import condition_matrix
from scoremix.execution.artifacts import Artifact
from scoremix.execution.work import Work
from scoremix.outputs.images import real_images
from scoremix.outputs.networks import CHECKPOINT, GeneratorSummary, RecognizerSummary, without_padding
from scoremix.outputs.spaces import SpacesSummary, StoredSpace
from scoremix.recognition import checkpoints as recognition
from scoremix.recognition.training import class_centers
from scoremix.stages.embedding import all_embedded, opened


def collect_spaces(
    config: Spaces, real: Artifact, generator: Artifact, recognizers: Mapping[str, Artifact], *, work: Work
) -> None:
    """Writes one .npy (classes, d) float32 per space and spaces.json, rows in the order of the real classes.

    Recognizers trained on mixes alone know none of these classes; they are left out and listed.
    """
    images = real_images(real)
    names = list(images.class_names)
    info = GeneratorSummary.load(generator)
    collected: list[tuple[str, str, str, Tensor]] = []  # name, kind, recognizer, rows
    for std in dict.fromkeys([*map(float, info.snapshots), *config.ema]):
        net, _ = generators.average(generator.folder, std, info.images_seen, "float32")
        rows = in_order(without_padding(condition_matrix(net)), info.classes, names, "the generator")
        collected.append((f"conditions EMA {std:g}", "condition", "", rows))
    known = {name: RecognizerSummary.load(artifact).class_names for name, artifact in recognizers.items()}
    strangers = [name for name, classes in known.items() if set(names).isdisjoint(classes)]
    judged = {name: artifact for name, artifact in recognizers.items() if name not in strangers}
    with work.bar(len(judged), "recognizers") as advance:
        for done, (name, artifact) in enumerate(judged.items(), 1):
            for kind in config.centers:
                shown = name if len(config.centers) == 1 else f"{name} {kind}"
                collected.append((shown, kind, name, centers(kind, artifact, name, images, work)))
            advance(done)
    listed = []
    for number, (name, form, recognizer, rows) in enumerate(collected):
        as_space(rows, name)
        file = f"space-{number:03d}.npy"
        work.write_array(file, rows.float().cpu().numpy())
        listed.append(StoredSpace(name, form, recognizer, file, rows.shape[1]))
    SpacesSummary(names, listed, strangers).write(work)


def centers(
    kind: Literal["head", "mean"], recognizer: Artifact, name: str, images: LabeledImages, work: Work
) -> Tensor:
    """Centers of the real classes, head weights or mean embeddings."""
    if kind == "head":
        known = RecognizerSummary.load(recognizer).class_names
        rows = recognition.head_centers(recognizer / CHECKPOINT)
        return in_order(rows, known, images.class_names, f"recognizer {name}")
    labels = torch.from_numpy(images.labels.astype(np.int64))
    return class_centers(all_embedded(opened(recognizer, work), images), labels, len(images.class_names))
