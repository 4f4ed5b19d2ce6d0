"""Functions that return an experiment; a preset is a starting point for `--set`, not another code path."""

from __future__ import annotations

from collections.abc import Callable

from scoremix.config import Data, Experiment, Generator, Recognizer, Sampling, Selection


def folder() -> Experiment:
    """Any folder of class folders: 32 px, small networks."""
    return Experiment(
        data=Data(size=32), recognizer=Recognizer(augment="face"), generator=Generator(channel_mult=(1, 2, 2))
    )


def triples_far() -> Experiment:
    """The paper's 3-Plet Sum Max (Table 2) on any folder of class folders."""
    return folder().model_copy(update={"selection": Selection(strategy="far", m=3)})


def triples_close() -> Experiment:
    """The paper's 3-Plet Sum Min (Table 2) on any folder of class folders."""
    return folder().model_copy(update={"selection": Selection(strategy="close", m=3)})


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


PRESETS: dict[str, Callable[[], Experiment]] = {
    "folder": folder,
    "3-plet-sum-max": triples_far,
    "3-plet-sum-min": triples_close,
    "demo": demo,
    "omniglot": omniglot,
}
