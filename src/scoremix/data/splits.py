"""Three class-disjoint parts: one to train on, one for every choice, one for the report.

All functions depend on class names and a seed only, never on the order of files or classes.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Int64

from scoremix.data.image_order import stream_seed
from scoremix.data.lists import class_list, positions, refuse_repeated, some

SPLITS = ("train", "validation", "test")
LEAST = 2  # classes of a part: one class alone has no pair of different classes
Splits = dict[str, Int64[np.ndarray, " _"]]


def by_fractions(names: Sequence[str], fractions: Sequence[float], seed: int) -> Splits:
    """Every class in one part, in (rounded) shares `fractions` with at least two classes each.

    Classes are ranked by a hash of (seed, name), so another class changes little. ValueError for fewer than
    six classes, repeated names, or fractions that are not three positive numbers with sum 1.
    """
    if len(fractions) != 3 or not all(f > 0 for f in fractions) or abs(sum(fractions) - 1) > 1e-6:
        raise ValueError(f"fractions are {list(fractions)}, must be three positive numbers with sum 1")
    refuse_repeated(names, "the data")
    sizes = _shares(len(names), fractions, [len(names)] * 3)
    ranked = _ranked(names, range(len(names)), "split", seed)
    cuts = np.cumsum(sizes)[:-1]
    return {part: np.sort(chosen) for part, chosen in zip(SPLITS, np.split(ranked, cuts), strict=True)}


def completed(splits: Splits, names: Sequence[str], fractions: Sequence[float], seed: int) -> Splits:
    """All three parts: those that `splits` lacks are drawn from train, in the shares `fractions` of all and train's."""
    parts = [part for part in SPLITS if part == "train" or part not in splits]
    if len(parts) == 1:
        return splits
    wanted = [fractions[SPLITS.index(part)] for part in parts]
    train = splits["train"]
    sizes = _shares(len(train), [share / sum(wanted) for share in wanted], [len(train)] * len(parts), parts)
    drawn = np.split(_ranked(names, train, "split", seed), np.cumsum(sizes)[:-1])
    return splits | {part: np.sort(chosen) for part, chosen in zip(parts, drawn, strict=True)}


def from_list(file: Path, names: Sequence[str]) -> Splits:
    """The parts named in a list file (`lists.class_list`); classes that it does not name are in no part.

    "val" means validation. ValueError names unknown classes, classes named twice, unknown parts, and parts with fewer
    than two classes.
    """
    entries = class_list(file, "split")
    listed = [name for name, _ in entries]
    refuse_repeated(listed, str(file))
    places = positions(listed, names, str(file), "classes of the data")
    parts = np.array(["validation" if part == "val" else part for _, part in entries])
    if strange := sorted(set(parts.tolist()) - set(SPLITS)):
        raise ValueError(f"{file} has the split {some(strange)}, allowed are {', '.join(SPLITS)}")
    return checked({part: places[parts == part] for part in SPLITS}, names, str(file))


def checked(splits: Splits, names: Sequence[str], where: str) -> Splits:
    """`splits` as ascending int64 arrays; ValueError if a part is missing or too small, or parts overlap."""
    if set(splits) != set(SPLITS):
        raise ValueError(f"{where} has the splits {sorted(splits)}, must be {', '.join(SPLITS)}")
    splits = {part: np.sort(np.asarray(splits[part], np.int64)) for part in SPLITS}
    everything = np.concatenate(list(splits.values()))
    outside = everything[(everything < 0) | (everything >= len(names))]
    if outside.size:
        raise ValueError(f"{where} splits class {outside[0]}, the data has classes 0 to {len(names) - 1}")
    refuse_repeated([names[i] for i in everything], where)
    for part, members in splits.items():
        if len(members) < LEAST:
            raise ValueError(f"{where} puts {len(members)} classes in {part}, at least {LEAST} are needed")
    return splits


def subset(splits: Splits, names: Sequence[str], classes: int, seed: int) -> Int64[np.ndarray, " kept"]:
    """Ascending indices of `classes` of the classes in `splits`, in the proportions of the parts.

    All of them if there are not more; ValueError if `classes` is below two for each part. Within a part
    classes are ranked by a hash of (seed, name), so a smaller subset is contained in a larger one but for
    rounding.
    """
    available = [len(splits[part]) for part in SPLITS]
    total = sum(available)
    if classes >= total:
        return np.sort(np.concatenate([splits[part] for part in SPLITS]))
    sizes = _shares(classes, [n / total for n in available], available)
    ranked = [_ranked(names, splits[part], "subset", seed) for part in SPLITS]
    return np.sort(np.concatenate([r[:n] for r, n in zip(ranked, sizes, strict=True)]))


def folded(splits: Splits, names: Sequence[str], of: int, seed: int) -> list[Int64[np.ndarray, " _"]]:
    """The classes of train and validation in `of` parts of nearly equal size, each with its share of both; ascending."""
    ranked = [_ranked(names, splits[part], "fold", seed) for part in ("train", "validation")]
    return [np.sort(np.concatenate(ranked)[k::of]) for k in range(of)]


def _ranked(
    names: Sequence[str], chosen: Sequence[int] | Int64[np.ndarray, " c"], purpose: str, seed: int
) -> Int64[np.ndarray, " c"]:
    return np.array(sorted(chosen, key=lambda i: (stream_seed(purpose, seed, names[i]), names[i])), np.int64)


def _shares(total: int, fractions: Sequence[float], most: Sequence[int], parts: Sequence[str] = SPLITS) -> list[int]:
    """`total` in whole numbers near its fractions, each between LEAST and `most` (largest remainder)."""
    if total < LEAST * len(parts):
        raise ValueError(
            f"{total} classes cannot be split into {', '.join(parts)}, at least {LEAST * len(parts)} are needed"
        )
    quotas = [total * f for f in fractions]
    sizes = [min(max(int(q + 1e-9), LEAST), m) for q, m in zip(quotas, most, strict=True)]
    while (missing := total - sum(sizes)) != 0:
        step = 1 if missing > 0 else -1
        free = [i for i in range(len(sizes)) if (sizes[i] < most[i] if step > 0 else sizes[i] > LEAST)]
        sizes[max(free, key=lambda i: step * (quotas[i] - sizes[i]))] += step
    return sizes
