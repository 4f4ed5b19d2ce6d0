"""Lists of images that lie beside RecordIO files, in every dialect in circulation (paper 4.1)."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Int64


@dataclass(frozen=True)
class ImageList:
    """Keys of images, their paths, and their labels where the list has them."""

    file: Path
    keys: Int64[np.ndarray, " n"]
    paths: list[str]
    labels: Int64[np.ndarray, " n"] | None
    dialect: str
    strict: bool = True  # False: keys are only line numbers


def read_list(file: Path) -> ImageList:
    """A list of images in any dialect in circulation, told apart by which column is a number and which a path.

    key, path (DCFace's list.txt); key, path, label (CVLface's train.tsv); key, labels ..., path (im2rec's .lst);
    aligned 0/1, path, label, box, landmarks (the older .lst of InsightFace, whose keys are line numbers from 1).
    """
    try:
        lines = [line.rstrip("\r").split("\t") for line in file.read_text("utf-8").split("\n") if line.strip()]
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"{file} cannot be read ({error})") from None
    if not lines:
        raise ValueError(f"{file} is empty")
    first = lines[0]
    if len(first) == 2 and not _number(first[1]):
        key, path, label, dialect = 0, 1, None, "key, path"
    elif file.suffix == ".tsv" and len(first) == 3 and not _number(first[1]):
        key, path, label, dialect = 0, 1, 2, "key, path, label"
    elif len(first) >= 3 and _number(first[1]) and not _number(first[-1]):
        key, path, label, dialect = 0, -1, 1, "key, label, path (im2rec)"
    elif len(first) >= 3 and first[0] in ("0", "1") and not _number(first[1]) and _number(first[2]):
        key, path, label, dialect = None, 1, 2, "aligned, path, label (face2rec2)"
        lines = [line for line in lines if line[0] == "1" or len(line) >= 17]  # what its packer takes
    else:
        raise ValueError(f"{file}: the first line is {chr(9).join(first)[:80]!r}, of no known list of images")
    numbers, labels = [], []
    for n, line in enumerate(lines, 1):
        try:
            numbers.append(n if key is None else int(line[key]))
            if label is not None:
                value = float(line[label])
                if value % 1 or value < 0:
                    raise ValueError
                labels.append(int(value))
            if len(line) < 2:
                raise ValueError
        except (ValueError, IndexError):
            raise ValueError(f"{file}: line {n} is {chr(9).join(line)[:80]!r}, must be {dialect}") from None
    found = np.array(labels, np.int64) if label is not None else None
    paths = [line[path].replace("\\", "/") for line in lines]
    return ImageList(file, np.array(numbers, np.int64), paths, found, dialect, strict=key is not None)


def _number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
