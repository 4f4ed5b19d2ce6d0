"""Functions that return an experiment; a preset is a starting point for `--set`, not another code path."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from scoremix.config import Data, Evaluation, Experiment, Generator, Recognizer, Sampling, Selection
from scoremix.config.arms import named
from scoremix.config.edm2_sizes import EDM2_SIZES, edm2_generator
from scoremix.config.recipes import RECIPES

FIRST = "coherent_first"  # the arm that did best in docs/results.md: a user's own images are judged by it
JUDGED = {
    "arms": named(["real", "equal_steps", "scoremix", FIRST]),
    "evaluation": Evaluation(treatment=FIRST, controls=("real", "equal_steps")),
}


def folder() -> Experiment:
    """Any folder of class folders: 32 px, small networks; judged are coherent mixes in the first half of the training."""
    return small().model_copy(update=JUDGED)


def small() -> Experiment:
    """Networks and augmentations for folders of class folders at 32 px."""
    return Experiment(
        data=Data(size=32), recognizer=Recognizer(augment="face"), generator=Generator(channel_mult=(1, 2, 2))
    )


def triples_far() -> Experiment:
    """The paper's 3-Plet Sum Max (Table 2) on any folder of class folders."""
    return small().model_copy(update={"selection": Selection(strategy="far", m=3)})


def triples_close() -> Experiment:
    """The paper's 3-Plet Sum Min (Table 2) on any folder of class folders."""
    return small().model_copy(update={"selection": Selection(strategy="close", m=3)})


def repro_aligned() -> Experiment:
    """The paper's Repro Aligned (Table 2) on any folder: reproductions alone, by a plain and by an aligned generator."""
    plain, aligned = "reproduction_alone", "reproduction_aligned_alone"
    judged = Evaluation(treatment=aligned, controls=("real", plain))
    return small().model_copy(update={"arms": named(["real", plain, aligned]), "evaluation": judged})


def demo() -> Experiment:
    """Characters rendered from fonts: the whole method in minutes on two CPU cores."""
    return Experiment(
        name="demo",
        source="glyphs",
        data=Data(size=16, channels=1, classes=150, images_per_class=20),
        generator=Generator(images_seen=100_000),
        sampling=Sampling(steps=8, images_per_mplet=8),
    )


def omniglot() -> Experiment:
    """Omniglot's handwritten characters (an .npz of them): under an hour on two CPU cores."""
    return Experiment(
        name="omniglot",
        source="omniglot.npz",
        data=Data(size=16, channels=1, classes=400),
        generator=Generator(images_seen=300_000),
        sampling=Sampling(steps=12),
    )


def edm2(size: str) -> Experiment:
    """Folders of classes at 64 px with a generator of a published size, judged as `folder`."""
    made = Experiment(data=Data(size=64), recognizer=Recognizer(augment="face"), generator=edm2_generator(size))
    return made.model_copy(update=JUDGED)


PRESETS: dict[str, Callable[[], Experiment]] = {
    "folder": folder,
    "3-plet-sum-max": triples_far,
    "3-plet-sum-min": triples_close,
    "repro-aligned": repro_aligned,
    "demo": demo,
    "omniglot": omniglot,
}
PRESETS |= {f"edm2-{size}": partial(edm2, size) for size in EDM2_SIZES}
PRESETS |= {name: recipe.make for name, recipe in RECIPES.items()}
