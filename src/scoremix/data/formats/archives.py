"""Archives of images read as they lie: .zip and .tar of class folders, and WebDataset shards. Nothing is unpacked."""

import collections
import errno
import io
import itertools
import os
import shlex
import tarfile
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from scoremix.data import limits
from scoremix.data.formats.folders import DEEPEST, LITTER, FolderedImages, listed, may_be_image
from scoremix.data.layout import Steps, part_of
from scoremix.data.source import DEFAULTS, SUFFIXES, Encoded, Opening, readable
from scoremix.data.tables import LABELS, cell, classes_of, column, names_of, splits_of

PACKED = {".tar.gz": "gunzip", ".tgz": "gunzip", ".tar.bz2": "bunzip2", ".tar.xz": "unxz", ".tar.zst": "unzstd"}
LABEL, DESCRIBED = "cls", "json"  # what a sample of a shard says of its image
NAMES = "classes.tsv"  # beside shards, as `convert` writes it
PEEK = 64  # files of a tar by which shards are told from folders


class Member(NamedTuple):
    """A file in an archive."""

    name: str  # with the folders on the way
    size: int
    archive: int  # of several
    at: int  # byte in a .tar, position in a .zip


class Tar:
    """The files of a .tar by an index of their places, so that any of them is read at once."""

    def __init__(self, path: Path, number: int) -> None:
        self._path = path  # opened for each image: shards may be thousands, open files may not
        self.files, self.folders, self.ignored = list[Member](), list[str](), 0
        for info in _headers(path):
            if info.isdir():
                self.folders.append(info.name)
            elif info.isreg() and not info.issparse():
                self.files.append(Member(info.name, info.size, number, info.offset_data))
            else:  # links, devices
                self.ignored += 1

    def read(self, member: Member) -> bytes:
        with open(self._path, "rb", buffering=0) as file:
            content = os.pread(file.fileno(), member.size, member.at)
        if len(content) < member.size:
            raise ValueError(f"ends after {len(content)} of {member.size} bytes")
        return content


class Zip:
    """The files of a .zip by its directory."""

    ignored = 0

    def __init__(self, path: Path, number: int) -> None:
        self._archive = zipfile.ZipFile(_Reopened(path))
        self._infos = self._archive.infolist()
        names = [info.filename.replace("\\", "/") for info in self._infos]  # of a packer that knows no better
        self.folders = [name for name in names if name.endswith("/")]
        self.files = [
            Member(name, info.file_size, number, i)
            for i, (name, info) in enumerate(zip(names, self._infos, strict=True))
            if not name.endswith("/")
        ]

    def read(self, member: Member) -> bytes:
        info = self._infos[member.at]
        if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise ValueError(f"compressed by method {info.compress_type}, read are stored and deflated files")
        with self._archive.open(info) as file:
            content = file.read(member.size)  # without a size it inflates gigabytes before it cuts them off
        if len(content) < member.size:
            raise ValueError(f"unfolds into {len(content)} of {member.size} bytes")
        return content


class Packs(Encoded[Member]):
    """What .zip, .tar and shards share: images are members of archives."""

    paths: Sequence[Path]
    archives: Sequence[Tar | Zip]

    def content(self, item: Member) -> bytes:
        if item.size > limits.FILE_BYTES:
            raise ValueError(f"{item.size:,} bytes, the limit of an image in an archive is {limits.FILE_BYTES:,}")
        if not item.size:
            raise ValueError("empty file (0 bytes)")
        return self.archives[item.archive].read(item)

    def files(self) -> Iterator[tuple[str, Path]]:
        return ((f"archive {i}", path) for i, path in enumerate(self.paths))

    def where(self, item: Member) -> str:
        return f"{self.paths[item.archive]}, {item.name}"


class Archive(Packs, FolderedImages[Member]):
    """Folders in a .zip or .tar, told apart as those on disk; of several archives each is a folder of its name."""

    kind = "archive"

    def __init__(self, place: Path, opening: Opening = DEFAULTS) -> None:
        self.place, self.workers, self.paths = place, opening.workers, archives_at(place)
        self.archives = [_opened(path, number) for number, path in enumerate(self.paths)]
        inside: dict[Steps, dict[str, Member]] = {}
        empty = set[Steps]()
        self.ignored = sum(archive.ignored for archive in self.archives)
        for number, archive in enumerate(self.archives):
            above = (self.paths[number].stem,) if place.is_dir() else ()
            empty |= {steps for name in archive.folders if (steps := _steps(name, above)) is not None}
            for member in archive.files:
                steps = _steps(member.name, above)
                if steps is None or steps == above or not may_be_image(steps[-1]):  # a file may be called . or /
                    self.ignored += 1
                elif len(steps) > DEEPEST:
                    raise ValueError(f"{place}: {member.name} is {len(steps)} folders deep, the limit is {DEEPEST}")
                else:
                    inside.setdefault(steps[:-1], {})[steps[-1]] = member  # of two of a name the later one counts
        if not inside:
            tool, first = "zipfile" if self.paths[0].suffix.lower() == ".zip" else "tarfile", self.paths[0]
            unpacking = shlex.join(["python", "-m", tool, "-e", str(first), str(first.with_suffix(""))])
            raise ValueError(f"{place} holds no images: {unpacking}")
        self._inside = {steps: [of[name] for name in sorted(of)] for steps, of in sorted(inside.items())}
        loose = self._inside.pop((), [])
        if loose and not self._inside:
            if not opening.every:
                raise ValueError(f"{place} holds {len(loose)} images but no folders: must hold one folder per class")
            self.labelled, self.class_names, self.counts = False, ("",), np.array([len(loose)])
            self._inside, self.folders, self._shared = {(): loose}, {"": [()]}, set()
            return
        ways = {steps[:end] for steps in (*self._inside, *empty) for end in range(1, len(steps))}
        counts = dict.fromkeys(empty - ways - {()}, 0) | {steps: len(of) for steps, of in self._inside.items()}
        self.lay(dict(sorted(counts.items())), [member.name for member in loose], opening)

    @classmethod
    def lies_at(cls, place: Path, every: bool) -> bool:
        return bool(archives_at(place))

    def items(self, k: int) -> list[Member]:
        return [member for steps in self.folders[self.class_names[k]] for member in self._inside.get(steps, ())]

    def name(self, item: Member) -> str:
        return "/".join(_steps(item.name, (self.paths[item.archive].stem,) if self.place.is_dir() else ()) or ())

    def file_name(self, item: Member, content: bytes) -> str:
        *steps, name = self.name(item).split("/")
        return self.plain_name(tuple(steps), name)


class Shards(Packs):
    """WebDataset: samples `KEY.jpg` with `KEY.cls`, or `KEY.json` with a label, in one .tar or several."""

    kind, form = "shards", "webdataset"

    def __init__(self, place: Path, opening: Opening = DEFAULTS) -> None:
        self.place, self.workers, self.paths = place, opening.workers, archives_at(place)
        self.archives = [_opened(path, number) for number, path in enumerate(self.paths)]
        self.images: list[Member] = []
        labels: list[str] = []
        for path, archive in zip(self.paths, self.archives, strict=True):
            for key, parts in itertools.groupby(archive.files, lambda member: _key(member.name)):
                sample = {member.name.rpartition("/")[2].partition(".")[2].lower(): member for member in parts}
                image = next((sample[kind] for kind in sample if kind not in (LABEL, DESCRIBED) and _shown(kind)), None)
                if image is None:
                    self.ignored += len(sample)
                    continue
                self.images.append(image)
                labels.append(_label(archive, sample, opening.hints.label_column, f"{path}, sample {key}"))
        if not self.images:
            raise ValueError(f"{place} holds no samples with an image")
        self._name(labels)
        named = [self.paths[member.archive].stem.partition("-")[0] for member in self.images]
        if len(set(named)) > 1 and all(map(part_of, named)):
            self.splits, self.notes = splits_of(named, self._classes, str(place))

    def _name(self, labels: Sequence[str]) -> None:
        """Classes in ascending order of label, named by the table beside the shards where it names all of them."""
        numbers = all(label.isascii() and label.isdigit() and len(label) < 16 for label in labels)
        distinct, self._classes = classes_of([int(x) for x in labels] if numbers else labels, str(self.place))
        self.number(self._classes)
        self.class_names = tuple(f"{int(name):07d}" for name in distinct) if numbers else distinct
        if (table := self.place / NAMES).is_file():
            self.class_names = names_of(table, distinct) or self.class_names

    @classmethod
    def lies_at(cls, place: Path, every: bool) -> bool:
        paths = archives_at(place)
        if not paths or paths[0].suffix.lower() != ".tar":
            return False
        try:
            first = [info.name for info in itertools.islice(_headers(paths[0]), PEEK) if info.isreg()]
        except (OSError, tarfile.TarError):
            return False
        kinds = collections.defaultdict[str, set[str]](set)
        for name in first:
            kinds[_key(name)].add(name.rpartition("/")[2].partition(".")[2].lower())
        return any(of & {LABEL, DESCRIBED} and any(map(_shown, of - {LABEL, DESCRIBED})) for of in kinds.values())

    def files(self) -> Iterator[tuple[str, Path]]:
        yield from super().files()
        if (table := self.place / NAMES).is_file():
            yield NAMES, table

    def items(self, k: int) -> list[Member]:
        return [self.images[row] for row in self.rows.of(k)]

    def name(self, item: Member) -> str:
        return item.name

    def file_name(self, item: Member, content: bytes) -> str:
        return item.name.rpartition("/")[2]


def _label(archive: Tar | Zip, sample: Mapping[str, Member], asked: str | None, where: str) -> str:
    """The label of a sample, from its .cls or its .json; ValueError, of `where`, unless it has one."""
    for kind in (LABEL, DESCRIBED) if asked is None else (DESCRIBED,):
        if kind in sample and (label := _said(archive, sample[kind], kind, asked, where)):
            return label
    raise ValueError(f"{where} has no .{LABEL}, nor a .{DESCRIBED} with its label")


def _said(archive: Tar | Zip, member: Member, kind: str, asked: str | None, where: str) -> str:
    if member.size > limits.SETTINGS_BYTES:
        raise ValueError(f"{where}: its .{kind} has {member.size:,} bytes, the limit is {limits.SETTINGS_BYTES:,}")
    with readable(where, f"a sample with a readable .{kind}", worded=True):
        text = archive.read(member).decode("utf-8-sig").strip()
        if kind == LABEL:
            return text
        row = limits.parsed_json(text)
        if not isinstance(row, dict):
            raise ValueError(f"{where}: its .json is no object of names and values")
        return cell(row, column(list(row), asked, LABELS, "--label-column", where), where)


def archives_at(place: Path) -> list[Path]:
    """The .zip or .tar at a place, or those of a folder that holds nothing else of images, in order of name.

    ValueError, with the command that makes it readable, for a compressed .tar: none of its files can be found without
    reading all before it.
    """
    if place.is_file():
        paths = [place] if _suffix(place.name) else []
    else:
        folders, names = listed(place) if place.is_dir() else ((), ())
        if folders or any(may_be_image(name) and not _suffix(name) for name in names):
            return []
        paths = [place / name for name in names if _suffix(name)]
    for path in paths:
        kind = _suffix(path.name)
        unpacked = path.with_name(path.name[: -len(kind)] + ".tar")
        if kind in PACKED and unpacked.exists() and path == place:
            raise ValueError(f"{path} is compressed as a whole: give {unpacked}, which lies beside it")
        if kind in PACKED and not unpacked.exists():
            command = f"{PACKED[kind]} -k {shlex.quote(str(path))}"
            raise ValueError(f"{path} is compressed as a whole: `{command}` makes {unpacked}, which is read")
    return [path for path in paths if _suffix(path.name) not in PACKED]


def _suffix(name: str) -> str:
    return next((kind for kind in (".zip", ".tar", *PACKED) if name.lower().endswith(kind)), "")


def _opened(path: Path, number: int) -> Tar | Zip:
    return Zip(path, number) if path.suffix.lower() == ".zip" else Tar(path, number)


def _headers(path: Path) -> Iterator[tarfile.TarInfo]:
    """What a .tar says of its files, one after the other; ValueError where it breaks off."""
    with _Bounded(path) as file, tarfile.open(fileobj=file, mode="r:") as tar:
        while (info := tar.next()) is not None:
            tar.members = []  # type: ignore[attr-defined]  # else it would keep all of them
            yield info


class _Bounded(io.FileIO):
    """A file that makes no more room than it has bytes, however many a header announces."""

    def read(self, size: int | None = -1) -> bytes:
        rest = max(0, os.fstat(self.fileno()).st_size - self.tell())
        return super().read(rest if size is None or size < 0 else min(size, rest))


class _Reopened(io.RawIOBase):
    """A file that is open while it is read: archives may be thousands, open files may not."""

    def __init__(self, path: Path) -> None:
        self._path, self._at = path, 0

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        at = offset + {os.SEEK_SET: 0, os.SEEK_CUR: self._at}.get(whence, os.path.getsize(self._path))
        if at < 0:
            raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
        self._at = at
        return at

    def read(self, size: int | None = -1) -> bytes:
        with _Bounded(self._path) as file:
            file.seek(self._at)
            content = file.read(size)
        self._at += len(content)
        return content


def _steps(name: str, above: Steps) -> Steps | None:
    """The folders on the way to a file and its name; None for what is passed over."""
    steps = (*above, *(step for step in name.split("/") if step not in ("", ".")))
    if any(step[0] == "." or step.lower() in LITTER for step in steps):
        return None
    return steps


def _key(name: str) -> str:
    """What the files of one sample share: all before the first dot of the file's name."""
    folder, slash, file = name.rpartition("/")
    return folder + slash + file.partition(".")[0]


def _shown(kind: str) -> bool:
    """Whether a file of a sample with these extensions may be its image."""
    return os.path.splitext(f"x.{kind}")[1] in SUFFIXES
