"""Images of a set that repeat one another, exactly or nearly.

Exact duplicates have the same bytes. Near duplicates are found by a difference hash: the image in grey on 17 x 16
pixels, one bit for each pair of horizontal neighbours that gets brighter by more than `STEP` of 255 levels, 256 in
all; two images are near duplicates if at most `NEAR` bits differ, and at most one for `SHARE` that either has set
(line drawings have few). That finds other encodings, sizes and brightness of one image, not shifts. An image without
bits, flat or smooth, tells nothing of itself and is near to none. The search is exact: the bits are dealt into NEAR + 1
bands, one of which two such images must share, and only images that share one are compared. Two that share blank
bands alone differ in every other one, so each has at least SHARE - 1 bits in these on the average: blank bands of
other images are passed over, else smooth images would all be compared with each other.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Bool, Int64, UInt8, UInt64
from PIL import Image

NEAR = 7
STEP = 8  # flat areas and compression give no bits
HASH_BITS = 256
SHARE = 8
RULE = f"at most {NEAR} of {HASH_BITS} bits and one of {SHARE} set bits differ"
EXAMPLES = 20  # of each finding
_DEALT = np.random.default_rng(0).permutation(
    HASH_BITS
)  # neighbouring bits to different bands: borders are often blank


def small_grey(image: Image.Image) -> UInt8[np.ndarray, "16 17"]:
    """The image in grey on 17 x 16 pixels, each the mean of its area."""
    return np.asarray(image.convert("L").resize((17, 16), Image.Resampling.BOX))


@dataclass(frozen=True)
class Duplicates:
    """Pairs of images that are alike; `repeated` marks images that repeat an earlier one."""

    pairs: int
    across: int  # between classes
    repeated: Bool[np.ndarray, " n"]
    examples: list[tuple[int, int]]

    def described(self, name: Callable[[int], str]) -> dict[str, Any]:
        return {
            "pairs": self.pairs,
            "between_classes": self.across,
            "images": int(self.repeated.sum()),
            "examples": [[name(a), name(b)] for a, b in self.examples],
        }


def exact_duplicates(
    digests: UInt64[np.ndarray, "n 2"], readable: Bool[np.ndarray, " n"], owners: Int64[np.ndarray, " n"]
) -> Duplicates:
    """Images with the bytes of an earlier one; a pair is an image and the first of its kind."""
    rows = np.flatnonzero(readable)
    _, first, group = np.unique(digests[rows], axis=0, return_index=True, return_inverse=True)
    firsts = rows[first][group.reshape(-1)]
    again = firsts != rows
    repeated = np.zeros(len(digests), bool)
    repeated[rows[again]] = True
    across = owners[firsts] != owners[rows]
    order = np.argsort(~across[again], kind="stable")[:EXAMPLES]
    examples = list(zip(firsts[again][order].tolist(), rows[again][order].tolist(), strict=True))
    return Duplicates(int(again.sum()), int(across.sum()), repeated, examples)


def near_duplicates(
    hashes: UInt64[np.ndarray, "n 4"], among: Bool[np.ndarray, " n"], owners: Int64[np.ndarray, " n"]
) -> Duplicates:
    """Pairs of images that are near duplicates by the rule above, each counted once; none of images without bits."""
    rows = np.flatnonzero(among & hashes.any(1))
    compared = hashes[rows]
    bands = compared.view(np.uint32)
    assert bands.shape[1] == NEAR + 1
    set_bits, filled = np.bitwise_count(bands).sum(1), np.count_nonzero(bands, axis=1)
    telling = (bands != 0) | (set_bits >= (SHARE - 1) * filled)[:, None]
    pairs = across = 0
    repeated = np.zeros(len(hashes), bool)
    examples: list[tuple[bool, int, int]] = []
    for band in range(NEAR + 1):
        told = np.flatnonzero(telling[:, band])
        for a, b in _sharing(bands[told, band]):
            a, b = told[a], told[b]
            differ = np.bitwise_count(compared[a] ^ compared[b]).sum(1, dtype=np.int64)
            either = np.bitwise_count(compared[a] | compared[b]).sum(1, dtype=np.int64)
            close = (differ <= NEAR) & (SHARE * differ <= either)
            a, b = a[close], b[close]
            before = telling[a, :band] & telling[b, :band] & (bands[a, :band] == bands[b, :band])
            new = ~before.any(1)  # those that share an earlier band are counted
            a, b = rows[a[new]], rows[b[new]]
            if not len(a):
                continue
            a, b = np.minimum(a, b), np.maximum(a, b)
            between = owners[a] != owners[b]
            pairs, across = pairs + len(a), across + int(between.sum())
            repeated[b] = True
            best = np.argsort(~between, kind="stable")[:EXAMPLES]
            examples += zip((~between[best]).tolist(), a[best].tolist(), b[best].tolist(), strict=True)
            examples = sorted(examples)[:EXAMPLES]
    return Duplicates(pairs, across, repeated, [(a, b) for _, a, b in examples])


def _sharing(keys: np.ndarray) -> Iterator[tuple[Int64[np.ndarray, " p"], Int64[np.ndarray, " p"]]]:
    """All pairs of rows with equal keys: first those that are neighbours when sorted, then those one further apart ..."""
    order = np.argsort(keys, kind="stable")
    ordered, first, apart = keys[order], np.arange(len(keys)), 1
    while (first := first[first < len(keys) - apart]).size:
        first = first[ordered[first] == ordered[first + apart]]
        yield order[first], order[first + apart]
        apart += 1


def difference_hash(thumbs: UInt8[np.ndarray, "b 16 17"]) -> UInt64[np.ndarray, "b 4"]:
    """The 256 bits of the rule above, dealt into bands."""
    bits = np.diff(thumbs.astype(np.int16), axis=2) > STEP
    packed = np.packbits(bits.reshape(len(thumbs), HASH_BITS)[:, _DEALT], axis=1)
    return np.ascontiguousarray(packed).view(np.uint64)
