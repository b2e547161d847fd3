"""What interrupts a clip, and when. Belongs here: events inside the frames of one clip.

An event tells what happened at which times; how much of it is too much is for the policy to say.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from vid_assets.curation.clip_arrays import ClipArrays, runs, windowed
from vid_assets.curation.metrics.light import BLACK_FRAME, CLIPPED_FRAME
from vid_assets.curation.metrics.motion import SHAKE_S, SHAKE_TRIM


@dataclass(frozen=True)
class Event:
    """One thing found inside a clip: from the first frame that shows it until the first that no longer does.

    kind: a key of `EVENTS`. start_s, end_s: seconds on the file's clock; equal for a cut, which has no length: it
    lies between the frame before and the one at that time. value: how strong, in the unit of the kind.
    """

    kind: str
    start_s: float
    end_s: float
    value: float


#: Kind of event -> what it is, with the unit of its value.
EVENTS: dict[str, str] = {
    "cut": "a frame that the standard detector takes for the start of a shot; strength, 1 is the detector's limit",
    "transition": "a dissolve, fade or wipe; its length inside the clip, seconds",
    "freeze": "frames that repeat the one before, the first that it repeats left out; longest run, seconds",
    "gap": "a step between two frame times that is far longer than usual; medians of the clip's steps",
    "black": "frames that are black; mean share of black pixels, 0-1",
    "clipped": "frames clipped at white; mean share of clipped pixels, 0-1",
    "flicker": "light that goes up and down; mean swing of luma, 0-255",
    "corrupt": "frames that may show damage; number of frames",
    "still": "nothing moves; mean flow in half a second over the frame diagonal",
    "shake": "the camera shakes; mean distance from its smoothed path over the frame diagonal",
}

#: Repeats so close together are one event, seconds: the cadence of 12 frames a second shown at 24 is one long freeze.
_CADENCE_S = 0.15
#: Steps longer than so many medians are a gap.
_GAP = 2.5
#: Luma flickers where it turns round by at least this, so many times, at most so many seconds apart.
_TURN_LUMA, _TURNS, _TURN_GAP_S = 1.5, 5, 0.2
_FLICKER = 3.0
#: The camera shakes where it is this far off its path, over the diagonal.
_SHAKE = 0.004


def find_events(clip: ClipArrays) -> list[Event]:
    """Everything found inside a clip of video, ordered by start time, then kind."""
    found: list[Event] = []
    for events in (_cuts, _transitions, _freezes, _gaps, _levels, _flicker, _still, _shake):
        found += events(clip)
    return sorted(found, key=lambda event: (event.start_s, event.kind, event.end_s))


def _event(kind: str, clip: ClipArrays, first: int, stop: int, value: float) -> Event:
    return Event(kind, float(clip.edges[first]), float(clip.edges[stop]), float(value))


def _cuts(clip: ClipArrays) -> Iterator[Event]:
    for frame in np.flatnonzero(clip.cuts >= 1).tolist():
        yield _event("cut", clip, frame, frame, clip.cuts[frame])


def _transitions(clip: ClipArrays) -> Iterator[Event]:
    start, known = clip.frames.start, clip.source.transitions
    for found in known[bisect_right(known, start, key=lambda one: one.end) :]:
        if found.first >= clip.frames.stop:
            return
        first, stop = max(found.first, start) - start, min(found.end, clip.frames.stop) - start
        yield _event("transition", clip, first, stop, clip.edges[stop] - clip.edges[first])


def _freezes(clip: ClipArrays) -> Iterator[Event]:
    edges, frozen = clip.edges, runs(clip.repeats)
    groups: list[list[tuple[int, int]]] = []
    for run in frozen:
        if groups and edges[run[0]] - edges[groups[-1][-1][1]] < _CADENCE_S:
            groups[-1].append(run)
        else:
            groups.append([run])
    for group in groups:
        longest = max(edges[stop] - edges[first] for first, stop in group)
        yield _event("freeze", clip, group[0][0], group[-1][1], longest)


def _gaps(clip: ClipArrays) -> Iterator[Event]:
    for frame in np.flatnonzero(clip.steps > _GAP).tolist():
        yield _event("gap", clip, frame, frame + 1, clip.steps[frame])


def _levels(clip: ClipArrays) -> Iterator[Event]:
    for first, stop in runs(clip.black >= BLACK_FRAME):
        yield _event("black", clip, first, stop, clip.black[first:stop].mean())
    for first, stop in runs(clip.clipped > CLIPPED_FRAME):
        yield _event("clipped", clip, first, stop, clip.clipped[first:stop].mean())
    for first, stop in runs(clip.column("proof", "corrupt") > 0):
        yield _event("corrupt", clip, first, stop, stop - first)


def _flicker(clip: ClipArrays) -> Iterator[Event]:
    """Stretches in which luma turns round again and again; each turn is as large as the smaller step beside it."""
    steps = np.diff(clip.luma)
    if len(steps) < 2:
        return
    turn = np.where(steps[1:] * steps[:-1] < 0, np.minimum(np.abs(steps[1:]), np.abs(steps[:-1])), 0.0)
    turns = np.flatnonzero(turn >= _TURN_LUMA) + 1
    apart = np.flatnonzero(np.diff(clip.times[turns]) > _TURN_GAP_S) + 1
    for group in np.split(turns, apart):
        if len(group) >= _TURNS and turn[group - 1].mean() >= _FLICKER:
            yield _event("flicker", clip, group[0], group[-1] + 1, turn[group - 1].mean())


def _still(clip: ClipArrays) -> Iterator[Event]:
    """Stretches without motion; what lies before the first or after the last pair of frames goes with that pair."""
    since, until, mean, _ = clip.flow
    edges = clip.edges
    for first, stop in runs(clip.still):
        start = edges[0] if first == 0 else since[first]
        end = edges[-1] if stop == len(mean) else until[stop - 1]
        yield Event("still", float(start), float(end), float(mean[first:stop].mean()))


def _shake(clip: ClipArrays) -> Iterator[Event]:
    times, off = clip.shake
    if len(off) < 2:
        return
    step = float(np.median(np.diff(times)))
    strength = windowed(off, step, SHAKE_S, SHAKE_TRIM)
    length = len(off) - len(strength) + 1
    shaky = np.zeros(len(off), dtype=bool)
    for first in np.flatnonzero(strength > _SHAKE).tolist():
        shaky[first : first + length] = True
    for first, stop in runs(shaky):
        start = clip.edges[0] if first == 0 else times[first]
        end = clip.edges[-1] if stop == len(off) else times[stop]
        yield Event("shake", float(start), float(end), float(off[first:stop].mean()))
