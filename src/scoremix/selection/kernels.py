"""Compiled loops of the m-plet search: grow sets by one class through neighbour lists or by whole rows (Appendix H).

A parent is a set of r classes with the sum of its pairs' scores (larger is better). Growing it by class l adds
degree(l) = Σ_w score(w, l) over its members w. A grown set is wanted from its best parent only: the one whose newcomer
has the smallest degree in it. EPS lets rounding ties through, so a set may come twice but is never lost.
"""

from typing import NamedTuple

import numpy as np
from numba import prange

from scoremix.selection.compiled import compiled

EPS = np.float32(2.0**-20)
CHUNK = 64  # newcomers looked at together: a few vectors, so that most are passed over
SPAN = 256  # scores of a block looked at together
STRIP = 32  # rows of a block that one thread collects


class PairScores(NamedTuple):
    """Scores of all pairs: a matrix, or what is needed to compute one score."""

    dense: np.ndarray  # (N, N) float32, or (0, 0): then from the rest
    rows: np.ndarray  # (N, ΣD) float32 unit rows of all spaces, side by side
    squares: np.ndarray  # (N, spaces) float32
    offsets: np.ndarray  # (spaces + 1,) columns of `rows`
    metrics: np.ndarray  # (spaces,)
    factors: np.ndarray  # (spaces,) float32
    margins: np.ndarray  # (spaces,) float32, signed like the factors
    slack: np.float32
    tie: np.float32  # two computations of one score differ by at most this; 0 where all come from the matrix
    groups: np.ndarray  # (N,) int64 or (0,)
    across: bool


class Lists(NamedTuple):
    """For every class its neighbours of score >= cut, best first: to[start[i]:start[i + 1]]."""

    start: np.ndarray  # (N + 1,) int64
    to: np.ndarray  # int32
    score: np.ndarray  # float32
    cut: np.float32


@compiled(fastmath={"reassoc", "contract"})
def _dot(a: np.ndarray, b: np.ndarray) -> np.float32:
    total = np.float32(0)
    for d in range(a.size):
        total += a[d] * b[d]
    return total


@compiled()
def _computed(pairs: PairScores, i: int, j: int) -> np.float32:
    """Score of one pair from the rows, at least the true one."""
    if i == j or (pairs.groups.size > 0 and (pairs.groups[i] == pairs.groups[j]) == pairs.across):
        return np.float32(-np.inf)
    total = np.float32(0)
    for t in range(pairs.metrics.size):
        begin, end = pairs.offsets[t], pairs.offsets[t + 1]
        dot = _dot(pairs.rows[i, begin:end], pairs.rows[j, begin:end])
        if pairs.metrics[t] == 0:
            d = min(max(np.float32(1) - dot + pairs.margins[t], np.float32(0)), np.float32(2))
        else:
            d = pairs.squares[i, t] + pairs.squares[j, t] - np.float32(2) * dot + pairs.margins[t]
            d = max(d, np.float32(0))
            if pairs.metrics[t] == 1:
                d = np.sqrt(d)
        total += pairs.factors[t] * d + pairs.slack
    return total


@compiled()
def _score(pairs: PairScores, i: int, j: int) -> np.float32:
    return pairs.dense[i, j] if pairs.dense.shape[0] > 0 else _computed(pairs, i, j)


@compiled(parallel=True)
def score_pairs(pairs: PairScores, sets: np.ndarray, out: np.ndarray) -> None:
    """Scores of given pairs (K, 2)."""
    for p in prange(len(sets)):
        out[p] = _score(pairs, sets[p, 0], sets[p, 1])


@compiled()
def _first_at_most(scores: np.ndarray, start: int, stop: int, limit: np.float32) -> int:
    """First position of a descending list whose score is at most limit."""
    while start < stop:
        middle = (start + stop) // 2
        if scores[middle] > limit:
            start = middle + 1
        else:
            stop = middle
    return start


@compiled()
def _place(members: np.ndarray, newcomer: int, out: np.ndarray) -> None:
    """Writes members + newcomer in ascending order."""
    r = members.size
    while r > 0 and members[r - 1] > newcomer:
        out[r] = members[r - 1]
        r -= 1
    out[r] = newcomer
    for a in range(r):
        out[a] = members[a]


@compiled(parallel=True)
def grow_by_lists(
    sets: np.ndarray,
    sums: np.ndarray,
    target: np.float32,
    cap: np.float32,
    longest: int,
    lists: Lists,
    pairs: PairScores,
    out: np.ndarray,
    out_sums: np.ndarray,
    counts: np.ndarray,
    postponed: np.ndarray,
    work: np.ndarray,
) -> None:
    """Writes every grown set of value >= target whose best parent is among `sets` and at most `cap`.

    A newcomer's best link has at least 1/r of what is missing, so each member's list is read down to that. Parents that
    would have to read below the end of the lists, or more than `longest` entries, are marked in `postponed`. Past the
    capacity sets are only counted.
    """
    blocks = out.shape[0]
    r = sets.shape[1]
    for block in prange(blocks):
        degree = np.empty(r, np.float32)
        begin = np.empty(r, np.int64)
        end = np.empty(r, np.int64)
        count = 0
        done = 0
        for p in range(block * len(sets) // blocks, (block + 1) * len(sets) // blocks):
            if sums[p] > cap:
                continue
            need = target - sums[p]
            low = need / np.float32(r) - EPS
            if low < lists.cut:
                postponed[p] = True
                continue
            below = np.nextafter(low, np.float32(-np.inf))
            length = 0
            for a in range(r):
                begin[a] = lists.start[sets[p, a]]
                end[a] = lists.start[sets[p, a] + 1]
                if r == 2:  # the parent is the best pair of the triples wanted from it
                    begin[a] = _first_at_most(lists.score, begin[a], end[a], min(sums[p], cap) + EPS + pairs.tie)
                end[a] = _first_at_most(lists.score, begin[a], end[a], below)
                length += end[a] - begin[a]
            if length > longest:
                postponed[p] = True
                continue
            done += length
            for a in range(r):
                degree[a] = EPS + 2 * r * pairs.tie
                for b in range(r):
                    if a != b:
                        degree[a] += _score(pairs, sets[p, a], sets[p, b])
            for a in range(r):
                for here in range(begin[a], end[a]):
                    best = lists.score[here]
                    newcomer = lists.to[here]
                    total = best
                    for b in range(r):
                        if b != a:
                            total += _score(pairs, sets[p, b], newcomer)
                    if not total >= need:
                        continue
                    wanted = True
                    for b in range(r):
                        link = _score(pairs, sets[p, b], newcomer)
                        if link > best + pairs.tie or total > degree[b] + link:
                            wanted = False
                        if link == best and b < a and pairs.tie == 0:  # found from member b already
                            wanted = False
                    if wanted:
                        if count < out.shape[1]:
                            _place(sets[p], newcomer, out[block, count])
                            out_sums[block, count] = sums[p] + total
                        count += 1
        counts[block] = count
        work[block] += done


@compiled(parallel=True)
def grow_by_rows(
    sets: np.ndarray,
    sums: np.ndarray,
    target: np.float32,
    cap: np.float32,
    rows: np.ndarray,
    place: np.ndarray,
    tie: np.float32,
    out: np.ndarray,
    out_sums: np.ndarray,
    counts: np.ndarray,
    work: np.ndarray,
) -> None:
    """As `grow_by_lists`, by adding whole rows: rows[place[w]] holds the scores of class w with all classes."""
    blocks = out.shape[0]
    r = sets.shape[1]
    n = rows.shape[1]
    for block in prange(blocks):
        total = np.empty(CHUNK, np.float32)
        degree = np.empty(r, np.float32)
        count = 0
        done = 0
        for p in range(block * len(sets) // blocks, (block + 1) * len(sets) // blocks):
            if sums[p] > cap:
                continue
            need = target - sums[p]
            for a in range(r):
                degree[a] = EPS + 2 * r * tie
                for b in range(r):
                    if a != b:
                        degree[a] += rows[place[sets[p, a]], sets[p, b]]
            for first in range(0, n, CHUNK):
                size = min(CHUNK, n - first)
                one = rows[place[sets[p, 0]], first : first + size]
                two = rows[place[sets[p, 1]], first : first + size]
                hits = np.int32(0)
                if r == 2:  # nothing is stored on the way: most chunks hold no hit
                    for c in range(size):
                        hits += np.int32(one[c] + two[c] >= need)
                    if hits == 0:
                        continue
                for c in range(size):
                    total[c] = one[c] + two[c]
                for a in range(2, r):
                    other = rows[place[sets[p, a]], first : first + size]
                    for c in range(size):
                        total[c] += other[c]
                if r > 2:
                    for c in range(size):
                        hits += np.int32(total[c] >= need)
                    if hits == 0:
                        continue
                for c in range(size):
                    if total[c] >= need:
                        wanted = True
                        for b in range(r):
                            if total[c] > degree[b] + rows[place[sets[p, b]], first + c]:
                                wanted = False
                        if wanted:
                            if count < out.shape[1]:
                                _place(sets[p], first + c, out[block, count])
                                out_sums[block, count] = sums[p] + total[c]
                            count += 1
            done += n
        counts[block] = count
        work[block] += done


@compiled(parallel=True)
def grow_cliques(
    sets: np.ndarray,
    sums: np.ndarray,
    lists: Lists,
    pairs: PairScores,
    out: np.ndarray,
    out_sums: np.ndarray,
    counts: np.ndarray,
    work: np.ndarray,
) -> None:
    """Writes every parent grown by one class whose links all reach the parent's value, its smallest pair's score.

    The first two columns of a set are that pair; the newcomers after them ascend, so that no set comes twice.
    """
    blocks = out.shape[0]
    r = sets.shape[1]
    for block in prange(blocks):
        count = 0
        done = 0
        for p in range(block, len(sets), blocks):
            here = lists.start[sets[p, 0]]
            end = lists.start[sets[p, 0] + 1]
            while here < end and lists.score[here] >= sums[p]:
                newcomer = lists.to[here]
                here += 1
                done += 1
                if newcomer == sets[p, 1] or (r > 2 and newcomer <= sets[p, r - 1]):
                    continue
                wanted = True
                for b in range(1, r):
                    if not _score(pairs, sets[p, b], newcomer) >= sums[p] - pairs.tie:
                        wanted = False
                        break
                if wanted:
                    if count < out.shape[1]:
                        for b in range(r):
                            out[block, count, b] = sets[p, b]
                        out[block, count, r] = newcomer
                        out_sums[block, count] = sums[p]
                    count += 1
        counts[block] = count
        work[block] += done


@compiled(parallel=True)
def grow_best(
    sets: np.ndarray,
    sums: np.ndarray,
    reach: int,
    lists: Lists,
    pairs: PairScores,
    grown: np.ndarray,
    grown_sums: np.ndarray,
    work: np.ndarray,
) -> None:
    """For every parent its best newcomer among its members' first `reach` neighbours; sum -inf where there is none."""
    r = sets.shape[1]
    blocks = work.size
    for block in prange(blocks):
        done = 0
        for p in range(block, len(sets), blocks):
            best = np.float32(-np.inf)
            chosen = sets[p, 0]
            for a in range(r):
                begin = lists.start[sets[p, a]]
                for here in range(begin, min(begin + reach, lists.start[sets[p, a] + 1])):
                    newcomer = lists.to[here]
                    total = lists.score[here]
                    for b in range(r):
                        if sets[p, b] == newcomer:
                            total = np.float32(-np.inf)
                        elif b != a:
                            total += _score(pairs, sets[p, b], newcomer)
                    done += 1
                    if total > best:
                        best = total
                        chosen = newcomer
            grown_sums[p] = sums[p] + best
            _place(sets[p], chosen, grown[p])
        work[block] += done


@compiled()
def _collect_row(
    row: np.ndarray,
    i: int,
    left: int,
    col_shift: int,
    low: np.float32,
    high: np.float32,
    here: int,
    pairs: np.ndarray,
    values: np.ndarray,
) -> int:
    """Appends (i, col_shift + j) for every j >= left with low <= score < high; returns where the next one goes."""
    for begin in range(left, row.size, SPAN):
        part = row[begin : begin + SPAN]
        hits = np.int32(0)
        for j in range(part.size):
            hits += np.int32((part[j] >= low) & (part[j] < high))
        if hits == 0:
            continue
        for j in range(part.size):
            if part[j] >= low and part[j] < high:
                pairs[here, 0] = i
                pairs[here, 1] = col_shift + begin + j
                values[here] = part[j]
                here += 1
    return here


@compiled(parallel=True)
def collect(
    dense: np.ndarray,
    begin: int,
    end: int,
    low: np.float32,
    high: np.float32,
    pairs: np.ndarray,
    values: np.ndarray,
    counts: np.ndarray,
) -> None:
    """The pairs i < j with begin <= i < end and low <= score < high; each strip of rows writes to its own room."""
    for strip in prange(counts.size):
        first = strip * STRIP * dense.shape[1]
        here = first
        for i in range(begin + strip * STRIP, min(begin + (strip + 1) * STRIP, end)):
            here = _collect_row(dense[i], i, i + 1, 0, low, high, here, pairs, values)
        counts[strip] = here - first


@compiled(parallel=True)
def settle(
    scores: np.ndarray,
    row_shift: int,
    col_shift: int,
    dense: np.ndarray,
    low: np.float32,
    high: np.float32,
    pairs: np.ndarray,
    values: np.ndarray,
    counts: np.ndarray,
) -> None:
    """Collects the pairs of a block, and writes its upper triangle and that one's transpose into a symmetric matrix."""
    height, width = scores.shape
    for strip in prange(counts.size):
        top = strip * STRIP
        bottom = min(top + STRIP, height)
        first = top * width
        here = first
        for i in range(top, bottom):
            left = max(0, row_shift + i + 1 - col_shift)
            here = _collect_row(scores[i], row_shift + i, left, col_shift, low, high, here, pairs, values)
        counts[strip] = here - first
        if dense.shape[0] == 0:
            continue
        diagonal = row_shift == col_shift
        for i in range(top, bottom):
            left = i if diagonal else 0
            for j in range(left, width):
                dense[row_shift + i, col_shift + j] = scores[i, j]
        for left in range(top if diagonal else 0, width, STRIP):
            for j in range(left, min(left + STRIP, width)):
                for i in range(top, min(bottom, j) if diagonal else bottom):
                    dense[col_shift + j, row_shift + i] = scores[i, j]


@compiled()
def neighbours(pairs: np.ndarray, values: np.ndarray, n: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(start, to, score) of `Lists`, in the order of the pairs given."""
    start = np.zeros(n + 1, np.int64)
    for e in range(len(pairs)):
        start[pairs[e, 0] + 1] += 1
        start[pairs[e, 1] + 1] += 1
    for i in range(n):
        start[i + 1] += start[i]
    here = start[:-1].copy()
    to = np.empty(2 * len(pairs), np.int32)
    score = np.empty(2 * len(pairs), np.float32)
    for e in range(len(pairs)):
        for a in range(2):
            i = pairs[e, a]
            to[here[i]] = pairs[e, 1 - a]
            score[here[i]] = values[e]
            here[i] += 1
    return start, to, score
