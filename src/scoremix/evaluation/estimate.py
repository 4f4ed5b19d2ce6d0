"""A number with its interval over recognizer seeds and bootstrap draws; when an arm helps, and which one to take.

Values are (seeds, 1 + draws): the plain value of each seed first, then its value in every bootstrap draw.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float
from numpy import ndarray as Array

LEVEL = 0.95


class Interval(NamedTuple):
    """Percentile interval over draws."""

    low: float
    high: float


@dataclass(frozen=True)
class Estimate:
    """A mean over seeds, its interval if any, and each seed's value; missing: NaN and a reason."""

    value: float
    low: float | None = None
    high: float | None = None
    seeds: tuple[float, ...] = ()
    reason: str = ""

    def __post_init__(self) -> None:
        if (self.low is None) != (self.high is None):
            raise ValueError(f"interval: needs both ends or neither, got {self.low} and {self.high}")
        if self.low is not None and self.high is not None and self.low > self.high:
            raise ValueError(f"interval: {self.low} is above {self.high}")

    @classmethod
    def of(cls, values: Float[Array, "s r"], level: float | None = LEVEL) -> Estimate:
        """Mean over seeds of the plain values, with the percentile interval over the draws.

        No interval without a `level`, or where every draw is NaN.
        """
        plain = values[:, 0]
        ends = None if level is None else possible_interval(values[:, 1:], level)
        low, high = ends or (None, None)
        return cls(float(plain.mean()), low, high, tuple(plain.tolist()))

    @classmethod
    def from_json(cls, stored: Mapping[str, Any]) -> Estimate:
        """What `as_json` wrote; null is NaN."""
        value, *seeds = (math.nan if v is None else v for v in (stored["value"], *stored["seeds"]))
        return cls(value, stored["low"], stored["high"], tuple(seeds))

    def as_json(self) -> dict[str, Any]:
        """value, low, high, seeds."""
        return {"value": self.value, "low": self.low, "high": self.high, "seeds": list(self.seeds)}

    @property
    def missing(self) -> bool:
        """Whether there is no number."""
        return not math.isfinite(self.value)

    @property
    def interval(self) -> Interval | None:
        """Both ends where they are finite, else None."""
        if self.low is None or self.high is None or not math.isfinite(self.low + self.high):
            return None
        return Interval(self.low, self.high)

    @property
    def beyond_doubt(self) -> bool:
        """Of a difference: the whole interval lies above zero, and so does every seed."""
        return self.low is not None and self.low > 0 and all(value > 0 for value in self.seeds)


def helps(differences: Iterable[Estimate]) -> bool:
    """The rule of "helps": an arm's differences to its controls, of which there are some, are all beyond doubt."""
    verdicts = [difference.beyond_doubt for difference in differences]
    return bool(verdicts) and all(verdicts)


def interval(values: Float[Array, "*s r"], level: float = LEVEL) -> Interval:
    """Percentile interval of the mean over seeds (`values` may also be (draws,)); NaN draws are left out.

    ValueError for a level outside (0, 1), or where every draw is NaN.
    """
    ends = possible_interval(values, level)
    if ends is None:
        raise ValueError("values: every draw is NaN")
    return ends


def possible_interval(values: Float[Array, "*s r"], level: float = LEVEL) -> Interval | None:
    """`interval`, or None where every draw is NaN."""
    if not 0 < level < 1:
        raise ValueError(f"level: {level} is not within 0 to 1")
    means = np.atleast_2d(values).mean(0)
    if np.isnan(means).all():
        return None
    with np.errstate(invalid="ignore"):  # an end between infinite draws
        low, high = np.nanquantile(means, [(1 - level) / 2, (1 + level) / 2])
    return Interval(float(low), float(high))


def wilson(share: float, trials: int, level: float = LEVEL) -> Interval:
    """Wilson's score interval (1927) of a share of `trials`: of use where few trials make draws all alike."""
    if trials < 1 or not 0 <= share <= 1 or not 0 < level < 1:
        raise ValueError(f"wilson: share {share} of {trials} trials at level {level}")
    z = NormalDist().inv_cdf((1 + level) / 2)
    middle = (share + z**2 / (2 * trials)) / (1 + z**2 / trials)
    half = z * math.sqrt(share * (1 - share) / trials + z**2 / (4 * trials**2)) / (1 + z**2 / trials)
    return Interval(max(0.0, middle - half), min(1.0, middle + half))


def p_value(values: Float[Array, "s r"]) -> tuple[float, float]:
    """(p, finest): the two-sided p-value of the mean over seeds being 0 from its draws, NaN draws left out, and the
    smallest one that so many draws can show.
    """
    means = values.mean(0)
    means = means[np.isfinite(means)]
    beyond, finest = min(int((means <= 0).sum()), int((means >= 0).sum())), 2 / (1 + len(means))
    return min(1.0, (1 + beyond) * finest), finest


def holm(p: Sequence[float]) -> list[float]:
    """Holm's step-down adjustment of p-values: controls the chance of any false finding among them."""
    adjusted, highest = [0.0] * len(p), 0.0
    for rank, i in enumerate(sorted(range(len(p)), key=lambda i: p[i])):
        highest = max(highest, min(1.0, (len(p) - rank) * p[i]))
        adjusted[i] = highest
    return adjusted


@dataclass(frozen=True)
class ChosenCandidate:
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
    def from_json(cls, stored: Mapping[str, Any]) -> ChosenCandidate:
        """What `as_json` wrote; other entries are passed over."""
        means, leads = ({arm: Estimate.from_json(e) for arm, e in stored[n].items()} for n in ("means", "leads"))
        return cls(stored["chosen"], stored["best"], stored["safe"], means, leads)


FEW = 5  # classes below which draws of classes say nothing of other classes


def choose(
    values: Mapping[str, Float[Array, "s r"]], safe: Sequence[str], classes: int, level: float = LEVEL
) -> ChosenCandidate:
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
    return ChosenCandidate(chosen, best, better, means, leads)
