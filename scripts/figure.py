"""Draws docs/figure.png, labelled and enlarged, from the characters in docs/mixes.png: `python scripts/figure.py`."""

from __future__ import annotations

from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from PIL import Image

DOCS = Path(__file__).parents[1] / "docs"
HEADS = (
    "class A,\na real image",
    "A, by the\ngenerator",
    "the mix\nof A and B",
    "B, by the\ngenerator",
    "class B,\na real image",
)
SHOWN = (0, 2, 5)  # columns of mixes.png: pairs whose images are whole
CELL, STEP, FIRST = 64, 80, 8  # pixels: side of a character, from one to the next, the first one's corner
MIX, COLOUR = 2, "#c2410c"


def main() -> None:
    pixels = np.asarray(Image.open(DOCS / "mixes.png").convert("L"))
    figure, axes = plt.subplots(len(SHOWN), len(HEADS), figsize=(7.2, 5.0), layout="constrained")
    for row, pair in zip(axes, SHOWN, strict=True):
        for k, ax in enumerate(row):
            top, left = FIRST + STEP * k, FIRST + STEP * pair
            ax.imshow(
                pixels[top : top + CELL, left : left + CELL], cmap="gray_r", vmin=0, vmax=255, interpolation="none"
            )
            ax.set(xticks=[], yticks=[])
            for spine in ax.spines.values():
                spine.set(color=COLOUR if k == MIX else "#999999", linewidth=2.5 if k == MIX else 0.8)
    for k, (ax, head) in enumerate(zip(axes[0], HEADS, strict=True)):
        ax.set_title(head, fontsize=12, color=COLOUR if k == MIX else "black")
    figure.savefig(DOCS / "figure.png", dpi=110, metadata={"Software": None})


if __name__ == "__main__":
    main()
