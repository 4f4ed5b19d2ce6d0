"""What both training stages share: checkpoints written whole, a loss curve that survives a restart."""

from __future__ import annotations

import json
import math
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import safetensors
import safetensors.torch
from torch import Tensor

if TYPE_CHECKING:
    from scoremix.execution.artifacts import Work

FILE = "checkpoint.safetensors"


@dataclass(frozen=True)
class Saved:
    tensors: dict[str, Tensor]
    info: dict[str, Any]


def save(work: Work, tensors: dict[str, Tensor], info: dict[str, Any]) -> None:
    """One file in the stage's progress folder replaces the one before; the first process writes it."""
    if work.rank:
        return
    content = {name: t.detach().cpu().contiguous() for name, t in tensors.items()}
    work.keep(FILE, safetensors.torch.save(content, {"info": json.dumps(info)}))


def load(work: Work) -> Saved | None:
    """What the last process saved, if any."""
    path = work.progress / FILE
    if not path.exists():
        return None
    with safetensors.safe_open(path, "pt") as file:
        info = json.loads(file.metadata()["info"])
        return Saved({name: file.get_tensor(name) for name in file.keys()}, info)  # noqa: SIM118


class Clock:
    """Says when the next checkpoint is due."""

    def __init__(self, seconds: float) -> None:
        self.seconds, self.last = seconds, time.monotonic()

    def due(self) -> bool:
        now = time.monotonic()
        if now - self.last < self.seconds:
            return False
        self.last = now
        return True


@dataclass
class History:
    """Mean loss over `every` steps at a time, for `points` points in all."""

    steps: int
    points: int
    rows: list[tuple[int, float]] = field(default_factory=list)
    total: float = 0.0
    count: int = 0

    def add(self, images_seen: int, loss: float) -> None:
        """Adds the loss of the step that ends at `images_seen`."""
        self.total += loss
        self.count += 1
        if self.count == max(1, self.steps // self.points):
            self.rows.append((images_seen, self.total / self.count))
            self.total, self.count = 0.0, 0

    @property
    def last(self) -> float:
        return self.rows[-1][1] if self.rows else math.nan

    def state(self) -> dict[str, Any]:
        return {"rows": self.rows, "total": self.total, "count": self.count}

    def restore(self, state: dict[str, Any]) -> None:
        self.rows = [(int(n), float(v)) for n, v in state["rows"]]
        self.total, self.count = float(state["total"]), int(state["count"])

    def csv(self) -> str:
        return "images_seen,loss\n" + "".join(f"{n},{v!r}\n" for n, v in self.rows)
