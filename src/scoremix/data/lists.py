"""What a person writes about classes by name: parts, groups, mixes; and names that other systems read otherwise."""

from __future__ import annotations

import collections
import difflib
import re
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Int64

from scoremix.data import limits
from scoremix.data.csv_text import csv_rows, of_text


def positions(wanted: Sequence[str], names: Sequence[str], where: str, known: str) -> Int64[np.ndarray, " wanted"]:
    """Where each of the wanted names stands among `names`, which are `known`; ValueError, of `where`, for others."""
    place = {name: k for k, name in enumerate(names)}
    if unknown := [name for name in wanted if name not in place]:
        lower = {name.lower(): name for name in reversed(names)}
        close = difflib.get_close_matches(unknown[0].lower(), lower, n=1)
        hint = f"did you mean {lower[close[0]]!r}?" if close else f"the first is {some(names[:1])}"
        raise ValueError(f"{where} names {some(unknown)}, not among the {len(names)} {known}; {hint}")
    return np.array([place[name] for name in wanted], np.int64)


def groups_by_name(names: Sequence[str]) -> list[str]:
    """What stands before the first "/" of every class name; ValueError for a name without one."""
    if bare := [name for name in names if "/" not in name]:
        raise ValueError(f"groups 'name': the class names {some(bare)} have no '/' with a group before it")
    return [name.partition("/")[0] for name in names]


def read_groups(file: Path, names: Sequence[str]) -> list[str]:
    """The groups of a list file in the order of `names`; ValueError for classes named twice or not at all.

    See `class_list`. Other classes may be named as well.
    """
    groups = dict(pairs := class_list(file, "group"))
    refuse_repeated([name for name, _ in pairs], str(file))
    if missing := [name for name in names if name not in groups]:
        raise ValueError(f"{file} names no group for {some(missing)}")
    return [groups[name] for name in names]


def groups_of(how: str, names: Sequence[str]) -> list[str]:
    """The group of every class: `how` is "name" or a list file."""
    return groups_by_name(names) if how == "name" else read_groups(Path(how), names)


def read_mplets(file: Path, names: Sequence[str], m: int) -> Int64[np.ndarray, "k m"]:
    """Class indices of the m-plets in a file, in its order, which is also that of the mixing weights.

    JSON: [["class", "class"], ...]. CSV: a line of class names per m-plet; under a header, the columns name_0,
    name_1, ... (as in the mplets.csv that a selection writes). ValueError for anything else, unknown classes, a class
    twice in an m-plet, an m-plet twice, or another m.
    """
    mplets: dict[frozenset[str], Int64[np.ndarray, " m"]] = {}
    for number, row in enumerate(_rows_of_names(file), 1):
        where = f"{file}, m-plet {number}"
        if len(row) != m:
            raise ValueError(f"{where}: {some(row)} are {len(row)} classes, selection.m is {m}")
        classes = positions(row, names, where, "training classes")
        if len(set(row)) < m:
            raise ValueError(f"{where}: {some(row)} repeat a class")
        if frozenset(row) in mplets:
            raise ValueError(f"{file}: the m-plet {some(row)} stands there twice")
        mplets[frozenset(row)] = classes
    if not mplets:
        raise ValueError(f"{file}: names no m-plets")
    return np.stack(list(mplets.values()))


def _rows_of_names(file: Path) -> list[list[str]]:
    text = limits.text(file, limits.TEXT_BYTES)
    if file.suffix.lower() == ".json":
        try:
            rows = limits.parsed_json(text)
        except ValueError as error:
            raise ValueError(f"{file}: is not JSON ({error})") from None
        if not isinstance(rows, list) or not all(
            isinstance(row, list) and all(isinstance(name, str) for name in row) for row in rows
        ):
            raise ValueError(f'{file}: must be [["class", "class"], ...]')
        return rows
    lines = csv_rows(text, file)
    columns = [i for i, cell in enumerate(lines[0]) if cell.startswith("name_")] if lines else []
    if columns and (short := next((n for n, row in enumerate(lines, 1) if len(row) <= columns[-1]), None)):
        raise ValueError(f"{file}: row {short} has {len(lines[short - 1])} cells, the first has {len(lines[0])}")
    return (
        [[of_text(row[i]) for i in columns] for row in lines[1:]]
        if columns
        else [[c.strip() for c in row] for row in lines]
    )


def class_list(file: Path, kind: str) -> list[tuple[str, str]]:
    """(class, split) or (class, group) of every entry of a list file, in order; ValueError for anything else.

    JSON: {"class": "a", ...} or {"a": ["class", ...], ...}. CSV: lines of class,a (a first line class,`kind` is
    skipped).
    """
    text = limits.text(file, limits.TEXT_BYTES)
    if file.suffix.lower() == ".json":
        return _json_list(file, text, kind)
    rows = [[cell.strip() for cell in row] for row in csv_rows(text, file)]
    if rows and rows[0] == ["class", kind]:
        del rows[0]
    for row in rows:
        if len(row) != 2:
            raise ValueError(f"{file} has a line {','.join(row)!r}, must be class,{kind}")
    return [(name, part) for name, part in rows]


def _json_list(file: Path, text: str, kind: str) -> list[tuple[str, str]]:
    example = "train" if kind == "split" else "a"
    wrong = ValueError(f'{file} must be JSON: {{"class": "{example}", ...}} or {{"{example}": ["class", ...], ...}}')
    try:
        entries = limits.parsed_json(text, object_pairs_hook=list)  # a dict would hide repeated names
        pairs = [
            pair
            for key, value in entries
            for pair in ([(name, key) for name in value] if isinstance(value, list) else [(key, value)])
        ]
    except (TypeError, ValueError):
        raise wrong from None
    if not all(isinstance(text, str) for pair in pairs for text in pair):
        raise wrong
    return pairs


def refuse_repeated(names: Sequence[str], where: str) -> None:
    """ValueError where a name occurs twice."""
    repeated = [name for name, count in collections.Counter(names).items() if count > 1]
    if repeated:
        raise ValueError(f"{where} names {some(repeated)} more than once")


def noun(number: int, one: str, several: str = "") -> str:
    """`1 class`, `1,234 images`: a count as a message says it."""
    return f"{number:,} {one if number == 1 else several or one + 's'}"


def some(names: Sequence[str]) -> str:
    """The first five names and how many more there are."""
    return ", ".join(map(repr, names[:5])) + (f" and {len(names) - 5} more" if len(names) > 5 else "")


RESERVED = {"con", "prn", "aux", "nul", *(f"{kind}{i}" for kind in ("com", "lpt") for i in range(1, 10))}
FORBIDDEN = re.compile(r'[<>:"|?*\\]|[. ]$')  # on Windows, in the name of a file or folder


def name_notes(names: Iterable[str]) -> Iterator[str]:
    """A note for each kind of trap among names, with the first two and how many there are.

    Names that differ in case or in Unicode form alone are one file on macOS and Windows; those that Windows reserves
    cannot be copied there; control characters steer terminals and break lists.
    """
    traps: dict[str, list[str]] = {}
    seen: dict[str, str] = {}
    for name in names:
        folder, slash, last = name.rpartition("/")  # what is on the way is looked at by itself
        plain = unicodedata.normalize("NFC", last)
        if (other := seen.setdefault(f"{folder}{slash}{plain.casefold()}", name)) != name:
            same = unicodedata.normalize("NFC", other[len(folder) + len(slash) :]) == plain
            kind = "the form of their Unicode (NFC, NFD)" if same else "case"
            traps.setdefault(f"pairs of names that differ in {kind} alone, one file on macOS and Windows", []).append(
                f"{other!a} and {name!a}"
            )
        if last.split(".")[0].rstrip().lower() in RESERVED or FORBIDDEN.search(last):
            traps.setdefault("names that are reserved or forbidden on Windows", []).append(f"{name!r}")
        if any(unicodedata.category(c) == "Cc" for c in last):
            traps.setdefault("names that hold control characters", []).append(f"{name!a}")
    for kind, trapped in traps.items():
        yield f"{kind}: {len(trapped):,}, such as {', '.join(trapped[:2])}"
