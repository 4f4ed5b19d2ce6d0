"""Which of several recipes to take: the one rule, on what was measured of them on classes that choose and never judge."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from jaxtyping import Float
from numpy import ndarray as Array

from scoremix.evaluation.estimate import LEVEL, Estimate


@dataclass(frozen=True)
class Choice:
    """What the rule took, and what it looked at."""

    chosen: str
    best: str  # of the largest mean, `chosen` unless the lead is within noise
    safe: str  # the better of the safe candidates
    means: dict[str, Estimate]
    leads: dict[str, Estimate]  # of every other candidate over `safe`, paired by seed and draw

    @property
    def lead(self) -> Estimate | None:
        """Of the best candidate over the safe one; None where the safe one is the best."""
        return self.leads.get(self.best)

    def as_json(self) -> dict[str, Any]:
        """What `from_json` reads."""
        estimates = {n: {arm: e.as_json() for arm, e in getattr(self, n).items()} for n in ("means", "leads")}
        return {"chosen": self.chosen, "best": self.best, "safe": self.safe, **estimates}

    @classmethod
    def from_json(cls, stored: Mapping[str, Any]) -> Choice:
        """What `as_json` wrote; other entries are passed over."""
        means, leads = ({arm: Estimate.from_json(e) for arm, e in stored[n].items()} for n in ("means", "leads"))
        return cls(stored["chosen"], stored["best"], stored["safe"], means, leads)


FEW = 5  # classes below which draws of classes say nothing of other classes


def choose(
    values: Mapping[str, Float[Array, "s r"]], safe: Sequence[str], classes: int, level: float = LEVEL
) -> Choice:
    """The candidate of the largest mean, unless its lead over the better safe one is within noise: then the safe one.

    `values`: candidate -> (seeds, 1 + draws) of a metric of which more is better, the plain value of each seed first, the
    same draw in the same column of all. `safe`: the candidates nothing is lost with, real images alone. A lead is beyond
    noise where its whole interval is above zero and so is every seed, as for "helps", and never on fewer than `FEW`
    classes. Of equal means the first one is taken. ValueError without a safe candidate that was measured.
    """
    known = [name for name in safe if name in values]
    if not known:
        raise ValueError(f"choice: none of {', '.join(safe) or 'no safe candidate'} is among {', '.join(values)}")
    means = {name: Estimate.of(of, level) for name, of in values.items()}
    better = max(known, key=lambda name: means[name].value)
    best = max(values, key=lambda name: (means[name].value, name == better))
    leads = {name: Estimate.of(of - values[better], level) for name, of in values.items() if name != better}
    ahead = best != better and classes >= FEW and leads[best].beyond_doubt
    chosen = best if ahead else better
    return Choice(chosen, best, better, means, leads)
