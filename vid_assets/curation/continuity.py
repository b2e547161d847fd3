"""What interrupts a clip, and when. Belongs here: events inside the frames of one clip.

An event tells what happened at which times; how much of it is too much is for the policy to say.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from vid_assets.curation.source import (
    BLACK_FRAME,
    CLIPPED_FRAME,
    SHAKE_S,
    SHAKE_TRIM,
    Stretch,
    runs,
    windowed,
)


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


def find_events(stretch: Stretch) -> list[Event]:
    """Everything found inside a clip of video, ordered by start time, then kind."""
    found: list[Event] = []
    for events in (_cuts, _transitions, _freezes, _gaps, _levels, _flicker, _still, _shake):
        found += events(stretch)
    return sorted(found, key=lambda event: (event.start_s, event.kind, event.end_s))


def _event(kind: str, stretch: Stretch, first: int, stop: int, value: float) -> Event:
    return Event(kind, float(stretch.edges[first]), float(stretch.edges[stop]), float(value))


def _cuts(stretch: Stretch) -> Iterator[Event]:
    for frame in np.flatnonzero(stretch.cuts >= 1).tolist():
        yield _event("cut", stretch, frame, frame, stretch.cuts[frame])


def _transitions(stretch: Stretch) -> Iterator[Event]:
    start, known = stretch.frames.start, stretch.source.transitions
    for found in known[bisect_right(known, start, key=lambda one: one.end) :]:
        if found.first >= stretch.frames.stop:
            return
        first, stop = max(found.first, start) - start, min(found.end, stretch.frames.stop) - start
        yield _event("transition", stretch, first, stop, stretch.edges[stop] - stretch.edges[first])


def _freezes(stretch: Stretch) -> Iterator[Event]:
    edges, frozen = stretch.edges, runs(stretch.repeats)
    groups: list[list[tuple[int, int]]] = []
    for run in frozen:
        if groups and edges[run[0]] - edges[groups[-1][-1][1]] < _CADENCE_S:
            groups[-1].append(run)
        else:
            groups.append([run])
    for group in groups:
        longest = max(edges[stop] - edges[first] for first, stop in group)
        yield _event("freeze", stretch, group[0][0], group[-1][1], longest)


def _gaps(stretch: Stretch) -> Iterator[Event]:
    for frame in np.flatnonzero(stretch.steps > _GAP).tolist():
        yield _event("gap", stretch, frame, frame + 1, stretch.steps[frame])


def _levels(stretch: Stretch) -> Iterator[Event]:
    for first, stop in runs(stretch.black >= BLACK_FRAME):
        yield _event("black", stretch, first, stop, stretch.black[first:stop].mean())
    for first, stop in runs(stretch.clipped > CLIPPED_FRAME):
        yield _event("clipped", stretch, first, stop, stretch.clipped[first:stop].mean())
    for first, stop in runs(stretch.column("proof", "corrupt") > 0):
        yield _event("corrupt", stretch, first, stop, stop - first)


def _flicker(stretch: Stretch) -> Iterator[Event]:
    """Stretches in which luma turns round again and again; each turn is as large as the smaller step beside it."""
    steps = np.diff(stretch.luma)
    if len(steps) < 2:
        return
    turn = np.where(steps[1:] * steps[:-1] < 0, np.minimum(np.abs(steps[1:]), np.abs(steps[:-1])), 0.0)
    turns = np.flatnonzero(turn >= _TURN_LUMA) + 1
    apart = np.flatnonzero(np.diff(stretch.times[turns]) > _TURN_GAP_S) + 1
    for group in np.split(turns, apart):
        if len(group) >= _TURNS and turn[group - 1].mean() >= _FLICKER:
            yield _event("flicker", stretch, group[0], group[-1] + 1, turn[group - 1].mean())


def _still(stretch: Stretch) -> Iterator[Event]:
    """Stretches without motion; what lies before the first or after the last pair of frames goes with that pair."""
    since, until, mean, _ = stretch.flow
    edges = stretch.edges
    for first, stop in runs(stretch.still):
        start = edges[0] if first == 0 else since[first]
        end = edges[-1] if stop == len(mean) else until[stop - 1]
        yield Event("still", float(start), float(end), float(mean[first:stop].mean()))


def _shake(stretch: Stretch) -> Iterator[Event]:
    times, off = stretch.shake
    if len(off) < 2:
        return
    step = float(np.median(np.diff(times)))
    strength = windowed(off, step, SHAKE_S, SHAKE_TRIM)
    length = len(off) - len(strength) + 1
    shaky = np.zeros(len(off), dtype=bool)
    for first in np.flatnonzero(strength > _SHAKE).tolist():
        shaky[first : first + length] = True
    for first, stop in runs(shaky):
        start = stretch.edges[0] if first == 0 else times[first]
        end = stretch.edges[-1] if stop == len(off) else times[stop]
        yield Event("shake", float(start), float(end), float(off[first:stop].mean()))
