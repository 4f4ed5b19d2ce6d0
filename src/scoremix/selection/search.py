"""Branch and bound over m-plets: grow promising pairs class by class, prune with the running K-th value (Appendix H).

Of a set of m classes with Σ score >= τ, some subset of r classes has Σ score >= τ·r(r-1)/(m(m-1)), by averaging; so
growing every pair, triple, ... above its share of τ by all classes that can still reach the next share misses nothing.
"""

from collections.abc import Callable, Iterator
from math import comb, sqrt

import numpy as np

from scoremix.selection.compiled import compiled
from scoremix.selection.criterion import OBJECTIVES, ULP, Criterion
from scoremix.selection.scores import LOWEST, Scores, distinct, index_order

Progress = Callable[[str, float], None]  # told what is done and the share of it, 0 to 1

Found = tuple[np.ndarray, np.ndarray]  # (n, r) int32 sets, ascending, and their float32 sums of scores

SAMPLE = 1 << 18  # random pairs that tell how scores are distributed
MANY = 1 << 20  # parents from which on a first round on a few of them pays
FIRST = 2  # parents per set wanted, when a first threshold is looked for
REACH = 16  # neighbours tried per member then
GUESS = 1024  # sets of a sample that tell where the k-th best score should lie
STEP = 1 << 18  # sets of a search through all of them that are looked at together
CAUTION = 1.2  # how many times as many sets as wanted the guess should leave


class Leaders:
    """The best k sets seen so far, in the defined order: value, then indices.

    A set whose float32 score is below `threshold` is certainly not among the best k.
    """

    def __init__(self, criterion: Criterion, m: int, k: int, spread: float = 0.0) -> None:
        """`spread`: by how much the score of a pair may exceed the true one."""
        self.criterion, self.k = criterion, k
        self.rounding = 4 * comb(m, 2) ** 2 * ULP
        self.excess = comb(m, 2) * spread + self.rounding
        self.threshold = -np.inf
        self.reached = -np.inf  # what k sets are known to reach; a threshold above it is a guess
        self.pair_sums = 0  # candidate sets evaluated, filled in by the searches
        self.sets = np.zeros((0, m), np.int32)
        self.scores = np.zeros(0, np.float32)
        self._pending: list[tuple[np.ndarray, np.ndarray]] = []
        self._count = 0

    def add(self, sets: np.ndarray, scores: np.ndarray) -> None:
        """Takes (n, m) sets, ascending per row, and their float32 scores, none below the true one but for rounding."""
        self._pending.append((sets, scores))
        self._count += len(sets)
        if self._count > 3 * self.k + (1 << 15):
            self.compact()

    def compact(self) -> None:
        """Raises the threshold to the k-th best score known, less its possible excess, and drops what is below it."""
        self._merge()
        if len(self.sets) < self.k:
            return
        top = np.argpartition(-self.scores, self.k - 1)[: self.k]
        self._raise(float(self.scores[top[-1]]) - self.excess)
        if self._count > 1.2 * self.k + (1 << 12):  # many within the excess: the true values tell them apart
            top = np.argpartition(-self.scores, self.k - 1)[: self.k]
            self._raise(self._worst(self.criterion.values(self.sets[top])))
        if self._count > 2 * self.k + (1 << 14):  # many within rounding of the threshold: settle them exactly
            order, values = self._order()
            self.sets, self.scores = self.sets[order[: self.k]], self.scores[order[: self.k]]
            self._raise(self._worst(values[: self.k]))

    def best(self) -> tuple[np.ndarray, np.ndarray]:
        """int64 (K, m) sets and float64 (K,) values, K <= k, in the defined order."""
        self.compact()
        order, values = self._order()
        classes, values = self.sets[order[: self.k]].astype(np.int64), values[: self.k]
        if len(values) == self.k:
            self._raise(self._worst(values))
        return classes, values

    def _merge(self) -> None:
        sets = np.concatenate([self.sets, *(sets for sets, _ in self._pending)])
        scores = np.concatenate([self.scores, *(scores for _, scores in self._pending)])
        self._pending = []
        self._keep(sets, scores)
        if sets.shape[1] > 2:
            self._keep(*distinct(self.sets, self.scores))

    def _worst(self, values: np.ndarray) -> float:
        """The score of the worst of these values."""
        return float((self.criterion.sign * values).min()) / self.criterion.size

    def _raise(self, score: float) -> None:
        """To the score that k sets truly reach, less rounding."""
        self.reached = max(self.reached, score - self.rounding)
        self.threshold = max(self.threshold, self.reached)
        self._keep(self.sets, self.scores)

    def _keep(self, sets: np.ndarray, scores: np.ndarray) -> None:
        keep = scores >= self.threshold
        self.sets, self.scores = sets[keep], scores[keep]
        self._count = len(self.sets)

    def _order(self) -> tuple[np.ndarray, np.ndarray]:
        values = self.criterion.values(self.sets)
        by_index = index_order(self.sets)
        order = by_index[np.argsort(-self.criterion.sign * values[by_index], kind="stable")]
        return order, values[order]


def search_pairs(scores: Scores, k: int, progress: Progress) -> Leaders:
    """The best k pairs: every pair is scored once and kept where the running threshold allows."""
    leaders = Leaders(scores.criterion, 2, k, spread=scores.spread)
    for pairs, values, share in scores.scan(lambda: leaders.threshold):
        leaders.add(pairs, values)
        progress("pairs", share)
    leaders.pair_sums = comb(scores.n, 2)
    return leaders


def search_sums(scores: Scores, m: int, k: int, progress: Progress) -> Leaders:
    """The best k sets of m >= 3 classes by the sum of their pairs' scores.

    A first search assumes a threshold; where fewer than k sets turn out to reach it, a second one starts from a proven one.
    """
    _link(scores, max(128 if scores.keep else 256, 8 * k / scores.n), progress)
    leaders = _search_above(scores, m, k, _guess_threshold(scores, m, k), progress)
    if leaders.reached < leaders.threshold:
        leaders = _search_above(scores, m, k, leaders.reached, progress)
    return leaders


def _search_above(scores: Scores, m: int, k: int, guess: float, progress: Progress) -> Leaders:
    """The best k of the sets of at least this score; a proven one where the guess is -inf or has to be good."""
    leaders = Leaders(scores.criterion, m, k, spread=scores.spread)
    growth = Growth(scores, leaders, m)
    leaders.threshold = guess if scores.keep and guess > -np.inf else max(guess, _first_threshold(scores, m, k))
    growth.try_few()
    if not scores.keep:
        _lengthen_lists(scores, growth, progress)
    growth.grow_edges(*scores.edges, progress)
    if growth.share(2) < scores.cut:
        for pairs, below, share in scores.scan(lambda: growth.share(2), scores.cut):
            growth.grow(pairs, below)
            progress("search below the lists", share)
    leaders.compact()
    leaders.pair_sums = scores.pair_sums
    return leaders


def search_cliques(scores: Scores, m: int, k: int, progress: Progress) -> Leaders:
    """The best k sets of m >= 3 classes by their smallest pair score: cliques of the pairs above a threshold."""
    leaders = Leaders(scores.criterion, m, k, scores.spread)
    length, previous = 64.0, np.inf
    while True:
        _link(scores, length, progress)
        if scores.cut >= previous:
            raise MemoryError(
                f"more than {scores.most_edges:.3g} pairs could be in a best set, no more fit: raise memory"
            )
        edges, values = scores.edges
        done = int(np.searchsorted(-values, -previous, "right"))
        while done < len(edges) and values[done] >= leaders.threshold:
            sets, sums = edges[done : done + 8192], values[done : done + 8192]
            for _ in range(2, m):
                sets, sums = scores.grow_cliques(sets, sums)
            leaders.add(np.sort(sets, axis=1), sums)
            done += 8192
            progress("search", done / len(edges))
        leaders.compact()
        if scores.cut <= max(leaders.threshold, float(LOWEST)):
            leaders.pair_sums = scores.pair_sums
            return leaders
        length, previous = 4 * length, scores.cut


class Growth:
    """Grows parents level by level down to m classes, with the thresholds that the running K-th value allows."""

    def __init__(self, scores: Scores, leaders: Leaders, m: int) -> None:
        self.scores, self.leaders, self.m = scores, leaders, m
        self._steps = [256] * (m + 1)  # parents of r classes grown at a time: few while they yield many sets

    def share(self, r: int) -> float:
        """What the best r of m classes reach at least, in a set that reaches the threshold."""
        share = self.leaders.threshold * (r * (r - 1)) / (self.m * (self.m - 1)) - self.leaders.rounding
        return max(share, float(LOWEST))

    def cap(self) -> float:
        """What m - 1 classes reach at most, in a set that reaches the threshold.

        Under cosine m unit rows have Σ distance = (m² - |Σ row|²)/2: a far set has a short row sum R, and then the sum
        of m - 1 of them, one unit row away, is at least 1 - R long.
        """
        criterion, m = self.scores.criterion, self.m
        space = criterion.spaces[0]
        if len(criterion.spaces) > 1 or space.metric != 0 or criterion.sign * space.weight < 0:
            return float(np.inf)
        unit = criterion.size / abs(space.weight)
        length = sqrt(max(0.0, m * m - 2 * (self.leaders.threshold - self.leaders.rounding) * unit))
        if length >= 1:
            return float(np.inf)
        most = ((m - 1) ** 2 - (1 - length) ** 2) / 2 + comb(m - 1, 2) * 2 * space.margin
        return most / unit + comb(m - 1, 2) * 2 * criterion.slack + self.leaders.rounding

    def grow(self, sets: np.ndarray, sums: np.ndarray) -> None:
        """Adds to the leaders every set of m classes that has a chain of best parents down to one of `sets`."""
        r = sets.shape[1]
        done = 0
        while done < len(sets):
            stop = done + self._steps[r]
            cap = self.cap() if r + 1 == self.m else np.inf
            part = sums[done:stop] >= self.share(r)  # the threshold may have risen since they were found
            grown, totals = self.scores.grow(sets[done:stop][part], sums[done:stop][part], self.share(r + 1), cap)
            if len(grown) > 1 << 18:
                self._steps[r] = max(16, self._steps[r] // 2)
            elif len(grown) < 1 << 16:
                self._steps[r] = min(1 << 15, 2 * self._steps[r])
            if r + 1 == self.m:
                self.leaders.add(grown, totals)
            else:
                self.grow(grown, totals)
            done = stop

    def grow_edges(self, edges: np.ndarray, values: np.ndarray, progress: Progress) -> None:
        """The same for pairs, best first, as far down as the threshold asks."""
        done = 0
        while done < len(edges) and values[done] >= self.share(2):
            stop = done + self._steps[2]
            self.grow(edges[done:stop], values[done:stop])
            done = stop
            progress("search", min(1.0, done / max(1, int(np.searchsorted(-values, -self.share(2))))))

    def try_few(self) -> None:
        """Where very many pairs could lead to a best set, grows a few of them first, to raise the threshold."""
        pairs, values = self.scores.sample(_sampled(self.scores))
        scale = comb(self.scores.n, 2) / max(1, len(values))
        previous = np.inf
        for _ in range(8):
            cap = self.cap() if self.m == 3 else np.inf
            among = np.flatnonzero((values >= self.share(2)) & (values <= cap))
            if len(among) * scale < MANY or len(among) > 0.8 * previous:
                return
            previous = len(among)
            spread = among[np.argsort(-values[among])][:: max(1, len(among) // 512)]
            self.grow(*distinct(pairs[spread], values[spread]))
            self.leaders.compact()


def _link(scores: Scores, length: float, progress: Progress) -> None:
    """Lists the best pairs, about `length` per class."""
    _, values = scores.sample(_sampled(scores))
    count = min(length * scores.n / 2, scores.most_edges / 2)
    _list_from(scores, _cut_for(values, count / comb(scores.n, 2)), progress)


def _sampled(scores: Scores) -> int:
    """How many random pairs tell how scores are distributed."""
    return min(SAMPLE, 8 * scores.n)


def _cut_for(values: np.ndarray, share: float) -> float:
    """The smallest sampled score reached by at most that share of the sample; all pairs where the share is 1."""
    if share >= 1 or len(values) == 0:
        return float(LOWEST)
    ordered = np.sort(values)
    at = int(np.ceil(len(ordered) * (1 - share)))
    if at == 0 or ordered[at - 1] < ordered[min(at, len(ordered) - 1)]:
        return float(ordered[min(at, len(ordered) - 1)])
    return float(np.nextafter(ordered[at - 1], np.float32(np.inf)))


def _list_from(scores: Scores, low: float, progress: Progress) -> None:
    """Lists all pairs of score >= low, or of a higher cut where they are more than fit."""
    lists: list[Found] = []
    cut, count = [low], 0
    for pairs, values, share in scores.scan(lambda: cut[-1]):
        lists.append((pairs, values))
        count += len(values)
        if count > scores.most_edges:
            joined = np.concatenate([values for _, values in lists])
            half = np.partition(joined, len(joined) // 2)[len(joined) // 2]
            cut.append(float(np.nextafter(half, np.float32(np.inf))))
            lists = [(pairs[values >= cut[-1]], values[values >= cut[-1]]) for pairs, values in lists]
            count = sum(len(values) for _, values in lists)
        progress("pairs", share)
    scores.link(np.concatenate([p for p, _ in lists]), np.concatenate([v for _, v in lists]), cut[-1])


def _guess_threshold(scores: Scores, m: int, k: int) -> float:
    """A score that somewhat more than k sets should reach; -inf where k is too small to tell.

    Every set comes from one best pair. So of the sets that come from every s-th listed pair, best first, about the
    k/s-th tells what the k-th of all reaches; no less, for sets of pairs that are not listed come on top.
    """
    stride = k // GUESS
    if stride < 4:
        return -np.inf
    edges, values = (part[stride // 2 :: stride] for part in scores.edges)
    few = Leaders(scores.criterion, m, int(CAUTION * k / stride), spread=scores.spread)
    few.threshold = _first_threshold(scores, m, few.k, (edges, values))
    Growth(scores, few, m).grow_edges(edges, values, lambda what, share: None)
    few.compact()
    return few.reached


def _first_threshold(scores: Scores, m: int, k: int, edges: Found | None = None) -> float:
    """A lower bound of the k-th best score: the best pairs (of some) grown by their best neighbours; -inf if too few."""
    sets, sums = edges or scores.edges
    for _ in range(2, m):
        most = FIRST * k if edges else max(FIRST * k, 8 * scores.n)
        if len(sets) > most:
            best = np.argpartition(-sums, most)[:most]
            sets, sums = sets[best], sums[best]
        sets, sums = scores.grow_best(sets, sums, REACH)
    leaders = Leaders(scores.criterion, m, k, spread=scores.spread)
    leaders.add(sets, sums)
    leaders.compact()
    return leaders.threshold


def _lengthen_lists(scores: Scores, growth: Growth, progress: Progress) -> None:
    """Lists further pairs where most parents would have to read below the end of the lists."""
    _, values = scores.sample(_sampled(scores))
    parents = values[values >= growth.share(2)]
    if growth.m == 3:
        parents = parents[parents <= growth.cap()]
    top = float(np.quantile(parents, 0.98)) if len(parents) else scores.cut
    cut = min(growth.share(2), (growth.share(3) - top) / 2)
    if cut >= scores.cut:
        return
    cut = max(cut, _cut_for(values, 0.8 * scores.most_edges / comb(scores.n, 2)))
    if cut < scores.cut:
        _list_from(scores, cut, progress)
    if not scores.keep and growth.share(2) < scores.cut:
        needed = (values >= growth.share(2)).mean() * comb(scores.n, 2)
        raise MemoryError(
            f"about {needed:.3g} pairs could lead to a best set, {scores.most_edges:.3g} fit: raise memory"
        )


# ---------------------------------------------------------------------------------- without bounds


def search_all(criterion: Criterion, m: int, k: int, progress: Progress) -> Leaders:
    """The best k of all allowed sets of m classes, for any objective; Θ(N^m)."""
    table = np.full((criterion.n, criterion.n), np.nan)
    i, j = np.triu_indices(criterion.n, 1)
    table[i, j] = table[j, i] = criterion.distances(np.stack([i, j], axis=1))[:, 0]
    leaders = Leaders(criterion, m, k)
    total = comb(criterion.n, m)
    for begin in range(0, total, STEP):
        sets = unrank(np.arange(begin, min(begin + STEP, total)), criterion.n, m)
        sets = sets[criterion.allowed(sets)]
        pairs = np.sort(np.stack([table[a, b] for a, b in _columns(sets)], axis=1), axis=1)
        scores = criterion.sign * OBJECTIVES[criterion.objective](pairs) / criterion.size
        keep = scores >= leaders.threshold
        leaders.add(sets[keep].astype(np.int32), scores[keep])
        progress("all sets", min(begin + STEP, total) / total)
    leaders.pair_sums = total
    return leaders


def unrank(ranks: np.ndarray, n: int, m: int) -> np.ndarray:
    """int64 (K, m) m-subsets of range(n), ascending, at these places of the lexicographic order; C(n, m) < 2⁶³."""
    ways = np.array([[comb(a, b) for b in range(m + 1)] for a in range(n + 1)], dtype=np.int64)
    sets = np.empty((len(ranks), m), np.int64)
    _unrank(ranks, n, m, ways, sets)
    return sets


@compiled()
def _unrank(ranks: np.ndarray, n: int, m: int, ways: np.ndarray, sets: np.ndarray) -> None:
    for p in range(len(ranks)):
        rest = ranks[p]
        c = 0
        for a in range(m):
            while rest >= ways[n - c - 1, m - a - 1]:
                rest -= ways[n - c - 1, m - a - 1]
                c += 1
            sets[p, a] = c
            c += 1


def _columns(sets: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    for a in range(sets.shape[1]):
        for b in range(a + 1, sets.shape[1]):
            yield sets[:, a], sets[:, b]
