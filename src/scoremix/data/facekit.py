"""CVLface's evaluation kit: sets that Hugging Face's `datasets` saved, with a torch pickle of numbers beside the images.

Rows have `image` and `index`, the place of the image. Pairs have `is_same` too, in both of their rows; IJB-B and IJB-C
have templates and pairs in `metadata.pt`; TinyFace has `path`, and lists of paths there. Images are aligned already.
Nothing in a pickle is run: stand-ins answer for numpy's names, and any other name is refused.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from scoremix.data import verification
from scoremix.data.facesets import FaceImages, FaceSet, PairSet, RankSet, TemplateSet, subject_of, unlike
from scoremix.data.formats.arrow import STATE, arrow, arrow_files, batches, image_bytes
from scoremix.data.source import readable

METADATA = "metadata.pt"
PAIRS = ("faceness_scores", "templates", "medias", "label", "p1", "p2")
PATHS = ("probe_paths", "gallery_paths", "distractor_paths")


def is_facekit(place: Path) -> bool:
    """Whether `datasets` saved a set here."""
    return (place / STATE).is_file()


def facekit(place: Path, name: str) -> FaceSet:
    """A set of the kit; ValueError names what is missing, damaged or does not fit, and a name that a pickle asks for."""
    rows = _Rows(place)
    if not (place / METADATA).is_file():
        return _pairs(place, name, rows)
    metadata = _metadata(place / METADATA)
    if all(key in metadata for key in PAIRS):
        return _templates(place / METADATA, name, rows, metadata)
    if all(key in metadata for key in PATHS):
        return _ranks(place / METADATA, name, rows, metadata)
    raise ValueError(
        f"{place / METADATA}: holds {', '.join(map(str, metadata)) or 'nothing'}; must hold {', '.join(PAIRS)} (IJB) "
        f"or {', '.join(PATHS)} (TinyFace)"
    )


class _Rows(Sequence[bytes]):
    """The encoded images and the columns of a set, in the order of their indices."""

    def __init__(self, place: Path) -> None:
        pa = arrow(place, "a set saved by `datasets`")
        self.place, images = place, list[Any]()
        self._columns: dict[str, list[Any]] = {"index": [], "is_same": [], "path": []}
        for file in arrow_files(place):
            with readable(file, "a readable arrow file", worded=True):
                for batch in batches(pa, file):
                    if "image" not in batch.schema.names:
                        raise ValueError(f"{file}: has no column 'image' among {', '.join(batch.schema.names)}")
                    images.append(batch.column("image"))
                    for name in self._columns.keys() & set(batch.schema.names):
                        self._columns[name] += batch.column(name).to_pylist()
        n = sum(map(len, images))
        index = np.array(self._columns["index"] or range(n))
        if not n or not np.array_equal(np.sort(index), np.arange(n)):
            raise ValueError(f"{place}: the column index of {n:,} images is not each number from 0 once")
        self._order, self._images = np.argsort(index), pa.chunked_array(images)

    def __len__(self) -> int:
        return len(self._order)

    def __getitem__(self, item: Any) -> Any:
        """An encoded image; IndexError beyond the last."""
        return image_bytes(self._images[int(self._order[item])].as_py())

    def column(self, name: str) -> list[Any]:
        values = self._columns[name]
        if len(values) != len(self):
            raise ValueError(f"{self.place}: has {len(values):,} of {name!r} for {len(self):,} images")
        return [values[i] for i in self._order]


def _pairs(place: Path, name: str, rows: _Rows) -> PairSet:
    same = np.array(rows.column("is_same")).astype(bool)
    first = np.arange(0, len(same), 2)
    if len(same) % 2 or (apart := np.flatnonzero(same[::2] != same[1::2])).size:
        why = "is odd" if len(same) % 2 else f"has pair {apart[0]} both the same person and not"
        raise ValueError(
            f"{place}: two rows after each other are a pair, its column is_same of {len(same):,} rows {why}"
        )
    return PairSet(name, FaceImages(None, rows), first, first + 1, same[::2], unlike(name, {"pairs": len(first)}))


def _templates(file: Path, name: str, rows: _Rows, metadata: Mapping[str, Any]) -> TemplateSet:
    detector, templates, media, label, p1, p2 = (_numbers(file, key, metadata[key]) for key in PAIRS)
    for key, column, n in (
        *zip(PAIRS[:3], (detector, templates, media), (len(rows),) * 3, strict=True),
        *zip(PAIRS[3:], (label, p1, p2), (len(label),) * 3, strict=True),
    ):
        if len(column) != n:
            raise ValueError(f"{file}: {key} has {len(column):,} values, must be {n:,}")
        if key != "faceness_scores" and not np.array_equal(column, column.astype(np.int64)):
            raise ValueError(f"{file}: {key} holds something that is no whole number")
    if not np.isfinite(detector).all() or not np.isin(label, (0, 1)).all():
        raise ValueError(f"{file}: a faceness score must be finite, and a label 0 or 1")
    pairs = np.stack([p1, p2], 1).astype(np.int64)
    if (absent := np.setdiff1d(pairs, templates)).size:
        raise ValueError(f"{file}: pairs name template {absent[0]}, which no image belongs to")
    counts = {"images": len(rows), "templates": len(np.unique(templates)), "pairs": len(pairs), "genuine": label.sum()}
    images, whole = FaceImages(None, rows), (templates.astype(np.int64), media.astype(np.int64))
    return TemplateSet(name, images, *whole, detector, pairs, label == 1, unlike=unlike(name, counts))


def _ranks(file: Path, name: str, rows: _Rows, metadata: Mapping[str, Any]) -> RankSet:
    """Paths of the lists and of the rows go together by their names without extensions, as in CVLface."""
    at: dict[str, int] = {}
    for i, path in enumerate(map(str, rows.column("path"))):
        if at.setdefault(Path(path).stem, i) != i:
            raise ValueError(f"{file.parent}: two images are named {Path(path).stem!r}")
    listed = []
    for key in PATHS:
        paths = [str(path) for path in metadata[key]]
        if absent := [path for path in paths if Path(path).stem not in at]:
            raise ValueError(f"{file}: {key} names {absent[0]!r}, which no image has")
        listed.append(paths)
    probes, mates, distractors = (np.array([at[Path(p).stem] for p in paths], np.int64) for paths in listed)
    subjects = [np.array([subject_of(file.parent, path) for path in paths], np.int64) for paths in listed[:2]]
    counts = {"probes": len(probes), "mates": len(mates), "distractors": len(distractors)}
    return RankSet(
        name,
        FaceImages(None, rows),
        np.concatenate([mates, distractors]),
        np.concatenate([subjects[1], np.full(len(distractors), -100)]),
        probes,
        subjects[0],
        unlike(name, counts),
    )


def _metadata(file: Path) -> Mapping[str, Any]:
    """What `metadata.pt` holds, arrays as stand-ins with their elements."""
    from scoremix.data import pickles

    with pickles.readable(file, "file of torch.save"):
        metadata = pickles.read_torch(file, verification.ALLOWED)
        if not isinstance(metadata, Mapping):
            raise ValueError(f"holds a {type(metadata).__name__}, must be a dict")
        return {
            key: value.elements if isinstance(value, verification.Array) else value for key, value in metadata.items()
        }


def _numbers(file: Path, key: str, value: Any) -> np.ndarray:
    column = np.asarray(value)
    if column.ndim != 1 or column.dtype.kind not in "biuf":
        raise ValueError(f"{file}: {key} is no list of numbers")
    return column.astype(np.float64) if column.dtype.kind == "f" else column.astype(np.int64)
