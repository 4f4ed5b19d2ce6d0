"""Data order and random seeds as pure functions of (seed, images seen), so that a restart changes nothing.

An epoch's order is a keyed permutation of range(n) computed element by element (a Feistel network over Z_a x
Z_b with a * b >= n, and cycle walking: Black and Rogaway, "Ciphers with arbitrary finite domains", 2002). Any
batch costs O(batch) time and memory whatever n is, and the order depends on no library's random generator.
"""

from __future__ import annotations

import hashlib
import math
import operator

import numpy as np
from jaxtyping import Int64, UInt64

ROUNDS = 10
_GOLDEN = 0x9E3779B97F4A7C15  # 2^64 / golden ratio: the increment of splitmix64


def batch_indices(n: int, seed: int, start: int, count: int) -> Int64[np.ndarray, " count"]:
    """Positions start .. start + count of the endless concatenation of one permutation of range(n) per epoch.

    Epoch e (positions e*n .. e*n + n - 1) visits every index once, in an order that depends on n, seed and e
    only. ValueError if n < 1, start < 0 or count < 0.
    """
    for name, value, least in (("n", n, 1), ("start", start, 0), ("count", count, 0)):
        if operator.index(value) < least:
            raise ValueError(f"{name} is {value}, must be at least {least}")
    if start + count > 2**63 - 1:
        raise ValueError(f"start + count is {start + count}, must be below 2^63")
    epoch, place = np.divmod(np.arange(start, start + count, dtype=np.int64), np.int64(n))
    keys = _mixed(np.uint64(stream_seed("order", seed, n)) ^ _mixed(epoch.astype(np.uint64)))
    return _permuted(place.astype(np.uint64), keys, n).astype(np.int64)


def stream_seed(*parts: int | str) -> int:
    """A stable seed in [0, 2^63) for `parts`, such as (seed, images seen, "noise").

    The first 8 bytes (big endian) of the SHA-256 of the parts, each as its type, its length and its text,
    without the highest bit. Independent of machine, process and Python version. torch's CPU generator keeps
    only the low 32 bits of a seed, so 100,000 streams have about one pair in common there; one seed per step
    or per chunk is the intended use. TypeError for parts that are neither int nor str.
    """
    digest = hashlib.sha256()
    for part in parts:
        kind, text = ("s", part) if isinstance(part, str) else ("i", str(operator.index(part)))
        encoded = text.encode("utf-8", "surrogatepass")
        digest.update(f"{kind}{len(encoded)}:".encode() + encoded)
    return int.from_bytes(digest.digest()[:8], "big") >> 1


def microbatches(images: int, size: int | None) -> list[slice]:
    """Slices of at most `size` rows that together are all `images` rows; one slice for None. ValueError for size < 1."""
    if size is not None and size < 1:
        raise ValueError(f"microbatch is {size}, must be at least 1 image")
    size = min(size or images, images)
    return [slice(start, min(start + size, images)) for start in range(0, images, size)]


def _permuted(x: UInt64[np.ndarray, " k"], keys: UInt64[np.ndarray, " k"], n: int) -> UInt64[np.ndarray, " k"]:
    """Each x < n under the permutation of range(n) that belongs to its key."""
    a = math.isqrt(n - 1) + 1
    b = -(-n // a)
    y = _feistel(x, keys, a, b)
    while (outside := np.flatnonzero(y >= n)).size:  # fewer than one in sqrt(n); the walk returns below n
        y[outside] = _feistel(y[outside], keys[outside], a, b)
    return y


def _feistel(x: UInt64[np.ndarray, " k"], keys: UInt64[np.ndarray, " k"], a: int, b: int) -> UInt64[np.ndarray, " k"]:
    """A bijection of range(a * b) for each key: two digits, each shifted in turn by a hash of the other."""
    size_a, size_b = np.uint64(a), np.uint64(b)
    high, low = np.divmod(x, size_b)
    for r in range(0, ROUNDS, 2):
        high = (high + _mixed(_round_key(keys, r) ^ low) % size_a) % size_a
        low = (low + _mixed(_round_key(keys, r + 1) ^ high) % size_b) % size_b
    return high * size_b + low


def _round_key(keys: UInt64[np.ndarray, " k"], r: int) -> UInt64[np.ndarray, " k"]:
    return _mixed(keys + np.uint64((r + 1) * _GOLDEN % 2**64))


def _mixed(x: UInt64[np.ndarray, " k"]) -> UInt64[np.ndarray, " k"]:
    """The output function of splitmix64: a bijection of 64-bit words that changes about half of the bits."""
    x = x + np.uint64(_GOLDEN)
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    x ^= x >> np.uint64(31)
    return x
