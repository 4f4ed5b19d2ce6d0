"""A group per class (an alphabet, a gender): from the class names, the data set itself, or a list file."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from scoremix.data.splits import class_list, refuse_repeated, some


def from_names(names: Sequence[str]) -> list[str]:
    """What stands before the first "/" of every class name; ValueError for a name without one."""
    if bare := [name for name in names if "/" not in name]:
        raise ValueError(f"groups 'name': the class names {some(bare)} have no '/' with a group before it")
    return [name.partition("/")[0] for name in names]


def from_list(file: Path, names: Sequence[str]) -> list[str]:
    """The groups of a list file in the order of `names`; ValueError for classes named twice or not at all.

    JSON: {"class": "group", ...} or {"group": ["class", ...], ...}. CSV: lines of class,group (a first line
    class,group is skipped). Other classes may be named as well.
    """
    pairs = class_list(file, "group")
    refuse_repeated([name for name, _ in pairs], str(file))
    found = dict(pairs)
    if missing := [name for name in names if name not in found]:
        raise ValueError(f"{file} names no group for {some(missing)}")
    return [found[name] for name in names]


def named(how: str, names: Sequence[str]) -> list[str]:
    """The group of every class: `how` is "name" or a list file."""
    return from_names(names) if how == "name" else from_list(Path(how), names)
