"""Windows: which frames of a clip fill which bucket, on the presentation clock.

A clip goes to the buckets of its kind. Among buckets of equal frames, rate and about equal area, it goes to the one
whose aspect is nearest to its own. Windows of a clip do not overlap and lie wholly within it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from vid_assets.config import Bucket

#: Buckets whose areas differ by less than this factor are alternatives of one another.
_SAME_AREA = 1.25
_CLOCK = 1e-6


@dataclass(frozen=True)
class Window:
    """A stretch of a clip in a bucket. `start_s` is on the presentation clock; `index` counts within the clip."""

    bucket: Bucket
    start_s: float
    index: int

    @property
    def times_s(self) -> tuple[float, ...]:
        """The moments whose frames are taken."""
        if self.bucket.fps is None:
            return (self.start_s,)
        return tuple(self.start_s + frame / self.bucket.fps for frame in range(self.bucket.frames))


def plan_windows(
    kind: str, start_s: float, end_s: float, width: int, height: int, buckets: Sequence[Bucket]
) -> list[Window]:
    """The windows of one clip of `width` x `height` pixels (after any crop) in all buckets that it fills."""
    windows: list[Window] = []
    for bucket in nearest_aspects(width, height, [bucket for bucket in buckets if bucket.kind == kind]):
        if bucket.fps is None:
            windows.append(Window(bucket, round(start_s, 6), 0))
            continue
        length = bucket.frames / bucket.fps
        count = math.floor((end_s - start_s + _CLOCK) / length)
        windows += [Window(bucket, round(start_s + index * length, 6), index) for index in range(count)]
    return windows


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
