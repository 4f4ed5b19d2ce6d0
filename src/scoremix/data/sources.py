"""Where labelled images come from: class folders, records, packed sets, .npz files and fonts, read in bounded memory."""

from __future__ import annotations

import contextlib
import hashlib
import os
import zipfile
import zlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import IO, Literal

import numpy as np
from jaxtyping import Int64
from PIL import Image

from scoremix.data import glyphs
from scoremix.data.blocks import BLOCK_BYTES, Block, Choose, Source, block_of_file, windowed
from scoremix.data.decode import png, resize_area
from scoremix.data.images import LabeledImages
from scoremix.data.insightface import InsightFace, record_files
from scoremix.data.parquet import Parquet, parquet_files
from scoremix.data.splits import SPLITS, Splits, checked

Kind = Literal["folders", "records", "packed", "parquet", "npz", "fonts"]
PACKED = ("images.npy", "labels.npy", "classes.json")
# Files that may lie beside images and are passed over; everything else must be an image.
TEXTS = {".txt", ".md", ".rst", ".csv", ".tsv", ".json", ".jsonl", ".xml", ".yaml", ".yml", ".toml", ".ini", ".log"}
PAGES = {".html", ".htm", ".py", ".sh"}
ARRAYS = {".npy", ".npz", ".mat", ".pkl", ".pt", ".db", ".lst", ".idx", ".rec", ".zip", ".tar", ".gz"}
PARTS = {"train", "training", "validation", "valid", "val", "dev", "test"}  # of one set of classes
NOT_IMAGES = TEXTS | PAGES | ARRAYS


def open_source(place: str | Path, *, images_per_class: int | None, seed: int, workers: int | None) -> Source:
    """The source at `place`: see `kind_of`."""
    match kind_of(place):
        case "npz":
            return Npz(Path(place))
        case "fonts":
            return Fonts(place, images_per_class or glyphs.IMAGES_PER_CLASS, seed)
        case "packed":
            return Packed(Path(place))
        case "parquet":
            return Parquet(Path(place), workers or os.cpu_count() or 1)
        case "records":
            return InsightFace(Path(place), workers or os.cpu_count() or 1)
        case "folders":
            return Folders(Path(place), workers or os.cpu_count() or 1)


def kind_of(place: str | Path) -> Kind:
    """What lies at `place`, found by looking; ValueError if nothing readable does.

    'glyphs', an .npz file, a .rec or .parquet file or a folder with them, a packed set (a finished folder of scoremix), else a
    folder of class folders or of fonts. It holds fonts if some file under it has a font's suffix and none an image's.
    """
    if str(place) == glyphs.BUILTIN:
        return "fonts"
    path = Path(place)
    if not path.exists():
        raise ValueError(f"data source {path} does not exist")
    if path.is_file() and path.suffix.lower() == ".npz":
        return "npz"
    if path.suffix == ".rec":
        return "records"
    if parquet_files(path):
        return "parquet"
    if not path.is_dir():
        raise ValueError(
            f"data source {path} is none of: folder of class folders, RecordIO, parquet, packed set, folder of fonts, .npz, 'glyphs'"
        )
    if all((path / name).is_file() for name in PACKED):
        return "packed"
    if record_files(path) is not None:
        return "records"
    image_suffixes, fonts = set(Image.registered_extensions()), False
    for _, folders, files in os.walk(path):
        folders.sort()
        suffixes = {os.path.splitext(name)[1].lower() for name in files if not name.startswith(".")}
        if suffixes & image_suffixes:
            return "folders"
        fonts = fonts or bool(suffixes & glyphs.FONT_SUFFIXES)
    return "fonts" if fonts else "folders"


def fingerprint(place: str | Path) -> str:
    """SHA-256 (hex) of what would be read from `place`: names relative to it and contents, in order of name.

    Independent of where `place` lies, of times and of files that are passed over.
    """
    total = hashlib.sha256()
    with ThreadPoolExecutor(os.cpu_count() or 1) as pool:
        for name, content in windowed(pool, _digest, _named_files(place)):
            total.update(len(name).to_bytes(8, "big") + name + content)
    return total.hexdigest()


def _named_files(place: str | Path) -> Iterator[tuple[bytes, Path]]:
    match kind_of(place):
        case "npz":
            yield b"", Path(place)
        case "fonts":
            yield from ((os.fsencode(path.name), path) for path in glyphs.font_files(place))
        case "packed":
            yield from ((name.encode(), Path(place) / name) for name in PACKED)
        case "parquet":
            yield from ((os.fsencode(path.name), path) for path in parquet_files(Path(place)))
        case "records":
            yield from ((os.fsencode(path.name), path) for path in InsightFace(Path(place), 1).files())
        case "folders":
            source = Folders(Path(place), 1)
            for k, name in enumerate(source.class_names):
                yield from ((os.fsencode(f"{name}/{path.name}"), path) for path in source.files(k))


def _digest(named: tuple[bytes, Path]) -> tuple[bytes, bytes]:
    name, path = named
    if not path.is_file():
        return name, b"not a regular file"
    with path.open("rb") as file:
        return name, hashlib.file_digest(file, "sha256").digest()


class Folders:
    """<root>/<class>/<image>: classes are the folders directly in root, in order of their names.

    Or <root>/<part>/<class>/<image>, as WebFace260M (parts 0 to 9) and imagefolder sets (parts train, test ...) lie
    on disk: the parts train, validation and test share their classes, other parts must not.

    Hidden names and __MACOSX are passed over, and files whose suffix is in NOT_IMAGES; links are followed.
    ValueError for folders inside class folders and where there are no class folders.
    """

    groups: tuple[str, ...] | None = None
    splits: Splits | None = None
    size: int | None = None
    channels = 3

    def __init__(self, root: Path, workers: int) -> None:
        self.root, self.workers = root, workers
        self.folders, self.ignored = _class_folders(root)
        self.class_names, counts = tuple(self.folders), []
        for folder in (folder for of_class in self.folders.values() for folder in of_class):
            inner, files = listed(folder)
            if inner:
                raise ValueError(
                    f"{folder / inner[0]} is a folder inside a class folder: classes are the folders "
                    f"directly in {folder.parent}, and hold images only"
                )
            counts.append(sum(map(may_be_image, files)))
            self.ignored += len(files) - counts[-1]
        firsts = np.cumsum([0, *map(len, self.folders.values())])[:-1]
        self.counts = np.add.reduceat(np.array(counts, np.int64), firsts)

    def files(self, k: int) -> list[Path]:
        """The files of class k that must be images, in order of part and name."""
        folders = self.folders[self.class_names[k]]
        return [folder / name for folder in folders for name in listed(folder)[1] if may_be_image(name)]

    def blocks(self, kept: Int64[np.ndarray, " k"], choose: Choose, size: int) -> Iterator[Block]:
        tasks = ((files[i], k) for k in map(int, kept) for files in [self.files(k)] for i in choose(k))
        with ThreadPoolExecutor(self.workers) as pool:
            yield from windowed(pool, lambda task: block_of_file(*task, size), tasks)

    def encoded(self, k: int, chosen: Int64[np.ndarray, " chosen"]) -> Iterator[tuple[str, bytes]]:
        """See EncodedSource."""
        files, parts = self.files(k), len(self.folders[self.class_names[k]]) > 1
        for path in (files[i] for i in chosen):
            try:
                yield f"{path.parent.parent.name}_{path.name}" if parts else path.name, path.read_bytes()
            except OSError as error:
                raise ValueError(f"{path} cannot be read ({error.strerror})") from None


def _class_folders(root: Path) -> tuple[dict[str, tuple[Path, ...]], int]:
    """The folders of each class, in order of its name, and how many loose files were passed over."""
    names, loose = listed(root)
    if not names:
        what = f"{len(loose)} files but no folders" if loose else "an empty folder"
        raise ValueError(f"{root} is {what}: it must hold one folder of images per class")
    inner, files = listed(root / names[0])
    if not inner or any(map(may_be_image, files)):
        return {name: (root / name,) for name in names}, len(loose)
    found: dict[str, tuple[Path, ...]] = {}
    for part in names:
        inner, files = listed(root / part)
        if not inner or any(map(may_be_image, files)):
            raise ValueError(f"{root / names[0]} holds class folders and {root / part} does not: give one of them")
        for name in inner:
            if name in found and not {part, found[name][0].parent.name} <= PARTS:
                raise ValueError(f"{found[name][0]} and {root / part / name} have the same name: one class or two?")
            found[name] = (*found.get(name, ()), root / part / name)
    return dict(sorted(found.items())), len(loose)


def listed(folder: Path) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Names of the folders and of all else in `folder`, each sorted, hidden ones left out."""
    try:
        names = sorted(n for n in os.listdir(folder) if not n.startswith(".") and n != "__MACOSX")
    except OSError as error:
        raise ValueError(f"{folder} cannot be listed ({error.strerror})") from None
    inner = {n for n in names if os.path.isdir(folder / n)}
    return tuple(n for n in names if n in inner), tuple(n for n in names if n not in inner)


def may_be_image(name: str) -> bool:
    return os.path.splitext(name)[1].lower() not in NOT_IMAGES


class Npz:
    """`images` uint8 (N, H, W) or (N, H, W, 1 or 3) and `labels` (N,) in an .npz, streamed from the file.

    Optional: `class_names` (C,); `train_classes`, `val_classes`, `test_classes` (indices, all three or none);
    a group per class as `class_group` (C,) into `group_names`, or `class_alphabet` into `alphabet_names`.
    Without `class_names` classes are the distinct labels. `labelled=False` takes a file without labels as one
    class. ValueError names the array that is wrong.
    """

    ignored = 0

    def __init__(self, path: Path, labelled: bool = True) -> None:
        self.path = path
        with self._readable():
            with np.load(path, allow_pickle=False) as arrays:
                small = {name: arrays[name] for name in arrays.files if name != "images"}
            with self._stream() as (_, self.shape):
                self.size: int | None = min(self.shape[1:3])
                self.channels = 3 if self.shape[3:] == (3,) else 1
        self.labelled = "labels" in small
        if not self.labelled and not labelled:
            small = {"labels": np.zeros(self.shape[0], np.int64)}
        elif not self.labelled:
            raise ValueError(f"{path} has no array 'labels' (it has images, {', '.join(small) or 'nothing else'})")
        labels = small["labels"]
        if labels.shape != self.shape[:1] or labels.dtype.kind not in "iu":
            raise ValueError(f"{path}: labels are {labels.dtype} {labels.shape}, must be integers ({self.shape[0]},)")
        if "class_names" in small:
            self.class_names = tuple(str(name) for name in small["class_names"])
            if labels.size and not 0 <= labels.min() <= labels.max() < len(self.class_names):
                raise ValueError(
                    f"{path}: labels go from {labels.min()} to {labels.max()}, class_names has {len(self.class_names)}"
                )
        else:
            distinct, labels = np.unique(labels, return_inverse=True)
            self.class_names = tuple(map(str, distinct))
        self.labels = labels  # in the file's order
        self.order = np.argsort(labels, kind="stable")
        self.counts = np.bincount(labels, minlength=len(self.class_names)).astype(np.int64)
        self.groups = self._groups(small)
        self.splits = self._splits(small)

    def _splits(self, small: dict[str, np.ndarray]) -> Splits | None:
        keys = {"train": "train_classes", "validation": "val_classes", "test": "test_classes"}
        found = {part: small[key].astype(np.int64) for part, key in keys.items() if key in small}
        return checked(found, self.class_names, str(self.path)) if found else None

    def _groups(self, small: dict[str, np.ndarray]) -> tuple[str, ...] | None:
        for index, names in (("class_group", "group_names"), ("class_alphabet", "alphabet_names")):
            if index in small and names in small:
                group, known = small[index], small[names]
                if group.shape != (len(self.class_names),) or group.min() < 0 or group.max() >= len(known):
                    raise ValueError(f"{self.path}: {index} must be one index into {names} for each class")
                return tuple(str(known[g]) for g in group)
        return None

    @contextlib.contextmanager
    def _readable(self) -> Iterator[None]:
        try:
            if not zipfile.is_zipfile(self.path):
                raise zipfile.BadZipFile("not a zip file, or cut short")
            yield
        except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile, zlib.error) as error:
            raise ValueError(f"{self.path} is not a readable .npz of images: {error}") from None

    @contextlib.contextmanager
    def _stream(self) -> Iterator[tuple[IO[bytes], tuple[int, ...]]]:
        """The bytes of `images` after the header, and the shape."""
        with zipfile.ZipFile(self.path) as archive:
            if "images.npy" not in archive.namelist():
                names = ", ".join(name.removesuffix(".npy") for name in archive.namelist())
                raise ValueError(f"it has no array 'images' (it has {names or 'nothing'})")
        with zipfile.ZipFile(self.path) as archive, archive.open("images.npy") as file:
            read_header = {
                (1, 0): np.lib.format.read_array_header_1_0,
                (2, 0): np.lib.format.read_array_header_2_0,
            }
            shape, fortran, dtype = read_header[np.lib.format.read_magic(file)](file)
            if dtype != np.uint8 or len(shape) not in (3, 4) or shape[3:] not in ((), (1,), (3,)):
                raise ValueError(f"images are {dtype} {shape}, must be uint8 (N, H, W) or (N, H, W, 1 or 3)")
            if fortran or 0 in shape:
                raise ValueError(
                    "images are empty" if 0 in shape else "images are in Fortran order, must be in C order"
                )
            yield file, shape

    def blocks(self, kept: Int64[np.ndarray, " k"], choose: Choose, size: int) -> Iterator[Block]:
        n, h, w, c = (*self.shape, 1)[:4]
        ends = np.cumsum(self.counts)
        chosen = [self.order[ends[k] - self.counts[k] :][choose(int(k))] for k in kept]
        place, owner = np.full(n, -1, np.int64), np.zeros(n, np.int32)
        place[np.concatenate(chosen)] = np.arange(sum(map(len, chosen)))
        for k, rows in zip(kept, chosen, strict=True):
            owner[rows] = k
        step = max(1, BLOCK_BYTES // (h * w * c))
        with self._readable(), self._stream() as (file, _):
            for start in range(0, n, step):
                count = min(step, n - start)
                data = file.read(count * h * w * c)
                if len(data) < count * h * w * c:
                    raise ValueError(f"images end after {start} of {n}")
                wanted = np.flatnonzero(place[start : start + count] >= 0)
                images = np.frombuffer(data, np.uint8).reshape(count, h, w, c)[wanted]
                if len(wanted):
                    rows = start + wanted
                    yield Block(resize_area(images, size), owner[rows], place[rows])


class Packed:
    """A packed set: the images of a finished stage, such as a synthetic set."""

    ignored = 0

    def __init__(self, folder: Path) -> None:
        self.images = LabeledImages.load(folder)
        self.class_names, self.groups, self.counts = self.images.class_names, self.images.groups, self.images.counts
        self.splits: Splits | None = self.images.splits if set(self.images.splits) == set(SPLITS) else None
        self.size: int | None = min(self.images.shape[1:3])
        self.channels = self.images.channels

    def blocks(self, kept: Int64[np.ndarray, " k"], choose: Choose, size: int) -> Iterator[Block]:
        """See Source."""
        step = max(1, BLOCK_BYTES // int(np.prod(self.images.shape[1:])))
        for k in map(int, kept):
            rows, images = choose(k), self.images.of_class(k)
            for part in (rows[start : start + step] for start in range(0, len(rows), step)):
                yield Block(resize_area(images[part], size), np.full(len(part), k))

    def encoded(self, k: int, chosen: Int64[np.ndarray, " chosen"]) -> Iterator[tuple[str, bytes]]:
        """See EncodedSource; as PNG files."""
        for i in map(int, chosen):
            yield f"{i:06d}.png", png(self.images.of_class(k)[i])


class Fonts:
    """Characters drawn from font files: one class per character, images by `glyphs.render`."""

    splits: Splits | None = None
    size: int | None = glyphs.SIZE
    channels = 1

    def __init__(self, place: str | Path, images_per_class: int, seed: int) -> None:
        least = glyphs.BUILTIN_LEAST_FACES if str(place) == glyphs.BUILTIN else glyphs.LEAST_FACES
        self.alphabet, self.seed = glyphs.alphabet(glyphs.font_files(place), least_faces=least), seed
        self.ignored = len(self.alphabet.left_out)
        self.class_names = self.alphabet.names
        self.groups: tuple[str, ...] | None = self.alphabet.scripts
        self.counts = np.full(len(self.class_names), images_per_class, np.int64)

    def blocks(self, kept: Int64[np.ndarray, " k"], choose: Choose, size: int) -> Iterator[Block]:
        for k in map(int, kept):
            images = glyphs.render(self.alphabet, k, len(choose(k)), size=size, seed=self.seed)
            yield Block(images, np.full(len(images), k))
