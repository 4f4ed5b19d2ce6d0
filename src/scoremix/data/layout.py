"""Which folders are classes and which are the parts of a split, told from where images lie (docs/formats.md)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from scoremix.data.lists import noun, some
from scoremix.data.splits import SPLITS, Splits

NAMES_OF = {
    "train": ("train", "training"),
    "validation": ("val", "valid", "validation", "dev"),
    "test": ("test", "testing", "eval", "evaluation"),
}
PART_OF = {name: part for part, names in NAMES_OF.items() for name in names}  # in lower case
Steps = tuple[str, ...]  # folders on the way from the place to images


@dataclass(frozen=True)
class FolderLayout:
    """Folders with images by class."""

    classes: dict[str, list[Steps]]  # in order of name
    at: int  # which of the steps names the class
    splits: Splits | None  # parts that have classes of their own
    people: tuple[str, ...] | None  # of every class, where classes are sessions of people
    notes: tuple[str, ...]


def part_of(name: str) -> str | None:
    """The part of a split that has this name, in any case; None if it is no such name."""
    return PART_OF.get(name.lower())


def layout(images: Mapping[Steps, int], where: str, level: int | None = None) -> FolderLayout:
    """What the folders that hold images mean; ValueError, one line, where that cannot be told.

    `images`: their numbers in every folder that holds some, and 0 for folders that hold nothing. `level`: classes are
    the folders so many steps down, from 1, below those of a split; by default the level is found.
    """
    notes: list[str] = []
    skip = 0
    while level is None and any(len(steps) > skip + 1 for steps, count in images.items() if count):
        filled = {steps[skip] for steps, count in images.items() if count}
        if without := sorted({steps[skip] for steps in images} - filled):
            notes.append(f"passed over, for they hold no images: {some(without)}")
        images = {steps: count for steps, count in images.items() if steps[skip] in filled}
        if len(filled) > 1 or any(len(steps) == skip + 1 for steps in images):
            break
        skip += 1  # a folder that holds all others
    parted = _parted(images, skip, where, level)
    if parted:
        if flat := sorted(s[skip] for s in images if len(s) == skip + 1):
            notes.append(f"passed over, for their images lie in no class folders: {some(flat)}")
        images = {steps: count for steps, count in images.items() if len(steps) > skip + 1}
        skip += 1
    people = level == 2 and {len(steps) - skip for steps in images} == {2} and _sessions(images, skip)
    if people:
        notes.append("classes are sessions of people, who are their groups: nobody is in two parts of the split")
    if level is None:
        level, said = _found(images, skip, where)
        notes += said
    if short := [s for s in images if len(s) < skip + level]:
        raise ValueError(f"{where}/{'/'.join(short[0])} holds images above level {level} (--class-level)")
    paths = {steps[skip : skip + level] for steps in images}
    plain = len({path[-1] for path in paths}) == len(paths)  # else classes are named by all folders on the way
    classes: dict[str, list[Steps]] = {}
    for steps in sorted(images):
        path = steps[skip : skip + level]
        classes.setdefault(path[-1] if plain else "/".join(path), []).append(steps)
    classes = dict(sorted(classes.items()))
    owners = tuple(folders[0][skip] for folders in classes.values()) if people else None
    splits = _splits(classes, owners or tuple(classes), skip - 1, notes) if parted else None
    return FolderLayout(classes, skip + level - 1, splits, owners, tuple(notes))


def _parted(images: Mapping[Steps, int], skip: int, where: str, level: int | None) -> bool:
    """Whether the folders at step `skip` are parts of a split: train and others, or names of parts alone."""
    deep = {steps[skip] for steps in images if len(steps) > skip + 1}
    train = sorted(name for name in deep if part_of(name) == "train")
    others = sorted(name for name in {steps[skip] for steps in images} if part_of(name) is None)
    if train and others and level is None:
        raise ValueError(
            f"{where} holds {train[0]!r} and beside it {some(others)} with images: move these away if {train[0]!r} is a "
            "part of a split, else say which folders are classes (--class-level 1, or 2)"
        )
    return bool(deep) and not others


def _found(images: Mapping[Steps, int], skip: int, where: str) -> tuple[int, list[str]]:
    """The level of the classes, and what is to be said of it."""
    depths = {len(steps) - skip for steps in images}
    if depths == {1}:
        return 1, []
    deepest = max(images, key=len)
    hint = f"--class-level 1 (to {max(depths)}) says which folders are classes, with all images below them"
    if inside := [s for s in images if images.get(s[:-1])]:
        raise ValueError(f"{where}/{'/'.join(inside[0])} is a folder inside a class folder: {hint}")
    if depths != {2}:
        how = f"{min(depths)} to {max(depths)}" if len(depths) > 1 else str(max(depths))
        raise ValueError(f"{where} holds images {how} folders deep, such as {'/'.join(deepest)}: {hint}")
    sessions = _sessions(images, skip)
    level, other = (1, 2) if sessions else (2, 1)
    what = "their inner folders are sessions of one class" if sessions else "the outer folders are parts of the set"
    n = len({steps[skip + level - 1] for steps in images})
    return level, [
        f"classes are the {n} folders of level {level}, {what} (--class-level {other} takes the other level)"
    ]


def _sessions(images: Mapping[Steps, int], skip: int) -> bool:
    """Whether folders two deep are rather people and their sessions than parts of a set and its classes."""
    outer, inner = ({steps[skip + i] for steps in images} for i in (0, 1))
    return len(inner) < len(images) or len(outer) ** 2 > len(images)


def _splits(classes: Mapping[str, list[Steps]], owners: Sequence[str], at: int, notes: list[str]) -> Splits | None:
    """Classes by part where every owner, a person or the class itself, is in one; else None, which is said."""
    parts = [{part_of(steps[at]) for steps in folders} for folders in classes.values()]
    of_owner: dict[str, set[str | None]] = {}
    for owner, of in zip(owners, parts, strict=True):
        of_owner.setdefault(owner, set()).update(of)
    if shared := sum(len(of) > 1 for of in of_owner.values()):
        what = "people" if len(of_owner) < len(classes) else "classes"
        notes.append(
            f"{shared} of {len(of_owner)} {what} are in several of the folders train, val, test: these are read as one "
            "set, whose classes are split by data.fractions"
        )
        return None
    splits = {part: np.array([k for k, of in enumerate(parts) if of == {part}], np.int64) for part in SPLITS}
    splits = {part: members for part, members in splits.items() if len(members)}
    if "train" not in splits or len(splits) == 1:
        return None
    notes.append(
        "the split is that of the folders: "
        + ", ".join(f"{noun(len(of), 'class', 'classes')} {p}" for p, of in splits.items())
    )
    return splits
