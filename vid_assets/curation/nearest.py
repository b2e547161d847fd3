"""Which clips look most like a given one, for people to judge the limit of `duplicates` by. Decides nothing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from vid_assets.curation.duplicates import Candidate
from vid_assets.curation.tracks import Samples, Track, alike, distances

#: How many clips, found by a few pictures, are compared over their whole length, for each that is shown.
_COMPARED = 10
_LOOKED_UP = 4


@dataclass(frozen=True)
class Near:
    """A clip that resembles the asked one. distance: bits, 0-64, as in `duplicates`; kind: near or mirrored.

    moves_alike: whether the light of both rises and falls alike, so that they may be one recording; None for stills.
    """

    clip_id: str
    distance: int
    kind: str
    moves_alike: bool | None


def nearest(clip: Candidate, others: Sequence[Candidate], count: int) -> list[Near]:
    """The `count` clips among `others` that look most like `clip` or a part of it, or that it may be a part of.

    Fewer where there are no more of its kind; none where all its pictures are flat.
    """
    others = [one for one in others if one.kind == clip.kind and one.clip_id != clip.clip_id and len(one.track)]
    if not others or not clip.track.known.any():
        return []
    samples = Samples([one.track for one in others])
    anchors = Samples([clip.track]).steadiest(min(_LOOKED_UP, len(clip.track)))
    found = []
    for kind, track in (("near", clip.track), ("mirrored", clip.track.mirrored())):
        least = np.zeros(len(others))
        for anchor in anchors:
            bits = np.bitwise_count(samples.hashes ^ track.hashes[anchor])
            bits[~samples.known] = 64
            least += np.minimum.reduceat(bits, samples.starts)
        for number in np.argsort(least, kind="stable")[: _COMPARED * count].tolist():
            near = _compare(track, others[number], kind)
            if near:
                found.append(near)
    found.sort(key=lambda one: (one.distance, one.kind != "near", one.clip_id))
    shown: dict[str, Near] = {}
    for near in found:
        shown.setdefault(near.clip_id, near)
    return list(shown.values())[:count]


def _compare(track: Track, other: Candidate, kind: str) -> Near | None:
    small, large = sorted((track, other.track), key=len)
    offsets = np.arange(-small.overhang, len(large) - len(small) + small.overhang + 1)
    places, bits = distances(small, large, offsets)
    measured = list(zip(bits.tolist(), (~alike(small, large, places)).tolist(), strict=True))
    if not measured:
        return None
    distance, differs = min(measured)
    return Near(other.clip_id, distance, kind, None if other.kind == "image" else not differs)
