"""Face sets in the exact layouts of the public ones, of patterns that stand for people; what was measured on some."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from scoremix.data.facesets import TEMPLATE
from scoremix.evaluation.benchmarks import Measure
from scoremix.outputs.benchmarks import FollowedProtocol, Kind, MeasuredSet, RecognizerFile, Result

PEOPLE, TEMPLATES, IMAGES = 6, 18, 60


def face(person: int, take: int, side: int = 112) -> Image.Image:
    """A blurred pattern of its person with some noise."""
    pattern = np.random.default_rng(person).uniform(0, 255, (4, 4, 3))
    noise = np.random.default_rng((person, take)).normal(0, 25, (side, side, 3))
    smooth = np.asarray(Image.fromarray(pattern.astype(np.uint8)).resize((side, side), Image.Resampling.BICUBIC))
    return Image.fromarray(np.clip(smooth + noise, 0, 255).astype(np.uint8))


def make_ijb(root: Path, short: str = "ijbc") -> Path:
    """IJB-C's folders and text files; ids are not contiguous, template t belongs to person t % PEOPLE."""
    folder = root / short.upper()
    (folder / "meta").mkdir(parents=True)
    (folder / "loose_crop").mkdir()
    rng = np.random.default_rng(1)
    template = np.concatenate([np.arange(TEMPLATES), rng.integers(0, TEMPLATES, IMAGES - TEMPLATES)])
    five, tids, pairs = [], [], []
    for i, t in enumerate(template, 1):
        face(int(t) % PEOPLE, i, side=150).save(folder / "loose_crop" / f"{i}.jpg", quality=95)
        points = TEMPLATE + 19 + rng.normal(0, 1, (5, 2))
        numbers = " ".join(f"{v:.3f}" for v in points.ravel())
        five.append(f"{i}.jpg {numbers} {rng.uniform(0.5, 1):.7f}")
        tids.append(f"{i}.jpg {10 * t + 3} {rng.integers(0, 3) + 100 * t}")
    for a in range(TEMPLATES):
        pairs += [f"{10 * a + 3} {10 * b + 3} {int(a % PEOPLE == b % PEOPLE)}" for b in range(a)]
    for name, lines in (("name_5pts_score", five), ("face_tid_mid", tids), ("template_pair_label", pairs)):
        (folder / "meta" / f"{short}_{name}.txt").write_text("\n".join(lines) + "\n")
    for name, people in (("G1", (0, 1)), ("G2", (2, 3))):
        rows = [f"{10 * p + 3},{500 + p},{i}.jpg" for p in people for i in range(2)]
        (folder / "meta" / f"{short}_1N_gallery_{name}.csv").write_text("\n".join(["TEMPLATE_ID,SUBJECT_ID,F", *rows]))
    rows = [f"{10 * t + 3},{500 + t % PEOPLE},x.jpg" for t in range(PEOPLE, TEMPLATES)]
    (folder / "meta" / f"{short}_1N_probe_mixed.csv").write_text("\n".join(["TEMPLATE_ID,SUBJECT_ID,F", *rows]))
    return folder


def save_to_disk(folder: Path, images: Sequence[np.ndarray], columns: Mapping[str, Sequence[Any]]) -> Path:
    """What Hugging Face's `datasets` saves, two files of rows in a drawn order; `index` tells the right one."""
    import pyarrow as pa

    rows = []
    for i, image in enumerate(images):
        Image.fromarray(image).save(content := io.BytesIO(), "PNG")
        more = {name: column[i] for name, column in columns.items()}
        rows.append({"image": {"bytes": content.getvalue(), "path": None}, "index": i} | more)
    rows = [rows[i] for i in np.random.default_rng(3).permutation(len(rows))]
    folder.mkdir(parents=True)
    files = [f"data-{k:05d}-of-00002.arrow" for k in range(2)]
    for file, part in zip(files, (rows[: len(rows) // 3], rows[len(rows) // 3 :]), strict=True):
        table = pa.Table.from_pylist(part)
        with pa.OSFile(str(folder / file), "wb") as sink, pa.ipc.new_stream(sink, table.schema) as out:
            out.write_table(table, max_chunksize=7)
    (folder / "state.json").write_text(json.dumps({"_data_files": [{"filename": file} for file in files]}))
    return folder


def measured(name: str, kind: Kind, *measures: Measure, unlike: str = "") -> MeasuredSet:
    """Some measures of a set; those of templates under the protocol adaface."""
    protocol = FollowedProtocol("adaface" if kind == "1:1" else "common", flip="on")
    return MeasuredSet(name, name, kind, {"images": 1}, unlike, [], protocol, measures)


def result(name: str, *sets: MeasuredSet) -> Result:
    """What was measured of a checkpoint."""
    return Result(RecognizerFile(name, "0", "small", 16, "rgb", "-1..1", "here"), sets)
