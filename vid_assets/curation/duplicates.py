"""Which clip loses to which. Belongs here: finding copies among clips, and the rule by which one of them stays.

A clip loses if and only if a kept clip that ranks higher shows all of it: a re-encoded, resized or mirrored copy, or
a longer clip that it is a part of. So nothing is lost that no kept clip shows, the result does not depend on the
order of arrival, and a loser is kept again once the clip it lost to is gone. A short clip of better quality and the
long clip that contains it are both kept.

Candidates for comparison are found exactly: the steadiest pictures of each clip, mirrored too, are looked up among
the pictures of all clips (`hash_index`), and whole tracks are compared where one is found (`tracks`). Clips of one
continuous shot are never compared: they are neighbours in time, whatever they look like.
"""

from __future__ import annotations

import itertools
import math
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from vid_assets.curation.hash_index import near_pairs
from vid_assets.curation.hashing import MIRROR
from vid_assets.curation.tracks import Samples, Track, covered, pictured

DUPLICATES_VERSION = "3"

#: How many of a clip's pictures are looked up, and within how many bits. Of the steadiest pictures of a copy at a
#: quarter of the size and CRF 34, one is that close in 246 of 247 pairs; wider searches cost ten times the time.
_LOOKED_UP, _FOUND_WITHIN = 4, 3
#: Clips of a divided shot end where the next begins.
_TOUCHING_S = 1e-3


@dataclass(frozen=True)
class Candidate:
    """A clip to compare. pixels: width times height inside letterbox bars; bit_rate: bits per second, of its source.

    interlaced: it was woven of two fields, so that a copy that was not shows more.

    shot: what only clips of one continuous shot share.
    """

    clip_id: str
    video_id: str
    shot: str
    kind: str
    start_s: float
    end_s: float
    track: Track
    packet_hash: str | None
    pixels: int
    bit_rate: float
    interlaced: bool = False


@dataclass(frozen=True)
class Duplicate:
    """`clip_id` loses to `duplicate_of`. distance: bits, 0-64, that two thirds of the pictures keep.

    kind: exact (the same packets), near (all of it, coded otherwise), part (of a longer clip), mirrored (left to
    right; all or a part of it).
    """

    clip_id: str
    duplicate_of: str
    distance: int
    kind: str


def continuous_shots(clips: Iterable[tuple[str, float, float]]) -> dict[tuple[str, float], str]:
    """For each clip (video_id, start_s, end_s), by the first two: what it shares with the clips that touch it."""
    shots: dict[tuple[str, float], str] = {}
    before: tuple[str, float] | None = None
    shot = ""
    for video_id, start_s, end_s in sorted(clips):
        if before is None or before[0] != video_id or start_s - before[1] > _TOUCHING_S:
            shot = f"{video_id}@{start_s:.6f}"
        shots[video_id, start_s] = shot
        before = (video_id, end_s)
    return shots


def find_duplicates(candidates: Sequence[Candidate], max_distance: int) -> list[Duplicate]:
    """Every clip that loses, sorted by clip_id. Clips of one kind are compared, `max_distance` is 0 to 7 bits.

    Of several kept clips that show all of it, the one with the same packets is named, else the nearest, unmirrored
    rather than mirrored, else the one that ranks highest. Clips of equal packets that all lose name the same one.
    """
    ranked = sorted(candidates, key=_rank)
    first: dict[tuple[str, str], int] = {}
    best = [first.setdefault((one.kind, one.packet_hash), n) if one.packet_hash else n for n, one in enumerate(ranked)]
    copies: dict[int, list[tuple[int, bool, int]]] = defaultdict(list)
    for kind in sorted({one.kind for one in ranked}):
        # Clips of the same packets look the same: the best of them stands for all
        members = [n for n, one in enumerate(ranked) if one.kind == kind and best[n] == n and len(one.track)]
        for loser, found in _copies(ranked, members, max_distance):
            copies[loser].append(found)
    lost = np.zeros(len(ranked), dtype=bool)
    results = []
    for n, clip in enumerate(ranked):
        if best[n] != n and not lost[best[n]]:
            winner, distance, kind = best[n], 0, "exact"
        else:
            kept = [c for c in copies.get(best[n], ()) if not lost[c[2]] and ranked[c[2]].shot != clip.shot]
            if not kept:
                continue
            distance, mirrored, winner = min(kept)
            part = len(clip.track) + clip.track.overhang < len(ranked[winner].track)
            kind = "mirrored" if mirrored else "part" if part else "near"
        lost[n] = True
        results.append(Duplicate(clip.clip_id, ranked[winner].clip_id, distance, kind))
    return sorted(results, key=lambda item: item.clip_id)


def _rank(clip: Candidate) -> tuple:
    """Best first: not interlaced, more pixels, higher bit rate, longer; then something that no clip shares.

    Bit rates within a factor of two, and lengths within half a second, are first taken for equal: a part of a clip has
    not quite the bit rate of the whole, and a copy may have a frame more.
    """
    quality = round(math.log2(clip.bit_rate)) if clip.bit_rate > 0 else -1
    length = clip.end_s - clip.start_s
    identity = (clip.video_id, clip.start_s, clip.end_s, clip.clip_id)
    return (clip.interlaced, -clip.pixels, -quality, -round(2 * length), -clip.bit_rate, -length, *identity)


def _copies(ranked: Sequence[Candidate], members: list[int], limit: int) -> Iterator[tuple[int, tuple[int, bool, int]]]:
    """(clip, (distance, mirrored, a clip that ranks higher and shows all of it)) among `members`, ascending."""
    if not members:
        return
    still = ranked[members[0]].kind == "image"
    if not still:
        telling = Samples([ranked[n].track for n in members]).telling()
        members = [n for n, tells in zip(members, telling.tolist(), strict=True) if tells]
        if not members:
            return
    samples = Samples([ranked[n].track for n in members])
    anchors = samples.steadiest(1 if still else _LOOKED_UP)
    for mirrored in (False, True):
        queries = samples.hashes[anchors] ^ np.uint64(MIRROR if mirrored else 0)
        for small, large, offsets in _meetings(samples, anchors, queries, limit if still else _FOUND_WITHIN):
            one, other = ranked[members[small]], ranked[members[large]]
            if one.shot == other.shot:
                continue
            track = one.track.mirrored() if mirrored else one.track
            distance = pictured(track, other.track) if still else covered(track, other.track, offsets, limit)
            if distance is not None:
                yield members[small], (distance, mirrored, members[large])


def _meetings(
    samples: Samples, anchors: np.ndarray, queries: np.ndarray, limit: int
) -> Iterator[tuple[int, int, np.ndarray]]:
    """(track, track before it in rank, offsets in samples at which a picture of the first may be in the second)."""
    first, last = samples.runs()
    own_track, own_place = samples.track[anchors], anchors - samples.starts[samples.track[anchors]]
    found = [np.zeros((4, 0), dtype=np.int32)]
    for query, run in near_pairs(queries, samples.hashes[first], limit):
        higher = samples.track[first[run]] < own_track[query]
        query, run = query[higher], run[higher]
        large = samples.track[first[run]]
        # The sampling moments of two files differ, so the neighbour may fit better
        earliest, latest = (end[run] - samples.starts[large] - own_place[query] for end in (first, last))
        found.append(np.stack([own_track[query], large, earliest - 1, latest + 1]).astype(np.int32))
    meetings = np.concatenate(found, axis=1)
    meetings = meetings[:, np.lexsort(meetings[::-1])]
    new = (np.diff(meetings[:2], axis=1) != 0).any(axis=0)
    bounds = np.flatnonzero(np.r_[True, new, True]) if meetings.shape[1] else np.zeros(0, dtype=np.int64)
    for start, stop in itertools.pairwise(bounds.tolist()):
        low, high = meetings[2:, start:stop]
        # Each span adds one where it begins and takes it back after its end; what is covered is over zero
        lowest = int(low.min())
        depth = np.zeros(int(high.max()) - lowest + 2, dtype=np.int64)
        np.add.at(depth, low - lowest, 1)
        np.add.at(depth, high - lowest + 1, -1)
        yield int(meetings[0, start]), int(meetings[1, start]), np.flatnonzero(np.cumsum(depth)) + lowest
