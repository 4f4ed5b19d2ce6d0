"""What both training stages share: checkpoints written whole, a loss curve that survives a restart."""

import json
import math
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import safetensors.torch
import torch
from torch import Tensor

from scoremix.execution.work import Work

FILE = "checkpoint.safetensors"
INFO = "info"  # a tensor of the bytes of a JSON text, beside those of the training
SHARE = 0.05  # of a training's time at most goes into its checkpoints
POINTS = 100  # of a stored loss curve


class ResumableTraining(Protocol):
    """The state of a training, of a recognizer or a generator."""

    def tensors(self) -> dict[str, Tensor]: ...
    def info(self) -> dict[str, Any]: ...
    def restore(self, tensors: dict[str, Tensor], info: dict[str, Any]) -> None: ...


class KeptHistory(Protocol):
    """What is kept beside a training."""

    def state(self) -> dict[str, Any]: ...
    def restore(self, state: dict[str, Any]) -> None: ...


class TrainingCheckpoint:
    """A training and its curves in one file of the progress folder, from which they continue when it is made."""

    def __init__(self, work: Work, training: ResumableTraining, **histories: KeptHistory) -> None:
        self.work, self.training, self.histories = work, training, histories
        if (content := work.kept(FILE)) is not None:
            tensors = safetensors.torch.load(content)
            info = json.loads(bytes(tensors.pop(INFO).tolist()))
            del content
            training.restore(tensors, info["training"])
            for name, history in histories.items():
                history.restore(info[name])

    def save(self) -> None:
        """Replaces the file; the first process writes it. A large one is written less often."""
        if self.work.rank:
            return
        start = time.monotonic()
        tensors = {name: t.detach().cpu().contiguous() for name, t in self.training.tensors().items()}
        info = {"training": self.training.info(), **{name: of.state() for name, of in self.histories.items()}}
        tensors[INFO] = torch.tensor(list(json.dumps(info).encode()), dtype=torch.uint8)
        self.work.keep_two(FILE, safetensors.torch.save(tensors))
        self.work.spacing = (time.monotonic() - start) / SHARE


@dataclass
class History:
    """Mean loss over as many of `steps` at a time as make `POINTS` points in all."""

    steps: int
    rows: list[tuple[int, float]] = field(default_factory=list)
    total: float = 0.0
    count: int = 0

    def add(self, images_seen: int, loss: float) -> None:
        """Adds the loss of the step that ends at `images_seen`."""
        self.total += loss
        self.count += 1
        if self.count == max(1, self.steps // POINTS):
            self.rows.append((images_seen, self.total / self.count))
            self.total, self.count = 0.0, 0

    def add_steps(self, images_seen: int, batch: int, losses: Sequence[float]) -> None:
        """Adds the losses of the last steps, the last of which ended at `images_seen`."""
        for ago, loss in zip(reversed(range(len(losses))), losses, strict=True):
            self.add(images_seen - ago * batch, loss)

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
