"""How often each class is used: exact greedy selection under a cap, and a spread to every class (Section 4.3)."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numba import prange

from scoremix.selection.compiled import compiled
from scoremix.selection.criterion import Criterion
from scoremix.selection.scores import error_of

Found = tuple[np.ndarray, np.ndarray]  # (K, m) int64 sets, best first, and their values

ROWS = 512  # classes whose rows of scores are held at a time


@dataclass(frozen=True)
class Coverage:
    """How often each class is used, and what the constraint on it costs."""

    degrees: np.ndarray  # (N,) int64, m-plets that use the class
    unconstrained: float | None = None  # mean value of as many m-plets without a cap or spread
    cost: float | None = None  # how much better that is, per m-plet; >= 0

    @property
    def used(self) -> int:
        """Classes used at all."""
        return int((self.degrees > 0).sum())


def degrees_of(classes: np.ndarray, n: int) -> np.ndarray:
    """int64 (n,): in how many of the sets (K, m) each class is."""
    return np.bincount(classes.ravel(), minlength=n)


def refuse_degrees(n: int, m: int, k: int, max_degree: int | None = None, min_degree: int | None = None) -> None:
    """ValueError where k m-subsets of n classes cannot use every class at most, or at least, so often."""
    for name, degree in (("max_degree", max_degree), ("min_degree", min_degree)):
        if degree is not None and degree < 1:
            raise ValueError(f"{name} must be at least 1, got {degree}")
    if max_degree is not None and k * m > n * max_degree:
        raise ValueError(
            f"{k} {m}-plets use {k * m} classes, max_degree={max_degree} allows {n * max_degree} uses of {n} classes"
        )
    if min_degree is not None and k * m < n * min_degree:
        raise ValueError(
            f"min_degree={min_degree} of {n} classes needs at least {-(-n * min_degree // m)} {m}-plets, got {k}"
        )


def capped(
    find: Callable[[np.ndarray, int], Found],
    count: Callable[[np.ndarray], int],
    n: int,
    m: int,
    k: int,
    max_degree: int,
) -> Found:
    """The sets that greedy selection in value order takes when no class may be used more than max_degree times.

    find(classes, k) returns the best k sets of some classes, count(classes) how many there are. Classes that are used
    up leave the search, so it goes as deep as it has to: of the remaining classes' sets, those decided before are
    exactly the ones taken. ValueError where the cap is impossible or greedy selection runs out of classes.
    """
    refuse_degrees(n, m, k, max_degree=max_degree)
    degree = np.zeros(n, np.int64)
    taken, values = np.zeros((0, m), np.int64), np.zeros(0)
    while len(taken) < k:
        left = np.flatnonzero(degree < max_degree)
        decided = int(np.isin(taken, left).all(axis=1).sum())
        most = min(decided + max(2 * (k - len(taken)), 1024), count(left) if len(left) >= m else 0)
        if most <= decided:
            raise ValueError(
                f"max_degree={max_degree} leaves no {m}-plet after {len(taken)} of {k}: raise it or ask for fewer"
            )
        rows, worth = find(left, most)
        rows, worth = left[rows[decided:]], worth[decided:]
        chosen = np.zeros(len(rows), np.bool_)
        take(rows, degree, max_degree, k - len(taken), chosen)
        taken, values = np.concatenate([taken, rows[chosen]]), np.concatenate([values, worth[chosen]])
    return taken, values


@compiled()
def take(sets: np.ndarray, degree: np.ndarray, max_degree: int, most: int, chosen: np.ndarray) -> None:
    """Marks the first `most` sets (K, m) whose classes all have a degree below max_degree, and counts them there."""
    count = 0
    for p in range(len(sets)):
        if count == most:
            return
        free = True
        for a in range(sets.shape[1]):
            free = free and degree[sets[p, a]] < max_degree
        if free:
            chosen[p] = True
            count += 1
            for a in range(sets.shape[1]):
                degree[sets[p, a]] += 1


def spread(criterion: Criterion, best: Callable[[int], Found], m: int, k: int, min_degree: int) -> Found:
    """k sets such that every class is in at least min_degree of them, in value order.

    First every class, in the order of what it can reach, gets its own best sets until it is in min_degree of them; the
    best of all sets fill the rest. ValueError where k is too small for that.
    """
    n = criterion.n
    refuse_degrees(n, m, k, min_degree=min_degree)
    sets = best_with_each(criterion, m, min_degree).reshape(-1, m)
    anchor = np.repeat(np.arange(n), min_degree)
    there = sets[:, 0] >= 0
    sets, anchor = sets[there], anchor[there]
    short = np.flatnonzero(np.bincount(anchor, minlength=n) < min_degree)
    if len(short):
        raise ValueError(f"class {short[0]} is in fewer than min_degree={min_degree} allowed {m}-plets")
    values = criterion.values(sets)
    order = np.lexsort((*sets.T[::-1], -criterion.sign * values))
    degree = np.zeros(n, np.int64)
    taken: dict[tuple[int, ...], float] = {}
    for p in order.tolist():
        key = tuple(sets[p].tolist())
        if degree[anchor[p]] < min_degree and key not in taken:
            taken[key] = float(values[p])
            degree[sets[p]] += 1
    if len(taken) > k:
        raise ValueError(
            f"min_degree={min_degree} takes {len(taken)} {m}-plets, got k={k}: raise k or lower min_degree"
        )
    if len(taken) < k:
        for mplet, value in zip(*(part.tolist() for part in best(k)), strict=True):
            if len(taken) == k:
                break
            taken.setdefault(tuple(mplet), value)
    sets, values = np.array(list(taken), np.int64).reshape(-1, m), np.array(list(taken.values()))
    order = np.lexsort((*sets.T[::-1], -criterion.sign * values))
    return sets[order], values[order]


def best_with_each(criterion: Criterion, m: int, r: int) -> np.ndarray:
    """int64 (N, r, m): for every class the r best sets that contain it, ascending; rows of -1 where there are fewer.

    m >= 3 holds the N x N float32 scores, and where more than 4 r + 16 sets of a class are within their rounding of its
    r best, as among many classes that are nearly one, takes some of these.
    """
    n = criterion.n
    chunks = [np.arange(begin, min(begin + ROWS, n)) for begin in range(0, n, ROWS)]
    if m == 2:
        return np.concatenate([_best_pairs(criterion, rows, r) for rows in chunks])
    tie = np.float32(m * m * error_of(criterion))
    room = 4 * r + 16  # candidates per class
    out = np.full((n, room, m), -1, np.int32)
    scores = np.concatenate([criterion.scores(rows, slice(0, n)) for rows in chunks])
    longest = np.ascontiguousarray(scores.max(axis=1))
    for rows in chunks:
        bounds = scores[rows] + np.float32(0.5 * (m - 2)) * longest
        _best_with(scores, longest, rows, bounds, np.argsort(-bounds, axis=1), r, tie, out)
    out.sort(axis=2)
    values = np.full((n, room), -np.inf)
    there = out[:, :, 0] >= 0
    values[there] = criterion.sign * criterion.values(out[there])
    order = np.lexsort((*out.transpose(2, 0, 1)[::-1], -values), axis=1)[:, :r]
    return np.take_along_axis(out, order[:, :, None], axis=1).astype(np.int64)


def _best_pairs(criterion: Criterion, rows: np.ndarray, r: int) -> np.ndarray:
    """int64 (rows, r, 2): the same for pairs, of all that rounding leaves among the r best of a class.

    Seconds for thousands of rows, some twenty times as many where most distances are within float32 of one another.
    """
    scores = criterion.scores(rows, slice(0, criterion.n))
    rth = -np.partition(-scores, min(r, criterion.n) - 1, axis=1)[:, min(r, criterion.n) - 1]
    own, other = np.nonzero((scores >= rth[:, None] - np.float32(2 * error_of(criterion))) & (scores > -np.inf))
    pairs = np.sort(np.stack([rows[own], other], axis=1), axis=1)
    order = np.lexsort((pairs[:, 1], pairs[:, 0], -criterion.sign * criterion.values(pairs), own))
    place = np.arange(len(own)) - np.searchsorted(own, own)  # among those of its class: `own` ascends
    kept = place < r
    out = np.full((len(rows), r, 2), -1, np.int64)
    out[own[kept], place[kept]] = pairs[order[kept]]
    return out


@compiled(parallel=True)
def _best_with(
    scores: np.ndarray,
    longest: np.ndarray,
    rows: np.ndarray,
    bounds: np.ndarray,
    orders: np.ndarray,
    r: int,
    tie: np.float32,
    out: np.ndarray,
) -> None:
    """Depth first over the partners of each class i of `rows`, best bound first; writes rows of -1 where no set is left.

    Among the m - 1 partners each link jk is at most (longest_j + longest_k) / 2, so partner j adds at most
    h_j = score_ij + (m - 2) / 2 longest_j, its bound; a partner already chosen has its links to the others bounded alike.
    """
    n = scores.shape[0]
    room, m = out.shape[1], out.shape[2]
    depth = m - 1
    nothing = np.float32(-np.inf)
    for a in prange(len(rows)):
        i = rows[a]
        best = np.empty(room, np.float32)
        for here in range(room):
            best[here] = nothing
        at = np.zeros(depth, np.int64)  # places in the order of the partners chosen
        sums = np.zeros(depth + 1, np.float32)  # links inside i + the partners chosen
        owed = np.zeros(depth + 1, np.float32)  # Σ longest / 2 of the partners chosen
        level = 0
        while level >= 0:
            place = at[level]
            left = depth - level
            # the best the rest can add: h of the next partners, and half the longest links of those chosen
            most = sums[level] + np.float32(left) * owed[level]
            if place + left <= n:
                for b in range(left):
                    most += bounds[a, orders[a, place + b]]
            if place + left > n or not most >= best[r - 1] - tie or most == nothing:
                level -= 1
                if level >= 0:
                    at[level] += 1
                continue
            j = orders[a, place]
            total = sums[level] + scores[i, j]
            for b in range(level):
                total += scores[j, orders[a, at[b]]]
            if total == nothing:
                at[level] += 1
            elif level + 1 < depth:
                sums[level + 1] = total
                owed[level + 1] = owed[level] + np.float32(0.5) * longest[j]
                at[level + 1] = place + 1
                level += 1
            else:
                if total > best[room - 1]:
                    here = room - 1
                    while here > 0 and best[here - 1] < total:
                        best[here] = best[here - 1]
                        for b in range(m):
                            out[i, here, b] = out[i, here - 1, b]
                        here -= 1
                    best[here] = total
                    for b in range(depth):
                        out[i, here, b] = orders[a, at[b]]
                    out[i, here, depth] = i
                at[level] += 1
