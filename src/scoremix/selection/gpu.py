"""All pair scores with torch, for the GPU: sets grown by whole rows, or by neighbour lists where no matrix fits."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor

from scoremix.selection.distances import PairFunction, Space
from scoremix.selection.scores import BYTES_PER_EDGE, LOWEST, distinct

TILE = 4096
EPS = 2.0**-20  # as in the compiled loops: rounding ties of best parents pass
WIDTH = 1 << 26  # numbers in a temporary


class TorchScores:
    """The same as `CpuScores`, on a torch device; see `search.Scores`."""

    def __init__(self, function: PairFunction, memory: float, device: Any, matrix: bool = True) -> None:
        self.function, self.device = function, torch.device(device)
        n = self.n = function.n
        self.keep = matrix and 4.0 * n * n <= 0.6 * memory
        self.most_edges = int(max(memory - 4.0 * n * n * self.keep, 0.25 * memory) / BYTES_PER_EDGE)
        self.filled = False
        self.pair_sums = 0
        self._unit = [torch.from_numpy(space.unit).to(self.device) for space in function.spaces]
        self._squares = [torch.from_numpy(space.squares).to(self.device) for space in function.spaces]
        self._groups = None if function.groups is None else torch.from_numpy(function.groups).to(self.device)
        loss = _product_loss(self.device)
        self._margins = [space.margin + (2 if space.metric else 1) * loss for space in function.spaces]
        spread = [
            (2 * e) ** 0.5 if s.metric == 1 else 2 * e for s, e in zip(function.spaces, self._margins, strict=True)
        ]
        ties = sum(abs(function.factor(s)) * e for s, e in zip(function.spaces, spread, strict=True))
        self.spread = ties + 4 * len(spread) * function.slack
        self.tie = 0.0 if self.keep else self.spread
        self._dense = torch.empty((n, n) if self.keep else (0, 0), device=self.device)
        self.link(np.zeros((0, 2), np.int32), np.zeros(0, np.float32), np.inf)

    def scan(self, low: Any, high: float = np.inf) -> Iterator[tuple[np.ndarray, np.ndarray, float]]:
        """Yields (pairs i < j, scores, share done) of the pairs with low() <= score < high, block by block."""
        height = max(1, min(TILE, WIDTH // self.n)) if self.filled else TILE
        for i in range(0, self.n, height):
            rows = torch.arange(i, min(i + height, self.n), device=self.device)
            for j in range(i, self.n, self.n if self.filled else TILE):
                cols = torch.arange(j, self.n if self.filled else min(j + TILE, self.n), device=self.device)
                if self.filled:
                    scores = self._dense[i : i + height, j:]
                else:
                    scores = self._block(rows, cols)
                    if self.keep:
                        if i == j:
                            scores = scores.triu() + scores.triu(1).T  # one value for (i, j) and (j, i)
                        self._dense[i : i + len(rows), j : j + len(cols)] = scores
                        self._dense[j : j + len(cols), i : i + len(rows)] = scores.T
                wanted = (scores >= max(low(), float(LOWEST))) & (scores < high) & (rows[:, None] < cols)
                at = wanted.nonzero()
                pairs = torch.stack([rows[at[:, 0]], cols[at[:, 1]]], dim=1)
                yield *_host(pairs, scores[wanted]), min(1.0, (i + height) / self.n)
        self.filled = self.keep

    def sample(self, size: int) -> tuple[np.ndarray, np.ndarray]:
        """(pairs i < j, scores) of about `size` random allowed pairs, with repeats."""
        sets = np.random.default_rng(0).integers(0, self.n, (size, 2), dtype=np.int32)
        sets = np.sort(sets[sets[:, 0] != sets[:, 1]], axis=1)
        on_device = torch.from_numpy(sets).to(self.device).long()
        values = self._lookup(on_device[:, 0], on_device[:, 1]).cpu().numpy()
        allowed = values > LOWEST
        return sets[allowed], values[allowed]

    def link(self, edges: np.ndarray, scores: np.ndarray, cut: float) -> None:
        """Sorts all pairs of score >= cut, best first, into `edges` and neighbour lists."""
        order = np.argsort(-scores)
        self.edges = edges[order], scores[order]
        self.cut = float(np.float32(cut))
        both = torch.from_numpy(np.concatenate([self.edges[0], self.edges[0][:, ::-1]])).to(self.device).long()
        values = torch.from_numpy(np.concatenate([self.edges[1]] * 2)).to(self.device)
        falling = torch.argsort(values, descending=True)
        falling = falling[torch.argsort(both[falling, 0], stable=True)]
        self._to, self._score = both[falling, 1], values[falling]
        self._start = torch.searchsorted(both[falling, 0].contiguous(), torch.arange(self.n + 1, device=self.device))

    def grow(
        self, sets: np.ndarray, sums: np.ndarray, target: float, cap: float = np.inf
    ) -> tuple[np.ndarray, np.ndarray]:
        """(sets, sums) of one class more and sum >= target, from parents that are their best ones and at most cap."""
        below = sums <= cap
        parents = torch.from_numpy(sets[below]).to(self.device).long()
        totals = torch.from_numpy(sums[below]).to(self.device)
        need = max(float(np.float32(target)), float(LOWEST)) - totals
        r = parents.shape[1]
        low = need / r - EPS
        listed = torch.zeros_like(low, dtype=torch.bool) if self.filled else low >= self.cut
        found = [
            *self._by_lists(parents[listed], totals[listed], need[listed], low[listed]),
            *self._by_rows(parents[~listed], totals[~listed], need[~listed]),
        ]
        if not found:
            return np.zeros((0, r + 1), np.int32), np.zeros(0, np.float32)
        return _host(torch.cat([a for a, _ in found]), torch.cat([b for _, b in found]))

    def grow_best(self, sets: np.ndarray, sums: np.ndarray, reach: int) -> tuple[np.ndarray, np.ndarray]:
        """Distinct sets: each parent with its best newcomer among the first `reach` neighbours of its members."""
        found = [(np.zeros((0, sets.shape[1] + 1), np.int32), np.zeros(0, np.float32))]
        step = max(1, WIDTH // (reach * sets.shape[1]))
        for begin in range(0, len(sets), step):
            part = slice(begin, begin + step)
            parents = torch.from_numpy(sets[part]).to(self.device).long()
            at = self._start[parents][:, :, None] + torch.arange(reach, device=self.device)
            inside = at < self._start[parents + 1][:, :, None]
            newcomer = self._to[at.clamp(max=max(0, len(self._to) - 1))] if len(self._to) else torch.zeros_like(at)
            newcomer, inside = newcomer.flatten(1), inside.flatten(1)
            total = torch.where(inside, self._degree(parents, newcomer), -torch.inf)
            best, place = total.max(dim=1)
            grown = torch.cat([parents, newcomer.gather(1, place[:, None])], dim=1)
            self.pair_sums += total.numel()
            found.append(_host(grown, torch.from_numpy(sums[part]).to(self.device) + best))
        grown_sets = np.sort(np.concatenate([a for a, _ in found]), axis=1)
        grown_sums = np.concatenate([b for _, b in found])
        allowed = grown_sums > LOWEST
        return distinct(grown_sets[allowed], grown_sums[allowed])

    def grow_cliques(self, sets: np.ndarray, sums: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Sets of one class more whose new links all reach the parent's value; its first pair is the smallest one."""
        r = sets.shape[1]
        found = [(np.zeros((0, r + 1), np.int32), np.zeros(0, np.float32))]
        step = max(1, WIDTH // (r * self.n))
        for begin in range(0, len(sets), step):
            parents = torch.from_numpy(sets[begin : begin + step]).to(self.device).long()
            value = torch.from_numpy(sums[begin : begin + step]).to(self.device)
            rows, place = self._rows(parents)
            weakest = rows[place[:, 0]]
            for a in range(1, r):
                weakest = torch.minimum(weakest, rows[place[:, a]])
            wanted = weakest >= (value - self.tie)[:, None]
            if r > 2:
                wanted &= torch.arange(self.n, device=self.device) > parents[:, r - 1 :]
            parent, newcomer = wanted.nonzero(as_tuple=True)
            self.pair_sums += wanted.numel()
            found.append(_host(torch.cat([parents[parent], newcomer[:, None]], dim=1), value[parent]))
        return np.concatenate([a for a, _ in found]), np.concatenate([b for _, b in found])

    def _by_rows(self, parents: Tensor, totals: Tensor, need: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
        step = max(1, WIDTH // (parents.shape[1] * self.n))
        for begin in range(0, len(parents), step):
            part = slice(begin, begin + step)
            rows, place = self._rows(parents[part])
            total = rows[place[:, 0]]
            for a in range(1, parents.shape[1]):
                total = total + rows[place[:, a]]
            parent, newcomer = (total >= need[part, None]).nonzero(as_tuple=True)
            self.pair_sums += total.numel()
            links = rows[place[parent], newcomer[:, None]]
            yield self._from_best_parent(parents[part][parent], totals[part][parent], newcomer, links)

    def _by_lists(self, parents: Tensor, totals: Tensor, need: Tensor, low: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
        r = parents.shape[1]
        step = max(1, WIDTH // (4096 * r))
        for begin in range(0, len(parents), step):
            part = slice(begin, begin + step)
            parent, newcomer = self._listed(parents[part], low[part])
            links = torch.stack([self._lookup(parents[part][parent, a], newcomer) for a in range(r)], dim=1)
            enough = links.sum(dim=1) >= need[part][parent]
            self.pair_sums += len(parent)
            parent, newcomer, links = parent[enough], newcomer[enough], links[enough]
            yield self._from_best_parent(parents[part][parent], totals[part][parent], newcomer, links)

    def _listed(self, parents: Tensor, low: Tensor) -> tuple[Tensor, Tensor]:
        """(parent, newcomer) of every list entry of score >= low of every member of every parent."""
        start, end = self._start[parents].flatten(), self._start[parents + 1].flatten()
        lengths = end - start
        owner = torch.repeat_interleave(torch.arange(len(lengths), device=self.device), lengths)
        at = torch.arange(len(owner), device=self.device) - (lengths.cumsum(0) - lengths)[owner] + start[owner]
        parent = owner // parents.shape[1]
        enough = self._score[at] >= low[parent]
        return parent[enough], self._to[at[enough]]

    def _from_best_parent(
        self, parents: Tensor, totals: Tensor, newcomer: Tensor, links: Tensor
    ) -> tuple[Tensor, Tensor]:
        """The grown sets whose newcomer has the smallest degree in them."""
        r = parents.shape[1]
        added = links.sum(dim=1)
        wanted = (added > float(LOWEST)) & (parents != newcomer[:, None]).all(dim=1)
        for a in range(r):
            degree = links[:, a] + EPS + 2 * r * self.tie
            for b in range(r):
                if a != b:
                    degree = degree + self._lookup(parents[:, a], parents[:, b])
            wanted &= added <= degree
        grown = torch.cat([parents[wanted], newcomer[wanted, None]], dim=1)
        return grown.sort(dim=1).values, (totals + added)[wanted]

    def _degree(self, parents: Tensor, newcomer: Tensor) -> Tensor:
        """Sums of the scores of newcomers (P, L) with the members of their parents (P, r)."""
        total = torch.zeros(newcomer.shape, device=self.device)
        for a in range(parents.shape[1]):
            total += self._lookup(parents[:, a, None].expand_as(newcomer), newcomer)
        return total

    def _rows(self, parents: Tensor) -> tuple[Tensor, Tensor]:
        """Rows of scores, and the place among them of every member of every parent."""
        if self.filled:
            return self._dense, parents
        classes, place = torch.unique(parents, return_inverse=True)
        return self._block(classes, torch.arange(self.n, device=self.device)), place

    def _lookup(self, i: Tensor, j: Tensor) -> Tensor:
        """Scores of single pairs."""
        if self.filled:
            return self._dense[i, j]
        shape = i.shape
        i, j = i.flatten(), j.flatten()
        out = torch.empty(len(i), device=self.device)
        step = max(1, WIDTH // max(unit.shape[1] for unit in self._unit))
        for begin in range(0, len(i), step):
            a, b = i[begin : begin + step], j[begin : begin + step]
            grams = [(unit[a] * unit[b]).sum(dim=1) for unit in self._unit]
            out[begin : begin + step] = self._settled(grams, a, b)
        return out.reshape(shape)

    def _block(self, rows: Tensor, cols: Tensor) -> Tensor:
        """Scores of rows x cols."""
        return self._settled([unit[rows] @ unit[cols].T for unit in self._unit], rows[:, None], cols)

    def _settled(self, grams: list[Tensor], i: Tensor, j: Tensor) -> Tensor:
        """Turns inner products of classes i and j into scores, at least the true ones; -inf where not allowed."""
        out = torch.zeros_like(grams[0])
        for gram, space, squares, margin in zip(grams, self.function.spaces, self._squares, self._margins, strict=True):
            factor = self.function.factor(space)
            out += factor * _distance(gram, space, squares[i], squares[j], margin if factor > 0 else -margin)
            out += self.function.slack
        refused = i == j
        if self._groups is not None:
            refused = refused | ((self._groups[i] == self._groups[j]) == self.function.across)
        return out.masked_fill_(refused, -torch.inf)


def _distance(gram: Tensor, space: Space, a: Tensor, b: Tensor, margin: float) -> Tensor:
    if space.metric == 0:
        return (1 - gram + margin).clamp(0, 2)
    squared = (a + b - 2 * gram + margin).clamp(min=0)
    return squared.sqrt() if space.metric == 1 else squared


def _product_loss(device: torch.device) -> float:
    """What a product of unit rows may lose beyond float32: TF32 is assumed on a GPU, bf16 where torch may use it."""
    if torch.get_float32_matmul_precision() == "medium":
        return 2.0**-7
    return 0.0 if device.type == "cpu" and torch.get_float32_matmul_precision() == "highest" else 2.0**-9


def _host(sets: Tensor, sums: Tensor) -> tuple[np.ndarray, np.ndarray]:
    return sets.to(torch.int32).cpu().numpy(), sums.to(torch.float32).cpu().numpy()
