"""Template features and their similarities under the protocols in use for IJB (1:1 and 1:N).

The public repositories disagree on three switches, and the choice moves results by more than most methods do; every
result names its protocol. A template is a set of images of one person, grouped into media (a photo, or the frames of
one video).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Literal

import numba
import numpy as np
from jaxtyping import Float, Int
from numpy import ndarray as Array

from scoremix.data.finite import finite_rows

BLOCK = 1 << 16
TILE = 256  # rows: two tiles of 512 dimensions are 1 MB


@dataclass(frozen=True)
class Protocol:
    """What becomes of an image's embedding on its way into its template's feature.

    flip: the embedding of the mirrored image is added. norm: "kept" or "removed" (unit embeddings). detector: times the
    detector's score. aggregation: "media" takes the mean in each medium, then the sum; "images" the sum of all images.
    The feature is normalised; a pair's similarity is the inner product.
    """

    name: str
    flip: bool = True
    norm: Literal["kept", "removed"] = "kept"
    detector: bool = True
    aggregation: Literal["media", "images"] = "media"

    def switches(self) -> dict[str, str]:
        """The switches in words, as they are printed and parsed."""
        words = {True: "on", False: "off"}
        return {k: words[v] if isinstance(v, bool) else v for k, v in asdict(self).items() if k != "name"}

    def __str__(self) -> str:
        return f"{self.name} ({', '.join(f'{k} {v}' for k, v in self.switches().items())})"


PROTOCOLS = {
    p.name: p
    for p in (
        Protocol("arcface_torch", norm="kept", detector=True),
        Protocol("adaface", norm="kept", detector=False),
        Protocol("cvlface", norm="removed", detector=True),
    )
}


def protocol(text: str) -> Protocol:
    """A preset's name, or a preset with other switches: "adaface,detector=on"; ValueError names what is wrong."""
    name, *changes = (part.strip() for part in text.split(","))
    if name not in PROTOCOLS:
        raise ValueError(f"protocol {name!r}: allowed are {', '.join(PROTOCOLS)}, each also with ,switch=value")
    allowed = {
        "flip": ("on", "off"),
        "norm": ("kept", "removed"),
        "detector": ("on", "off"),
        "aggregation": ("media", "images"),
    }
    values = PROTOCOLS[name].switches()
    for change in changes:
        switch, _, value = change.partition("=")
        if value not in allowed.get(switch, ()):
            said = "; ".join(f"{s}={'|'.join(v)}" for s, v in allowed.items())
            raise ValueError(f"protocol {text!r}: {change!r} is none of {said}")
        values[switch] = value
    if values == PROTOCOLS[name].switches():
        return PROTOCOLS[name]
    return Protocol(
        text.replace(" ", ""),
        values["flip"] == "on",
        values["norm"],  # type: ignore[arg-type]
        values["detector"] == "on",
        values["aggregation"],  # type: ignore[arg-type]
    )


def template_features(
    embeddings: Float[Array, "n d"],
    templates: Int[Array, " n"],
    media: Int[Array, " n"],
    detector: Float[Array, " n"] | None,
    protocols: Sequence[Protocol],
) -> tuple[Int[Array, " t"], list[Float[Array, "t d"]]]:
    """Ascending template ids, and for each protocol the unit features in float32 (sums in float64).

    `embeddings` are raw, the mirrored image's added where the protocols say so; one pass reads them for all
    protocols, also from a memory-mapped file. ValueError for embeddings that are not finite or zero, and for a
    protocol with detector scores without scores.
    """
    order = np.lexsort((media, templates))
    ordered, group = templates[order], media[order]
    first = np.append(True, ordered[1:] != ordered[:-1])
    starts = np.append(np.flatnonzero(first), len(order))
    norms = _norms(embeddings)
    if wrong := int((~np.isfinite(norms) | (norms == 0)).sum()):
        raise ValueError(f"embeddings: {wrong} of {len(norms)} are zero or not finite")
    new_medium = first | np.append(True, group[1:] != group[:-1])
    per_medium = np.bincount(np.cumsum(new_medium) - 1)[np.cumsum(new_medium) - 1]
    weights = np.empty((len(protocols), len(order)))
    for row, p in zip(weights, protocols, strict=True):
        row[:] = 1 / per_medium if p.aggregation == "media" else 1
        if p.detector:
            if detector is None:
                raise ValueError(f"protocol {p.name}: needs detector scores, the set has none")
            row *= detector[order]
        if p.norm == "removed":
            row /= norms[order]
    features = np.empty((len(protocols), len(starts) - 1, embeddings.shape[1]), np.float32)
    _sum_templates(embeddings, order, starts, weights, features)
    if not np.isfinite(features).all():
        raise ValueError("embeddings: a template's embeddings cancel; its feature is zero")
    return ordered[first], list(features)


def _norms(embeddings: Array) -> Array:
    blocks = (embeddings[i : i + BLOCK].astype(np.float64) for i in range(0, len(embeddings), BLOCK))
    return np.concatenate([np.sqrt(np.einsum("nd,nd->n", block, block)) for block in blocks])


@numba.njit(parallel=True, cache=True)
def _sum_templates(x: Array, order: Array, starts: Array, weights: Array, out: Array) -> None:
    """Normalised weighted sums of each template's rows of `x`, for every row of `weights`."""
    for t in numba.prange(len(starts) - 1):
        total = np.zeros((len(weights), x.shape[1]))
        for i in range(starts[t], starts[t + 1]):
            row = x[order[i]]
            for p in range(len(weights)):
                w = weights[p, i]
                for d in range(len(row)):
                    total[p, d] += w * row[d]
        for p in range(len(weights)):
            length = np.sqrt((total[p] * total[p]).sum())
            for d in range(x.shape[1]):
                out[p, t, d] = total[p, d] / length


def pair_similarities(
    features: Sequence[Float[Array, "t d"]], a: Int[Array, " n"], b: Int[Array, " n"]
) -> list[Float[Array, " n"]]:
    """Inner products of rows a and b of each of `features`, in float32; ValueError for rows that do not exist or are not finite.

    Pairs are taken tile by tile, so that the rows of a tile stay in the cache.
    """
    count = len(features[0])
    for rows in (a, b):
        if len(rows) and not (rows.min() >= 0 and rows.max() < count):
            raise ValueError(f"pairs: rows {rows.min()} to {rows.max()}, features has {count}")
    order = _by_tile(a, b, -(-count // TILE))
    similarities = []
    for x in features:
        finite_rows(x, "features")
        similarities.append(np.empty(len(a), np.float32))
        _dots(np.ascontiguousarray(x, np.float32), a, b, order, similarities[-1])
    return similarities


@numba.njit(cache=True)
def _by_tile(a: Array, b: Array, tiles: int) -> Array:
    """Counting sort of the pairs by (a // TILE, b // TILE)."""
    starts = np.zeros(tiles * tiles + 1, np.int64)
    for i in range(len(a)):
        starts[a[i] // TILE * tiles + b[i] // TILE + 1] += 1
    starts = np.cumsum(starts)
    order = np.empty(len(a), np.int64)
    for i in range(len(a)):
        tile = a[i] // TILE * tiles + b[i] // TILE
        order[starts[tile]] = i
        starts[tile] += 1
    return order


@numba.njit(parallel=True, cache=True, fastmath={"reassoc", "contract"})
def _dots(x: Array, a: Array, b: Array, order: Array, out: Array) -> None:
    for k in numba.prange(len(order)):
        i = order[k]
        left, right = x[a[i]], x[b[i]]
        total = np.float32(0)
        for d in range(len(left)):
            total += left[d] * right[d]
        out[i] = total
