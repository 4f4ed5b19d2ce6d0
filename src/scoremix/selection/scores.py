"""All pair scores on the CPU, as a matrix where it fits, else computed on demand; sets grown by numba (Appendix H)."""

from collections.abc import Callable, Iterator
from functools import partial

import numpy as np

from scoremix.selection import kernels
from scoremix.selection.compiled import start_threads
from scoremix.selection.criterion import Criterion

LOWEST = np.float32(-1e30)  # below every allowed score, above the -inf of pairs that are not allowed
TILE = 2048
BYTES_PER_EDGE = 48  # a listed pair: indices, score, two list entries and the temporaries of sorting


class Scores:
    """What the search knows of the scores of all pairs, each at least the true one; `memory` (bytes) decides how long lists are, and whether a matrix is kept."""

    def __init__(self, criterion: Criterion, memory: float, matrix: bool = True) -> None:
        self.criterion = criterion
        n = self.n = criterion.n
        self.keep = matrix and 4.0 * n * n <= 0.6 * memory
        matrix_bytes = 4.0 * n * n if self.keep else 0.0
        self.most_edges = int(max(memory - matrix_bytes, 0.25 * memory) / BYTES_PER_EDGE)
        self.filled = False
        self._longest = max(16, n // 50) if self.keep else 1 << 60  # reading rows in order is that much faster
        self._blocks = 8 * start_threads()
        self._work = np.zeros(self._blocks, np.int64)
        self._room = [1024] * 8
        self.spread = error_of(criterion)
        self.pairs = _pairs(criterion, np.empty((n, n) if self.keep else (0, 0), np.float32), self.spread)
        self.edges = np.zeros((0, 2), np.int32), np.zeros(0, np.float32)
        self.cut = np.inf
        self.lists = kernels.Lists(
            np.zeros(n + 1, np.int64), np.zeros(0, np.int32), np.zeros(0, np.float32), np.float32(np.inf)
        )

    def scan(self, low: Callable[[], float], high: float = np.inf) -> Iterator[tuple[np.ndarray, np.ndarray, float]]:
        """Yields (pairs i < j, scores, share done) of the pairs with low() <= score < high, block by block."""
        if self.filled:
            for begin in range(0, self.n, 256):
                end = min(begin + 256, self.n)
                room = _room(end - begin, self.n)
                kernels.collect(self.pairs.dense, begin, end, _single(low()), np.float32(high), *room)
                yield *_used(self.n, *room), end / self.n
            return
        tile = min(TILE, max(512, self.n // 4))  # several, for those below the diagonal are left out
        blocks = [(i, j) for i in range(0, self.n, tile) for j in range(i, self.n, tile)]
        for number, (i, j) in enumerate(blocks):
            rows, cols = slice(i, min(i + tile, self.n)), slice(j, min(j + tile, self.n))
            scores = self.criterion.scores(rows, cols)
            room = _room(*scores.shape)
            kernels.settle(scores, i, j, self.pairs.dense, _single(low()), np.float32(high), *room)
            yield *_used(scores.shape[1], *room), (number + 1) / len(blocks)
        self.filled = self.keep

    def sample(self, size: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
        """(pairs i < j, scores) of about `size` random allowed pairs, with repeats."""
        sets = np.random.default_rng(seed).integers(0, self.n, (size, 2), dtype=np.int32)
        first, second = np.minimum(*sets.T), np.maximum(*sets.T)
        sets = np.stack([first, second], axis=1)[first < second]
        values = np.empty(len(sets), np.float32)
        pairs = self.pairs if self.filled else self.pairs._replace(dense=np.empty((0, 0), np.float32))
        kernels.score_pairs(pairs, sets, values)
        allowed = values > LOWEST
        return sets[allowed], values[allowed]

    @property
    def pair_sums(self) -> int:
        """Candidate sets evaluated so far, each from the scores of a newcomer with the members of a parent."""
        return int(self._work.sum())

    def link(self, edges: np.ndarray, scores: np.ndarray, cut: float) -> None:
        """Sorts all pairs of score >= cut, best first, into `edges` and neighbour lists."""
        order = np.argsort(-scores)
        self.edges = edges[order], scores[order]
        start, to, score = kernels.neighbours(*self.edges, self.n)
        self.lists = kernels.Lists(start, to, score, np.float32(cut))
        self.cut = float(np.float32(cut))

    def grow(
        self, sets: np.ndarray, sums: np.ndarray, target: float, cap: float = np.inf
    ) -> tuple[np.ndarray, np.ndarray]:
        """(sets, sums) of one class more and sum >= target, from parents that are their best ones and at most cap."""
        least, most = _single(target), np.float32(cap)
        order = index_order(sets)  # neighbours in memory, so that rows of scores are read while they are in the cache
        sets, sums = sets[order], sums[order]
        postponed = np.zeros(len(sets), np.bool_)
        m = sets.shape[1] + 1
        parents = sets, sums, least, most, self._longest, self.lists, self.pairs
        by_lists = partial(kernels.grow_by_lists, *parents)
        parts = [self._into_room(m, lambda out, sums, counts: by_lists(out, sums, counts, postponed, self._work))]
        late = np.flatnonzero(postponed)
        for part, rows, place in self._rows_for(sets[late]):
            chosen = late[part]
            by_rows = partial(
                kernels.grow_by_rows, sets[chosen], sums[chosen], least, most, rows, place, self.pairs.tie
            )
            parts.append(self._into_room(m, lambda *room, by_rows=by_rows: by_rows(*room, self._work)))
        return _joined(parts)

    def grow_cliques(self, sets: np.ndarray, sums: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Sets of one class more whose new links all reach the parent's value; see `kernels.grow_cliques`."""
        return self._into_room(
            sets.shape[1] + 1,
            lambda out, totals, counts: kernels.grow_cliques(
                sets, sums, self.lists, self.pairs, out, totals, counts, self._work
            ),
        )

    def grow_best(self, sets: np.ndarray, sums: np.ndarray, reach: int) -> tuple[np.ndarray, np.ndarray]:
        """Distinct sets: each parent with its best newcomer among the first `reach` neighbours of its members."""
        grown = np.empty((len(sets), sets.shape[1] + 1), np.int32)
        grown_sums = np.empty(len(sets), np.float32)
        kernels.grow_best(
            np.ascontiguousarray(sets), sums, reach, self.lists, self.pairs, grown, grown_sums, self._work
        )
        allowed = grown_sums > LOWEST
        return distinct(grown[allowed], grown_sums[allowed])

    def _into_room(self, m: int, grow: Callable[..., None]) -> tuple[np.ndarray, np.ndarray]:
        """Calls a kernel with room for its answer, again with more where it did not suffice."""
        work = self._work.copy()
        while True:
            room = self._room[m]
            out = np.empty((self._blocks, room, m), np.int32)
            sums = np.empty((self._blocks, room), np.float32)
            counts = np.zeros(self._blocks, np.int64)
            grow(out, sums, counts)
            if counts.max() <= room:
                return _joined([(out[b, :c], sums[b, :c]) for b, c in enumerate(counts)])
            self._room[m] = int(1.25 * counts.max())
            self._work[:] = work

    def _rows_for(self, sets: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
        """Parts of sets with whole rows of scores: (positions, rows, place of a class in rows)."""
        if self.filled:
            if len(sets):
                yield np.arange(len(sets)), self.pairs.dense, np.arange(self.n)
            return
        step = max(1, int(self.most_edges * BYTES_PER_EDGE / (32 * self.n * max(1, sets.shape[1]))))
        for begin in range(0, len(sets), step):
            part = np.arange(begin, min(begin + step, len(sets)))
            classes = np.unique(sets[part])
            rows = np.concatenate(
                [
                    self.criterion.scores(chosen, slice(0, self.n))
                    for chosen in np.array_split(classes, len(classes) // 512 + 1)
                ]
            )
            place = np.zeros(self.n, np.int64)
            place[classes] = np.arange(len(classes))
            yield part, rows, place


def distinct(sets: np.ndarray, sums: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Each set once, with its largest sum, in the order of their indices."""
    if not len(sets):
        return sets, sums
    order = index_order(sets)
    sets = sets[order]
    first = np.ones(len(sets), np.bool_)
    first[1:] = (sets[1:] != sets[:-1]).any(axis=1)
    return sets[first], np.maximum.reduceat(sums[order], np.flatnonzero(first))


def index_order(sets: np.ndarray) -> np.ndarray:
    """Positions of sets (K, m) in the order of their indices: of one number per set where 64 bits hold it."""
    width = int(sets.max(initial=0)) + 1
    if width ** sets.shape[1] >= 1 << 63:
        return np.lexsort(sets.T[::-1])
    key = sets[:, 0].astype(np.int64)
    for column in sets.T[1:]:
        key = key * width + column
    return np.argsort(key)


def _joined(parts: list[tuple[np.ndarray, np.ndarray]]) -> tuple[np.ndarray, np.ndarray]:
    return np.concatenate([sets for sets, _ in parts]), np.concatenate([sums for _, sums in parts])


def _single(low: float) -> np.float32:
    return np.float32(max(low, float(LOWEST)))


def _room(height: int, width: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(pairs, scores, counts) that strips of rows of a block can write to without asking each other."""
    strips = -(-height // kernels.STRIP)
    most = strips * kernels.STRIP * width
    return np.empty((most, 2), np.int32), np.empty(most, np.float32), np.zeros(strips, np.int64)


def _used(width: int, pairs: np.ndarray, scores: np.ndarray, counts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    room = kernels.STRIP * width
    return _joined([(pairs[s * room :][:c], scores[s * room :][:c]) for s, c in enumerate(counts)])


def error_of(criterion: Criterion) -> float:
    """By how much two computations of one score may differ, or one exceed the truth."""
    differences = (np.sqrt(2 * s.margin) if s.metric == 1 else 2 * s.margin for s in criterion.spaces)
    weighted = (abs(criterion.factor(s)) * e for s, e in zip(criterion.spaces, differences, strict=True))
    return float(sum(weighted)) + 4 * len(criterion.spaces) * criterion.slack


def _pairs(criterion: Criterion, dense: np.ndarray, spread: float) -> kernels.PairScores:
    spaces = criterion.spaces
    factors = np.array([criterion.factor(space) for space in spaces], np.float32)
    margins = np.array([space.margin for space in spaces], np.float32)
    return kernels.PairScores(
        dense=dense,
        rows=spaces[0].unit if len(spaces) == 1 else np.concatenate([space.unit for space in spaces], axis=1),
        squares=np.stack([space.squares for space in spaces], axis=1),
        offsets=np.cumsum([0, *(space.unit.shape[1] for space in spaces)]),
        metrics=np.array([space.metric for space in spaces]),
        factors=factors,
        margins=np.where(factors > 0, margins, -margins).astype(np.float32),
        slack=np.float32(criterion.slack),
        tie=np.float32(0 if dense.size else spread),
        groups=np.zeros(0, np.int64) if criterion.groups is None else criterion.groups,
        across=criterion.across,
    )
