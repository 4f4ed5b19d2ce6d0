"""Real and synthetic images as one training set (paper 4.1: each mix is a new class)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from scoremix.data import images as imagesets

if TYPE_CHECKING:
    from scoremix.artifacts import Artifact, Work
    from scoremix.config import Mixing


def combine(config: Mixing, real: Artifact, synthetic: Artifact, *, work: Work) -> None:
    """Writes the real training classes followed by one new class per m-plet."""
    match config.labels:
        case "new_class":
            train = imagesets.LabeledImages.load(real.folder).of_classes("train")
            added = imagesets.LabeledImages.load(synthetic.folder)
    both = imagesets.concatenate([train, added], work.folder)
    work.write_json(
        "summary.json",
        {
            "real": {"classes": len(train.class_names), "images": len(train)},
            "synthetic": {"classes": len(added.class_names), "images": len(added)},
            "total": len(both),
        },
    )
