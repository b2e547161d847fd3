"""Where a source is divided into clips. Belongs here: from boundaries between shots to the clips of a source.

Nothing is decoded here: boundaries are found in stored statistics (`cuts`, `transitions`), so that a changed setting
divides all footage anew in seconds. All times are on the file's presentation clock.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from vid_assets.curation.cuts import as_array, cut_strength, signals
from vid_assets.curation.groups import GroupStats
from vid_assets.curation.settings import Shots
from vid_assets.curation.transitions import Boundary, find_boundaries

SHOTS_VERSION = "2"

#: The standard detector: the defaults, whatever the config says.
_STANDARD = Shots()


@dataclass(frozen=True)
class Clip:
    """A stretch of one source: frames with start_s <= time < end_s (seconds), or a still (both times equal).

    starts_with, ends_with: what bounds it: file, cut, fade, dissolve, wipe, or division (of a long shot).
    """

    start_s: float
    end_s: float
    frame_count: int
    kind: str
    splitter: str
    starts_with: str
    ends_with: str


def find_clips(video: Mapping[str, Any], groups: Mapping[str, GroupStats], config: Shots) -> list[Clip]:
    """The clips of a source in order of time, none overlapping; empty where no frame could be decoded.

    Needs the groups `change` and `motion`, and `transnet` where that is the splitter. Every shot gives at least one
    clip, however short. What belongs to a transition between two shots is in no clip. Shots lose `trim_s` more at
    their boundaries, but not at the ends of the file, unless nothing would be left. A black or white stretch of more
    than a second is a shot of its own.
    """
    times = np.asarray(groups["change"].timestamps, dtype=np.float64)
    if not len(times):
        return []
    if video["kind"] == "image" or len(times) == 1:
        return [Clip(float(times[0]), float(times[0]), 1, "image", "still", "file", "file")]
    edges = frame_edges(times)
    clips = []
    for first, last, starts_with, ends_with in _shots(_boundaries(groups, config), len(times)):
        first, last = _trimmed(edges, first, last, config.trim_s, len(times))
        parts = _divided(edges, first, last, config, groups.get("motion"))
        for a, b in parts:
            starts = starts_with if a == first else "division"
            ends = ends_with if b == last else "division"
            clips.append(Clip(float(edges[a]), float(edges[b]), b - a, "video", config.splitter, starts, ends))
    return clips


def frame_edges(times: np.ndarray) -> np.ndarray:
    """The times of frames, (N,) seconds, and that at which the last one ends: after a median step, or at once where
    there is one frame; none for none."""
    step = np.median(np.diff(times)) if len(times) > 1 else 0.0
    return np.append(times, times[-1:] + step)


def standard_cuts(groups: Mapping[str, GroupStats]) -> np.ndarray:
    """How clearly each frame of a source starts a new shot by the standard detector: (N,) float64, 1 and more is a cut.

    The standard detector is fixed, so that a metric made from it does not depend on how a source was divided. N is
    the number of decoded frames. Needs the group `change`.
    """
    return cut_strength(signals(groups), _STANDARD)


def _boundaries(groups: Mapping[str, GroupStats], config: Shots) -> list[Boundary]:
    if config.splitter == "none":
        return []
    if config.splitter == "transnet":
        from vid_assets.curation.transnet import boundaries

        return boundaries(groups["transnet"], config.transnet_threshold)
    return find_boundaries(groups, config)


def _shots(boundaries: list[Boundary], count: int) -> list[tuple[int, int, str, str]]:
    """What lies between the boundaries, without the empty: frames [first, last), and the kinds of both boundaries."""
    starts = [(0, "file"), *((item.end, item.kind) for item in boundaries)]
    ends = [*((item.first, item.kind) for item in boundaries), (count, "file")]
    return [
        (first, last, starts_with, ends_with)
        for (first, starts_with), (last, ends_with) in zip(starts, ends, strict=True)
        if first < last
    ]


def _trimmed(edges: np.ndarray, first: int, last: int, trim_s: float, frames: int) -> tuple[int, int]:
    """Frames [first, last) without `trim_s` at either end that is not an end of the file; whole if none would stay."""
    begin, end = first, last
    if first > 0:
        begin = int(np.searchsorted(edges, edges[first] + trim_s - 1e-6))
    if last < frames:
        end = int(np.searchsorted(edges, edges[last] - trim_s + 1e-6, side="right")) - 1
    return (begin, end) if begin < end else (first, last)


def _divided(
    edges: np.ndarray, first: int, last: int, config: Shots, motion: GroupStats | None
) -> list[tuple[int, int]]:
    """Frames [first, last) in parts of at most `max_clip_s` each, with as little motion as can be where they meet."""
    if edges[last] - edges[first] <= config.max_clip_s + 1e-6:
        return [(first, last)]
    amount = _motion(edges, motion)
    if amount is not None:
        marks = _restful(edges, first, last, config.max_clip_s, config.divide_slack, amount)
        parts = list(itertools.pairwise([first, *marks, last]))
        if all(a < b and edges[b] - edges[a] <= config.max_clip_s + 1e-6 for a, b in parts):
            return parts
    return _evenly_divided(edges, first, last, config.max_clip_s)


def _motion(edges: np.ndarray, motion: GroupStats | None) -> np.ndarray | None:
    """Optical flow around each frame, over the diagonal and in half a second; None where it was not measured."""
    if motion is None or not motion.timestamps:
        return None
    mean, since = as_array(motion.stats["mean"]), as_array(motion.stats["since"])
    known = np.isfinite(mean) & np.isfinite(since)
    if not known.any():
        return None
    return np.interp(edges, (np.asarray(motion.timestamps)[known] + since[known]) / 2, mean[known])


def _restful(edges: np.ndarray, first: int, last: int, longest_s: float, slack: float, amount: np.ndarray) -> list[int]:
    """Frames to divide [first, last) at: as few parts as leave room to choose, and the least motion within that room.

    A division may lie up to `slack` of half a part away from even parts, as far as no part comes out too long.
    """
    start, end = edges[first], edges[last]
    count = max(2, math.ceil((end - start) / (longest_s * (1 - slack / 2)) - 1e-6))
    if count > last - first:
        return []  # a gap in the frame times, of many clips' length
    even = (end - start) / count
    room = min(longest_s - even, slack * even) / 2
    marks = []
    for number in range(1, count):
        ideal = start + number * even
        low, high = np.searchsorted(edges, (ideal - room - 1e-6, ideal + room + 1e-6))
        if low < high:
            # Of frames with equal motion, the one nearest to even parts
            nearness = np.abs(edges[low:high] - ideal) / max(room, 1e-9)
            marks.append(int(low + np.lexsort((nearness, np.round(amount[low:high], 5)))[0]))
    return marks


def _evenly_divided(edges: np.ndarray, first: int, last: int, longest_s: float) -> list[tuple[int, int]]:
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
