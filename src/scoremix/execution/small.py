"""A run in small: a sample of its data under the true numbers, and its whole story by tiny networks on it."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from scoremix.config import Experiment, Runtime, Selection, changed
from scoremix.data import images as imagesets
from scoremix.data.decode import is_grey, resize_area, with_channels
from scoremix.data.images import LabeledImages
from scoremix.data.reading import planned
from scoremix.data.source import Opening
from scoremix.data.sources import open_source
from scoremix.execution import runner
from scoremix.execution.records import source_of
from scoremix.execution.store import Store

OF_CLASS = 4  # images of a class in the sample
FEW = 8  # classes of a part in the sample
SMALL = 16  # side, in pixels, of the story in small
MOST_ROWS = 4096  # images that the counts of classes are spread over


def sampled(exp: Experiment) -> LabeledImages:
    """All classes of the experiment's data with their true numbers of images; the images themselves are a few real ones.

    Classes that are not in the sample share what it holds. ValueError as `ingest` has it.
    """
    data = exp.data
    source = open_source(exp.source, Opening(data.images_per_class, data.seed, hints=data.hints))
    plan = planned(source, exp.source, data.wanted(exp.split_list, exp.groups))
    counts = np.array([len(plan.choose(int(k))) for k in plan.kept])
    splits = {part: np.searchsorted(plan.kept, np.intersect1d(plan.kept, of)) for part, of in plan.splits.items()}
    some = few_of(splits)
    blocks = list(source.blocks(plan.kept[some], lambda k: plan.choose(k)[:OF_CLASS], data.size))
    if bad := [line for block in blocks for line in block.bad]:
        raise ValueError(f"{bad[0][0]}: {bad[0][1]}" + (f", and {len(bad) - 1} more" if len(bad) > 1 else ""))
    grey = all(is_grey(block.images) for block in blocks)
    channels = (1 if grey else 3) if data.channels == "auto" else data.channels
    stored = np.concatenate([with_channels(block.images, channels) for block in blocks if len(block.images)])
    of_class = np.concatenate([block.classes for block in blocks])
    stored = stored[np.argsort(of_class, kind="stable")]
    held = np.floor(data.held_out * counts).astype(int)
    counts = np.minimum(np.maximum(counts - held, 1), MOST_ROWS)
    stored = np.concatenate([stored] * (1 + (int(counts.max()) + len(stored)) // len(stored)))
    starts = np.zeros(len(counts), np.int64)
    starts[some] = np.searchsorted(np.sort(of_class), plan.kept[some])
    names = tuple(source.class_names[k] for k in plan.kept)
    groups = tuple(plan.groups[int(k)] for k in plan.kept) if plan.groups is not None else None
    return LabeledImages(stored, names, starts, counts, splits, groups)


def few_of(splits: Mapping[str, NDArray[np.int64]]) -> NDArray[np.int64]:
    """At most FEW classes of every part, evenly spaced, ascending."""
    spaced = (of[np.linspace(0, len(of) - 1, min(len(of), FEW)).astype(int)] for of in splits.values())
    return np.unique(np.concatenate(list(spaced)))


def run_in_small(exp: Experiment, images: LabeledImages, folder: Path, runtime: Runtime) -> None:
    """The whole story with its arms, by tiny networks on the sample at 16 px, to the page."""
    few = images.of_classes(few_of(images.splits))
    counts = np.minimum(few.counts, OF_CLASS)
    rows = [few.of_class(k)[:n] for k, n in enumerate(counts)]
    imagesets.write(
        folder / "images",
        shape=(int(counts.sum()), SMALL, SMALL, images.channels),
        blocks=(resize_area(block, SMALL) for block in rows),
        counts=counts,
        class_names=few.class_names,
        splits=few.splits,
        groups=few.groups,
    )
    small = in_small(exp, str(folder / "images"))
    quiet = Runtime(out=folder / "runs", device=runtime.device, quiet=True, workers=1)
    runner.run(small, source_of(small), runner.Runner(Store(quiet.out / "store"), quiet))


def in_small(exp: Experiment, source: str) -> Experiment:
    """The same arms, selection, sampling and judgement with tiny networks and short trainings, on other images."""
    network = {"network": "small", "widths": (8, 16), "units": (1, 1), "depth": 1, "embedding": 16, "start": None}
    length = {"batch": 16, "microbatch": None, "epochs": 1.0, "schedule": "polynomial", "milestones": ()}
    drop = {*network, *length}
    tiny = {"model_channels": 8, "channel_mult": (1, 2), "num_blocks": 1, "attention": False, "attn_resolutions": None}
    tiny |= {
        "batch": 16,
        "images_seen": 64,
        "snapshots": 2,
        "microbatch": "auto",
        "checkpointing": False,
        "until": "images",
    }
    few = {"count": 4, "file": None, "groups": None, "across": True, "max_degree": None, "min_degree": None}

    def without(changes: Mapping[str, Any], names: set[str]) -> dict[str, Any]:
        return {name: value for name, value in changes.items() if name not in names}

    def selected(of: Selection) -> dict[str, Any]:
        return few | ({"strategy": "random"} if of.strategy == "list" else {})

    arms = {
        name: arm.model_copy(
            update={
                "recognizer": without(arm.recognizer, drop),
                "selector": without(arm.selector, drop),
                "generator": without(arm.generator, {*tiny}),
                "selection": arm.selection | (selected(exp.changed_by(arm).selection) if arm.selection else {}),
                "sampling": without(arm.sampling, {"steps", "images_per_mplet", "chunk", "leak_gate"}),
            }
        )
        for name, arm in exp.arms.items()
    }
    parts: dict[str, dict[str, Any]] = {
        "data": {"size": SMALL, "classes": None, "images_per_class": None},
        "recognizer": network | length,
        "generator": tiny,
        "gate": {"classes": 3, "images_per_class": 2},
        "selection": selected(exp.selection),
        "sampling": {"steps": 2, "images_per_mplet": 2, "chunk": 8, "leak_gate": None},
        "search": {"points": 2, "pairs": 2, "images_per_pair": 2},
        "evaluation": {"images": 100, "bootstrap": 100, "draws": 2, "morphs": min(exp.evaluation.morphs, 1)},
    }
    update = {name: changed(getattr(exp, name), changes) for name, changes in parts.items()}
    update |= {
        "name": "small",
        "source": source,
        "split_list": None,
        "groups": None,
        "arms": arms,
        "seeds": exp.seeds[:1],
    }
    update["guide"] = None if exp.guide is None else changed(exp.guide, tiny)
    return Experiment.model_validate(exp.model_copy(update=update).model_dump())
