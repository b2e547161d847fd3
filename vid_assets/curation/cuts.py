"""Hard cuts from stored statistics. Belongs here: what a source's statistics say of change, flashes, and cuts.

A cut is found as by the AdaptiveDetector of PySceneDetect (`scenedetect/detectors/adaptive_detector.py`): where the
change into a frame is large, and large against the change around it. The library's detectors are not called, because
they want the pixels of every frame again, and look one frame back only: a moved threshold would decode all footage
anew, and a flash or a whip pan would stay a cut. Four things are added to what they do, from stored numbers alone:

- The change that remains once motion is undone must stand out as well, so that a jolt of the camera is no cut, and a
  cut inside a fast movement is one.
- Flashes and strobe lights are taken out first: pictures that turn brighter or darker and come back within 0.4 s.
- Whip pans are told by their blurred frames.
- A frame that brings back a picture of shortly before (a decoder that recovers at a key frame) starts no shot.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from vid_assets.curation.groups import GroupStats
from vid_assets.curation.miniatures import best_alignment, distance, inside_bars, unpack
from vid_assets.curation.settings import Shots

#: A ratio where everything around a frame stands still; the value that AdaptiveDetector gives it.
_RATIO_LIMIT = 255.0
#: A difference below this is a repeated frame; frames this close on the clock show how fast footage moves.
_REPEAT = 0.5
_NEARBY_S = 0.25
#: The least residual of a cut, 0-255. At the second, the ratio must be the configured one; less residual wants a
#: higher ratio, and more is content with a lower one, within these factors.
_RESIDUAL = 8.0
_CLEAR_RESIDUAL = 22.0
_RELIEF = (0.5, 1.7)
#: Both hold from this mean luma on (0-255), and are less for darker pictures, down to this share.
_LIGHT = 50.0
_LEAST_LIGHT = 0.4
#: The least share of the change that motion leaves unexplained in a cut.
_UNEXPLAINED = 0.5
#: A flash: the longest (seconds), the least distance of its brightest picture, how far from the picture before it the
#: picture after it may be (as a share of that distance; from the second on, the two must look alike), and the share
#: of the change that has one sign.
_FLASH_S = 0.4
_FLASH_STEP = 6.0
_FLASH_PEAK = 10.0
_FLASH_RETURN = 0.35
_FLASH_ALL_BACK = 0.12
_FLASH_SIGN = 0.8
#: Pictures that correlate this well once shifted look like one scene: a cut between them must be this much larger, or
#: stand out this much more.
_SAME_SCENE = 0.8
_SAME_SCENE_CHANGE = 1.6
_SAME_SCENE_RATIO = 2.0
#: A frame in a whip pan: how far off sharper frames lie at most (seconds); the share of their detail that it has at
#: most in one direction, also as a share of what it has in the other, and at least in the other; and the least step on
#: either side of it, as a share of the largest around.
_WHIP_S = 0.15
_SMEAR = 0.65
_SMEAR_ONE_WAY = 0.9
_SMEAR_LEFT = 0.2
_WHIP_STEP = 0.2
#: A picture that comes back: how far to look (seconds), and its distance as a share of the step that brings it.
_RECOVERY_S = 1.5
_RECOVERY_RETURN = 0.55


@dataclass(frozen=True)
class Signals:
    """What the frames of a source show, in order of time; N frames.

    times: (N,) seconds. change: (N,) the larger of the differences of colour and of luma to the frame before, 0-255, 0
    for the first. residual: (N,) the part of it that motion does not explain. coarse: (N,) what `residual` is a part
    of. pictures: (N, h, w, 3) uint8 miniatures, without letterbox bars. detail: (2, N) how
    much neighbours in the rows and in the columns of a picture differ, 0-255.
    """

    times: np.ndarray
    change: np.ndarray
    residual: np.ndarray
    coarse: np.ndarray
    pictures: np.ndarray
    detail: np.ndarray


def as_array(column: list[float | None]) -> np.ndarray:
    """A column of statistics as float64, not measured as NaN."""
    return np.array([np.nan if value is None else value for value in column], dtype=np.float64)


def signals(groups: Mapping[str, GroupStats]) -> Signals:
    """The signals of a source from its group `change`, without flashes."""
    group = groups["change"]
    columns = {name: np.nan_to_num(as_array(values)) for name, values in group.stats.items()}
    raw = Signals(
        times=np.asarray(group.timestamps, dtype=np.float64),
        # Of footage without colour, `content` is a third of what it would be with it
        change=np.maximum(columns["content"], columns["luma_change"]),
        # Where the flow is lost in fine texture, undoing it adds to the change
        residual=np.minimum(columns["residual"], columns["coarse_change"]),
        coarse=columns["coarse_change"],
        pictures=inside_bars(unpack(group.miniatures or b"")),
        detail=np.stack([columns["detail_x"], columns["detail_y"]]),
    )
    return _without_flashes(raw)


def cut_strength(signals: Signals, config: Shots) -> np.ndarray:
    """How clearly each frame starts a new shot: (N,), 0 and more; 1 and more is a cut. 0 for the first frame."""
    if not len(signals.times):
        return np.zeros(0)
    window, threshold = config.adaptive_window, config.adaptive_threshold
    change, residual = signals.change, signals.residual
    share = _light_share(signals.pictures)
    least = _RESIDUAL * share
    clear = np.clip(residual / (_CLEAR_RESIDUAL * share), *_RELIEF)
    ratio = np.minimum(
        adaptive_ratio(signals.times, change, window, config.min_content_delta),
        adaptive_ratio(signals.times, residual, window, _RESIDUAL),
    )
    magnitude = np.minimum(change / max(config.min_content_delta, 1e-9), residual / least)
    unexplained = residual / np.maximum(signals.coarse, 1e-6) / _UNEXPLAINED
    strength = np.min([ratio * clear / threshold, magnitude, unexplained], axis=0)
    for frame in np.flatnonzero(strength >= 1).tolist():
        if best_alignment(signals.pictures[frame - 1], signals.pictures[frame]) >= _SAME_SCENE:
            clear_enough = max(magnitude[frame] / _SAME_SCENE_CHANGE, ratio[frame] / threshold / _SAME_SCENE_RATIO)
            strength[frame] = min(strength[frame], clear_enough)
        if in_whip_pan(signals, frame - 1, frame):
            strength[frame] = 0.0
    return _without_recoveries(signals, strength)


def _light_share(pictures: np.ndarray) -> np.ndarray:
    """How much of ordinary light each frame or the one before has, at most 1: (N,). Less can change in the dark."""
    luma = pictures[..., 0].mean(axis=(1, 2))
    return np.clip(np.maximum(luma, np.roll(luma, 1)) / _LIGHT, _LEAST_LIGHT, 1.0)


def in_whip_pan(signals: Signals, first: int, last: int) -> bool:
    """Whether one of the frames `first` to `last` is smeared by a whip pan: sharper ones lie shortly before and after.

    A moving camera takes detail away along its way and leaves the other direction some; a dissolve takes from both
    alike, and of two sharp shots with a cut between them both are sharp.
    """
    times, count = signals.times, len(signals.times)
    low = int(np.searchsorted(times, times[first] - _WHIP_S))
    high = int(np.searchsorted(times, times[last] + _WHIP_S, side="right"))
    amounts = signals.detail[:, low:high]
    steps = distance(signals.pictures[low + 1 : high], signals.pictures[low : high - 1])
    for frame in range(max(first, low + 1), min(last + 1, high - 1, count - 1)):
        here = frame - low
        around = np.minimum(amounts[:, :here].max(axis=1), amounts[:, here + 1 :].max(axis=1))
        less, more = np.sort(amounts[:, here] / np.maximum(around, 1e-3)).tolist()
        moving = min(steps[here - 1], steps[here]) >= _WHIP_STEP * steps.max()
        if moving and less <= min(_SMEAR, _SMEAR_ONE_WAY * more) and more >= _SMEAR_LEFT:
            return True
    return False


def adaptive_ratio(times: np.ndarray, change: np.ndarray, window: int, floor: float) -> np.ndarray:
    """Change of each frame over the mean of the `window` frames before and after it, without itself.

    As in AdaptiveDetector: at most 255; where the frames around stand still, 255 if the change is at least `floor`,
    else 0. Near the ends of the file the frames that exist are taken. One change around that is larger than the
    frame's own is not counted, so that two cuts a few frames apart do not hide each other. In footage that repeats
    frames, the repeats say nothing of how fast it moves: where frames that do change lie close by on both sides (or
    on one, and the file ends on the other), their mean counts if it is larger.
    """
    count = len(change)
    sums = np.concatenate([[0.0], np.cumsum(change)])
    index = np.arange(count)
    low, high = np.maximum(index - window, 0), np.minimum(index + window + 1, count)
    # Frame 0 has no difference, so it is no neighbour either
    number = np.maximum(high - np.maximum(low, 1) - 1, 1)
    largest = _largest_around(change, window)
    hidden = (largest >= change) & (number > 1)
    total = sums[high] - sums[low] - change - np.where(hidden, largest, 0.0)
    mean = np.maximum(total, 0.0) / (number - hidden)
    changes = np.flatnonzero(change >= _REPEAT)
    for frame in np.flatnonzero(change >= floor):
        place = np.searchsorted(changes, frame)
        near = changes[max(0, place - window) : place], changes[place + 1 : place + 1 + window]
        before, after = (side[np.abs(times[side] - times[frame]) <= _NEARBY_S] for side in near)
        from_start, to_end = times[frame] - times[0] <= _NEARBY_S, times[-1] - times[frame] <= _NEARBY_S
        around = np.sort(change[np.append(before, after)])
        if hidden[frame]:
            around = around[around < largest[frame]]
        if (len(before) or from_start) and (len(after) or to_end) and len(around):
            mean[frame] = max(mean[frame], around.mean())
    still = mean < 1e-5
    ratio = np.where(still, np.where(change >= floor, _RATIO_LIMIT, 0.0), change / np.where(still, 1.0, mean))
    return np.minimum(ratio, _RATIO_LIMIT)


def _largest_around(values: np.ndarray, window: int) -> np.ndarray:
    """The largest of the `window` values before and after each, without itself."""
    padded = np.pad(values, window)
    around = np.lib.stride_tricks.sliding_window_view(padded, 2 * window + 1)
    return np.maximum(around[:, :window].max(axis=1), around[:, window + 1 :].max(axis=1))


def _without_flashes(raw: Signals) -> Signals:
    """The signals with every flash replaced by what lies between the picture before it and the one after it."""
    times, pictures = raw.times, raw.pictures
    found = _flashes(times, pictures)
    if not found:
        return raw
    pictures, change, residual, coarse = pictures.copy(), raw.change.copy(), raw.residual.copy(), raw.coarse.copy()
    for before, after in found:
        share = ((times[before + 1 : after] - times[before]) / (times[after] - times[before]))[:, None, None, None]
        mixed = pictures[before] * (1 - share) + pictures[after] * share
        pictures[before + 1 : after] = mixed.round().astype(np.uint8)
        for values in (change, residual, coarse):
            # The step out of the flash belongs to it like the step into it
            around = [values[frame] for frame in (before, after + 1) if 0 < frame < len(values)]
            values[before + 1 : after + 1] = min([*around, float(values[before + 1 : after + 1].max())])
    return replace(raw, pictures=pictures, change=change, residual=residual, coarse=coarse)


def _flashes(times: np.ndarray, pictures: np.ndarray) -> list[tuple[int, int]]:
    """The frames before and after each flash, or each dark beat of a strobe light, in order; none overlap."""
    found: list[tuple[int, int]] = []
    steps = distance(pictures[1:], pictures[:-1])
    for before in np.flatnonzero(steps >= _FLASH_STEP).tolist():
        if found and before < found[-1][1]:
            continue
        last = int(np.searchsorted(times, times[before] + _FLASH_S + 1e-6, side="right"))
        away = distance(pictures[before + 1 : last], pictures[before])
        after = _return(away)
        if after is None:
            continue
        peak = before + 1 + int(np.argmax(away[:after]))
        luma = pictures[peak, ..., 0].astype(np.float32) - pictures[before, ..., 0]
        one_sign = abs(float(luma.mean())) >= _FLASH_SIGN * float(np.abs(luma).mean())
        all_back = away[after] <= _FLASH_ALL_BACK * away[:after].max()
        if one_sign and (all_back or best_alignment(pictures[before], pictures[before + 1 + after]) >= _SAME_SCENE):
            found.append((before, before + 1 + after))
    return found


def _return(away: np.ndarray) -> int | None:
    """Index of the first picture that is back, and as near as it gets; None where none comes back."""
    peak = np.maximum.accumulate(away)
    back = np.flatnonzero((peak >= _FLASH_PEAK) & (away <= _FLASH_RETURN * peak))
    if not len(back):
        return None
    index = int(back[0])
    while index + 1 < len(away) and away[index + 1] < away[index] - 0.5:
        index += 1
    return index


def _without_recoveries(signals: Signals, strength: np.ndarray) -> np.ndarray:
    """Strengths with 0 where a frame brings back what was seen shortly before, in the same shot."""
    strength = strength.copy()
    start = 0
    for frame in np.flatnonzero(strength >= 1).tolist():
        low = max(start, int(np.searchsorted(signals.times, signals.times[frame] - _RECOVERY_S)))
        step = distance(signals.pictures[frame], signals.pictures[frame - 1])
        if frame - 1 > low:
            nearest = distance(signals.pictures[low : frame - 1], signals.pictures[frame]).min()
            if nearest <= _RECOVERY_RETURN * step:
                strength[frame] = 0.0
                continue
        start = frame
    return strength
