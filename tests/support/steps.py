"""Stages that a worker is given in tests: they say their name, die, fail or take a while. Few imports: a process each."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path
from typing import Any

from scoremix.config.base import Slice
from scoremix.execution.artifacts import Artifact


class Named(Slice):
    """What a stage of these tests is told."""

    name: str
    mark: str = ""


def note(config: Named, *inputs: Artifact, work: Any) -> None:
    work.write("said.txt", config.name + "".join((i / "said.txt").read_text() for i in inputs))


def dies_once(config: Named, *inputs: Artifact, work: Any) -> None:
    if not Path(config.mark).exists():
        Path(config.mark).touch()
        os.kill(os.getpid(), signal.SIGKILL)
    note(config, *inputs, work=work)


def dies(config: Named, *inputs: Artifact, work: Any) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def fails(config: Named, *inputs: Artifact, work: Any) -> None:
    raise ValueError(f"{config.name}: cannot be made")


def slow(config: Named, *inputs: Artifact, work: Any) -> None:
    time.sleep(1)
    note(config, *inputs, work=work)


def chunk(config: Named, *inputs: Artifact, work: Any) -> None:
    """Two chunks, one for each part, that take a while."""
    for number in range(2):
        if work.part is not None and work.part[0] != number:
            continue
        if work.kept(f"chunk-{number}") is None:
            assert work.part is not None, "a chunk that a part had made was made again"
            time.sleep(0.2)
            work.keep(f"chunk-{number}", config.name)
    if work.part is None:
        work.write("said.txt", "".join(work.surely_kept(f"chunk-{number}").decode() for number in range(2)))
