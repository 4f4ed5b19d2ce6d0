"""When a generator has learnt what its training can teach: the gate over training, and the rule that ends it."""

import math
from collections.abc import Sequence
from typing import Literal

Reason = Literal["levelled", "at chance"]

HOPELESS = 3 / 8  # of the longest training: then the gate must be above chance (two that came well were not at 1 / 4)
FEWEST = 4  # measurements before a curve can be called level
RISE = 0.02  # of the mean of two measurements over that of the two before: less is level


def reason_to_stop(gates: Sequence[float], images: int, chance: float, planned: int) -> Reason | None:
    """Why training ends after these measurements of the gate, evenly spaced over it; None while it goes on.

    Each is a share of the same `images` reproductions recognized as their own class; `planned` measurements make the
    longest training. "at chance": after `HOPELESS` of it none is above `chance` by two standard deviations of guessing.
    "levelled": the last two measurements are above the two before by less than `RISE` on average.
    """
    if len(gates) >= max(2, HOPELESS * planned):
        guessing = math.sqrt(chance * (1 - chance) / images)
        if max(gates) <= chance + 2 * guessing:
            return "at chance"
    if len(gates) >= FEWEST and sum(gates[-2:]) - sum(gates[-4:-2]) < 2 * RISE and gates[-1] > chance:
        return "levelled"
    return None
