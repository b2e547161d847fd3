"""How much moves in a decoded video, and in generated videos compared with the data's. Works on pixels, not latents."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np

#: Least short side that optical flow works on, pixels; smaller frames are enlarged.
_SMALLEST = 16


def motion(frames: np.ndarray, fps: float) -> float | None:
    """Mean length of the way that pixels go in half a second, over the frame diagonal, as far as it is movement.

    The way follows the optical flow (DIS, Kroeger et al., 2016, arXiv:1603.03590) from frame to frame for half a
    second, or as near to that as the video has frames, scaled to half a second; what jitters about its place goes
    nowhere. Flicker, noise and fades give flow too, but it is no movement: of the way of each pixel, what the way back
    does not undo is taken off, and the mean is weighted by the share of the frames' absolute difference that disappears
    when the later frame is moved back along the way.

    Args:
        frames: uint8, (F, H, W, 3) RGB or (F, H, W) gray.
        fps: frames in a second of the video, > 0.

    Returns:
        0 for a video in which nothing moves; None for a single frame, in which nothing can.
    """
    if len(frames) < 2:
        return None
    apart = min(max(1, round(fps / 2)), len(frames) - 1)
    gray = [_gray(frame) for frame in frames]
    forth = [_flow(before, after) for before, after in pairwise(gray)]
    back = [_flow(after, before) for before, after in pairwise(gray)]
    moved = []
    for first in range(len(gray) - apart):
        last = first + apart
        there, returned = _way(forth[first:last]), _way(back[first:last][::-1])
        moved.append(_moved(gray[first], gray[last], there, returned))
    # The flow of some pixels differs in its last bit from run to run; the result must not.
    return round(float(np.mean(moved)) * fps / 2 / apart, 6)


def motion_ratio(generated: Sequence[float | None], data: Sequence[float | None]) -> float | None:
    """Mean motion of generated videos over that of the data; None where either has none, or the data does not move."""
    ours = [value for value in generated if value is not None]
    theirs = [value for value in data if value is not None]
    if not ours or not theirs or not sum(theirs):
        return None
    return float(np.mean(ours) / np.mean(theirs))


def _flow(before: np.ndarray, after: np.ndarray) -> np.ndarray:
    """Where the pixels of `before` are in `after`, less where they were, (H, W, 2), x first."""
    import cv2

    flow = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_FAST).calc(before, after, None)  # type: ignore[call-overload]
    return flow


def _way(flows: list[np.ndarray]) -> np.ndarray:
    """One flow after the other, each from where the former ones led."""
    way = flows[0]
    for flow in flows[1:]:
        way = way + _at(flow, way)
    return way


def _at(image: np.ndarray, way: np.ndarray) -> np.ndarray:
    """`image` (H, W, ...) at the place where `way` leads from each pixel."""
    import cv2

    y, x = np.indices(way.shape[:2], np.float32)
    return cv2.remap(image, x + way[..., 0], y + way[..., 1], cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)


def _moved(before: np.ndarray, after: np.ndarray, there: np.ndarray, back: np.ndarray) -> float:
    """Mean length over the diagonal of the way that the way back undoes, times the share of the change it explains."""
    change = np.abs(before.astype(np.float32) - after).sum()
    if not change:
        return 0.0
    astray = np.linalg.norm(there + _at(back, there), axis=2)
    length = np.maximum(np.linalg.norm(there, axis=2) - astray, 0).mean() / np.hypot(*before.shape)
    left = np.abs(before.astype(np.float32) - _at(after, there)).sum()
    return float(length * max(0.0, 1.0 - left / change))


def _gray(frame: np.ndarray) -> np.ndarray:
    import cv2

    gray = frame if frame.ndim == 2 else cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY)
    factor = -(-_SMALLEST // min(gray.shape))
    return gray if factor <= 1 else cv2.resize(gray, None, fx=factor, fy=factor, interpolation=cv2.INTER_LINEAR)
