"""The images that an arm trains its recognizers on, and what each was mixed of: for trainers of one's own (paper 4.1)."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from scoremix.config import ConfigError
from scoremix.data.images import LabeledImages, Targets
from scoremix.execution import records
from scoremix.execution.artifacts import Artifact
from scoremix.execution.recipe import with_arm
from scoremix.outputs.images import MixedImages, real_images


@dataclass(frozen=True)
class TrainingSet(Dataset[dict[str, Tensor]]):
    """Real images, then mixed ones, as a torch `Dataset`; images stay on the disk until they are asked for.

    An item has `image` uint8 (C, H, W); `label`, its class of `class_names`; `labels` (k,) and `weights` (k,), what
    it is an example of where labels are soft, else the label with weight 1; `sources` (m,) and `source_weights` (m,), the
    classes of `source_names` that it was mixed of, filled up with -1 and 0, of a real image its own; `real`.
    """

    folder: Path  # a packed set, as `scoremix convert` reads it
    images: LabeledImages
    targets: Targets | None
    mixes: MixedImages | None
    source_names: tuple[str, ...]
    real: int  # how many of the images are real: the first

    @property
    def class_names(self) -> tuple[str, ...]:
        """Of `label` where each image has one class, else of `labels`."""
        return self.targets.class_names if self.targets else self.images.class_names

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        row = range(len(self))[index]  # IndexError beyond the end, negative ones from it
        pixels, labels = self.images.take(np.array([row]))
        label, weights = int(labels[0]), np.ones(1, np.float32)
        if self.targets is not None:
            labels, weights = (values[0] for values in self.targets.take(np.array([row])))
        sources, shares = self._sources(row, label)
        return {
            "image": torch.from_numpy(pixels[0]).permute(2, 0, 1),
            "label": torch.tensor(label),
            "labels": torch.from_numpy(labels),
            "weights": torch.from_numpy(weights),
            "sources": torch.from_numpy(sources),
            "source_weights": torch.from_numpy(shares),
            "real": torch.tensor(row < self.real),
        }

    def _sources(self, row: int, label: int) -> tuple[np.ndarray, np.ndarray]:
        m = self.mixes.mplets.shape[1] if self.mixes else 1
        if self.mixes is not None and row >= self.real:
            mixed = row - self.real
            mplet = int(self.mixes.images.labels_of(np.array([mixed]))[0])
            return self.mixes.mplets[mplet], self.mixes.weights[mixed]
        return np.array([label] + [-1] * (m - 1)), np.array([1] + [0] * (m - 1), np.float32)

    def made(self, k: int, place: int) -> tuple[list[str], list[float]]:
        """The names of the classes that an image of class k was mixed of, and their weights; of a real one none."""
        real_classes = len(self.images.class_names) - (len(self.mixes.mplets) if self.mixes else 0)
        if self.mixes is None or k < real_classes:
            return [], []
        mixed = int(self.mixes.images.starts[k - real_classes]) + place
        names = [self.source_names[source] for source in self.mixes.mplets[k - real_classes]]
        return names, [round(float(weight), 6) for weight in self.mixes.weights[mixed]]


def load_training_set(run_arm: str, *, out: str | Path = "scoremix_runs") -> TrainingSet:
    """The training set of the arm RUN/ARM of a run in `out`, as a torch `Dataset`; RUN alone is the arm that did best.

    ConfigError, a ValueError of one line, where there is none. No class of the validation or the test is in it.
    """
    run, _, arm = with_arm(Path(out), str(run_arm)).partition("/")
    trained = records.trained_of(Path(out), run)
    if not (steps := records.of_arm(trained, arm)):
        arms = ", ".join(dict.fromkeys(label.rpartition("/")[0] for label in trained)) or "none"
        raise ConfigError(
            f"training set {run_arm!r}: run {run!r} has no trained arm {arm!r} (has: {arms}; `scoremix run --arms` names others)"
        )
    data = _stored(out, run, steps[0].inputs["0"])
    if data.stage != "combine":
        images = real_images(data)
        return TrainingSet(data.folder, images, Targets.load(data.folder), None, images.class_names, len(images))
    real, synthetic = (_stored(out, run, data.manifest["inputs"][place]) for place in ("0", "1"))
    names, mixes, images = real_images(real).class_names, MixedImages.load(synthetic), real_images(data)
    return TrainingSet(data.folder, images, Targets.load(data.folder), mixes, names, len(images) - len(mixes.images))


def _stored(out: str | Path, run: str, key: str) -> Artifact:
    """ConfigError where a step's input is no longer in the store."""
    if (artifact := records.stored(Path(out), key)) is None:
        raise ConfigError(
            f"run {run!r}: images are gone from {out}/store; {records.to_continue(Path(out), run)} makes them"
        )
    return artifact
