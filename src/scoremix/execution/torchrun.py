"""What torchrun says of this process: how many there are, and which one this is."""

from __future__ import annotations

import os


def processes() -> int:
    """How many processes torchrun started, 1 without it."""
    return int(os.environ["WORLD_SIZE"]) if "TORCHELASTIC_RUN_ID" in os.environ else 1


def process() -> int:
    """Number of this process; the first, 0, is the one that speaks, writes and works alone."""
    return int(os.environ["RANK"]) if processes() > 1 else 0
