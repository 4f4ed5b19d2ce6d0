"""m-plets that a person names: a file of the classes to mix."""

from __future__ import annotations

import csv
import difflib
import io
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Int64

from scoremix.data.splits import some


def read_mplets(file: Path, names: Sequence[str], m: int) -> Int64[np.ndarray, "k m"]:
    """Class indices of the m-plets in a file, in its order, which is also that of the mixing weights.

    JSON: [["class", "class"], ...]. CSV: a line of class names per m-plet; under a header, the columns name_0,
    name_1, ... (as in the mplets.csv that a selection writes). ValueError for anything else, unknown classes, a class
    twice in an m-plet, an m-plet twice, or another m.
    """
    rows = _rows(file)
    if not rows:
        raise ValueError(f"{file}: names no m-plets")
    place = {name: k for k, name in enumerate(names)}
    found = []
    for number, row in enumerate(rows, 1):
        where = f"{file}, m-plet {number}"
        if len(row) != m:
            raise ValueError(f"{where}: {some(row)} are {len(row)} classes, selection.m is {m}")
        if unknown := [name for name in row if name not in place]:
            close = difflib.get_close_matches(unknown[0], names, n=1)
            hint = f"; did you mean {close[0]!r}?" if close else ""
            raise ValueError(f"{where}: {unknown[0]!r} is not one of the {len(names)} training classes{hint}")
        if len(set(row)) < m:
            raise ValueError(f"{where}: {some(row)} repeat a class")
        found.append([place[name] for name in row])
    sets = [tuple(sorted(row)) for row in found]
    if len(set(sets)) < len(sets):
        again = next(row for row, of in zip(rows, sets, strict=True) if sets.count(of) > 1)
        raise ValueError(f"{file}: the m-plet {some(again)} stands there twice")
    return np.array(found, np.int64)


def _rows(file: Path) -> list[list[str]]:
    try:
        text = file.read_text("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"{file}: cannot be read ({error})") from None
    if file.suffix.lower() == ".json":
        try:
            rows = json.loads(text)
        except ValueError as error:
            raise ValueError(f"{file}: is not JSON ({error})") from None
        if not isinstance(rows, list) or not all(
            isinstance(row, list) and all(isinstance(name, str) for name in row) for row in rows
        ):
            raise ValueError(f'{file}: must be [["class", "class"], ...]')
        return rows
    lines = [row for row in csv.reader(io.StringIO(text)) if row]
    named = [i for i, cell in enumerate(lines[0]) if cell.startswith("name_")] if lines else []
    return [[row[i] for i in named] for row in lines[1:]] if named else [[c.strip() for c in row] for row in lines]
