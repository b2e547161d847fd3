"""One clip as arrays. Belongs here: what metrics and events both read of its frames, each made once.

In all arrays not measured is NaN.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from typing import Any

import numpy as np

from vid_assets.curation.letterbox import Letterbox
from vid_assets.curation.source_arrays import SourceArrays

#: A frame repeats the one before where luma differs by less than this, on average over the picture and in any part of
#: it, 0-255. The second tells a repeat from a face that speaks before a still wall.
_REPEAT_LUMA = 0.5
_REPEAT_LOCAL = 2.5
#: So many of them in a row are a freeze. Fewer are repeats only where they differ by less than these shares of what the
#: frames on either side differ by, and in no part by more than a limit: slow motion does not repeat itself, and a coder
#: may touch up a frame that does.
_LONG_RUN = 3
_LOCAL_SHARE, _LUMA_SHARE = 0.35, 0.6
_LOCAL_LIMIT = 4.0
#: So many frames in a freeze, or at its ends, belong to it where they differ by less than this: a key frame of a frozen
#: picture differs a little from what was predicted before it, and may be refined afterwards.
_TOUCHED_UP = 2
_TOUCHED_LOCAL, _TOUCHED_LUMA = 4.0, 3.0
#: Nothing moves where flow in half a second, over the diagonal, is under the first on average, and under the second
#: in all but 1 % of the picture, and where few frames differ from the one before in one part much more than in others:
#: what moves to and fro may be back after half a second.
_STILL_MEAN = 0.0003
_STILL_PEAK = 0.005
_LIVELY_SHARE, _LIVELY_FACTOR = 0.5, 2.0
#: The camera's path is compared with itself smoothed by cubic polynomials over this time, seconds.
_SMOOTH_S = 0.5


class ClipArrays:
    """The frames of one clip (kind, start_s, end_s) of a source; what its letterbox bars cover counts as nothing."""

    def __init__(self, source: SourceArrays, clip: Mapping[str, Any], letterbox: Letterbox | None = None) -> None:
        self.source, self.clip, self.frames = source, clip, source.frames(clip)
        self.letterbox = letterbox or Letterbox()

    @property
    def kind(self) -> str:
        """`video` or `image`."""
        return self.clip["kind"]

    @property
    def length_s(self) -> float:
        """Its length in seconds."""
        return self.clip["end_s"] - self.clip["start_s"]

    @property
    def size(self) -> tuple[int, int]:
        """Width and height of what is shown inside the bars, pixels."""
        video = self.source.video
        return self.letterbox.crop[2:] if self.letterbox.crop else (video["width"], video["height"])

    @property
    def kept(self) -> float:
        """Share of the picture inside the bars; all of one that is black all over."""
        return self.letterbox.kept or 1.0

    def column(self, group: str, name: str) -> np.ndarray:
        """One column of statistics, for the frames of the clip."""
        return self.source.column(group, name)[self.frames]

    @cached_property
    def times(self) -> np.ndarray:
        return self.source.times[self.frames]

    @cached_property
    def edges(self) -> np.ndarray:
        """The times, and the time at which the last frame ends."""
        return self.source.edges[self.frames.start : self.frames.stop + 1]

    @cached_property
    def cuts(self) -> np.ndarray:
        """Strength of a cut into each frame; 0 for the first, which is no change inside the clip."""
        return np.where(np.arange(len(self.times)) > 0, self.source.cuts[self.frames], 0.0)

    @cached_property
    def repeats(self) -> np.ndarray:
        """Which frames repeat the one before, bool; never the first."""
        mean, part = self.column("change", "luma_change"), self.column("motion", "change").copy()
        part[:1] = np.nan
        jerk = (part < np.minimum(_LOCAL_LIMIT, _LOCAL_SHARE * _beside(part))) & (mean < _LUMA_SHARE * _beside(mean))
        repeated = jerk | ((part < _REPEAT_LOCAL) & (mean < _REPEAT_LUMA))
        touched_up = (part < _TOUCHED_LOCAL) & (mean < _TOUCHED_LUMA)
        for first, stop in runs(repeated):
            if stop - first >= _LONG_RUN:
                near = slice(max(0, first - _TOUCHED_UP), stop + _TOUCHED_UP)
                repeated[near] |= touched_up[near]
        for first, stop in runs(repeated):
            if stop - first < _LONG_RUN:
                repeated[first:stop] &= jerk[first:stop]
        return repeated

    @cached_property
    def luma(self) -> np.ndarray:
        """Mean luma of the picture inside the bars, 0-255."""
        return self.column("light", "luma") / self.kept

    @cached_property
    def black(self) -> np.ndarray:
        """Share of black pixels inside the bars, 0-1."""
        return 1 - (1 - self.column("light", "black")) / self.kept

    @cached_property
    def clipped(self) -> np.ndarray:
        """Share of clipped pixels inside the bars, 0-1."""
        return self.column("light", "clipped") / self.kept

    @cached_property
    def steps(self) -> np.ndarray:
        """Each step between frame times, in medians of the clip's steps; one less than there are frames."""
        steps = np.diff(self.times)
        return steps / np.median(steps) if len(steps) else steps

    @cached_property
    def flow(self) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """Time of the earlier and of the later frame, mean and peak flow of the pairs that lie in the clip.

        Seconds, and flow in half a second over the diagonal of the picture.
        """
        since, mean, peak = (self.column("motion", name) for name in ("since", "mean", "peak"))
        pairs = np.isfinite(mean) & (since >= self.times[0] - 1e-6)
        scale = 0.5 / (self.times[pairs] - since[pairs])
        return since[pairs], self.times[pairs], mean[pairs] * scale, peak[pairs] * scale

    @cached_property
    def still(self) -> np.ndarray:
        """In which pairs of `flow` nothing moves, bool."""
        since, until, mean, peak = self.flow
        part = self.column("motion", "change")
        local = (part >= _REPEAT_LOCAL) & (part > _LIVELY_FACTOR * self.column("change", "luma_change"))
        count = np.append(0, np.cumsum(local))
        first, last = (np.searchsorted(self.times, times + 1e-6) for times in (since, until))
        share = (count[last] - count[first]) / np.maximum(last - first, 1)
        return (mean < _STILL_MEAN) & (peak < _STILL_PEAK) & (share < _LIVELY_SHARE)

    @cached_property
    def shake(self) -> tuple[np.ndarray, np.ndarray]:
        """How far the camera is off its smoothed path: times in seconds, distances over the picture's diagonal.

        Both are empty where the clip is too short for its frame rate.
        """
        shift = np.stack([self.column("motion", name) for name in ("shift_x", "shift_y")], axis=1)
        known = np.isfinite(shift).all(axis=1)
        known[:1] = False
        times, shift, cut = self.times[known], shift[known], self.cuts[known] >= 1
        empty = np.empty(0)
        if len(times) < 2:
            return empty, empty
        step = float(np.median(np.diff(times)))
        reach = max(2, round(_SMOOTH_S / 2 / step))
        grid = np.arange(times[0], times[-1] + step / 2, step)
        if len(grid) <= 2 * reach:
            return empty, empty
        path = np.cumsum(np.where(cut[:, None], 0.0, shift), axis=0)
        weights = np.linalg.pinv(np.vander(np.arange(-reach, reach + 1) / reach, 4))[-1]
        off = []
        for axis in path.T:
            even = np.interp(grid, times, axis)
            off.append(even[reach:-reach] - np.convolve(even, weights[::-1], "valid"))
        return grid[reach:-reach], np.hypot(*off)

    @cached_property
    def swing(self) -> np.ndarray:
        """How far luma turns round at each frame: half the second difference, 0-255; two less than frames."""
        return np.abs(np.diff(self.luma, 2)) / 2


def _beside(values: np.ndarray) -> np.ndarray:
    """The larger of the two values before each, or of the two after it, whichever is less; NaN counts as nothing."""
    padded = np.pad(np.nan_to_num(values), 2)
    before, after = np.maximum(padded[:-4], padded[1:-3]), np.maximum(padded[3:-1], padded[4:])
    # At the ends of a clip there is one side only
    before[:2], after[-2:] = np.maximum(before[:2], after[:2]), np.maximum(before[-2:], after[-2:])
    return np.minimum(before, after)


def runs(mask: np.ndarray) -> list[tuple[int, int]]:
    """First index of each run of true values, and the index after its last."""
    edges = np.flatnonzero(np.diff(mask.astype(np.int8), prepend=0, append=0))
    return [(int(a), int(b)) for a, b in zip(edges[::2], edges[1::2])]


def windowed(values: np.ndarray, step_s: float, length_s: float, trim: float) -> np.ndarray:
    """Mean of each window of `length_s` without the largest `trim` of its values; one window if there are fewer.

    What happens once, such as a flash or a whip pan, is trimmed away; what goes on counts. Window i starts at value i.
    """
    if not len(values):
        return values
    length = min(len(values), max(1, round(length_s / step_s)))
    windows = np.lib.stride_tricks.sliding_window_view(values, length)
    return np.sort(windows, axis=1)[:, : max(1, length - int(length * trim))].mean(axis=1)
