"""Which of millions of 64-bit hashes are close to which. Belongs here: the exact search, and nothing about clips.

Multi-index hashing (Norouzi, Punjani and Fleet 2012, "Fast search in Hamming space with multi-index hashing"): two
hashes that differ in fewer than eight bits differ in at most one bit in one of their four bands of 16 bits, so
looking up each band, and each band with one bit flipped, misses nothing.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import numpy as np

_BANDS, _BITS = 4, 16
#: The largest distance that is searched for.
MAX_LIMIT = 2 * _BANDS - 1

_PAIRS_AT_ONCE = 1_000_000


def near_pairs(queries: np.ndarray, pool: np.ndarray, limit: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """All pairs (number in `queries`, number in `pool`) of uint64 hashes at most `limit` bits apart, each once.

    They come in portions of arrays, in no particular order; memory grows with the lengths of both inputs, and with
    one portion. `limit` is at most `MAX_LIMIT`.
    """
    if not 0 <= limit <= MAX_LIMIT:
        raise ValueError(f"limit is {limit}; four bands find distances from 0 to {MAX_LIMIT}")
    flips = [0, *(1 << bit for bit in range(_BITS))] if limit >= _BANDS else [0]
    for band in range(_BANDS):
        keys = _band(pool, band)
        order = np.argsort(keys, kind="stable").astype(np.int32)
        ordered = pool[order]
        starts = np.concatenate([[0], np.cumsum(np.bincount(keys, minlength=1 << _BITS))])
        wanted = _band(queries, band)
        by_key = np.argsort(wanted, kind="stable")  # neighbours read the same stretch of the pool
        wanted = wanted[by_key]
        for flip in flips:
            bucket = wanted ^ np.uint16(flip)
            begin = starts[bucket]
            count = starts[bucket.astype(np.int64) + 1] - begin
            for rows in _portions(count):
                sizes = count[rows]
                which = np.repeat(by_key[rows], sizes)
                place = np.arange(len(which)) + np.repeat(begin[rows] - np.cumsum(sizes) + sizes, sizes)
                difference = queries[which] ^ ordered[place]
                close = np.flatnonzero(np.bitwise_count(difference) <= limit)
                close = close[~_found_before(difference[close], band, len(flips) > 1)]
                if len(close):
                    yield which[close], order[place[close]]


def _band(hashes: np.ndarray, band: int) -> np.ndarray:
    return (hashes >> np.uint64(band * _BITS)).astype(np.uint16)


def _found_before(difference: np.ndarray, band: int, flipped: bool) -> np.ndarray:
    """Whether an earlier band has found a pair with this difference already."""
    found = np.zeros(len(difference), dtype=bool)
    for earlier in range(band):
        found |= np.bitwise_count(_band(difference, earlier)) <= flipped
    return found


def _portions(count: np.ndarray) -> Iterator[slice]:
    """Rows, of `count` pairs each, in runs of about `_PAIRS_AT_ONCE` pairs (or one row)."""
    portion = np.cumsum(count) // _PAIRS_AT_ONCE
    bounds = [0, *(np.flatnonzero(np.diff(portion)) + 1).tolist(), len(count)]
    for start, stop in itertools.pairwise(bounds):
        if stop > start:
            yield slice(start, stop)
