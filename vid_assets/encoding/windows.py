"""Windows: which frames of a clip fill which bucket, on the presentation clock.

A clip goes to the buckets of its kind. Among buckets of equal frames, rate and about equal area, it goes to the one
whose aspect is nearest to its own. Windows of a clip do not overlap, lie wholly within it, and hold one coherent
stretch: nothing that interrupts it, no picture twice, and motion for long enough.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np

from vid_assets.curation.continuity import Event
from vid_assets.encoding.settings import Bucket
from vid_assets.footage.decode import TIME_TOLERANCE_S, frames_on_screen

#: Bumped by hand when other windows are planned. Not in the key of a latent: the key says which frames it is made of.
WINDOWS_VERSION = "3"

#: Buckets whose areas differ by less than this factor are alternatives of one another.
_SAME_AREA = 1.25
_CLOCK = 1e-6
#: A rate this near to the bucket's, as a share, is the same in name (23.976 and 24, a phone's 29.8 and 30): a window
#: then takes successive frames, as a player does, rather than the same one twice here and there.
_SAME_RATE = 0.0125
#: Steps of the bucket between two frames of such a window from which on one is missing between them.
_MISSING = 1.5

#: Events that no window holds a moment of. A cut is between two moments: windows may touch it from either side.
_BREAKS = frozenset({"cut", "transition", "gap", "corrupt", "black"})


@dataclass(frozen=True)
class Window:
    """A stretch of a clip in a bucket. `start_s` is on the presentation clock; `index` counts within the clip.

    `moments` are the times of its frames where these are successive ones, of a rate that is nearly the bucket's.
    """

    bucket: Bucket
    start_s: float
    index: int
    moments: tuple[float, ...] = ()

    @property
    def times_s(self) -> tuple[float, ...]:
        """The moments whose frames are taken."""
        if self.moments:
            return self.moments
        if self.bucket.fps is None:
            return (self.start_s,)
        return tuple(self.start_s + frame / self.bucket.fps for frame in range(self.bucket.frames))


@dataclass(frozen=True)
class LeftOut:
    """A stretch of a clip, in seconds on its clock, that no window of a bucket holds, and why."""

    bucket: str
    start_s: float
    end_s: float
    reason: str


@dataclass(frozen=True)
class ClipWindows:
    """The windows of one clip, and where it has none. What is left over behind the last window is not listed."""

    windows: list[Window] = field(default_factory=list)
    left_out: list[LeftOut] = field(default_factory=list)


def plan_windows(
    kind: str,
    start_s: float,
    end_s: float,
    width: int,
    height: int,
    buckets: Sequence[Bucket],
    times_s: Sequence[float] = (),
    events: Iterable[Event] = (),
    motion_share_min: float | None = None,
    first_frame: bool = False,
) -> ClipWindows:
    """The windows of one clip of `width` x `height` pixels (after any crop) in all buckets that it fills.

    `times_s` are the presentation times of all frames of the source, ascending; with them a window that would take
    one frame for two of its moments is left out. `events` is the clip's continuity record. At least
    `motion_share_min` (0-1) of a window's time has motion; None asks for none. With `first_frame`, the frame where a
    video clip's first coherent stretch begins fills the image buckets too: it is encoded on its own, which every
    family can do, also those whose still is not the first latent of a video.
    """
    plan = ClipWindows()
    events, times = list(events), np.asarray(times_s, dtype=np.float64)
    if first_frame and kind == "video" and (stretches := _stretches(start_s, end_s, events)):
        images = nearest_aspects(width, height, [bucket for bucket in buckets if bucket.kind == "image"])
        plan.windows.extend(Window(bucket, round(stretches[0][0], 6), 0) for bucket in images)
    for bucket in nearest_aspects(width, height, [bucket for bucket in buckets if bucket.kind == kind]):
        if bucket.fps is None:
            plan.windows.append(Window(bucket, round(start_s, 6), 0))
        else:
            _fill(plan, bucket, start_s, end_s, times, events, motion_share_min)
    return plan


def _fill(
    plan: ClipWindows,
    bucket: Bucket,
    start_s: float,
    end_s: float,
    times: np.ndarray,
    events: Sequence[Event],
    motion_share_min: float | None,
) -> None:
    """Lay windows of a video bucket one behind the other into each coherent stretch, each as early as it may start."""
    assert bucket.fps is not None
    step, length = 1 / bucket.fps, bucket.frames / bucket.fps
    index = 0
    for begin, end in _stretches(start_s, end_s, events):
        at, found = begin, False
        while True:
            window, until = Window(bucket, round(at, 6), index), at + length
            fits = until <= end + _CLOCK
            reason = _repeats(window, times, events) if fits else _TOO_FEW
            if reason == _TOO_FEW:
                if successive := _successive(bucket, at, end, times, index):
                    window, until = successive
                    reason = _repeats(window, times, events)
                elif not fits:
                    break
            found = True
            reason = reason or _stands_still(at, until, events, motion_share_min)
            if reason:
                words = reason.format(bucket.fps)
                _leave_out(plan, LeftOut(bucket.name, at, at + step, words))
                at += step
            else:
                plan.windows.append(window)
                index += 1
                at = until
        if not found:
            plan.left_out.append(LeftOut(bucket.name, begin, end, f"shorter than the {length:.3g} s of a window"))


def _successive(bucket: Bucket, at: float, end: float, times: np.ndarray, index: int) -> tuple[Window, float] | None:
    """The window of successive frames from the first that begins at or after `at`, and when its last one ends.

    None where their rate is not nearly the bucket's, where one is missing, or where they go on beyond `end`.
    """
    assert bucket.fps is not None
    first = int(np.searchsorted(times, at - TIME_TOLERANCE_S))
    stop = first + bucket.frames
    if stop > len(times) or bucket.frames < 2:
        return None
    steps = np.diff(times[first:stop])
    if steps.max() * bucket.fps > _MISSING:
        return None
    step = float(steps.mean())
    until = float(times[stop]) if stop < len(times) else float(times[stop - 1] + step)
    if until > end + max(_CLOCK, step * _SAME_RATE) or abs(step * bucket.fps - 1) > _SAME_RATE:
        return None
    moments = tuple(round(float(time), 6) for time in times[first:stop])
    return Window(bucket, moments[0], index, moments), until


def _stretches(start_s: float, end_s: float, events: Iterable[Event]) -> list[tuple[float, float]]:
    """What of a clip lies between the events that interrupt it."""
    stretches, begin = [], start_s
    for event in sorted((event for event in events if event.kind in _BREAKS), key=lambda event: event.start_s):
        if event.start_s - begin > _CLOCK:
            stretches.append((begin, min(event.start_s, end_s)))
        begin = max(begin, event.start_s if event.kind == "cut" else event.end_s)
    if end_s - begin > _CLOCK:
        stretches.append((begin, end_s))
    return stretches


#: Why a window is left out whose moments would show one frame twice; the rate is the bucket's.
_TOO_FEW = "fewer frames than the {:g} a second of the bucket"


def _repeats(window: Window, times: np.ndarray, events: Iterable[Event]) -> str | None:
    """Why two successive moments of the window would show one picture; None where each shows its own."""
    if not len(times):
        return None
    frames = frames_on_screen(times, window.times_s)
    if (np.diff(frames) < 1).any():
        return _TOO_FEW
    second, last = times[frames[1]], times[frames[-1]]
    for event in events:
        # Of a long clip, nearly all lie elsewhere
        if event.kind == "freeze" and event.start_s - _CLOCK <= last and event.end_s - _CLOCK > second:
            # All frames after one moment's, up to the next moment's, repeat what was there
            repeated = (times[frames[:-1] + 1] >= event.start_s - _CLOCK) & (times[frames[1:]] < event.end_s - _CLOCK)
            if repeated.any():
                return "repeated frames"
    return None


def _stands_still(start_s: float, end_s: float, events: Iterable[Event], share_min: float | None) -> str | None:
    if share_min is None:
        return None
    still = sum(
        max(0.0, min(event.end_s, end_s) - max(event.start_s, start_s)) for event in events if event.kind == "still"
    )
    moving = 1 - still / (end_s - start_s)
    return f"motion in less than {share_min:.0%} of the time" if moving < share_min - _CLOCK else None


def _leave_out(plan: ClipWindows, stretch: LeftOut) -> None:
    """Add a stretch, as one with that before it where they touch and have the same reason."""
    last = plan.left_out[-1] if plan.left_out else None
    if (
        last
        and last.bucket == stretch.bucket
        and last.reason == stretch.reason
        and stretch.start_s - last.end_s < _CLOCK
    ):
        plan.left_out[-1] = LeftOut(last.bucket, last.start_s, stretch.end_s, last.reason)
    else:
        plan.left_out.append(stretch)


def nearest_aspects(width: int, height: int, buckets: Sequence[Bucket]) -> list[Bucket]:
    """One bucket of each group of alternatives: the one whose aspect is nearest to width / height."""
    groups: list[list[Bucket]] = []
    for bucket in sorted(buckets, key=lambda b: (b.frames, b.fps or 0.0, b.height * b.width, b.name)):
        last = groups[-1][0] if groups else None
        if last and (last.frames, last.fps) == (bucket.frames, bucket.fps) and _areas_alike(last, bucket):
            groups[-1].append(bucket)
        else:
            groups.append([bucket])
    aspect = math.log(width / height)
    return [min(group, key=lambda b: (abs(math.log(b.width / b.height) - aspect), b.name)) for group in groups]


def _areas_alike(one: Bucket, other: Bucket) -> bool:
    return other.height * other.width < _SAME_AREA * one.height * one.width
