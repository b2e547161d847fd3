"""Where a source is divided into clips. Belongs here: cuts and fades from stored statistics, and clip boundaries.

Cuts follow the AdaptiveDetector of PySceneDetect (`scenedetect/detectors/adaptive_detector.py`): a frame starts a new
shot when its content difference is at least `adaptive_threshold` times the mean difference of the frames around it,
and at least `min_content_delta`. All boundaries are times on the presentation clock; nothing is decoded here.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from vid_assets.config import Shots
from vid_assets.curation.groups import GroupStats

SHOTS_VERSION = "1"

#: A fade ends at this multiple of the luma that begins it, so that a picture hovering at the limit is not chopped up.
_FADE_HYSTERESIS = 1.25
#: A ratio where everything around a frame stands still; the value that AdaptiveDetector gives it.
_RATIO_LIMIT = 255.0
#: A content difference below this is a repeated frame; frames this close on the clock show how fast footage moves.
_REPEAT = 0.5
_NEARBY_S = 0.25


@dataclass(frozen=True)
class Clip:
    """A stretch of one source: frames with start_s <= time < end_s (seconds), or a still (both times equal)."""

    start_s: float
    end_s: float
    frame_count: int
    kind: str
    splitter: str


def find_clips(video: Mapping[str, Any], groups: Mapping[str, GroupStats], config: Shots) -> list[Clip]:
    """The clips of a source in order of time, none overlapping; empty where no frame could be decoded.

    Needs the groups `change` and `light`. Every shot gives at least one clip, however short; a dark stretch is a
    shot of its own. Shots lose `trim_s` at cuts, but not at the ends of the file, unless nothing would be left.
    """
    times = np.asarray(groups["change"].timestamps, dtype=np.float64)
    if not len(times):
        return []
    if video["kind"] == "image" or len(times) == 1:
        return [Clip(float(times[0]), float(times[0]), 1, "image", "still")]
    edges = np.append(times, times[-1] + np.median(np.diff(times)))
    starts = [0, *_boundaries(groups, config), len(times)]
    clips = []
    for first, last in itertools.pairwise(starts):
        first, last = _trimmed(edges, first, last, config.trim_s, len(times))
        for a, b in _divided(edges, first, last, config.max_clip_s):
            clips.append(Clip(float(edges[a]), float(edges[b]), b - a, "video", config.splitter))
    return clips


def _boundaries(groups: Mapping[str, GroupStats], config: Shots) -> list[int]:
    """Numbers of the frames that start a shot, without frame 0."""
    if config.splitter == "none":
        return []
    dark = dark_frames(as_array(groups["light"].stats["luma"]), config.fade_luma)
    strength = cut_strength(
        groups["change"], dark, config.adaptive_threshold, config.adaptive_window, config.min_content_delta
    )
    return np.flatnonzero((strength >= 1) | np.diff(dark, prepend=dark[0])).tolist()


def as_array(column: list[float | None]) -> np.ndarray:
    """A column of statistics as float64, not measured as NaN."""
    return np.array([np.nan if value is None else value for value in column], dtype=np.float64)


def cut_strength(change: GroupStats, dark: np.ndarray, threshold: float, window: int, floor: float) -> np.ndarray:
    """How clearly each frame starts a new shot: 1 and more is a cut, by ratio and by absolute difference.

    0 for the first frame, and inside a dark stretch, where hue and saturation are noise.
    """
    content = np.nan_to_num(as_array(change.stats["content"]))
    ratio = adaptive_ratio(np.asarray(change.timestamps), content, window, floor)
    strength = np.minimum(ratio / threshold, content / max(floor, 1e-9))
    return np.where(dark & np.append(True, dark[:-1]), 0.0, strength)


def adaptive_ratio(times: np.ndarray, content: np.ndarray, window: int, floor: float) -> np.ndarray:
    """Content difference of each frame over the mean of the `window` frames before and after it, without itself.

    As in AdaptiveDetector: at most 255; where the frames around stand still, 255 if the difference is at least
    `floor`, else 0. Near the ends of the file the frames that exist are taken. In footage that repeats frames, the
    repeats say nothing of how fast it moves: where frames that do change lie close by on both sides (or on one, and
    the file ends on the other), their mean counts if it is larger.
    """
    count = len(content)
    sums = np.concatenate([[0.0], np.cumsum(content)])
    index = np.arange(count)
    low, high = np.maximum(index - window, 0), np.minimum(index + window + 1, count)
    # Frame 0 has no difference, so it is no neighbour either
    number = np.maximum(high - np.maximum(low, 1) - 1, 1)
    mean = (sums[high] - sums[low] - content) / number
    changes = np.flatnonzero(content >= _REPEAT)
    for frame in np.flatnonzero(content >= floor):
        place = np.searchsorted(changes, frame)
        near = changes[max(0, place - window) : place], changes[place + 1 : place + 1 + window]
        before, after = (side[np.abs(times[side] - times[frame]) <= _NEARBY_S] for side in near)
        from_start, to_end = times[frame] - times[0] <= _NEARBY_S, times[-1] - times[frame] <= _NEARBY_S
        if (len(before) or from_start) and (len(after) or to_end) and len(before) + len(after):
            mean[frame] = max(mean[frame], content[np.append(before, after)].mean())
    still = mean < 1e-5
    ratio = np.where(still, np.where(content >= floor, _RATIO_LIMIT, 0.0), content / np.where(still, 1.0, mean))
    return np.minimum(ratio, _RATIO_LIMIT)


def dark_frames(luma: np.ndarray, limit: float) -> np.ndarray:
    """Which frames belong to a dark stretch: it begins under `limit` and ends at 1.25 times that."""
    dark = np.zeros(len(luma), dtype=bool)
    state = False
    for frame, value in enumerate(luma):
        state = bool(value < limit * (_FADE_HYSTERESIS if state else 1.0))
        dark[frame] = state
    return dark


def _trimmed(edges: np.ndarray, first: int, last: int, trim_s: float, frames: int) -> tuple[int, int]:
    """Frames [first, last) without `trim_s` at either end that is not an end of the file; whole if none would stay."""
    begin, end = first, last
    if first > 0:
        begin = int(np.searchsorted(edges, edges[first] + trim_s - 1e-6))
    if last < frames:
        end = int(np.searchsorted(edges, edges[last] - trim_s + 1e-6, side="right")) - 1
    return (begin, end) if begin < end else (first, last)


def _divided(edges: np.ndarray, first: int, last: int, longest_s: float) -> list[tuple[int, int]]:
    """Frames [first, last) in the fewest even parts, on the clock, of at most `longest_s` each.

    A single frame is never divided. Where a gap in the frame times allows no even parts, the frame that stands over
    the widest gap becomes a part of its own, and what lies on either side of it is divided for itself.
    """
    done: list[tuple[int, int]] = []
    todo = [(first, last)]
    while todo:
        a, b = todo.pop()
        parts = _even_parts(edges, a, b, longest_s)
        if parts:
            done += parts
        else:
            widest = a + int(np.argmax(np.diff(edges[a : b + 1])))
            todo += [pair for pair in ((a, widest), (widest, widest + 1), (widest + 1, b)) if pair[0] < pair[1]]
    return sorted(done)


def _even_parts(edges: np.ndarray, first: int, last: int, longest_s: float) -> list[tuple[int, int]] | None:
    """[first, last) in even parts, or None where such parts come out too long."""
    start, end = edges[first], edges[last]
    fewest = max(1, math.ceil(min((end - start) / longest_s - 1e-6, last - first)))
    # Boundaries lie on frames, so a part may come out a frame too long; one part more then helps
    for count in (fewest, fewest + 1):
        inner = np.searchsorted(edges, start + (end - start) * np.arange(1, count) / count - 1e-6)
        pairs = list(itertools.pairwise(sorted({first, *(int(mark) for mark in inner), last})))
        if all(edges[b] - edges[a] <= longest_s + 1e-6 or b - a == 1 for a, b in pairs):
            return pairs
    return None
