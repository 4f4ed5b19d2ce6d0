"""Runs and commands, in this process."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
from markupsafe import Markup

from scoremix import commands
from scoremix.config import Experiment, Runtime, load
from scoremix.execution import progress
from scoremix.execution.store import Store
from scoremix.report import charts


def undrawn() -> AbstractContextManager[object]:
    """Pages made in this context have no figures, which cost a toy run as much as its trainings."""
    return mock.patch.object(charts, "element", return_value=Markup())


def run(
    out: Path, what: Sequence[str] | Experiment, until: str | None = None, figures: bool = False, **runtime: Any
) -> Path:
    """The folder of a run's page in `out`, or of one step: all that is needed is made. By settings or an experiment."""
    exp = what if isinstance(what, Experiment) else load(Experiment(), (), what)
    with contextlib.nullcontext() if figures else undrawn():
        return progress.execute(exp, Runtime(out=out, device="cpu", quiet=True, **runtime), Store(out / "store"), until)


def command(*words: object) -> int:
    """How the command `scoremix` with those words ends."""
    with mock.patch.object(sys, "argv", ["scoremix", *map(str, words)]), pytest.raises(SystemExit) as ended:
        commands.main()
    return int(ended.value.code or 0)
