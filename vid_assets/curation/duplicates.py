"""Which clip loses to which. Belongs here: comparing clips by their hashes, and the rule by which one of them stays.

Two clips are near duplicates when the perceptual hashes at the same fractions of their length all differ in at most
`max_distance` bits. A clip loses if and only if a kept clip that ranks higher is within that limit, so the result
does not depend on the order of arrival, and a loser is kept again once the clip it lost to is gone.
"""

from __future__ import annotations

import itertools
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

DUPLICATES_VERSION = "1"

_PAIRS_AT_ONCE = 2_000_000


@dataclass(frozen=True)
class Candidate:
    """A clip to compare. pixels: width times height; bit_rate: bits per second, of its source."""

    clip_id: str
    video_id: str
    kind: str
    start_s: float
    end_s: float
    hashes: Sequence[int]
    packet_hash: str | None
    pixels: int
    bit_rate: float


@dataclass(frozen=True)
class Duplicate:
    """`clip_id` loses to `duplicate_of`. distance: bits, 0-64; kind: exact (the same packets) or near."""

    clip_id: str
    duplicate_of: str
    distance: int
    kind: str


def find_duplicates(candidates: Sequence[Candidate], max_distance: int) -> list[Duplicate]:
    """Every clip that loses, sorted by clip_id. Only clips of one kind, with equally many hashes, are compared.

    Of several kept clips within the limit, the one with the same packets is named, else the nearest, else the one
    that ranks highest.
    """
    ranked = sorted(candidates, key=_rank)
    groups = _HashGroups(ranked, max_distance)
    lost = np.zeros(len(ranked), dtype=bool)
    same_packets: dict[tuple[str, str], int] = {}
    results = []
    for index, clip in enumerate(ranked):
        exact = same_packets.setdefault((clip.kind, clip.packet_hash), index) if clip.packet_hash else index
        if exact != index and not lost[exact]:
            winner, distance, kind = exact, 0, "exact"
        else:
            others, distances = groups.near(index)
            open_to = (others < index) & ~lost[others]
            if not open_to.any():
                continue
            winner, distance = min(zip(others[open_to].tolist(), distances[open_to].tolist()), key=lambda o: o[::-1])
            kind = "near"
        lost[index] = True
        results.append(Duplicate(clip.clip_id, ranked[winner].clip_id, distance, kind))
    return sorted(results, key=lambda item: item.clip_id)


def _rank(clip: Candidate) -> tuple:
    """Best first: more pixels, higher bit rate; then something that no clip shares."""
    return (-clip.pixels, -clip.bit_rate, clip.video_id, clip.start_s, clip.end_s, clip.clip_id)


class _HashGroups:
    """Clips with equal hashes, and which of these groups are close.

    A group is represented by its clip that ranks highest: the others lose to it, or along with it, so no other
    clip of the group is ever one to lose to.
    """

    def __init__(self, ranked: Sequence[Candidate], limit: int) -> None:
        first: dict[tuple[str, tuple[int, ...]], int] = {}
        hashed = [(clip.kind, tuple(clip.hashes)) for clip in ranked]
        self._representative = [first.setdefault(key, index) if key[1] else index for index, key in enumerate(hashed)]
        comparable: dict[tuple[str, int], list[int]] = defaultdict(list)
        for (kind, hashes), index in first.items():
            if hashes:
                comparable[kind, len(hashes)].append(index)
        edges = [np.zeros((3, 0), dtype=np.int64)]
        for members in comparable.values():
            rows = np.array([ranked[index].hashes for index in members], dtype=np.int64).view(np.uint64)
            left, right, distance = _close_pairs(rows, limit)
            numbers = np.array(members)
            edges.append(np.stack([numbers[left], numbers[right], distance]))
            edges.append(np.stack([numbers[right], numbers[left], distance]))
        source, target, distance = np.concatenate(edges, axis=1)
        order = np.argsort(source, kind="stable")
        self._target, self._distance = target[order], distance[order]
        self._start = np.searchsorted(source[order], np.arange(len(ranked) + 1))

    def near(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        """Clips that `index` may lose to, whatever their rank, and their distances."""
        group = self._representative[index]
        part = slice(self._start[group], self._start[group + 1])
        if group == index:
            return self._target[part], self._distance[part]
        return np.append(self._target[part], group), np.append(self._distance[part], 0)


def _close_pairs(hashes: np.ndarray, limit: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Pairs of rows (lower, higher, distance) of `hashes` (N, K) uint64 whose K distances are all at most `limit`.

    Exact, by multi-index hashing (Norouzi 2012): of `limit // 2 + 1` bands of 64 bits, one differs in at most one
    bit. Only the first hash is banded: a pair within the limit in all is within it in the first.
    """
    bands = max(4, limit // 2 + 1)
    bounds = [round(64 * band / bands) for band in range(bands + 1)]
    found = [np.zeros(0, dtype=np.int64)]
    for low, high in itertools.pairwise(bounds):
        width = high - low
        keys = (hashes[:, 0] >> np.uint64(low)) & np.uint64((1 << width) - 1)
        order = np.argsort(keys, kind="stable")
        ordered = keys[order]
        # With more bands than the limit one band is equal, and no bit need be flipped
        flips = [0] if bands > limit else [0, *(1 << bit for bit in range(width))]
        for flip in flips:
            wanted = keys ^ np.uint64(flip)
            begin = np.searchsorted(ordered, wanted, side="left")
            count = np.searchsorted(ordered, wanted, side="right") - begin
            for rows in _chunks(count):
                left = np.repeat(rows, count[rows])
                offset = np.arange(len(left)) - np.repeat(np.cumsum(count[rows]) - count[rows], count[rows])
                right = order[np.repeat(begin[rows], count[rows]) + offset]
                close = (left < right) & (np.bitwise_count(hashes[left, 0] ^ hashes[right, 0]) <= limit)
                left, right = left[close], right[close]
                found.append((left * len(hashes) + right)[_distance(hashes, left, right) <= limit])
    pairs = np.unique(np.concatenate(found))
    left, right = np.divmod(pairs, max(1, len(hashes)))
    return left, right, _distance(hashes, left, right)


def _distance(hashes: np.ndarray, left: np.ndarray, right: np.ndarray) -> np.ndarray:
    """The largest of the K distances of each pair, bits."""
    return np.bitwise_count(hashes[left] ^ hashes[right]).max(axis=1).astype(np.int64)


def _chunks(count: np.ndarray) -> Iterator[np.ndarray]:
    """Row numbers in runs of at most `_PAIRS_AT_ONCE` pairs (or one row)."""
    group = np.cumsum(count) // _PAIRS_AT_ONCE
    yield from np.split(np.arange(len(count)), np.flatnonzero(np.diff(group)) + 1)
