"""Draws characters that a run on 'glyphs' has never seen: some are enrolled in OUT/known, all are asked for in OUT/asked.

python scripts/unseen.py scoremix_runs/demo/model scoremix_runs/demo/unseen
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import numpy as np

from scoremix.data import glyphs
from scoremix.data.decode import png
from scoremix.data.files import write_file

KNOWN, STRANGERS, ENROLLED, SEED = 16, 6, 3, 0


def draw(model: Path, out: Path) -> None:
    """Writes ENROLLED images of every known character, and one more of each and of every stranger, as PNG."""
    trained = {line.split("\t")[0] for line in (model / "classes.tsv").read_text().splitlines()[1:]}
    alphabet = glyphs.alphabet(glyphs.font_files(glyphs.BUILTIN), least_faces=glyphs.BUILTIN_LEAST_FACES)
    unseen = [k for k, name in enumerate(alphabet.names) if name not in trained]
    chosen = np.random.default_rng(SEED).permutation(unseen)[: KNOWN + STRANGERS].tolist()
    shutil.rmtree(out, ignore_errors=True)
    for number, k in enumerate(chosen):
        name = alphabet.names[k].partition(" ")[0]  # its code, such as U+0416
        images = glyphs.render(alphabet, k, ENROLLED + 1, size=glyphs.SIZE, seed=SEED)
        (out / "asked").mkdir(parents=True, exist_ok=True)
        write_file(out / "asked" / f"{name}{'' if number < KNOWN else ' stranger'}.png", png(images[-1]))
        if number < KNOWN:
            (out / "known" / name).mkdir(parents=True)
            for i, image in enumerate(images[:-1]):
                write_file(out / "known" / name / f"{i}.png", png(image))
    print(f"{out}: {KNOWN} characters that were never trained on, {ENROLLED} images each, and {STRANGERS} strangers")


if __name__ == "__main__":
    draw(Path(sys.argv[1]), Path(sys.argv[2]))
