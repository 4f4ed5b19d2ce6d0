"""Runs and commands, in this process."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from unittest import mock

import pytest

from scoremix import commands
from scoremix.config import Experiment, Runtime, load
from scoremix.execution import progress
from scoremix.execution.store import Store


def run(out: Path, what: Sequence[str] | Experiment, until: str | None = None, **runtime: Any) -> Path:
    """The folder of a run's page in `out`, or of one step: all that is needed is made. By settings or an experiment."""
    exp = what if isinstance(what, Experiment) else load(Experiment(), (), what)
    return progress.execute(exp, Runtime(out=out, device="cpu", quiet=True, **runtime), Store(out / "store"), until)


def command(*words: object) -> int:
    """How the command `scoremix` with those words ends."""
    with mock.patch.object(sys, "argv", ["scoremix", *map(str, words)]), pytest.raises(SystemExit) as ended:
        commands.main()
    return int(ended.value.code or 0)
