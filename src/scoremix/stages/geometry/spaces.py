"""The spaces of one run: conditions and class centers, one row per real training class (paper 4.3)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import numpy as np
import torch

from scoremix.analysis.spaces import as_space, in_order
from scoremix.data import images as imagesets
from scoremix.diffusion import checkpoints as generators
from scoremix.diffusion.unet import condition_matrix
from scoremix.recognition import checkpoints as recognition
from scoremix.recognition.training import class_centers
from scoremix.stages.judge.embeddings import all_embedded, opened

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from torch import Tensor

    from scoremix.config import Spaces
    from scoremix.data.images import LabeledImages
    from scoremix.execution.artifacts import Artifact, Work


def collect_spaces(
    config: Spaces, real: Artifact, generator: Artifact, recognizers: Mapping[str, Artifact], *, work: Work
) -> None:
    """Writes one .npy (classes, d) float32 per space and spaces.json, rows in the order of the real classes.

    Recognizers trained on mixes alone know none of these classes; they are left out and listed.
    """
    images = imagesets.LabeledImages.load(real.folder).of_classes("train")
    names = list(images.class_names)
    info = generator.json("generator.json")
    found: list[tuple[str, str, str, Tensor]] = []  # name, kind, recognizer, rows
    for std in dict.fromkeys([*map(float, info["snapshots"]), *config.ema]):
        net, _ = generators.average(generator.folder, std, info["images_seen"], "float32")
        rows = in_order(without_padding(condition_matrix(net)), info["classes"], names, "the generator")
        found.append((f"conditions EMA {std:g}", "condition", "", rows))
    strangers = [name for name, artifact in recognizers.items() if not knows_any(artifact, names)]
    judged = {name: artifact for name, artifact in recognizers.items() if name not in strangers}
    with work.bar(len(judged), "recognizers") as advance:
        for done, (name, artifact) in enumerate(judged.items(), 1):
            for kind in config.centers:
                shown = name if len(config.centers) == 1 else f"{name} {kind}"
                found.append((shown, kind, name, centers(kind, artifact, name, images, work)))
            advance(done)
    listed = []
    for number, (name, form, recognizer, rows) in enumerate(found):
        as_space(rows, name)
        file = f"space-{number:03d}.npy"
        work.write_array(file, rows.float().cpu().numpy())
        listed.append({"name": name, "kind": form, "recognizer": recognizer, "file": file, "dims": rows.shape[1]})
    work.write_json("spaces.json", {"classes": names, "spaces": listed, "left_out": strangers})


def knows_any(recognizer: Artifact, names: Sequence[str]) -> bool:
    return not set(names).isdisjoint(recognizer.json("recognizer.json")["class_names"])


def centers(
    kind: Literal["head", "mean"], recognizer: Artifact, name: str, images: LabeledImages, work: Work
) -> Tensor:
    """Centers of the real classes, head weights or mean embeddings."""
    if kind == "head":
        known = recognizer.json("recognizer.json")["class_names"]
        rows = recognition.head_centers(recognizer / "recognizer.safetensors")
        return in_order(rows, known, images.class_names, f"recognizer {name}")
    labels = torch.from_numpy(images.labels.astype(np.int64))
    return class_centers(all_embedded(opened(recognizer, work), images), labels, len(images.class_names))


def without_padding(conditions: Tensor) -> Tensor:
    """The columns that are not zero throughout, which fill fixed conditions up to the network's width."""
    return conditions[:, (conditions != 0).any(0)]


def load_spaces(spaces: Artifact, kinds: Sequence[str] = ("condition", "head", "mean")) -> dict[str, Tensor]:
    """Name -> rows (classes, d) of the spaces of those kinds, in their order."""
    listed = spaces.json("spaces.json")["spaces"]
    return {s["name"]: torch.from_numpy(np.load(spaces / s["file"])) for s in listed if s["kind"] in kinds}


def conditions_over_training(generator: Artifact) -> Iterator[tuple[float, int, Tensor]]:
    """(EMA length, images seen, condition matrix) of every kept time, ascending, one at a time."""
    kept = sorted(generator.json("generator.json")["conditions"], key=lambda c: (c["ema"], c["images_seen"]))
    for c in kept:
        yield c["ema"], c["images_seen"], without_padding(torch.from_numpy(np.load(generator / c["file"])))
