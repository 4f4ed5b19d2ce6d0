"""Public face benchmarks in the layouts they are passed on in: pairs, IJB-B and IJB-C, TinyFace, own lists.

Every id is parsed as a number and checked against what it points to; a set whose counts are not the published ones is
read, and says so (`unlike`).
"""

from __future__ import annotations

import csv
import os
import re
import warnings
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
from jaxtyping import Float, Int64

from scoremix.data import limits, verification
from scoremix.data.facekit import facekit, is_facekit
from scoremix.data.facesets import (
    FaceImages,
    FaceSet,
    PairSet,
    RankSet,
    TemplateGallery,
    TemplateSet,
    subject_of,
    unlike,
)
from scoremix.data.source import readable

LABELS = {"lfw": "LFW", "cfp_fp": "CFP-FP", "cplfw": "CPLFW", "calfw": "CALFW", "agedb_30": "AgeDB-30"}
NAMES = (*LABELS, "ijbb", "ijbc", "tinyface")
IN_KIT = {"ijbb": "ijbb_gt_aligned", "ijbc": "ijbc_gt_aligned", "tinyface": "tinyface_aligned_pad_0.1"}
Array = np.ndarray


def open_set(item: str, root: Path) -> FaceSet:
    """The set of a known name under `root`, or at a path: .bin, pair list, or a folder of a known layout.

    ValueError says what was looked for.
    """
    path = Path(item)
    if item.lower() in NAMES:
        path = _named(item.lower(), root)
    elif not path.exists():
        path = root / item
    if not path.exists():
        raise ValueError(f"set {item!r}: neither one of {', '.join(NAMES)} nor a path that exists")
    name = item.lower() if item.lower() in NAMES else path.stem
    with readable(path, "a readable set", worded=True):
        return _read(path, name)


def _read(path: Path, name: str) -> FaceSet:
    if path.is_file():
        return verification_bin(path, name) if path.suffix == ".bin" else pair_list(path)
    if is_facekit(path):
        return facekit(path, name)
    if list(path.glob("meta/*_name_5pts_score.txt")):
        return ijb(path, name)
    if _tinyface_root(path) is not None:
        return tinyface(path, name)
    if list(path.glob("gallery*.csv")):
        return open_gallery(path)
    raise ValueError(
        f"set {path}: holds neither meta/*_name_5pts_score.txt (IJB), Probe and Gallery_Match (TinyFace), "
        "state.json (save_to_disk) nor gallery*.csv (own lists)"
    )


def _named(name: str, root: Path) -> Path:
    here = {place.name.lower(): place for place in root.iterdir()} if root.is_dir() else {}
    first = f"{name}.bin" if name in LABELS else name
    kit = here.get(IN_KIT.get(name, name))
    if first in here:
        return here[first]
    if kit is not None and is_facekit(kit):
        return kit
    raise ValueError(f"set {name!r}: neither {first} nor {IN_KIT.get(name, name)}/ of save_to_disk in {root}")


def verification_bin(path: Path, name: str) -> PairSet:
    """A .bin of encoded pairs: images 2i and 2i + 1 are pair i."""
    pairs = verification.read(path)
    first = 2 * np.arange(len(pairs.same))
    note = unlike(name, {"pairs": len(first)})
    return PairSet(name, FaceImages(None, pairs.images), first, first + 1, pairs.same, note)


SAME, DIFFERENT = ("1", "true"), ("0", "-1", "false")


def pair_list(path: Path) -> PairSet:
    """Lines `image image flag`, or the flag first, separated by tabs, `;`, commas or blanks; paths from the list's folder.

    The flag is 1 or True for the same person, else 0, -1 or False; a header is passed over. Or LFW's own `pairs.txt`:
    `name n n` and `name n name n` under a line of numbers, of `name/name_000n.jpg` in the folder or in `lfw` beside it.
    """
    files: dict[str, int] = {}
    rows: list[tuple[int, int, bool]] = []
    lines = [(number, line, _cells(line)) for number, line in _lines(path)]
    if len(lines) > 1 and all(cell.isdecimal() for cell in lines[0][2]) and len(lines[0][2]) < 3:
        lines, root = _of_lfw(path, lines[1:])
    else:
        root = path.parent
    for i, (number, line, cells) in enumerate(lines):
        first, last = (cells[0].lower(), cells[-1].lower()) if cells else ("", "")
        at = 2 if last in SAME + DIFFERENT else 0 if first in SAME + DIFFERENT else None
        if len(cells) != 3 or at is None:
            if i == 0 and len(cells) == 3 and len(lines) > 1 and not any("." in cell for cell in cells):
                continue  # a header
            raise ValueError(f"{path} line {number}: {line!r:.200} is not: image image 0|1")
        a, b = (files.setdefault(cell, len(files)) for cell in (cells[:2] if at else cells[1:]))
        rows.append((a, b, cells[at].lower() in SAME))
    if not rows:
        raise ValueError(f"{path}: holds no pairs")
    a_of, b_of, same = (np.array(column) for column in zip(*rows, strict=True))
    return PairSet(path.stem, FaceImages(root, list(files)), a_of, b_of, same.astype(bool))


def _of_lfw(path: Path, lines: list[tuple[int, str, list[str]]]) -> tuple[list[tuple[int, str, list[str]]], Path]:
    """LFW's own lines as `image image flag`, and the folder that the images lie in."""
    pairs = []
    for number, line, cells in lines:
        if len(cells) not in (3, 4) or not cells[1].isdecimal() or not cells[-1].isdecimal():
            raise ValueError(f"{path} line {number}: {line!r:.200} is neither `name n n` nor `name n name n`")
        other = cells[-2] if len(cells) == 4 else cells[0]
        images = [f"{name}/{name}_{int(n):04d}" for name, n in ((cells[0], cells[1]), (other, cells[-1]))]
        pairs.append((number, line, [*images, "1" if len(cells) == 3 else "0"]))
    first = pairs[0][2][0]
    places = [path.parent, *(path.parent / name for name in ("lfw", "images", "lfw-deepfunneled", "lfw_funneled"))]
    present = [(root, kind) for root in places for kind in (".jpg", ".png") if (root / f"{first}{kind}").is_file()]
    if not present:
        raise ValueError(
            f"{path}: {first}.jpg is neither beside it nor in its folder lfw; move the list beside the folders"
        )
    root, kind = present[0]
    return [(number, line, [a + kind, b + kind, flag]) for number, line, (a, b, flag) in pairs], root


def ijb(folder: Path, name: str) -> TemplateSet:
    """IJB-B or IJB-C: loose_crop/ and meta/, with 1:N lists where they are there."""
    points_file = next(iter(sorted(folder.glob("meta/*_name_5pts_score.txt"))))
    short = points_file.name.partition("_")[0]
    meta = points_file.parent
    names, numbers = _names_and_numbers(points_file, 11)
    tid_file = meta / f"{short}_face_tid_mid.txt"
    tid_names, ids = _names_and_numbers(tid_file, 2)
    if names != tid_names:
        line = next((i for i, (a, b) in enumerate(zip(names, tid_names, strict=False)) if a != b), -1) + 1
        where = f"line {line} names other images" if line else f"{len(names):,} and {len(tid_names):,} lines"
        raise ValueError(f"{points_file.name} and {tid_file.name} do not go together: {where}")
    templates, media = ids.astype(np.int64).T
    pairs_file = meta / f"{short}_template_pair_label.txt"
    pairs = same = None
    if pairs_file.exists():
        table = _integers(pairs_file, 3)
        pairs, same = table[:, :2], table[:, 2] == 1
        if wrong := np.flatnonzero((table[:, 2] != 0) & (table[:, 2] != 1)).tolist():
            raise ValueError(f"{pairs_file} line {wrong[0] + 1}: label {table[wrong[0], 2]} is neither 0 nor 1")
        _known(pairs_file, pairs, templates, tid_file)
    galleries = tuple(_gallery(file, templates, tid_file) for file in sorted(meta.glob(f"{short}_1N_gallery_*.csv")))
    probe_files = sorted(meta.glob(f"{short}_1N_probe_*.csv"))
    if bool(galleries) != bool(probe_files):
        raise ValueError(f"{meta}: holds one of {short}_1N_gallery_*.csv and {short}_1N_probe_*.csv, but not both")
    if same is None and not galleries:
        raise ValueError(f"{meta}: holds neither {pairs_file.name} (1:1) nor {short}_1N_gallery_*.csv (1:N)")
    probes = _gallery(probe_files[0], templates, tid_file) if probe_files else None
    counts = {"images": len(names), "templates": len(np.unique(templates))}
    if same is not None:
        counts |= {"pairs": len(same), "genuine": int(same.sum())}
    if probes is not None:
        listed = sum(len(gallery.templates) for gallery in galleries)
        counts |= {"gallery templates": listed, "probe templates": len(probes.templates)}
    images = FaceImages(folder / "loose_crop", names, numbers[:, :10].reshape(-1, 5, 2))
    note = unlike(name, counts)
    return TemplateSet(name, images, templates, media, numbers[:, 10], pairs, same, galleries, probes, note)


def open_gallery(folder: Path) -> TemplateSet:
    """Own open-set lists: gallery*.csv and probes.csv with a header, columns image, subject and optionally template.

    Without a template column every image is a template of its own. Paths are from the lists' folder.
    """
    lists = sorted(folder.glob("gallery*.csv"))
    if not (probe_list := folder / "probes.csv").exists():
        raise ValueError(f"{folder}: has {lists[0].name} but no probes.csv")
    files: dict[str, int] = {}
    owners: dict[tuple[str, str], int] = {}
    subjects: dict[str, int] = {}
    rows: list[tuple[int, int]] = []  # image, template
    galleries = []
    for file in (*lists, probe_list):
        members: dict[int, int] = {}
        for number, row in _table(file, ("image", "subject")):
            called = row.get("template") or f"image {row['image']}"
            template = owners.setdefault((file.name, called), len(owners))
            subject = subjects.setdefault(row["subject"], len(subjects))
            if members.setdefault(template, subject) != subject:
                raise ValueError(f"{file} line {number}: template {called!r} has two subjects")
            rows.append((files.setdefault(row["image"], len(files)), template))
        galleries.append(
            TemplateGallery(file.stem, np.array(list(members), np.int64), np.array(list(members.values()), np.int64))
        )
    image, template = np.array(rows, np.int64).T
    # an image in several templates is listed once for each
    listed = list(files)
    images = FaceImages(folder, [listed[i] for i in image])
    media = np.arange(len(image))
    return TemplateSet(folder.name, images, template, media, None, None, None, tuple(galleries[:-1]), galleries[-1])


def tinyface(folder: Path, name: str) -> RankSet:
    """TinyFace as AdaFace and CVLFace read it: three folders, the subject is the number before the first underscore."""
    root = _tinyface_root(folder)
    assert root is not None
    parts = {}
    for part in ("Probe", "Gallery_Match", "Gallery_Distractor"):
        place = root / part
        parts[part] = sorted(f"{part}/{n}" for n in (os.listdir(place) if place.is_dir() else ()) if n[0] != ".")
    if not parts["Probe"] or not parts["Gallery_Match"]:
        raise ValueError(
            f"{root}: Probe holds {len(parts['Probe'])} images, Gallery_Match {len(parts['Gallery_Match'])}"
        )
    subjects = [subject_of(root, n) for n in (*parts["Probe"], *parts["Gallery_Match"])]
    files = [n for part in parts.values() for n in part]
    probes, mates, distractors = map(len, parts.values())
    counts = {"probes": probes, "mates": mates, "distractors": distractors}
    return RankSet(
        name,
        FaceImages(root, files),
        np.arange(probes, len(files)),
        np.array(subjects[probes:] + [-100] * distractors),
        np.arange(probes),
        np.array(subjects[:probes]),
        unlike(name, counts),
    )


def _tinyface_root(folder: Path) -> Path | None:
    for place in ("aligned_pad_0.1_pad_high", "Testing_Set", ""):
        if (folder / place / "Probe").is_dir() and (folder / place / "Gallery_Match").is_dir():
            return folder / place
    return None


def _gallery(file: Path, templates: Int64[Array, " n"], tid_file: Path) -> TemplateGallery:
    """Distinct (template, subject) rows of a 1:N list; the header and further columns are passed over."""
    rows = []
    for number, line in list(_lines(file))[1:]:
        try:
            template, subject = map(int, line.split(",")[:2])
        except ValueError:
            raise ValueError(f"{file} line {number}: {line!r:.200} does not start with template,subject") from None
        rows.append((template, subject))
    if not rows:
        raise ValueError(f"{file}: lists no templates")
    table = np.array(rows, np.int64)
    _known(file, table[:, :1], templates, tid_file, header=1)
    distinct = np.unique(table, axis=0)
    if (repeated := distinct[1:, 0] == distinct[:-1, 0]).any():
        raise ValueError(f"{file}: template {distinct[1:, 0][repeated][0]} has two subjects")
    return TemplateGallery(file.stem.rpartition("gallery_")[2], distinct[:, 0], distinct[:, 1])


def _known(file: Path, ids: Int64[Array, "n k"], templates: Int64[Array, " t"], where: Path, header: int = 0) -> None:
    if (absent := ~np.isin(ids, templates)).any():
        line = int(np.flatnonzero(absent.any(1))[0])
        count = len(np.unique(ids[absent]))
        raise ValueError(
            f"{file} line {line + 1 + header}: template {ids[line][absent[line]][0]} is not in {where.name} "
            f"({count:,} templates are not)"
        )


def _lines(file: Path) -> Iterator[tuple[int, str]]:
    """(number from 1, text) of the lines that are not empty."""
    text = limits.text(file, limits.TEXT_BYTES)
    return ((i, line) for i, line in enumerate(text.splitlines(), 1) if line.strip())


def _cells(line: str) -> list[str]:
    """The cells of a line between tabs, else `;`, else commas, else spaces; what stands in double quotes is one cell."""
    bare = re.sub(r'"[^"]*"', "", line)
    separator = next((s for s in ("\t", ";", ",") if s in bare), " ")
    rows = csv.reader([line.strip()], delimiter=separator, skipinitialspace=True)
    return [cell.strip() for cell in next(rows) if cell.strip() or separator != " "]


def _table(file: Path, needed: Iterable[str]) -> Iterator[tuple[int, dict[str, str]]]:
    lines = list(_lines(file))
    reader = csv.DictReader(line for _, line in lines)
    if absent := [name for name in needed if name not in (reader.fieldnames or ())]:
        raise ValueError(f"{file}: has no column {absent[0]!r} (a header with {', '.join(needed)} is needed)")
    for (number, line), row in zip(lines[1:], reader, strict=True):
        if any(not row[name] for name in needed):
            raise ValueError(f"{file} line {number}: {line!r:.200} lacks a value")
        yield number, {k: v for k, v in row.items() if k and v}


def _names_and_numbers(file: Path, count: int) -> tuple[list[str], Float[Array, "n count"]]:
    """Lines of a name and `count` numbers."""
    names, values = [], []
    for number, line in _lines(file):
        name, *cells = line.split()
        if len(cells) != count:
            raise ValueError(f"{file} line {number}: {len(cells)} numbers after the name, must be {count}")
        try:
            values.append([float(cell) for cell in cells])
        except ValueError:
            raise ValueError(f"{file} line {number}: {line!r:.200} holds something that is no number") from None
        if not np.isfinite(values[-1]).all():
            raise ValueError(f"{file} line {number}: {line!r:.200} holds a number that is not finite")
        names.append(name)
    if not names:
        raise ValueError(f"{file}: is empty")
    return names, np.array(values)


def _integers(file: Path, columns: int) -> Int64[Array, "n columns"]:
    """A large table of integers; ValueError names the first line that is none."""
    with warnings.catch_warnings():
        warnings.simplefilter("error", DeprecationWarning)  # numpy's word for "stopped at something else"
        try:
            flat = np.fromfile(file, np.int64, sep=" ")
            if len(flat) and len(flat) % columns == 0:
                return flat.reshape(-1, columns)
        except (DeprecationWarning, ValueError):
            pass
        except OSError as error:
            raise ValueError(f"{file}: cannot be read ({error})") from None
    for number, line in _lines(file):
        cells = line.split()
        if len(cells) != columns or not all(cell.lstrip("-").isdecimal() for cell in cells):
            raise ValueError(f"{file} line {number}: {line!r:.200} is not {columns} integers")
    raise ValueError(f"{file}: is not a table of {columns} integers a line")
