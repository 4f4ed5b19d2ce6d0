"""Parquet files as Hugging Face writes them: columns found, any order of rows, clear refusals."""

from __future__ import annotations

import io
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from scoremix.data import export
from scoremix.data.formats.records import Records
from scoremix.data.reading import Wanted, read
from scoremix.data.sources import fingerprint, format_of

pa = pytest.importorskip("pyarrow", reason="the extra hf is not installed")
pq = pytest.importorskip("pyarrow.parquet")


def png(seed: int) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(np.random.default_rng(seed).integers(0, 256, (9, 9, 3), dtype=np.uint8)).save(buffer, "PNG")
    return buffer.getvalue()


def written(path: Path, labels: list[Any], names: list[str] | None = None, start: int = 0, **more: list[Any]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    images = [{"bytes": png(start + i), "path": None} for i in range(len(labels))]
    table = pa.table({"image": images, "label": labels, **more})
    if names is not None:
        features = {"image": {"_type": "Image"}, "label": {"_type": "ClassLabel", "names": names}}
        table = table.replace_schema_metadata({"huggingface": json.dumps({"info": {"features": features}})})
    pq.write_table(table, path, row_group_size=3)
    return path


def test_files_of_a_hub_set(tmp_path: Path) -> None:
    labels = [2, 0, 1, 0, 2, 1, 1]
    for i in range(2):
        written(tmp_path / "data" / f"train-0000{i}-of-00002.parquet", labels, ["c", "b", "a"], 7 * i)
    assert format_of(tmp_path).kind == "parquet"
    export.convert(tmp_path, tmp_path.with_name("out"), "recordio")
    source = Records(tmp_path.with_name("out"))
    assert source.class_names == ("c", "b", "a") and source.counts.tolist() == [4, 6, 4]
    for k in range(3):
        want = [png(7 * i + j) for i in range(2) for j in range(7) if labels[j] == k]
        assert [content for _, content in source.encoded(k, np.arange(len(want)))] == want


@pytest.mark.parametrize("labels", [list("cabbdefabcdefgh"), [7, 3, 5, 5, 1, 2, 9, 3, 5, 7, 1, 2, 9, 4, 4]])
def test_ingest_reads_them(labels: list[Any], tmp_path: Path) -> None:
    path = written(tmp_path / "set.parquet", labels)
    images, _ = read(path, tmp_path / "out", Wanted(size=9))
    assert sorted({int(name) if name.isdigit() else name for name in images.class_names}) == sorted(set(labels))
    row = labels.index(5 if 5 in labels else "b")
    k = images.class_names.index("0000005" if 5 in labels else "b")
    np.testing.assert_array_equal(images.of_class(k)[0], np.asarray(Image.open(io.BytesIO(png(row)))))
    assert fingerprint(path) == fingerprint(path)


@pytest.mark.parametrize(
    ("case", "wrong"),
    [
        ("cut", "is not readable parquet"),
        ("no label", "0 columns of labels among image, kind"),
        ("two images", "2 columns of images among image, label, other"),
        ("null label", "must hold a whole number or a name for every image"),
        ("beyond names", "labels go from 0 to 2, 2 names are given"),
        ("path only", "image 1: no bytes"),
        ("no pyarrow", r"needs pyarrow: pip install 'scoremix\[hf\]'"),
    ],
)
def test_one_clear_line_each(case: str, wrong: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "set.parquet"
    names = ["a", "b"] if case == "beyond names" else None
    other = {"other": [{"bytes": b"x"}] * 3} if case == "two images" else {}
    written(path, [0, 1, None] if case == "null label" else [0, 1, 2], names, **other)
    if case == "cut":
        path.write_bytes(path.read_bytes()[:-9])
    if case == "no label":
        pq.write_table(pq.read_table(path).rename_columns(["image", "kind"]), path)
    if case == "path only":
        pq.write_table(pa.table({"image": [{"bytes": b"x"}, {"bytes": None}], "label": [0, 1]}), path)
    if case == "no pyarrow":
        monkeypatch.setitem(sys.modules, "pyarrow", None)
        monkeypatch.setitem(sys.modules, "pyarrow.parquet", None)
    with pytest.raises(ValueError, match=wrong) as caught:
        export.convert(path, tmp_path / "out")
    lines = str(caught.value).splitlines()
    assert len(lines) == (3 if case == "path only" else 1) and not (tmp_path / "out").exists()
