"""What torchrun says of this process: how many there are, which one this is, and so whether it speaks."""

import os
import sys

from scoremix.data.csv_text import printable


def processes() -> int:
    """How many processes torchrun started, 1 without it."""
    return int(os.environ["WORLD_SIZE"]) if "TORCHELASTIC_RUN_ID" in os.environ else 1


def process() -> int:
    """Number of this process; the first, 0, is the one that speaks, writes and works alone."""
    return int(os.environ["RANK"]) if processes() > 1 else 0


def say(text: str) -> None:
    """A line for the person who waits, from the first of several processes."""
    if process() == 0:
        print(printable(text), file=sys.stderr, flush=True)
