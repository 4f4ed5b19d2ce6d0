"""Stopping with a checkpoint: a signal asks for it, training and sampling answer at their next step."""

import signal
from typing import Any

GRACE = 5  # seconds after which a stage that does not look is stopped where it is
_asked: list[int] = []  # signals received


def listen(*signals: int) -> None:
    """From now on these signals ask this process to stop; a second one stops it at once."""
    for number in (*signals, signal.SIGALRM):  # the alarm: the time given is over, or that to write a checkpoint
        signal.signal(number, _ask)


def after(seconds: float) -> None:
    """Asks this process to stop in that many seconds; `listen` first."""
    signal.setitimer(signal.ITIMER_REAL, seconds)


def asked() -> int:
    """The signal that asked this process to stop, 0 if none has."""
    return _asked[0] if _asked else 0


def check() -> None:
    """KeyboardInterrupt once this process was asked to stop."""
    if _asked:
        signal.alarm(0)
        raise KeyboardInterrupt


def _ask(number: int, frame: Any) -> None:
    _asked.append(number)
    if len(_asked) > 1:
        raise KeyboardInterrupt
    signal.alarm(GRACE)
