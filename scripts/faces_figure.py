"""Draws docs/studies/faces_mixes.png, five columns as the paper's Fig. 3, from a generator of studies/faces_people.yaml.

python scripts/faces_figure.py STORE GENERATOR_KEY INGEST_KEY RECOGNIZER_KEY

The pairs are the farthest ones of the recognizer, each person once; all images of a row share their noise. In place of
photographs the outer columns show the average of all photographs of a person.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

import scoremix
from scoremix.data.images import LabeledImages
from scoremix.selection.mplets import top_mplets

PICTURE = Path(__file__).parents[1] / "docs" / "studies" / "faces_mixes.png"
HEADS = (
    "average of A's\nphotographs",
    "A, by the\ngenerator",
    "the mix\nof A and B",
    "B, by the\ngenerator",
    "average of B's\nphotographs",
)
ROWS, MIX, COLOUR = 4, 2, "#c2410c"


def far_pairs(centers: np.ndarray) -> list[tuple[int, int]]:
    """The farthest pairs of class centers, each class once."""
    pairs: list[tuple[int, int]] = []
    for a, b in top_mplets(centers, 2, 200).classes:
        if len(pairs) < ROWS and not {a, b} & {k for pair in pairs for k in pair}:
            pairs.append((int(a), int(b)))
    return pairs


def main() -> None:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    store, generator_key, ingest, recognizer = (Path(a) for a in sys.argv[1:5])
    images = LabeledImages.load(store / "ingest" / ingest).of_classes("train")
    pairs = far_pairs(np.load(store / "recognizer" / recognizer / "centers.npy"))
    generator = scoremix.load_generator(
        store / "generator" / generator_key, guidance=2.0, steps=16, solver="dpm2m", guide="condition", chunk=1
    )
    figure, axes = pyplot.subplots(len(pairs), len(HEADS), figsize=(6.4, 5.5), layout="constrained")
    for seed, (row, (a, b)) in enumerate(zip(axes, pairs, strict=True)):
        made = [generator.sample(classes, count=1, seed=seed)[0] for classes in ([a], [a, b], [b])]
        averages = [images.of_class(k).mean(0) for k in (a, b)]
        for k, (ax, picture) in enumerate(zip(row, [averages[0], *made, averages[1]], strict=True)):
            ax.imshow(picture[..., 0], cmap="gray", vmin=0, vmax=255, interpolation="bicubic")
            ax.set(xticks=[], yticks=[])
            for spine in ax.spines.values():
                spine.set(color=COLOUR if k == MIX else "#999999", linewidth=2.5 if k == MIX else 0.8)
    for k, (ax, head) in enumerate(zip(axes[0], HEADS, strict=True)):
        ax.set_title(head, fontsize=10, color=COLOUR if k == MIX else "black")
    figure.savefig(PICTURE, dpi=110, metadata={"Software": None})


if __name__ == "__main__":
    main()
