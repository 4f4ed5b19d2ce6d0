"""The forms that sets of labelled images are written in: folders, RecordIO, WebDataset, parquet."""

import io
import itertools
import json
import os
import tarfile
from pathlib import Path
from typing import Any

from scoremix.data.decode import opened
from scoremix.data.image_order import batch_indices
from scoremix.data.outgoing import Item, OutgoingImages
from scoremix.data.recordio import EXACT, Writer
from scoremix.data.source import SUFFIXES, extension

SHARD = 10_000  # images of one WebDataset shard or parquet file


def write_folders(part: Path, images: OutgoingImages) -> list[str]:
    """<class>/<image>; as beside all other forms, classes.tsv has the labels."""
    folder_of = -1
    for item in images:
        folder = part / images.folders[item.label]
        if item.label != folder_of:
            folder.mkdir()
            folder_of = item.label
        (folder / item.name).write_bytes(item.content)
        images.tell(item, f"{images.folders[item.label]}/{item.name}")
    if images.folders != sorted(images.folders):
        return [
            "folder names sort in another order than the labels; tools that sort them number classes otherwise (classes.tsv)"
        ]
    return []


def write_records(part: Path, images: OutgoingImages) -> list[str]:
    """InsightFace's layout: key 0 announces, images are keys 1 .. N, then one record per class; lists and property.

    From 2^24 on float32 would round the announcements: then images are keys 0 .. N - 1 and there is nothing else.
    """
    n, c = len(images), len(images.kept)
    if c > EXACT:
        raise ValueError(f"{c} classes: labels are float32, which is not exact from 2^24 on")
    announced = n + c + 1 <= EXACT
    first = int(announced)
    side: tuple[int, int] | None = None
    with (
        (part / "train.rec").open("wb") as rec,
        (part / "train.lst").open("w", encoding="utf-8") as lst,
        (part / "train.tsv").open("w", encoding="utf-8") as tsv,
    ):
        writer = Writer(rec)
        if announced:
            writer.put(0, [n + 1, n + c + 1])
        for key, item in enumerate(images, first):
            side = side or _side(item)
            writer.put(key, float(item.label), item.content)
            path = f"{images.folders[item.label]}/{item.name}"
            lst.write(f"{key}\t{item.label}.000000\t{path}\n")
            tsv.write(f"{key}\t{path}\t{item.label}\n")
            images.tell(item, path)
        if announced:
            for label, (end, count) in enumerate(zip(images.ends.tolist(), images.counts.tolist(), strict=True)):
                writer.put(n + 1 + label, [end - count + 1, end + 1])
    (part / "train.idx").write_bytes(writer.index())
    height, width = side or (0, 0)
    (part / "property").write_text(f"{c},{height},{width}")
    notes = [] if announced else ["no record announces the images: beyond 2^24 float32 would round their keys"]
    if (height, width) != (112, 112):
        notes.append(f"images are {width} x {height}; arcface_torch, AdaFace and CVLFace expect 112 x 112 (--size 112)")
    return notes


def _side(item: Item) -> tuple[int, int]:
    """Height and width of an encoded image."""
    try:
        with opened(io.BytesIO(item.content)) as image:
            return image.height, image.width
    except ValueError as error:
        raise ValueError(f"{item.name}: {error}") from None


def write_shards(part: Path, images: OutgoingImages, seed: int) -> list[str]:
    """WebDataset: shards of <key>.<extension> and <key>.cls in one shuffled order, so that reading in order mixes classes."""
    n = len(images)
    shards = -(-n // SHARD)
    order = (i for at in range(0, n, SHARD) for i in batch_indices(n, seed, at, min(SHARD, n - at)).tolist())
    items = enumerate(images.ordered(order))
    for shard in range(shards):
        with tarfile.open(part / f"train-{shard:06d}.tar", "w", format=tarfile.USTAR_FORMAT) as tar:
            for key, item in itertools.islice(items, SHARD):
                suffix = os.path.splitext(item.name)[1].lower()
                _add(tar, f"{key:09d}{suffix if suffix in SUFFIXES else extension(item.content)}", item.content)
                _add(tar, f"{key:09d}.cls", str(item.label).encode())
                images.tell(item, f"{key:09d}")
    described = {"classes": len(images.kept), "images": n, "shards": shards, "images_per_shard": SHARD, "seed": seed}
    (part / "dataset.json").write_text(json.dumps(described, indent=1) + "\n")
    return []


def pyarrow_of(place: Path) -> Any:
    """pyarrow.parquet; ValueError that names the extra where it is not installed."""
    try:
        import pyarrow.parquet as pq
    except ImportError:
        raise ValueError(f"{place}: parquet needs pyarrow: pip install 'scoremix[hf]'") from None
    return pq


def write_parquet(part: Path, images: OutgoingImages) -> list[str]:
    """What `datasets` loads as it is: data/train-*.parquet with an Image and a ClassLabel, and what images were mixed of."""
    pq = pyarrow_of(part)
    import pyarrow as pa

    features: dict[str, Any] = {"image": {"_type": "Image"}, "label": {"names": images.names, "_type": "ClassLabel"}}
    fields = [("image", pa.struct([("bytes", pa.binary()), ("path", pa.string())])), ("label", pa.int64())]
    if images.knows:
        features["sources"] = {"feature": {"dtype": "string", "_type": "Value"}, "_type": "Sequence"}
        features["weights"] = {"feature": {"dtype": "float32", "_type": "Value"}, "_type": "Sequence"}
        fields += [("sources", pa.list_(pa.string())), ("weights", pa.list_(pa.float32()))]
    described = json.dumps({"info": {"features": features}})
    schema = pa.schema(fields, metadata={"huggingface": described})
    (part / "data").mkdir()
    files, every = -(-len(images) // SHARD), map(images.row, images)
    for number in range(files):
        with pq.ParquetWriter(part / "data" / f"train-{number:05d}-of-{files:05d}.parquet", schema) as writer:
            file = itertools.islice(every, SHARD)
            while rows := list(itertools.islice(file, 100)):
                writer.write_table(pa.Table.from_pylist(rows, schema))
    return []


def _add(tar: tarfile.TarFile, name: str, content: bytes) -> None:
    info = tarfile.TarInfo(name)
    info.size, info.mode = len(content), 0o644
    tar.addfile(info, io.BytesIO(content))
