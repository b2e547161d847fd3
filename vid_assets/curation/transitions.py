"""Fades, dissolves and wipes from stored miniatures. Belongs here: finding the boundaries between shots.

A fade ends in a plain black or white picture, and the distance to that picture grows in a straight line. In a dissolve
or a wipe, every picture on the way lies between the first and the last (the distances to both add up to the distance
between them), much happens between the two and little before and after, they are different pictures however they are
shifted, and motion does not explain the change. A whip pan, a crossing object or a slow camera fails one of these.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from vid_assets.curation.cuts import Signals, cut_strength, in_whip_pan, signals
from vid_assets.curation.groups import GroupStats
from vid_assets.curation.miniatures import best_alignment, distance
from vid_assets.curation.settings import Shots

#: A plain picture deviates less than this from its mean colour (mean absolute, 0-255).
_PLAIN = 2.0
#: Plain stretches up to this long (seconds) belong to the fades beside them; longer ones are shots of their own.
_PLAIN_SHOT_S = 1.0
#: A fade: the longest (seconds), the fewest frames, the least distance of the full picture from the plain one, and
#: the largest mean deviation from the straight line, as a share of that distance.
_FADE_S = 4.0
_FADE_FRAMES = 3
_FADE_DEPTH = 2.5
_FADE_MISFIT = 0.12
#: Half lengths, in frames of at most 30 a second, that dissolves and wipes are looked for with.
_HALF_LENGTHS = (2, 3, 4, 6, 8, 11, 15, 20, 27, 36)
_SEARCH_RATE = 32.0
#: What a dissolve or wipe must reach; see `_Candidate`.
_DISTANCE, _DISTANCE_ENOUGH = 8.0, 20.0
_DETOUR = 0.34
_UNREST = 1.0
_CHANGED_SHARE = 0.7
_CHANGED = 8.0
_UNEXPLAINED = 0.75
#: Excess at most, share of the change that motion does not explain at least, and then the alignment at most.
_ALIGNMENTS = ((_DETOUR, _UNEXPLAINED, 0.62), (0.25, 0.93, 0.78), (0.15, 0.93, 0.85))
#: A wipe: the largest excess; the least share of the picture that changes, spread of the times at which its places do
#: (as a share of the stretch), and share of their change that comes at once; and the largest mean difference between
#: the times of neighbours, and alignment.
_SWEPT_EXCESS = 0.6
_SWEPT_UNEXPLAINED = 0.85
_SWEPT_SHARE, _SWEPT_SPREAD, _SWEPT_AT_ONCE, _SWEPT_APART, _SWEPT_ALIGNMENT = 0.8, 0.22, 0.85, 0.15, 0.9
#: A cut that is not clear enough by itself is one where a step makes this share of the change of a transition.
_AT_ONCE = 0.85
#: A transition up to this long (seconds) may be a whip pan.
_WHIP_PAN_S = 0.25
#: A transition goes on while it is less than this share of its way there, or moves at this share of its mean speed.
_ARRIVED = 0.9
_SLOWEST = 0.18
#: How far a picture in a wipe is at least from a mixture of both pictures, as a share of their distance.
_WIPE = 0.15
_BLOCK = 4096


@dataclass(frozen=True)
class Boundary:
    """What lies between two shots: frames [first, end), none for a cut, which then is the number of both.

    kind: cut, fade, dissolve, wipe, or plain (the edge of a black or white stretch).
    """

    first: int
    end: int
    kind: str


@dataclass(frozen=True, order=True)
class _Candidate:
    """A possible dissolve or wipe between frames `first` and `last`.

    score: orders candidates that overlap. Its measures are: distance of the two pictures; detour, by how much the way
    over pictures in between is longer than that; unrest, the distance covered before and after, in as long a time;
    both as shares of the distance; excess, the detour and a part of the unrest.
    """

    score: float
    first: int
    last: int
    excess: float


def find_boundaries(groups: Mapping[str, GroupStats], config: Shots) -> list[Boundary]:
    """All boundaries of a source in order of time, none overlapping. Needs the group `change`."""
    found = signals(groups)
    count = len(found.times)
    plain = _plain(found.pictures, config.fade_luma)
    boundaries = list(_fades(found, plain))
    strength = cut_strength(found, config)
    hidden = plain | np.append(True, plain[:-1])
    for boundary in boundaries:
        hidden[boundary.first : boundary.end + 1] = True
    boundaries += [Boundary(frame, frame, "cut") for frame in np.flatnonzero((strength >= 1) & ~hidden).tolist()]
    boundaries.sort(key=lambda item: (item.first, item.end))
    edges = [0, *(edge for item in boundaries for edge in (item.first, item.end)), count]
    for first, end in zip(edges[::2], edges[1::2], strict=True):
        if end - first > 2 * _HALF_LENGTHS[0] and not plain[first:end].all():
            boundaries += _gradual(found, first, end)
    return sorted(boundaries, key=lambda item: (item.first, item.end))


def _plain(pictures: np.ndarray, fade_luma: float) -> np.ndarray:
    """Which frames are plain black, up to `fade_luma`, or as plainly white."""
    plain = np.zeros(len(pictures), dtype=bool)
    for start in range(0, len(pictures), _BLOCK):
        block = pictures[start : start + _BLOCK].astype(np.float32)
        mean = block.mean(axis=(1, 2), keepdims=True)
        luma = mean[:, 0, 0, 0]
        flat = np.abs(block - mean).mean(axis=(1, 2, 3)) <= _PLAIN
        plain[start : start + _BLOCK] = flat & ((luma <= fade_luma) | (luma >= 255 - fade_luma))
    return plain


def _fades(found: Signals, plain: np.ndarray) -> Iterator[Boundary]:
    """Each plain stretch with the fades to and from it; a cut where it has none; nothing at the ends of the file."""
    count = len(plain)
    edges = np.flatnonzero(np.diff(plain, prepend=False, append=False))
    for first, end in zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True):
        rate = _rate(found.times)
        longest = int(_FADE_S * rate)
        before = np.flatnonzero(plain[:first])
        after = np.flatnonzero(plain[end:])
        low = max(first - longest, int(before[-1]) + 1 if len(before) else 0)
        high = min(end + longest, end + int(after[0]) if len(after) else count)
        colour = found.pictures[first:end].mean(axis=0)
        into = _fade_length(distance(found.pictures[low:first], colour)[::-1])
        out = _fade_length(distance(found.pictures[end:high], colour))
        if end - first <= _PLAIN_SHOT_S * rate and (into or out):
            yield Boundary(first - into, end + out, "fade")
            for edge, faded in ((first, into), (end, out)):
                if not faded and 0 < edge < count:
                    yield Boundary(edge, edge, "cut")
            continue
        for edge, boundary in ((first, (first - into, first)), (end, (end, end + out))):
            if 0 < edge < count:
                yield Boundary(*boundary, "fade" if boundary[0] < boundary[1] else "cut")


def _fade_length(away: np.ndarray) -> int:
    """Frames over which `away`, distances from a plain picture, grows to its full value; 0 for no fade.

    Fits a line from zero that goes on level, of each length, by the mean deviation over the line and half as much more.
    """
    best, length = _FADE_MISFIT, 0
    steps = np.arange(1, len(away) + 1)
    for width in range(1, len(away) + 1):
        stop = min(len(away), width + width // 2 + 3)
        model = np.minimum(steps[:stop] / width, 1.0)
        full = float((away[:stop] * model).sum() / (model * model).sum())
        if full < _FADE_DEPTH:
            continue
        misfit = float(np.abs(away[:stop] - full * model).mean()) / full
        if misfit < best - 0.002:
            best, length = misfit, width
    return length if length >= _FADE_FRAMES else 0


def _rate(times: np.ndarray) -> float:
    """Frames per second, from the median step."""
    return float(1 / np.median(np.diff(times))) if len(times) > 1 else 1.0


def _gradual(found: Signals, first: int, end: int) -> list[Boundary]:
    """Dissolves and wipes inside the frames [first, end), which no cut divides."""
    stride = max(1, round(_rate(found.times) / _SEARCH_RATE))
    pictures = found.pictures[first:end:stride]
    taken: list[tuple[int, int]] = []
    boundaries = []
    for candidate in sorted(_candidates(pictures), reverse=True):
        if any(candidate.first < last and candidate.last > start for start, last in taken):
            continue
        taken.append((candidate.first, candidate.last))
        a, b = first + candidate.first * stride, first + candidate.last * stride
        if _is_another_picture(found, a, b, candidate.excess) or _is_swept(found, a, b):
            boundary = _at_once(found.pictures, a, b) or _extent(found, a, b, first, end)
            inside = max(boundary.first, boundary.end - 1)
            length_s = found.times[inside] - found.times[boundary.first]
            if length_s > _WHIP_PAN_S or not in_whip_pan(found, boundary.first, inside):
                boundaries.append(boundary)
    return boundaries


def _candidates(pictures: np.ndarray) -> Iterator[_Candidate]:
    """Every place and length with enough distance, and little detour and unrest."""
    count = len(pictures)
    for half in _HALF_LENGTHS:
        for start in range(0, count - 2 * half, _BLOCK):
            stop = min(start + _BLOCK, count - 2 * half)
            apart = distance(pictures[start:stop], pictures[start + 2 * half : stop + 2 * half])
            chosen = np.flatnonzero(apart >= _DISTANCE)
            a, apart = chosen + start, apart[chosen]
            b = a + 2 * half
            detour = np.max(
                [
                    (distance(pictures[a], pictures[m]) + distance(pictures[m], pictures[b])) / apart - 1
                    for m in (a + half - half // 2, a + half, a + half + half // 2)
                ],
                axis=0,
            )
            unrest = distance(pictures[np.maximum(a - half, 0)], pictures[a])
            unrest = (unrest + distance(pictures[b], pictures[np.minimum(b + half, count - 1)])) / apart
            excess = detour + 0.3 * unrest
            fits = (excess <= _SWEPT_EXCESS) & (unrest <= _UNREST)
            score = np.minimum(apart, _DISTANCE_ENOUGH) / 10 - 2 * unrest - 6 * detour
            for i in np.flatnonzero(fits):
                yield _Candidate(float(score[i]), int(a[i]), int(b[i]), float(excess[i]))


def _is_another_picture(found: Signals, a: int, b: int, excess: float) -> bool:
    """Whether frame `b` shows another picture than frame `a`, nearly everywhere, and not because something moved.

    The less the `excess` of the way between them, and the less of it motion explains, the more the two may resemble
    each other, as two landscapes do.
    """
    before, after = found.pictures[a], found.pictures[b]
    different = np.abs(before.astype(np.float32) - after).max(axis=-1) > _CHANGED
    unexplained = _unexplained(found, a, b)
    if different.mean() < _CHANGED_SHARE:
        return False
    limits = [limit for most, least, limit in _ALIGNMENTS if excess <= most and unexplained >= least]
    return best_alignment(before, after) <= max(limits, default=-1.0)


def _unexplained(found: Signals, a: int, b: int) -> float:
    """Share of the change between the frames that motion does not explain."""
    inside = slice(a + 1, b + 1)
    return float(found.residual[inside].sum() / max(found.coarse[inside].sum(), 1e-6))


def _is_swept(found: Signals, a: int, b: int) -> bool:
    """Whether an edge sweeps over the picture between the frames, as in a wipe, however much moves on either side.

    Then nearly every place changes at once, and at about the time at which its neighbours do, over the whole stretch.
    """
    pictures = found.pictures[a : b + 1].astype(np.float32)
    total = np.abs(pictures[-1] - pictures[0]).mean(axis=-1)
    width = max(1, len(pictures) // 5)
    jumps = np.abs(pictures[width:] - pictures[:-width]).mean(axis=-1)
    when = jumps.argmax(axis=0) / max(len(jumps) - 1, 1)
    changed = total > _CHANGED
    few = changed.mean() < _SWEPT_SHARE or when.std() < _SWEPT_SPREAD
    if few or _unexplained(found, a, b) < _SWEPT_UNEXPLAINED:
        return False
    at_once = float(np.median(jumps.max(axis=0)[changed] / total[changed]))
    apart = [np.abs(np.diff(when, axis=axis)).ravel() for axis in (0, 1)]
    alike = best_alignment(pictures[0], pictures[-1])
    return at_once >= _SWEPT_AT_ONCE and np.concatenate(apart).mean() <= _SWEPT_APART and alike <= _SWEPT_ALIGNMENT


def _at_once(pictures: np.ndarray, a: int, b: int) -> Boundary | None:
    """The cut between frames `a` and `b` where one step makes nearly all of the change; None in a transition."""
    steps = distance(pictures[a + 1 : b + 1], pictures[a:b])
    frame = a + 1 + int(np.argmax(steps))
    if steps.max() < _AT_ONCE * distance(pictures[a], pictures[b]):
        return None
    return Boundary(frame, frame, "cut")


def _extent(found: Signals, a: int, b: int, first: int, end: int) -> Boundary:
    """Where the transition that frames `a` and `b` lie around, or in, begins and ends, as far as [first, end).

    The way from one picture to the other goes on, at either end, while it gets ahead at a fair part of its mean speed.
    """
    room = max(3, (b - a) // 2)
    low, high = max(first, a - room), min(end - 1, b + room)
    pictures = found.pictures[low : high + 1].astype(np.float32)
    before, after = pictures[a - low], pictures[b - low]
    way = after - before
    share = ((pictures - before) * way).sum(axis=(1, 2, 3)) / float((way * way).sum())
    speed = np.diff(share)
    slowest = _SLOWEST / (b - a)
    middle = int(np.argmin(np.abs(share - 0.5)))
    start, stop = middle, middle
    while start > 0 and (share[start] > 1 - _ARRIVED or speed[max(start - 2, 0) : start].mean() > slowest):
        start -= 1
    while stop < high - low and (share[stop] < _ARRIVED or speed[stop : stop + 2].mean() > slowest):
        stop += 1
    mixture = before + way * share[middle]
    misfit = distance(pictures[middle], mixture) / max(float(distance(before, after)), 1e-6)
    return Boundary(low + start + 1, max(low + stop, low + start + 2), "wipe" if misfit > _WIPE else "dissolve")
