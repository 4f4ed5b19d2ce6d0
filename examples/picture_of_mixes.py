"""A PNG of what a run mixed: original, reproduction, mix, reproduction, original (the paper's Fig. 3).

python examples/picture_of_mixes.py scoremix_runs mixes.png
"""

import json
import sys
from pathlib import Path

import numpy as np
from PIL import Image

ZOOM, GAP = 4, 2


def main(out: Path, png: Path) -> None:
    newest = max((out / "store" / "illustrate").glob("*/manifest.json"), key=lambda f: f.stat().st_mtime)
    print("from", json.loads(newest.read_text())["key"][:12])
    with np.load(newest.parent / "sheet.npz") as sheet:
        originals, made, mixes = (sheet[name][:8] for name in ("originals", "reproductions", "mixes"))
    cells = [originals[:, 0], made[:, 0], mixes[:, 0], made[:, 1], originals[:, 1]]
    padded = [np.pad(c, ((0, 0), (GAP, GAP), (GAP, GAP), (0, 0)), constant_values=128) for c in cells]
    columns = [np.concatenate(list(c), axis=1) for c in padded]  # one column per pair
    sheet_image = np.concatenate(columns, axis=0)
    picture = Image.fromarray(sheet_image.squeeze())
    picture.resize((picture.width * ZOOM, picture.height * ZOOM), Image.Resampling.NEAREST).save(png)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
