"""What training hands over: recognizers with their class centers, generators with their conditions, the gate."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
import torch
from torch import Tensor

from scoremix.execution.artifacts import Artifact
from scoremix.outputs.record import Entry, Record

CHECKPOINT = "recognizer.safetensors"
ADOPTED = "model"  # folder of a model of diffusers, of a generator that is one


class RecognizerSummary(Record):
    """A trained recognizer: the head's classes, how many images and steps it was trained on."""

    FILE = "recognizer.json"
    classes: int
    images: int
    steps: int
    class_names: list[str]
    parameters: int
    loss: float
    started: str | None = None  # SHA-256 of the file that training started from


class GateCurve(Entry):
    """The gate while a generator was trained: unguided, cheap reproductions, so lower than the one that is judged."""

    images_seen: Sequence[int]
    gate: Sequence[float]  # share recognized as their own class
    images: int  # reproductions of a measurement
    chance: float
    longest: int  # images that training may have seen
    reason: str | None = None  # why it ended before: "levelled" or "at chance"

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


class Conditions(Entry):
    """The condition matrix of an average at some time of the training."""

    images_seen: int
    ema: float  # its length
    file: str


class GeneratorSummary(Record):
    """A trained generator: its classes, its snapshots by EMA length and the guide's, its condition matrices."""

    FILE = "generator.json"
    images_seen: int
    snapshots: dict[str, str]  # EMA length of three decimals -> file
    guides: dict[str, str]
    guide_at: int  # images the guide has seen
    conditions: Sequence[Conditions]
    classes: list[str]
    median_class_size: int
    parameters: int
    loss: float | None  # None where it was not trained here
    alignment_loss: float | None = None
    border: dict[str, str | float] | None = (
        None  # how shifts pad: padding, colour in [-1, 1], share of edge pixels with it
    )
    guide_folder: str = "."
    gate: GateCurve | None = None  # of a generator that was trained until its gate rose no more
    labels: list[int] | None = None  # of a model of diffusers: its own label of every class


class GateResult(Record):
    """Shares of reproductions, and of real images, whose own class center is the nearest or among the five nearest."""

    FILE = "gate.json"
    top1: float
    top5: float
    real_top1: float
    real_top5: float
    floor: float
    classes: int
    images: int

    @property
    def passed(self) -> bool:
        return self.top1 >= self.floor


def centers_of(recognizer: Artifact) -> Tensor:
    """A recognizer's class centers (classes, D), unit rows."""
    return torch.from_numpy(np.load(recognizer / "centers.npy"))


def conditions_over_training(generator: Artifact) -> Iterator[tuple[float, int, Tensor]]:
    """(EMA length, images seen, condition matrix) of every kept time, ascending, one at a time."""
    for kept in sorted(GeneratorSummary.load(generator).conditions, key=lambda c: (c.ema, c.images_seen)):
        yield kept.ema, kept.images_seen, without_padding(torch.from_numpy(np.load(generator / kept.file)))


def without_padding(conditions: Tensor) -> Tensor:
    """The columns that are not zero throughout, which fill fixed conditions up to the network's width."""
    return conditions[:, (conditions != 0).any(0)]
